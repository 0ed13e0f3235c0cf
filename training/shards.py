"""Writes and reads the shards of a cache, safetensors with a checksum, and skips rows whose images broke after a check.

A row whose image cannot be decoded any more is blank in its shard, which says why. Code that reads it gets an ImageError,
and takes another row in its place (`first_whole`): the mapper the next draw, the emotion encoder the next image of its
emotion and split. So the same rows are skipped in every process, and after every resume.
"""

import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors import safe_open
from torch import Tensor
from torch.utils.data import Dataset

from config.errors import UserError
from emoset.images import ImageError
from runtime.tensors import write_tensors

CHECKSUM, LEFT_OUT = "crc32", "left out"


def write_shard(path: Path, tensors: dict[str, Tensor], left_out: dict[int, str]) -> None:
    """Write a shard. left_out: why a row is blank, by its place."""
    about = {LEFT_OUT: json.dumps(left_out)} if left_out else {}
    write_tensors(path, tensors, about | {CHECKSUM: _checksum(tensors, about)})


def blank_rows(path: Path, rows: int, thoroughly: bool = False) -> dict[int, str] | None:
    """Return why rows of a shard are blank, by their place; None where no shard of so many rows is there, or a cut-off one.

    thoroughly: None also where any byte of it is damaged.
    """
    try:
        with safe_open(path, "pt") as shard:  # compares the file's size with its header
            about, names = shard.metadata() or {}, list(shard.keys())
            if {shard.get_slice(name).get_shape()[0] for name in names} != {rows}:
                return None
            if about and thoroughly:  # shards of earlier versions have no checksum
                checksum = about.pop(CHECKSUM)
                if checksum != _checksum({name: shard.get_tensor(name) for name in names}, about):
                    return None
            return left_out_of(shard)
    except Exception:  # a damaged file makes its readers raise whatever they stumble over
        return None


def left_out_of(shard: safe_open) -> dict[int, str]:
    """Return why rows of an open shard are blank, by their place."""
    about = json.loads((shard.metadata() or {}).get(LEFT_OUT, "{}"))
    return {int(place): reason for place, reason in about.items()}


def first_whole(rows: Iterable[int], read: Callable[[int], dict]) -> tuple[int, dict]:
    """Return the first of `rows` whose image can be read, and what `read` gives of it."""
    broken = None
    for row in rows:
        try:
            return row, read(row)
        except ImageError as error:
            broken = broken or error
    raise UserError(f"{broken}; and no image that could take its place can be read")


def with_plain_errors(batches: Iterable) -> Iterator:
    """Yield what a DataLoader does. A UserError of one of its processes is raised without the traceback in front of it."""
    try:
        yield from batches
    except UserError as error:
        raise UserError(str(error).strip().rsplit("UserError: ", 1)[-1]) from None


class OrBlank(Dataset):
    """What a cache of images is made of: pixels, blank where an image cannot be decoded, and the reason."""

    def __init__(self, images: Dataset):
        """images: of training.caches.DecodedPixels."""
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> dict:
        try:
            return self.images.decode(row) | {"reason": ""}
        except ImageError as error:
            side, *_ = self.images.sizes
            blank = torch.zeros((3, side, side), dtype=torch.uint8)
            return {"pixels": blank, "reason": error.reason}


class StandIns(Dataset):
    """Images by row of `index`; where one cannot be read, the next of the same emotion and split takes its place."""

    def __init__(self, images: Dataset, index: pd.DataFrame):
        self.images, self.groups = images, index.groupby(["emotion", "split"]).ngroup().to_numpy()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> dict:
        try:
            return self.images[row]
        except ImageError:
            same = np.flatnonzero(self.groups == self.groups[row])
            return first_whole(np.roll(same, -np.searchsorted(same, row)), self.images.__getitem__)[1]


def _checksum(tensors: dict[str, Tensor], about: dict[str, str]) -> str:
    value = zlib.crc32(json.dumps(about, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        value = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), value)
        value = zlib.crc32(tensor.contiguous().view(torch.uint8).numpy(), value)
    return f"{value:08x}"
