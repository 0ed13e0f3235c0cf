"""Frozen work done once: decoded pixels and VAE moments, in sharded safetensors that are read by memory map.

A cache is a folder below data.cache whose name ends in the key of its recipe, which is recipe.json in it. Shard k,
00k.safetensors, holds the rows [k * shard, (k + 1) * shard). Processes share out the shards that are missing, so data.cache
must be a folder that all machines see.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from accelerate import PartialState
from PIL import Image
from safetensors import safe_open
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from config.data_settings import Data, Machine
from config.errors import UserError
from config.generation_settings import Caches
from emoset.images import ImageError, load_image
from emoset.selection import log_left_out
from runtime.hub import fingerprint
from runtime.machine import processors
from runtime.processes import shared_work, start_process
from runtime.recipe import RECIPE, Recipe, digest
from runtime.run_folder import is_first_process, log, progress
from training.shards import OrBlank, blank_rows, left_out_of, with_plain_errors, write_shard
from training.vae_moments import encode_moments

if TYPE_CHECKING:  # it takes seconds to import, in every process that loads batches
    from diffusers import AutoencoderKL

CACHE_VERSION = 1  # raise it when pixels or moments are computed differently
FEW = 1000  # rows that are read sooner than processes to read them would have started


def load_pixels(path: str | Path, size: int, shorter_side: int | None = None, squeeze: bool = False) -> Tensor:
    """Return the image as (3, size, size) uint8: shorter side to `shorter_side` (default `size`) pixels, centre crop.

    squeeze: both sides to `size` pixels instead, whatever its proportions. Bicubic, with antialiasing.
    Raises ImageError where the file cannot be decoded.
    """
    return square_pixels(load_image(path), size, shorter_side, squeeze)


def square_pixels(image: Image.Image, size: int, shorter_side: int | None = None, squeeze: bool = False) -> Tensor:
    """Return what load_pixels does of an image that is decoded."""
    scale = (shorter_side or size) / min(image.size)
    width, height = (size, size) if squeeze else (max(round(side * scale), size) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    return torch.from_numpy(np.array(image.crop((left, top, left + size, top + size)))).permute(2, 0, 1).contiguous()


class DecodedPixels(Dataset):
    """Pixels that are decoded at each access: `[row]` is {"pixels": (3, size, size) uint8}."""

    def __init__(self, root: Path, images: list[str], size: int, shorter_side: int | None = None, squeeze: bool = False):
        self.root, self.images, self.sizes = root, images, (size, shorter_side, squeeze)
        self._broken = set()  # those that the log has named

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        try:
            return self.decode(row)
        except ImageError as error:
            if row not in self._broken:
                self._broken.add(row)
                log.info(f"{error}; another image takes its place")
            raise

    def decode(self, row: int) -> dict[str, Tensor]:
        return {"pixels": load_pixels(self.root / self.images[row], *self.sizes)}


class TensorCache(Dataset):
    """Tensors on disk with one row for each of `ids`. `[row]` reads one row of each tensor, and no more from the disk.

    A row whose image could not be decoded raises ImageError (training/shards.py).
    Each process maps a shard when it first reads from it.
    """

    def __init__(self, folder: Path, ids: list[str], shard: int, finished: bool = False):
        """finished: whether it was filled before."""
        self.folder, self.ids, self.shard, self.finished = folder, ids, shard, finished
        self._mapped = {}

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        number, place = divmod(int(row), self.shard)
        if number not in self._mapped:
            shard = safe_open(self.path(number), "pt")
            self._mapped[number] = shard, left_out_of(shard)
        shard, left_out = self._mapped[number]
        if place in left_out:
            raise ImageError(self.ids[row], left_out[place])
        # A clone, since the slice is a view that would drag its whole shard along into another process.
        return {name: shard.get_slice(name)[place].clone() for name in shard.keys()}  # noqa: SIM118, it is no dictionary

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_mapped": {}}

    def path(self, number: int) -> Path:
        return self.folder / f"{number:05d}.safetensors"

    def rows(self, number: int) -> range:
        """Return the rows that a shard holds."""
        return range(number * self.shard, min((number + 1) * self.shard, len(self.ids)))

    def left_out(self) -> list[tuple[str, str]]:
        """Return (id, reason) of all rows whose image could not be decoded."""
        spans = [(self.path(number), self.rows(number)) for number in range(-(-len(self.ids) // self.shard))]
        return [(self.ids[rows[place]], why) for path, rows in spans for place, why in blank_rows(path, len(rows)).items()]

    def _is_done(self, number: int, thoroughly: bool = False) -> bool:
        """Tell whether a shard is whole; one of an unfinished cache also has no blank row, for it may have been the disk."""
        blank = blank_rows(self.path(number), len(self.rows(number)), thoroughly)
        return blank is not None and (self.finished or not blank)

    def fill(
        self,
        images: DecodedPixels,
        encode: Callable[[Tensor], dict],
        row_bytes: int,
        batch_size: int,
        processes: int | None,
        allowed: float,
    ):
        """Write the shards that are missing, each process its share. All processes call it, and return when all is written.

        images: `[row]` is {"pixels": (3, S, S) uint8}. encode: (B, 3, S, S) uint8 to {name: (B, ...)}. row_bytes: on disk.
        batch_size: rows that are encoded at once. processes: that decode images; None: this process's share of the cores.
        A shard with a wrong checksum is written again. Raises UserError where the disk has no room for them, or a larger
        share of the images than `allowed` cannot be decoded.
        """
        numbers = range(-(-len(self.ids) // self.shard))
        absent = {number for number in numbers if not self._is_done(number)}
        if absent:  # every process looks at the disk before any of them writes
            _check_room(self.folder, sum(len(self.rows(number)) for number in absent) * row_bytes)
        with shared_work(numbers, lambda number: number in absent or not self._is_done(number, True)) as (missing, mine):
            self._write(mine, OrBlank(images), encode, batch_size, processes, allowed)
        if any(blank_rows(self.path(number), len(self.rows(number))) is None for number in missing):
            raise UserError(f"{self.folder}: shards are missing; data.cache must be a folder that all machines share")

    def _write(
        self,
        numbers: list[int],
        images: OrBlank,
        encode: Callable,
        batch_size: int,
        processes: int | None,
        allowed: float,
    ) -> None:
        spans = [self.rows(number) for number in numbers]
        batches = [list(span[start : start + batch_size]) for span in spans for start in range(0, len(span), batch_size)]
        processes = processes or max(1, processors() // PartialState().num_processes)
        count = sum(map(len, batches))
        shown = is_first_process() and count
        with progress(None, f"caching {self.folder.name.partition('-')[0]}", count) if shown else nullcontext() as bar:
            parts, left_out, broken = [], {}, []
            for rows, batch in zip(batches, read_batches(images, batches, processes), strict=True):
                parts.append(encode(batch["pixels"]))
                left_out |= {row % self.shard: why for row, why in zip(rows, batch["reason"], strict=True) if why}
                broken += [(self.ids[row], why) for row, why in zip(rows, batch["reason"], strict=True) if why]
                if len(broken) > allowed * len(self.ids):
                    log_left_out(broken)
                    raise UserError(
                        f"data.problems_allowed: more than {allowed:.1%} of the images can be read no more, such as "
                        f"{broken[0][0]} ({broken[0][1]}); see that the disk with data.emoset is there, and run again"
                    )
                number = rows[0] // self.shard
                if rows[-1] == self.rows(number)[-1]:
                    tensors = {name: torch.cat([part[name] for part in parts]).contiguous() for name in parts[0]}
                    write_shard(self.path(number), tensors, left_out)
                    parts, left_out = [], {}
                if bar is not None:
                    bar.update(len(rows))


def read_batches(images: Dataset, batches: list[list[int]], processes: int) -> Iterator[dict]:
    """Return {name: (B, ...)} for each batch of rows, read ahead by so many processes; few rows are read in this one."""
    processes = 0 if sum(map(len, batches)) < FEW else processes
    return with_plain_errors(DataLoader(images, batch_sampler=batches, num_workers=processes))


def pixels_of(
    index: pd.DataFrame,
    data: Data,
    caches: Caches,
    machine: Machine,
    size: int,
    shorter_side: int | None,
    data_fingerprint: str,
    squeeze: bool = False,
) -> Dataset:
    """Return images by row of `index` (image_id, image): `[row]` is {"pixels": (3, size, size) uint8}.

    They come from a cache, filled first; without caches.use they are decoded at each access. shorter_side: what images are
    scaled to before the centre crop, `size` by default. squeeze: as for load_pixels. All processes call it together.
    """
    images = DecodedPixels(data.emoset, index["image"].tolist(), size, shorter_side, squeeze)
    if not caches.use:
        return images
    sizes = {"size": size, "shorter side": shorter_side or size} | _squeezed(squeeze)
    recipe = _recipe("pixels", index, caches, data_fingerprint, sizes)
    with _opened(data.cache, f"pixels-{size}", recipe, index, caches) as cache:
        cache.fill(images, _as_they_are, 3 * size * size, caches.batch_size, machine.processes, data.problems_allowed)
    return cache


def _as_they_are(pixels: Tensor) -> dict[str, Tensor]:
    return {"pixels": pixels}


def moments_of(
    index: pd.DataFrame,
    vae: "AutoencoderKL",
    data: Data,
    caches: Caches,
    machine: Machine,
    size: int,
    data_fingerprint: str,
    squeeze: bool = False,
) -> TensorCache:
    """Return a cache, filled first, of the VAE's moments by row of `index`, as `encode_moments` gives them for one image.

    vae: in float32. size: of the images, in pixels. squeeze: as for load_pixels. All processes call it together.
    """
    images = DecodedPixels(data.emoset, index["image"].tolist(), size, squeeze=squeeze)
    more = {"size": size, "VAE": fingerprint(vae)} | _squeezed(squeeze)
    recipe = _recipe("moments", index, caches, data_fingerprint, more)
    side = size // 2 ** (len(vae.config.block_out_channels) - 1)
    row_bytes = 2 * 2 * 2 * vae.config.latent_channels * side * side  # mean and std, of image and flip, 2 bytes each

    def encode(pixels: Tensor) -> dict[str, Tensor]:
        return {name: moment.cpu() for name, moment in encode_moments(vae, pixels.to(vae.device)).items()}

    with _opened(data.cache, f"moments-{size}", recipe, index, caches) as cache:
        cache.fill(images, encode, row_bytes, caches.batch_size, machine.processes, data.problems_allowed)
    return cache


def _squeezed(squeeze: bool) -> dict:
    """Return what a recipe says of squeezed images; nothing of others, whose caches stay valid."""
    return {"resize": "squeeze"} if squeeze else {}


def _recipe(what: str, index: pd.DataFrame, caches: Caches, data_fingerprint: str, more: dict) -> Recipe:
    images = {"number of images": len(index), "images": digest(index[["image_id", "image"]].values.tolist())}
    inputs = {"data set": data_fingerprint, **images, **more, "version": CACHE_VERSION}
    return Recipe(f"cache of {what}", {"caches.shard": caches.shard}, inputs)


@contextmanager
def _opened(place: Path, kind: str, recipe: Recipe, index: pd.DataFrame, caches: Caches) -> Iterator[TensorCache]:
    """Yield the cache of a recipe, whose folder is named by it, to be filled.

    The log names the other caches of its kind, where this one is new.
    """
    folder, state = place / f"{kind}-{recipe.key}", start_process()
    path = folder / RECIPE
    finished = recipe.is_finished(path)
    if state.is_main_process and not recipe.is_started(path):
        others = sorted(other.name for other in place.glob(f"{kind}-*"))
        if others:
            log.info(f"{recipe.what}: the caches that are there stay in {place}: {', '.join(others)}")
        folder.mkdir(parents=True, exist_ok=True)
        recipe.start(path)
    state.wait_for_everyone()
    yield (cache := TensorCache(folder, index["image_id"].tolist(), caches.shard, finished))
    if state.is_main_process:
        log_left_out(cache.left_out(), f" (remove {folder} to try them again)")
        if not recipe.is_finished(path):
            recipe.finish(path)


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"data.cache: {folder} needs {needed / 1e9:,.2f} GB more and the disk has {free / 1e9:,.2f} GB free; free "
            "space, point data.cache elsewhere or set caches.use=false"
        )
