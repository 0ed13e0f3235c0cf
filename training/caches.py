"""Frozen work done once: decoded pixels and VAE moments, in sharded safetensors that are read by memory map.

A cache is a folder below data.cache whose name ends in a hash of all that its content depends on; recipe.json in it says
the same in words. Shard k, 00k.safetensors, holds the rows [k * shard, (k + 1) * shard). Processes share out the shards
that are missing, so data.cache must be a folder that all machines see.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from config.errors import UserError
from runtime.files import write_atomically
from runtime.run_folder import log, progress
from config.settings import Settings
from emoset.images import load_image

if TYPE_CHECKING:  # they take seconds to import, in every process that loads batches
    from accelerate import Accelerator
    from diffusers import AutoencoderKL

CACHE_VERSION = 1  # raise it when pixels or moments are computed differently
FEW = 1000  # rows that are read sooner than processes to read them would have started


def load_pixels(path: str | Path, size: int, shorter_side: int | None = None) -> Tensor:
    """Return the image as (3, size, size) uint8: shorter side to `shorter_side` (default `size`) pixels, centre crop.

    Bicubic, with antialiasing. Raises UserError where the file cannot be decoded.
    """
    try:
        image = load_image(path)
    except (OSError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: cannot be decoded ({error}); data.decode=true finds and leaves out such images") from None
    scale = (shorter_side or size) / min(image.size)
    width, height = (max(round(side * scale), size) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    return torch.from_numpy(np.array(image.crop((left, top, left + size, top + size)))).permute(2, 0, 1).contiguous()


class DecodedPixels(Dataset):
    """Pixels decoded whenever they are asked for: `[row]` is {"pixels": (3, size, size) uint8}."""

    def __init__(self, root: Path, images: list[str], size: int, shorter_side: int | None = None):
        self.root, self.images, self.size, self.shorter_side = root, images, size, shorter_side

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        return {"pixels": load_pixels(self.root / self.images[row], self.size, self.shorter_side)}


class TensorCache(Dataset):
    """Rows of tensors on disk, one for each of `ids`; `[row]` reads one row of each tensor and nothing else.

    Shards are mapped when first read, in whichever process reads; a copy sent to another process maps its own.
    """

    def __init__(self, folder: Path, ids: list[str], shard: int):
        self.folder, self.ids, self.shard = folder, ids, shard
        self._mapped = {}

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        number, place = divmod(int(row), self.shard)
        if number not in self._mapped:
            self._mapped[number] = safe_open(self.path(number), "pt")
        shard = self._mapped[number]
        # A clone, since the slice is a view that would drag its whole shard along into another process.
        return {name: shard.get_slice(name)[place].clone() for name in shard.keys()}  # noqa: SIM118, it is no dictionary

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_mapped": {}}

    def path(self, number: int) -> Path:
        return self.folder / f"{number:05d}.safetensors"

    def rows(self, number: int) -> range:
        """Return the rows that a shard holds."""
        return range(number * self.shard, min((number + 1) * self.shard, len(self.ids)))

    def missing(self) -> list[int]:
        """Return the numbers of the shards that are absent, cut off or of another length."""
        return [number for number in range(-(-len(self.ids) // self.shard)) if not self._is_whole(number)]

    def _is_whole(self, number: int) -> bool:
        try:
            with safe_open(self.path(number), "pt") as shard:  # compares the file's size with its header
                lengths = {shard.get_slice(name).get_shape()[0] for name in shard.keys()}  # noqa: SIM118
        except (FileNotFoundError, SafetensorError):
            return False
        return lengths == {len(self.rows(number))}

    def fill(
        self,
        images: Dataset,
        encode: Callable[[Tensor], dict],
        row_bytes: int,
        settings: Settings,
        accelerator: "Accelerator",
    ):
        """Write the shards that are missing, each process its share; all processes return when all is written.

        images: `[row]` is {"pixels": (3, S, S) uint8}. encode: (B, 3, S, S) uint8 to {name: (B, ...)}. row_bytes: on disk.
        Raises UserError where the disk has no room for them, or an image cannot be decoded.
        """
        missing = self.missing()
        if missing:
            _check_room(self.folder, sum(len(self.rows(number)) for number in missing) * row_bytes)
        accelerator.wait_for_everyone()  # all have looked before one writes, so that all share out the same shards
        mine = missing[accelerator.process_index :: accelerator.num_processes]
        size = settings.caches.batch_size
        batches = [list(rows[start : start + size]) for rows in map(self.rows, mine) for start in range(0, len(rows), size)]
        workers = settings.data.workers or max(1, os.cpu_count() // accelerator.num_processes)
        count = sum(map(len, batches))
        shown = accelerator.is_main_process and count
        with progress(None, f"caching {self.folder.name}", count) if shown else nullcontext() as bar:
            parts = []
            for rows, pixels in zip(batches, read_batches(images, batches, workers), strict=True):
                parts.append(encode(pixels["pixels"]))
                number = rows[0] // self.shard
                if rows[-1] == self.rows(number)[-1]:
                    tensors = {name: torch.cat([part[name] for part in parts]).contiguous() for name in parts[0]}
                    write_tensors(self.path(number), tensors)
                    parts = []
                if bar is not None:
                    bar.update(len(rows))
        accelerator.wait_for_everyone()
        if missing and self.missing():
            raise UserError(f"{self.folder}: shards are missing; data.cache must be a folder that all machines share")


def write_tensors(path: Path, tensors: dict[str, Tensor], about: dict[str, str] | None = None) -> None:
    """Write a safetensors file whole or not at all; about: its metadata.

    Not by save_file, which lets nobody but its owner read the file, whatever the umask.
    """
    write_atomically(path, lambda beside: beside.write_bytes(save(tensors, about)))


def read_batches(images: Dataset, batches: list[list[int]], workers: int):
    """Yield {name: (B, ...)} for each batch of rows, read ahead by so many processes; few rows are read in this one."""
    workers = 0 if sum(map(len, batches)) < FEW else workers
    try:
        yield from DataLoader(images, batch_sampler=batches, num_workers=workers)
    except UserError as error:  # a worker's stands at the end of its traceback
        raise UserError(str(error).strip().rsplit("UserError: ", 1)[-1]) from None


def pixels_of(
    index: pd.DataFrame,
    root: Path,
    size: int,
    shorter_side: int | None,
    settings: Settings,
    accelerator: "Accelerator",
    fingerprint: str,
) -> Dataset:
    """Return images below `root` by row of `index` (image_id, image): `[row]` is {"pixels": (3, size, size) uint8}.

    From a cache, filled first; without caches.use decoded at each access. fingerprint: of the data set. shorter_side:
    what images are scaled to before the centre crop, `size` by default.
    """
    images = DecodedPixels(root, index["image"].tolist(), size, shorter_side)
    if not settings.caches.use:
        return images
    recipe = {"size": size, "shorter_side": shorter_side or size}
    cache = _open_cache("pixels", recipe, index, settings, accelerator, fingerprint)
    cache.fill(images, lambda pixels: {"pixels": pixels}, 3 * size * size, settings, accelerator)
    return cache


def moments_of(
    index: pd.DataFrame,
    root: Path,
    vae: "AutoencoderKL",
    vae_fingerprint: str,
    settings: Settings,
    accelerator: "Accelerator",
    fingerprint: str,
) -> TensorCache:
    """Return a cache, filled first, of the VAE's moments by row of `index`, as `encode_moments` gives them for one image.

    vae: in float32 on the accelerator's device. Images have models.resolution pixels. fingerprint: of the data set.
    """
    size = settings.models.resolution
    images = DecodedPixels(root, index["image"].tolist(), size)
    cache = _open_cache("moments", {"size": size, "vae": vae_fingerprint}, index, settings, accelerator, fingerprint)
    side = size // 2 ** (len(vae.config.block_out_channels) - 1)
    row_bytes = 2 * 2 * 2 * vae.config.latent_channels * side * side  # mean and std, of image and flip, 2 bytes each

    def encode(pixels: Tensor) -> dict[str, Tensor]:
        return {name: moment.cpu() for name, moment in encode_moments(vae, pixels.to(vae.device)).items()}

    cache.fill(images, encode, row_bytes, settings, accelerator)
    return cache


@torch.no_grad()
def encode_moments(vae: "AutoencoderKL", pixels: Tensor) -> dict[str, Tensor]:
    """Return mean and std of the latents' distribution, each (B, 2, C, h, w) float16: of the image and of its flip.

    pixels: (B, 3, S, S) uint8. The flipped image is encoded itself, since the VAE does not commute with a flip. The
    latents are not multiplied with the scaling factor.
    """
    if vae.dtype != torch.float32:
        raise TypeError(f"the VAE is in {vae.dtype}; Stable Diffusion's overflows in half precision")
    images = pixels.float() / 127.5 - 1
    both = [vae.encode(image).latent_dist for image in (images, images.flip(-1))]
    return {name: torch.stack([getattr(one, name) for one in both], 1).half() for name in ("mean", "std")}


def _open_cache(
    what: str, recipe: dict, index: pd.DataFrame, settings: Settings, accelerator: "Accelerator", fingerprint: str
):
    """Return the cache for the recipe; where it is new, write its recipe.json and tell of others of its kind."""
    ids, shard = index["image_id"].tolist(), settings.caches.shard
    images = hashlib.blake2b(json.dumps([ids, index["image"].tolist()]).encode(), digest_size=8).hexdigest()
    recipe = {"what": what, **recipe, "data set": fingerprint, "images": len(ids), "images hashed": images, "shard": shard}
    text = json.dumps(recipe | {"version": CACHE_VERSION}, indent=1) + "\n"
    kind = f"{what}-{recipe['size']}"
    folder = settings.data.cache / f"{kind}-{hashlib.blake2b(text.encode(), digest_size=6).hexdigest()}"
    if accelerator.is_main_process and not (folder / "recipe.json").is_file():
        others = sorted(other.name for other in folder.parent.glob(f"{kind}-*") if other != folder)
        if others:
            log.info(f"caches of other {what} stay in {settings.data.cache}: {', '.join(others)}")
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "recipe.json", lambda beside: beside.write_text(text))
    accelerator.wait_for_everyone()
    return TensorCache(folder, ids, shard)


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"data.cache: {folder} needs {needed / 1e9:,.2f} GB more and the disk has {free / 1e9:,.2f} GB free; free "
            "space, point data.cache elsewhere or set caches.use=false"
        )
