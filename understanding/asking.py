"""Asking a vision-language model: answers as it generates them, and how likely it finds each emotion."""

from collections.abc import Sequence
from functools import lru_cache
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
from understanding.answer_tree import AnswerTree, answer_tree, greedy_path, log_probabilities, with_trees
from understanding.answers import extract_answer
from understanding.chat import continued, read_chat
from understanding.model import bounded, conversation, load_whole
from understanding.packing import PER_TOKEN, sharing_obstacle
from understanding.processor import load_processor
from understanding.question import OwnChoice, Question
from understanding.showing import show

GREY = Image.new("RGB", (224, 224), (128, 128, 128))  # what the blind see
AT_ONCE = 16  # rows that run at once where the answers to a question cannot share one


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
        self._shares = sharing_obstacle(model) is None
        self._compared = False

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

    def _scored(
        self, questions: Sequence[Question], images: Sequence[Path | Image.Image], completions: Sequence[str]
    ) -> tuple[Tensor, list[str | None]]:
        """Return what `likelihoods` does, and the greedy completions that can be told from the same forward pass."""
        choices = []
        for question, completion in zip(questions, completions, strict=True):
            allowed, (start, end) = self.allowed(question), self._around(completion)
            prompt = self.chat.prompt(conversation(question.prompt))
            choices.append(self.chat.choices(prompt, start, [answer + end for answer in allowed]))
        cut = max(each.reach for each in choices)  # alike for all: tokens that answers share add the same to each
        asked = questions, images, [each.start for each in choices], [each.tails(cut) for each in choices]
        if self._shares and not self._compared:
            self._compared, self._shares = True, self._agrees(cut, *(each[:2] for each in asked))
        said: list[str | None] = [None] * len(questions)
        if self._shares:
            logits, trees = self._tree_logits(cut, *asked)
            found = pad_sequence(log_probabilities(logits, trees), batch_first=True)
            likeliest = logits.argmax(-1).tolist()
            forced = [each.before[len(each.before) - cut :] for each in choices]
            paths = [
                greedy_path(tree, row, own, self._ends, self.form.tokens)
                for tree, row, own in zip(trees, likeliest, forced, strict=True)
            ]
            texts = self.processor.batch_decode([path or [] for path in paths], skip_special_tokens=True)
            said = [None if path is None else text for path, text in zip(paths, texts, strict=True)]
        else:
            found = self._plain(cut, *asked)
        found = [each.of_answers(row) for each, row in zip(choices, found, strict=True)]
        return pad_sequence(found, batch_first=True, padding_value=-torch.inf).softmax(1), said

    def _agrees(self, cut: int, *asked: Sequence) -> bool:
        """Return whether rows that share their prompt give the numbers of rows that do not."""
        plain = self._plain(cut, *asked)
        try:
            difference = (plain - self._packed(cut, *asked)).abs().max()
        except Exception as error:  # whatever a foreign model makes of a mask or of positions that it does not know
            log.warning(f"forced choice: each name runs its own prompt ({type(error).__name__}: {error})")
            return False
        agrees = bool(difference < (1e-3 if self.model.dtype == torch.float32 else 0.5))
        if not agrees:
            log.warning(f"forced choice: each name runs its own prompt (log-probabilities differ by {difference:.2g})")
        return agrees

    def _inputs(self, questions, images, starts: Sequence[str] | None = None, cut: int = 0) -> dict[str, Tensor]:
        """Return the model's inputs for some questions.

        starts: how the answer to each begins. cut: how many of the last tokens are left out.
        """
        prompts = [self.chat.prompt(conversation(question.prompt)) for question in questions]
        texts = [prompt + start for prompt, start in zip(prompts, starts or [""] * len(prompts), strict=True)]
        shown = [self._load(image) if isinstance(image, Path) else bounded(image, self._pixels) for image in images]
        inputs = self.chat.inputs(texts, shown)
        for name in ("input_ids", "attention_mask", *PER_TOKEN & inputs.keys()):
            inputs[name] = inputs[name][:, : inputs[name].size(1) - cut]
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

    @torch.no_grad()
    def _tree_logits(
        self, cut: int, questions: Sequence[Question], images: Sequence, starts: Sequence[str], tails: list
    ) -> tuple[Tensor, list[AnswerTree]]:
        """Return the logits (n, N + 1, V) at the nodes of each question's tree of tails, and the trees.

        The tails of a question are one row and share its image and prompt. cut: how many tokens of the prompts and `starts`
        the tails begin with.
        """
        inputs, trees = self._inputs(questions, images, starts, cut), list(map(answer_tree, tails))
        return self.model(**with_trees(self.model, inputs, trees)).logits, trees

    def _packed(self, cut: int, *asked: Sequence) -> Tensor:
        """Return log-probabilities (n, C) of the tails, as _tree_logits takes them. After fewer tails than C stand zeros."""
        return pad_sequence(log_probabilities(*self._tree_logits(cut, *asked)), batch_first=True)

    @torch.no_grad()
    def _plain(
        self, cut: int, questions: Sequence[Question], images: Sequence, starts: Sequence[str], tails: list
    ) -> Tensor:
        """Return the same from a row for each tail, one question after the other, some rows at once.

        The processor makes the rows: which parts of its fields are whose it alone knows, of images cut into tiles.
        """
        totals = []
        for question, image, start, own in zip(questions, images, starts, tails, strict=True):
            parts = []
            for first in range(0, len(own), AT_ONCE):
                some = own[first : first + AT_ONCE]
                inputs = self._inputs(*([each] * len(some) for each in (question, image, start)), cut)
                ids, mask, longest = continued(inputs["input_ids"], inputs["attention_mask"], some)
                for name in PER_TOKEN & inputs.keys():
                    inputs[name] = torch.nn.functional.pad(inputs[name], (0, longest))
                inputs |= {"input_ids": ids, "attention_mask": mask}
                logits = self.model(**inputs, logits_to_keep=longest + 1).logits[:, :-1]
                labels = ids[:, -longest:].masked_fill(mask[:, -longest:] == 0, -100)
                parts.append(_log_probabilities(logits, labels).sum(-1))
            totals.append(torch.cat(parts))
        return pad_sequence(totals, batch_first=True)


def _log_probabilities(logits: Tensor, labels: Tensor) -> Tensor:
    """Return log p of each label (..., T) under logits (..., T, V), or 0 where the label is -100."""
    found = logits.float().log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    return found.masked_fill(labels == -100, 0.0)
