"""Asking a vision-language model: answers as it generates them, and how likely it finds each emotion."""

from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, ProcessorMixin
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from config.taxonomy import Taxonomy
from config.understanding_settings import Answers, Understanding
from emoset.images import ImageError
from runtime.hub import fingerprint, resolve_model
from runtime.processes import start_process
from runtime.recipe import digest
from runtime.run_folder import log
from understanding import kinds
from understanding.answer_tree import greedy_path, log_probabilities, with_trees
from understanding.answers import extract_answer, in_format
from understanding.chat import check_length, continued, read_chat
from understanding.image_rows import TOGETHER, Asked, ImageRow, image_rows
from understanding.model import bounded, conversation, load_whole
from understanding.packing import PER_TOKEN, sharing_obstacle
from understanding.processor import load_processor
from understanding.question import OwnChoice, Question
from understanding.showing import show

GREY = Image.new("RGB", (224, 224), (128, 128, 128))  # what the blind see
AGREE = 1e-3, 0.5  # how far the log-probability of a shared row may be from that of its own, in float32 and in less
AT_ONCE = 16  # rows that run at once


def load_asker(
    understanding: Understanding, answers: Answers, taxonomy: Taxonomy, name: str | Path, setting: str
) -> "Asker":
    """Return what asks a model by name or folder, on this process's device; `setting` names it in errors."""
    device = start_process().device
    unset_hf_deepspeed_config()  # else ZeRO-3 would share out the weights, and every process asks for itself
    processor = load_processor(resolve_model(str(name)), setting)
    read_chat(processor, setting)  # before the weights, which take longer
    model = load_whole(understanding, name, setting)
    return Asker(model.to(device), processor, understanding, answers, taxonomy, setting)


