"""Rows of a batch that share their prompt, packed into one; and the rows of a batch whose fields are ragged."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from trl.trainer.utils import split_pixel_values_by_grid, unsplit_pixel_values_by_grid


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
    return {
        "input_ids": packed(ids),
        "attention_mask": visible | (place == place[:, None]),  # padding sees itself: a softmax over nothing is NaN
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
