"""GRPO in which the answers of a group share their image and prompt: TRL's trainer, the same numbers, less work.

The G answers to a question differ only after its prompt of P tokens, yet TRL processes the image, runs the vision tower and
runs the prompt for each of them: G·(P + R) tokens in scoring, for answers of R. Shared, it is P + G·R:

    processing   the processor sees a question once, not G times and then G times again
    sampling     the prompt runs once; its key/value cache, repeated for the group, is what the answers continue
    scoring      one row per group, `[prompt but its last token][last token, answer 1]…[last token, answer G]`, in which a
                 block mask hides the answers from one another, and each has the positions it would have alone

Left to TRL: rewards, advantages, loss, optimiser, logging, checkpoints. Its buffer keeps its layout, a row per answer.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from trl import GRPOTrainer
from trl.extras.profiling import profiling_context
from trl.models import unwrap_model_for_generation
from trl.trainer.utils import pad, split_pixel_values_by_grid, split_tensor_dict, unsplit_pixel_values_by_grid

from runtime.run_folder import log
from understanding.packing import (
    LEAK,
    PER_TOKEN,
    backbone,
    mask_for,
    pack,
    prompt_positions,
    sharing_obstacle,
    take,
    take_rows,
)
from understanding.processor import Processed
from understanding.static_prefix import COMPILED, StaticPrefix, check_decoding

UNSAID = {"batch_num_images"}  # fields that TRL does not hand on, and without which a model takes a row to have one image


class SharedPrefixGRPOTrainer(GRPOTrainer):
    """TRL's `GRPOTrainer`, whose groups share their image and prompt.

    Log-probabilities and gradients are those of `GRPOTrainer` up to rounding, where nothing is random: dropout, LoRA's
    included, is drawn once for a shared prompt instead of once for each answer. Where a model cannot share, all is done as
    in `GRPOTrainer`, and the log says so once: attention kernels that take no mask of blocks, layers with a window or a
    recurrent state, tools, and whatever fails the comparison of both ways that is made on the first question.

    share_prefix: False makes it `GRPOTrainer`. compile_decoding: compile the step that samples the next token, where the
    answers share their prompt; transformers does so on a GPU alone. The other arguments are `GRPOTrainer`'s.
    Raises ValueError where a batch of one process would split a group, UserError where the compiled step is another one.
    """

    def __init__(self, *args: Any, share_prefix: bool = True, compile_decoding: bool = False, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.shares_prefix, self._compared = share_prefix, False
        self._static: StaticPrefix | None = None
        if not share_prefix:
            return
        if obstacle := self._obstacle():
            self._stop_sharing(obstacle)
            return
        batches = [("per_device_train_batch_size", self.num_generations)]
        if self.eval_dataset is not None:
            batches.append(("per_device_eval_batch_size", self.num_generations_eval))
        for name, group in batches:
            if (rows := getattr(self.args, name)) % group:
                nearest = max(group, round(rows / group) * group)
                raise ValueError(f"{name}: {rows} answers split a group of {group}; the nearest that does not is {nearest}")
        if compile_decoding:
            self._static = StaticPrefix(self.model)
            self.generation_config.disable_compile, self.generation_config.compile_config = False, COMPILED

    # Batches: whole groups in, whole groups out.

    def _prepare_inputs(self, generation_batch: list[dict] | dict) -> dict:
        """As TRL's, but what is shuffled over the updates of a generation batch is groups, and not answers."""
        if not (self.shares_prefix and self.model.training):
            return super()._prepare_inputs(generation_batch)
        steps = self.args.steps_per_generation
        if self._step % (steps * self.num_iterations) == 0 or self._buffered_inputs is None:
            batch = split_pixel_values_by_grid(self._generate_and_score_completions(generation_batch))
            groups = torch.arange(len(batch["prompt_ids"])).view(-1, self.num_generations)
            batch = take(batch, groups[torch.randperm(len(groups))].flatten().tolist())
            self._buffered_inputs = [unsplit_pixel_values_by_grid(part) for part in split_tensor_dict(batch, steps)]
        return self._buffered_inputs[self._step % steps]

    def _generate_and_score_completions(self, inputs: list[dict]) -> dict:
        processor, group = self.processing_class, self._group
        if self.shares_prefix:
            # The images aside, every column tells questions apart: two images may share a prompt.
            rows = [{name: row[name] for name in row if name not in ("image", "images")} for row in inputs]
            if len(rows) % group or any(row != rows[i - i % group] for i, row in enumerate(rows)):
                raise ValueError(f"a batch must hold each question {group} times in a row; is the sampler TRL's own?")
        try:
            return super()._generate_and_score_completions(inputs)
        finally:
            self.processing_class = processor

    def _tokenize_prompts(self, prompts: list) -> tuple[list[list[int]], list | None, dict]:
        """As TRL's, but the processor sees each question once. TRL's second call of it gets the same fields again."""
        if not self.shares_prefix:
            return super()._tokenize_prompts(prompts)
        ids, images, fields = super()._tokenize_prompts(prompts[:: self._group])
        fields = {name: each for name, each in fields.items() if name not in UNSAID}
        inputs, counts = self._tensors(ids, fields), _counts(images, len(ids))
        if not self._compared:
            self._compared = True
            if obstacle := self._difference(inputs, counts):
                self._stop_sharing(obstacle)
                return super()._tokenize_prompts(prompts)
        repeated = [question for question in range(len(ids)) for _ in range(self._group)]
        fields = take_rows({name: inputs[name] for name in fields}, counts, repeated)
        self.processing_class = Processed(self.processing_class, fields)
        return [ids[i] for i in repeated], images and [images[i] for i in repeated], fields

    def _tensors(self, ids: list[list[int]], fields: dict) -> dict[str, Tensor]:
        """Return the model's inputs, on its device, prompts padded on the left: input_ids, attention_mask, the fields."""

        def padded(rows: Sequence, value: int = 0) -> Tensor:
            return pad([torch.as_tensor(row) for row in rows], value, "left", self.pad_to_multiple_of)

        inputs = {
            "input_ids": padded(ids, self._tokenizer.pad_token_id),
            "attention_mask": padded([[1] * len(i) for i in ids]),
        }
        for name, each in fields.items():
            each = padded(each) if name in PER_TOKEN else each
            inputs[name] = each if isinstance(each, Tensor) else torch.as_tensor(np.asarray(each))
        return self._prepare_input(inputs)

    # Sampling: on the prompt's cache, repeated.

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], images: list | None, multimodal_fields: dict, *args: Any, **kwargs: Any
    ) -> tuple[list[list[int]], list | None]:
        cache = self.args.cache_implementation or self.model.generation_config.cache_implementation
        if not self.shares_prefix or self.use_vllm or cache:
            return super()._generate_single_turn(prompt_ids, images, multimodal_fields, *args, **kwargs)
        group = self._group
        fields = take_rows(multimodal_fields, _counts(images, len(prompt_ids)), range(0, len(prompt_ids), group))
        inputs = self._tensors(prompt_ids[::group], fields)
        with (
            profiling_context(self, "transformers.generate"),
            unwrap_model_for_generation(
                self.model_wrapped,
                self.accelerator,
                gather_deepspeed3_params=self.args.ds3_gather_for_generation,
                gradient_checkpointing_kwargs=self.args.gradient_checkpointing_kwargs,
            ) as model,
            torch.no_grad(),
            self._dist.summon_full_params(self.model_wrapped, recurse=False),
        ):
            if self._static and not self._static.rows:
                check_decoding(model, partial(self._continued, model, inputs, group), self.generation_config, self._is_exact)
            continued = self._continued(model, inputs, group)
            answers = model.generate(**continued, generation_config=self.generation_config)[:, inputs["input_ids"].size(1) :]
        is_end = torch.isin(answers, torch.tensor(self.eos_token_ids, device=answers.device)).int()
        kept = is_end.cumsum(1) - is_end == 0  # up to the first end-of-sequence, which is kept
        return [row[keep].tolist() for row, keep in zip(answers.cpu(), kept.cpu(), strict=True)], None

    def _continued(self, model: nn.Module, inputs: dict[str, Tensor], group: int) -> dict:
        """Return what continues each question's prompt `group` times: the prompts' repeated ids, mask, positions and cache.

        The cache holds all but the last token of the prompts, which run once here, through the backbone alone.
        """
        positions = prompt_positions(self.model, inputs)
        prefix = {name: each for name, each in inputs.items() if name not in PER_TOKEN}
        prefix |= {name: inputs[name][:, :-1] for name in ("input_ids", "attention_mask")}
        with self.accelerator.autocast():  # which prepares the whole model's forward, not the backbone's
            cache = backbone(model)(**prefix, position_ids=positions[..., :-1], use_cache=True).past_key_values
        if self._static:
            cache = self._static(cache, group, inputs["input_ids"].size(1) + self.generation_config.max_new_tokens)
        else:
            cache.batch_repeat_interleave(group)
        return {
            "input_ids": inputs["input_ids"].repeat_interleave(group, 0),
            "attention_mask": inputs["attention_mask"].repeat_interleave(group, 0),
            "position_ids": positions.repeat_interleave(group, -2),
            "past_key_values": cache,
        }

    # Scoring: a group is one row.

    def _get_per_token_logps_and_entropies(
        self,
        model: nn.Module,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **fields: Any,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        if not self.shares_prefix:
            asked = (batch_size, compute_entropy, compute_aux_loss)
            fields = {name: each for name, each in fields.items() if name not in UNSAID}
            return super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, *asked, **fields
            )
        rows = {"input_ids": input_ids, "attention_mask": attention_mask}
        rows |= {name: each for name, each in fields.items() if each is not None}
        return *self._score(model, rows, logits_to_keep, self._group, batch_size, compute_entropy), None

    def _score(
        self, model: nn.Module, rows: dict, answer: int, group: int, batch_size: int | None = None, entropies: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Return the log-probabilities and, if asked for, the entropies of the answers: (B, R), R = `answer`.

        rows: the inputs of TRL's model, (B, P + R), whole groups one after another. batch_size: how many rows run at once.
        """
        total = len(rows["input_ids"])
        counts, step = rows.pop("num_images", None) or [0] * total, batch_size or total
        outputs = []
        for start in range(0, total, step):
            end = min(start + step, total)
            firsts = take_rows(rows, counts, range(start, end, group))
            names = {"input_ids", "attention_mask", *PER_TOKEN} & firsts.keys()
            prompts = {name: firsts.pop(name)[:, :-answer] for name in names}
            firsts.pop("num_tiles", None)
            ids, mask = rows["input_ids"][start:end], rows["attention_mask"][start:end]
            packed = pack(ids, mask, prompt_positions(self.model, prompts | firsts), group, answer)
            packed["attention_mask"] = mask_for(self.model, packed["attention_mask"])
            with self.accelerator.autocast():
                outputs.append(model(**packed, **firsts, fused_lm_head=True))

        def answers(name: str) -> Tensor:
            return torch.cat([output[name][:, -group * answer :].reshape(-1, answer) for output in outputs])

        return answers("log_probs"), answers("entropy") if entropies else None

    # Whether it may be done.

    @property
    def _group(self) -> int:
        return self.num_generations if self.model.training else self.num_generations_eval

    @property
    def _is_exact(self) -> bool:
        return self.model.dtype == torch.float32 and self.accelerator.mixed_precision == "no"

    def _stop_sharing(self, obstacle: str) -> None:
        self.shares_prefix = False
        if self.accelerator.is_main_process:
            log.warning("the answers of a group cannot share their prompt, each runs its own: %s", obstacle)

    def _obstacle(self) -> str | None:
        """Return what is known to stand against sharing before anything has run, or None."""
        if known := sharing_obstacle(self.model):
            return known
        if self.aux_loss_enabled:
            return "the experts' load is balanced over all tokens"
        if self.tools or self.rollout_func is not None:
            return "tools or a rollout function make the prompts of a group differ"
        return None

    @torch.no_grad()
    def _difference(self, inputs: dict[str, Tensor], counts: list[int]) -> str | None:
        """Compare both ways on two made-up answers to one question. Return what differs, on any process, or None.

        Rounding in half precision is larger than what a neighbour's answer may add. So it is also asked whether another
        first answer changes the numbers of the second: what a mask hides changes nothing, in whatever precision.
        """
        question = next((i for i, images in enumerate(counts) if images), 0)
        tail = inputs["input_ids"][question, -4:][None]  # text, whatever the model: the tokens that ask for an answer
        added = {"input_ids": torch.cat([tail, tail.flip(1)]), "attention_mask": torch.ones_like(tail).repeat(2, 1)}
        added["attention_mask"][1, -1] = 0
        apart = torch.full((2,), torch.inf, device=self.accelerator.device)
        problem, was_training = "", self.model.training
        self.model.eval()  # dropout differs by itself
        try:
            if "token_type_ids" in inputs:
                raise ValueError("which tokens see one another depends on their kind")
            rows = take_rows(inputs, counts, [question, question])
            added |= {name: torch.zeros_like(added["input_ids"]) for name in PER_TOKEN if name in rows}
            rows |= {name: torch.cat([rows[name], each], dim=1) for name, each in added.items()}
            rows["num_images"] = [counts[question]] * 2
            plain, _, _ = super()._get_per_token_logps_and_entropies(self.model, logits_to_keep=tail.size(1), **rows)
            packed, _ = self._score(self.model, dict(rows), tail.size(1), group=2)
            rows["input_ids"] = rows["input_ids"].clone()
            rows["input_ids"][0, -tail.size(1) :] = tail.roll(1)
            again, _ = self._score(self.model, dict(rows), tail.size(1), group=2)
            apart = torch.stack([(packed - plain).abs().mean(), (again - packed)[1].abs().max()])
        except Exception as error:  # whatever a foreign model makes of a mask or of positions that it does not know
            problem = f" ({type(error).__name__}: {error})"
        self.model.train(was_training)
        worst, seen = self.accelerator.gather(apart[None]).amax(0).tolist()  # all processes share, or none
        if worst > (1e-3 if self._is_exact else 0.1):
            return f"log-probabilities differ by {worst:.2g}{problem}"
        return f"an answer changes another's log-probabilities by {seen:.2g}" if seen > LEAK else None


def _counts(images: list | None, rows: int) -> list[int]:
    return [len(each or []) for each in images] if images else [0] * rows