class Asker:
    """A model and its processor, ready to be asked questions that want answers in the form `answers`.

    setting: the one that names the model, for errors.
    recipe: what the answers depend on beside the questions. arithmetic: what rounds them, and how prompts are
    written. Answers that differ in it alone are sampled by the same numbers.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        processor: ProcessorMixin,
        understanding: Understanding,
        answers: Answers,
        taxonomy: Taxonomy,
        setting: str = "understanding.model",
    ):
        self.model, self.processor, self.taxonomy, self.form = model.eval(), processor, taxonomy, answers
        self.recipe = [fingerprint(model), answers.tokens, understanding.max_pixels]
        self.arithmetic = [str(model.dtype), model.config.get_text_config()._attn_implementation]
        self.chat = read_chat(processor, setting)
        self._ends = self.chat.ends(model)
        self.arithmetic += [digest([str(processor.chat_template), len(processor.tokenizer), self.chat.closing, self._ends])]
        pixels = self._pixels = understanding.max_pixels
        self._load = lru_cache(maxsize=256)(lambda path: show(path, pixels, processor))  # of no model: it must go
        self._choices = lru_cache(maxsize=4096)(self.chat.choices)
        self._check_length = lru_cache(maxsize=4096)(partial(check_length, self.chat, tokens=answers.tokens))
        self._together = 0 if sharing_obstacle(model) else TOGETHER if self.chat.shows_images_first() else 1
        # Float32 weights are run in less too: under autocast, where they are trained whole.
        self._agree = AGREE[not (understanding.dtype == "float32" and model.dtype == torch.float32)]
        self._compared: set[bool] = set()  # whether rows were that several questions share, and rows of one each

    def obstacle(self, image: Path | Image.Image) -> str | None:
        """Return why the model cannot be shown an image, or None."""
        try:
            if isinstance(image, Path):
                self._load(image)
        except ImageError as error:
            return error.reason
        return None

    def allowed(self, question: Question) -> tuple[str, ...]:
        """Return all answers that a question allows."""
        if isinstance(question, OwnChoice):
            return question.answers
        return kinds.kind_named(question.kind).allowed(question, self.taxonomy, self.form)

    def answers(
        self, questions: Sequence[Question], images: Sequence[Path | Image.Image], count: int = 1, temperature: float = 0.0
    ) -> list[list[str]]:
        """Return `count` completions to each question; greedy ones where the temperature is 0."""
        inputs = self._inputs(questions, images)
        sampling = {"do_sample": False} if not temperature else {"do_sample": True, "temperature": temperature}
        with torch.no_grad():
            ids = self.model.generate(
                **inputs,
                **sampling,
                top_k=None,
                top_p=None,
                repetition_penalty=1.0,
                max_new_tokens=self.form.tokens,
                num_return_sequences=count,
                eos_token_id=self._ends,
                pad_token_id=self.processor.tokenizer.pad_token_id,
            )[:, inputs["input_ids"].size(1) :]
        texts = self.processor.batch_decode(ids, skip_special_tokens=True)
        return [texts[first : first + count] for first in range(0, len(texts), count)]

    def likelihoods(
        self, questions: Sequence[Question], images: Sequence[Path | Image.Image], completions: Sequence[str]
    ) -> Tensor:
        """Return the probabilities (n, K) of the answers that each question allows, in their order. Rows sum to 1.

        A multiple-choice question allows the emotions, by name or letter. K is the largest number of answers that one of the
        questions allows, and zeros fill the rows of the other questions. The probability is that of the answer's text and
        end, after the reasoning in `completions`. A completion that breaks the format counts as one without reasoning.
        """
        return self._scored(questions, images, completions)[0]

    def answers_with_likelihoods(
        self, questions: Sequence[Question], images: Sequence[Path | Image.Image]
    ) -> tuple[list[str], Tensor]:
        """Return a greedy completion to each question, and the probabilities (n, K) as `likelihoods` does.

        Without reasoning one forward pass gives both. What greedy decoding emits is read where the probabilities are, if it
        is an allowed answer. Other questions are asked again.
        """
        if self.form.reasoning:
            completions = [completion for (completion,) in self.answers(questions, images)]
            return completions, self.likelihoods(questions, images, completions)
        found, completions = self._scored(questions, images, [""] * len(questions))
        rest = [place for place, completion in enumerate(completions) if completion is None]
        asked = self.answers(*([each[place] for place in rest] for each in (questions, images))) if rest else []
        for place, (completion,) in zip(rest, asked, strict=True):
            completions[place] = completion
        return completions, found

    def check_lengths(self, questions: Sequence[Question]) -> None:
        """Raise UserError where an answer that one of the questions allows is longer than those that are generated."""
        for question in questions:
            right = tuple(in_format(answer, self.form.reasoning) for answer in self.allowed(question))
            self._check_length(self.chat.prompt(conversation(question.prompt)), right)

    def _scored(
        self, questions: Sequence[Question], images: Sequence[Path | Image.Image], completions: Sequence[str]
    ) -> tuple[Tensor, list[str | None]]:
        """Return what `likelihoods` does, and the greedy completions that can be told from the same forward pass."""
        asked = [self._asked(*each) for each in zip(questions, completions, strict=True)]
        if rows := self._rows(questions, images, asked):
            read = self._read(rows, questions, images, asked)
        else:
            tails = [each.choices.tails(each.choices.reach) for each in asked]
            plain = [self._plain(*each) for each in zip(questions, images, asked, tails, strict=True)]
            read = {place: (log_p, None) for place, log_p in enumerate(plain)}
        found = [each.choices.of_answers(read[place][0]) for place, each in enumerate(asked)]
        said = [read[place][1] for place in range(len(asked))]
        return pad_sequence(found, batch_first=True, padding_value=-torch.inf).softmax(1), said

    def _asked(self, question: Question, completion: str) -> Asked:
        """Return a question and its answers as tokens, after the reasoning of `completion`."""
        start, end = self._around(completion)
        prompt = self.chat.prompt(conversation(question.prompt))
        last = self.chat.end_of(prompt)  # alike in most prompts, so that its answers are tokenised once
        head = self.chat.tokens(prompt[: len(prompt) - len(last)])
        return Asked(head, self._choices(last, start, tuple(answer + end for answer in self.allowed(question))))

    def _rows(self, questions: Sequence[Question], images: Sequence, asked: Sequence[Asked]) -> list[ImageRow]:
        """Return the questions in rows that share what they can; [] where the answers to a question cannot share a row.

        The first two rows of this model are compared with rows of an answer each, and so are the first two of which one
        holds several questions. Where these differ, each question gets a row of its own, which is compared in turn.
        """
        while self._together:
            rows = image_rows(images, asked, self._together)
            several = len(rows) < len(questions)
            if several in self._compared:
                return rows
            problem = self._difference(rows[:2], questions, images, asked)
            if not problem:
                self._compared |= {several, False}
                return rows
            self._together = 1 if several else 0
            whose = "each question" if several else "forced choice: each name"
            log.warning(f"{whose} runs its own prompt ({problem})")
        return []

    def _difference(self, rows: list[ImageRow], questions: Sequence[Question], images: Sequence, asked: Sequence) -> str:
        """Return how the first and the last answer to some rows' questions differ from rows of an answer each; "": not."""
        places = [place for row in rows for place in row.places]
        plain = []
        for place in places:
            tails = asked[place].choices.tails(asked[place].choices.reach)
            plain.append(self._plain(questions[place], images[place], asked[place], [tails[0], tails[-1]]))
        try:
            read = self._read(rows, questions, images, asked)
            pairs = zip(plain, (read[place][0] for place in places), strict=True)
            difference = max((log_p[[0, -1]] - own).abs().max().item() for own, log_p in pairs)
        except Exception as error:  # whatever a foreign model makes of a mask or of positions that it does not know
            return f"{type(error).__name__}: {error}"
        return "" if difference < self._agree else f"log-probabilities differ by {difference:.2g}"

    @torch.no_grad()
    def _read(
        self, rows: list[ImageRow], questions: Sequence[Question], images: Sequence, asked: Sequence[Asked]
    ) -> dict[int, tuple[Tensor, str | None]]:
        """Return by the questions' numbers log p of all their answers' tails, and the greedy completion if that is told."""
        read = {}
        for some in (rows[first : first + AT_ONCE] for first in range(0, len(rows), AT_ONCE)):
            places, cuts, trees = [row.places[0] for row in some], [row.cut for row in some], [row.tree for row in some]
            starts = [asked[place].choices.start for place in places]
            inputs = self._inputs(*([each[place] for place in places] for each in (questions, images)), starts, cuts)
            first = min(tree.first for tree in trees)
            logits = self.model(**with_trees(self.model, inputs, trees, first)).logits
            likeliest, found = logits.argmax(-1).tolist(), log_probabilities(logits, trees, first)
            for row, ids, log_p in zip(some, likeliest, found, strict=True):
                counts = [len(asked[place].choices.rows) for place in row.places]
                for place, prompt, own in zip(row.places, row.asked, log_p.split(counts), strict=True):
                    path = greedy_path(row.tree, [*[0] * first, *ids], prompt, self._ends, self.form.tokens)
                    read[place] = own, path and self.processor.batch_decode([path], skip_special_tokens=True)[0]
        return read

    def _plain(self, question: Question, image: Path | Image.Image, asked: Asked, tails: list[list[int]]) -> Tensor:
        """Return log p (n,) of the tails from a row for each, some at once.

        The processor makes the rows: which parts of its fields are whose it alone knows, of images cut into tiles.
        """
        parts, cut = [], asked.choices.reach
        for some in (tails[first : first + AT_ONCE] for first in range(0, len(tails), AT_ONCE)):
            inputs = self._inputs(*([each] * len(some) for each in (question, image, asked.choices.start, cut)))
            ids, mask, longest = continued(inputs["input_ids"], inputs["attention_mask"], some)
            for name in PER_TOKEN & inputs.keys():
                inputs[name] = torch.nn.functional.pad(inputs[name], (0, longest))
            inputs |= {"input_ids": ids, "attention_mask": mask}
            with torch.no_grad():
                logits = self.model(**inputs, logits_to_keep=longest + 1).logits[:, :-1]
            labels = ids[:, -longest:].masked_fill(mask[:, -longest:] == 0, -100)
            parts.append(_log_probabilities(logits, labels).sum(-1))
        return torch.cat(parts)

    def _inputs(
        self,
        questions: Sequence[Question],
        images: Sequence[Path | Image.Image],
        starts: Sequence[str] | None = None,
        cuts: Sequence[int] = (),
    ) -> dict[str, Tensor]:
        """Return the model's inputs for some questions.

        starts: how the answer to each begins. cuts: how many of the last tokens of each are left out.
        """
        prompts = [self.chat.prompt(conversation(question.prompt)) for question in questions]
        texts = [prompt + start for prompt, start in zip(prompts, starts or [""] * len(prompts), strict=True)]
        shown = [self._load(image) if isinstance(image, Path) else bounded(image, self._pixels) for image in images]
        inputs = self.chat.inputs(texts, shown)
        padding = {"input_ids": self.processor.tokenizer.pad_token_id}
        for name in ("input_ids", "attention_mask", *PER_TOKEN & inputs.keys()) if cuts else ():
            inputs[name] = _without_last(inputs[name], cuts, padding.get(name, 0))
        return {
            name: each.to(self.model.device, self.model.dtype if each.is_floating_point() else None)
            for name, each in inputs.items()
        }

    def _around(self, completion: str) -> tuple[str, str]:
        """Return what comes before and after the answer's text, in the format that the questions ask for.

        Before it is the reasoning of `completion`, as it stands there, if the parser takes an answer after it and it holds
        no special token, such as that of an image.
        """
        if not self.form.reasoning:
            return "", ""
        thought, opened, _ = completion.partition("<answer>")
        start = thought + opened
        kept = extract_answer(f"{start}any</answer>", reasoning=True)
        kept = kept and not set(self.chat.tokens(start)) & set(self.processor.tokenizer.all_special_ids)
        return start if kept else "<think></think><answer>", "</answer>"


def _without_last(rows: Tensor, cuts: Sequence[int], padding: int) -> Tensor:
    """Return rows (n, T) without the last tokens of each, padded on the left. cuts: how many of each."""
    kept = [row[: len(row) - cut] for row, cut in zip(rows, cuts, strict=True)]
    return pad_sequence(kept, batch_first=True, padding_value=padding, padding_side="left")


def _log_probabilities(logits: Tensor, labels: Tensor) -> Tensor:
    """Return log p of each label (..., T) under logits (..., T, V), or 0 where the label is -100."""
    found = logits.float().log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    return found.masked_fill(labels == -100, 0.0)
