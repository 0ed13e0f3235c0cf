"""Packs rows of a batch that share their prompt into one, and takes rows from a batch whose fields are ragged."""

from collections.abc import Sequence
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel
from trl.trainer.utils import split_pixel_values_by_grid, unsplit_pixel_values_by_grid

from config.errors import UserError

PER_TOKEN = {"mm_token_type_ids", "token_type_ids"}  # a processor's fields that have a value for each token
LEAK = 0.01  # what an answer may change of another's log-probabilities; none of them where the mask is kept to


def backbone(model: nn.Module) -> PreTrainedModel:
    """Return the model without its LM head, adapters kept."""
    return (model.get_base_model() if isinstance(model, PeftModel) else model).base_model


def sharing_obstacle(model: PreTrainedModel) -> str | None:
    """Return what is known to keep the model from running packed rows, or None."""
    config = model.config.get_text_config()
    layers = set(getattr(config, "layer_types", None) or []) - {"full_attention"}
    if config._attn_implementation not in ("sdpa", "eager"):
        return f"the attention kernel {config._attn_implementation} takes no mask of blocks"
    return f"the model has layers of {', '.join(sorted(layers))}" if layers else None


def check_sharing(model: PreTrainedModel) -> None:
    """Raise UserError where the model is known not to run packed rows, without which no answers are exact."""
    if obstacle := sharing_obstacle(model):
        raise UserError(f"grpo.answers: exact needs rows that answers share, and {obstacle}; set grpo.answers=sampled")


def mask_for(model: PreTrainedModel, visible: Tensor) -> Tensor:
    """Return a mask as the model's attention takes it: the eager kernel adds numbers to the scores."""
    if model.config.get_text_config()._attn_implementation == "eager":
        return torch.where(visible, 0.0, torch.finfo(model.dtype).min)
    return visible


def prompt_positions(model: nn.Module, inputs: dict[str, Any]) -> Tensor:
    """Return the prompts' position ids: (3, B, P) of a model with positions in time, height and width, else (B, P)."""
    own = getattr(backbone(model), "get_rope_index", None)
    if own and "pixel_values" in inputs:
        return own(**inputs)[0]
    return (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)


def pack(ids: Tensor, mask: Tensor, positions: Tensor, group: int, answer: int) -> dict[str, Tensor]:
    """Return the inputs of a forward pass in which each group of `group` rows is one row of L = P - 1 + group·R tokens.

    An answer's last token is only predicted, so `[last token of the prompt, answer]` takes R tokens, R = `answer`.
    ids, mask: (B, P + R), a row per answer, prompts padded on the left and alike in a group.
    positions: the prompts' position ids, (..., B / group, P).
    Returns input_ids (B / group, L); shift_labels (B / group, L), the token that follows or -100; position_ids
    (..., B / group, L); attention_mask (B / group, 1, L, L), True where the row's token may look at the column's.
    """
    prefix = ids.size(1) - answer - 1

    def packed(rows: Tensor) -> Tensor:
        return torch.cat([rows[::group, :prefix], rows[:, prefix:-1].reshape(-1, group * answer)], dim=1)

    labels = ids[:, -answer:].masked_fill(mask[:, -answer:] == 0, -100).reshape(-1, group * answer)
    answered = positions[..., -1:] + torch.arange(answer, device=ids.device).repeat(group)
    place = torch.arange(prefix + group * answer, device=ids.device)
    block = (place - prefix).clamp(min=-1) // answer  # -1: the prefix, seen by all
    visible = (place <= place[:, None]) & ((block == -1) | (block == block[:, None]))
    visible = visible & packed(mask)[:, None, None, :].bool()
    visible = visible | (place == place[:, None])  # padding sees itself: a softmax over nothing is NaN
    return {
        "input_ids": packed(ids),
        "attention_mask": visible,
        "position_ids": torch.cat([positions[..., :-1], answered], dim=-1),
        "shift_labels": nn.functional.pad(labels, (prefix, 0), value=-100),
    }


def take_rows(fields: dict[str, Any], num_images: list[int], rows: Sequence[int]) -> dict[str, Any]:
    """Return the fields of a processor for the given rows, in that order, with repetitions.

    num_images: how many images each row holds, by which TRL tells a field's parts apart.
    Raises ValueError for a field whose parts it cannot tell apart, as of images cut into tiles before they are counted.
    """
    split = split_pixel_values_by_grid({**fields, "num_images": num_images})
    if ragged := [name for name, each in split.items() if len(each) != len(num_images)]:
        raise ValueError(f"which part of {', '.join(ragged)} belongs to which question is not known")
    taken = unsplit_pixel_values_by_grid(take(split, list(rows)))
    del taken["num_images"]
    return taken


def take(batch: dict[str, Any], rows: list[int]) -> dict[str, Any]:
    """Return the rows of each list and tensor of a batch; a number stays as it is."""
    return {
        name: [each[i] for i in rows] if isinstance(each, list) else each[rows] if each.ndim else each
        for name, each in batch.items()
    }
