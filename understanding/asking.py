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
from understanding.answers import extract_answer
from understanding.model import bounded, conversation, load_whole
from understanding.packing import PER_TOKEN, mask_for, pack, prompt_positions, sharing_obstacle
from understanding.processor import load_processor
from understanding.question import Question
from understanding.showing import show

GREY = Image.new("RGB", (224, 224), (128, 128, 128))  # what the blind see


def load_asker(
    understanding: Understanding, answers: Answers, taxonomy: Taxonomy, name: str | Path, setting: str
) -> "Asker":
    """Return what asks a model by name or folder, on this process's device; `setting` names it in errors."""
    device = start_process().device
    unset_hf_deepspeed_config()  # else ZeRO-3 would share out the weights, and every process asks for itself
    model = load_whole(understanding, name, setting)
    return Asker(model.to(device), load_processor(resolve_model(str(name)), setting), understanding, answers, taxonomy)


class Asker:
    """A model and its processor, ready to be asked questions that want answers in the form `answers`.

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
    ):
        self.model, self.processor, self.taxonomy, self.form = model.eval(), processor, taxonomy, answers
        self.recipe = [fingerprint(model), answers.tokens, understanding.max_pixels]
        self.arithmetic = [str(model.dtype), model.config.get_text_config()._attn_implementation]
        self.arithmetic += [digest([str(processor.chat_template), len(processor.tokenizer)])]
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
                pad_token_id=self.processor.tokenizer.pad_token_id,
            )[:, inputs["input_ids"].size(1) :]
        texts = self.processor.batch_decode(ids, skip_special_tokens=True)
        return [texts[first : first + count] for first in range(0, len(texts), count)]

    def likelihoods(
        self, questions: Sequence[Question], images: Sequence[Path | Image.Image], completions: Sequence[str]
    ) -> Tensor:
        """Return the probabilities (n, K) of the emotions as answers to multiple-choice questions, rows sum to 1.

        An emotion's is that of its name, or letter, and the end of the answer, after the model's own reasoning in
        `completions`; where that is not in the format, after none.
        """
        starts, ends = zip(*(self._around(completion) for completion in completions), strict=True)
        choices = [
            [choice + end for choice in kinds.kind_named(question.kind).allowed(question, self.taxonomy, self.form)]
            for question, end in zip(questions, ends, strict=True)
        ]
        tokens = [[self._tokens(start, choice) for choice in row] for start, row in zip(starts, choices, strict=True)]
        asked = questions, images, starts, tokens
        if self._shares and not self._compared:
            self._compared, self._shares = True, self._agrees(*(each[:2] for each in asked))
        return (self._packed if self._shares else self._plain)(*asked).softmax(1)

    def _agrees(self, *asked: Sequence) -> bool:
        """Return whether rows that share their prompt give the numbers of rows that do not."""
        plain = self._plain(*asked)
        try:
            difference = (plain - self._packed(*asked)).abs().max()
        except Exception as error:  # whatever a foreign model makes of a mask or of positions that it does not know
            log.warning(f"forced choice: each name runs its own prompt ({type(error).__name__}: {error})")
            return False
        agrees = bool(difference < (1e-3 if self.model.dtype == torch.float32 else 0.5))
        if not agrees:
            log.warning(f"forced choice: each name runs its own prompt (log-probabilities differ by {difference:.2g})")
        return agrees

    def _inputs(self, questions, images, starts: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Return the model's inputs for some questions; starts: how the answer to each begins."""
        chats = [conversation(question.prompt) for question in questions]
        prompts = [self.processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False) for chat in chats]
        texts = [prompt + start for prompt, start in zip(prompts, starts or [""] * len(prompts), strict=True)]
        shown = [[self._load(image) if isinstance(image, Path) else bounded(image, self._pixels)] for image in images]
        start = self.processor.tokenizer.bos_token
        special = bool(start) and not prompts[0].startswith(start)  # as in training, where TRL leaves it to transformers
        inputs = self.processor(
            images=shown, text=texts, padding=True, padding_side="left", add_special_tokens=special, return_tensors="pt"
        )
        return {
            name: each.to(self.model.device, self.model.dtype if each.is_floating_point() else None)
            for name, each in inputs.items()
        }

    def _around(self, completion: str) -> tuple[str, str]:
        """Return what comes before and after the answer's text, in the format that the questions ask for.

        Before it is the reasoning of `completion`, as it stands there, if the parser takes an answer after it.
        """
        if not self.form.reasoning:
            return "", self.processor.tokenizer.eos_token
        thought, opened, _ = completion.partition("<answer>")
        start = thought + opened
        kept = extract_answer(f"{start}any</answer>", reasoning=True)
        return start if kept else "<think></think><answer>", "</answer>"

    def _tokens(self, start: str, choice: str) -> list[int]:
        """Return the tokens of a choice as they are after `start`, whose last token may not change with it."""
        tokenizer = self.processor.tokenizer
        before = tokenizer(start, add_special_tokens=False).input_ids
        whole = tokenizer(start + choice, add_special_tokens=False).input_ids
        return (
            whole[len(before) :] if whole[: len(before)] == before else tokenizer(choice, add_special_tokens=False).input_ids
        )

    @torch.no_grad()
    def _packed(self, questions: Sequence[Question], images: Sequence, starts: Sequence[str], tokens: list) -> Tensor:
        """Return log-probabilities (n, K); the choices of a question are one row and share its image and prompt."""
        inputs, choices = self._inputs(questions, images, starts), len(tokens[0])
        prompts = [inputs[name].repeat_interleave(choices, 0) for name in ("input_ids", "attention_mask")]
        ids, mask, longest = _continued(*prompts, [choice for row in tokens for choice in row])
        packed = pack(ids, mask, prompt_positions(self.model, inputs), choices, longest)
        packed["attention_mask"] = mask_for(self.model, packed["attention_mask"])
        labels = packed.pop("shift_labels")
        rest = {name: each for name, each in inputs.items() if name not in (*packed, *PER_TOKEN)}
        kept = choices * longest
        logits = self.model(**packed, **rest, logits_to_keep=kept).logits
        return _log_probabilities(logits, labels[:, -kept:]).view(len(tokens), choices, longest).sum(-1)

    @torch.no_grad()
    def _plain(self, questions: Sequence[Question], images: Sequence, starts: Sequence[str], tokens: list) -> Tensor:
        """Return the same from a row for each choice, one question after the other.

        The processor makes the rows: which parts of its fields are whose it alone knows, of images cut into tiles.
        """
        totals = []
        for question, image, start, choices in zip(questions, images, starts, tokens, strict=True):
            inputs = self._inputs(*([each] * len(choices) for each in (question, image, start)))
            ids, mask, longest = _continued(inputs["input_ids"], inputs["attention_mask"], choices)
            for name in PER_TOKEN & inputs.keys():
                inputs[name] = torch.nn.functional.pad(inputs[name], (0, longest))
            inputs |= {"input_ids": ids, "attention_mask": mask}
            logits = self.model(**inputs, logits_to_keep=longest + 1).logits[:, :-1]
            labels = ids[:, -longest:].masked_fill(mask[:, -longest:] == 0, -100)
            totals.append(_log_probabilities(logits, labels).sum(-1))
        return torch.stack(totals)


def _continued(prompts: Tensor, mask: Tensor, choices: list[list[int]]) -> tuple[Tensor, Tensor, int]:
    """Return ids and mask (n, P + R) of prompts (n, P), each with its choice after it, and R, the most tokens of one."""
    rows = [torch.tensor(choice, device=prompts.device) for choice in choices]
    ids, kept = (pad_sequence(each, batch_first=True) for each in (rows, [torch.ones_like(row) for row in rows]))
    return torch.cat([prompts, ids], 1), torch.cat([mask, kept], 1), ids.size(1)


def _log_probabilities(logits: Tensor, labels: Tensor) -> Tensor:
    """Return log p of each label (..., T) under logits (..., T, V); 0 where the label is -100."""
    found = logits.float().log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    return found.masked_fill(labels == -100, 0.0)
