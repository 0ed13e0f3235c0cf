"""What a training takes: updates, bytes on the disk and in memory, computed before anything else is."""

from pathlib import Path

import pandas as pd
import torch

from config.data_settings import Data
from config.generation_settings import Mapper
from config.settings import Settings
from runtime.checking import check_room, in_words
from runtime.recipe import RECIPE, digest, read_recipe
from training.accelerator import precision_of
from training.early_checks import Checked, updates_of
from training.emotion_encoder import EmotionEncoder
from training.mapper import EmotionMapper
from training.mapper_data import Share
from training.training_module import lora_layers

FLOAT = 4  # bytes
ADAM = 2 * FLOAT  # bytes of a weight's state


def what_it_takes(
    settings: Settings, checked: Checked, index: pd.DataFrame, used: pd.DataFrame, rows: int, share: Share, fingerprint: str
) -> dict[str, str]:
    """Return what the training takes, in words. Raises UserError where a disk has no room for it.

    index: images that the emotion encoder sees; used: those of the balanced set, which has so many `rows`. fingerprint: of
    the data set.
    """
    options, space, encoder = settings.mapper, settings.emotion_space, checked.encoder
    takes = {"updates of the mapper": f"{updates_of(options, rows, share):,} of {share.total} images"}
    cached, kept = {}, 0  # bytes by cache; bytes in the run folder
    if encoder:
        size, (train, val) = encoder.sizes["image_size"], ((index["split"] == split).sum() for split in ("train", "val"))
        takes["images to encode"] = f"{len(index):,}, each also mirrored"
        if not space.imported:
            batch = max(1, min(space.batch_size, train // share.processes) * share.processes)
            updates = space.epochs * (train // batch)
            takes["updates of the emotion encoder"] = f"{updates:,}, {space.epochs} epochs of {train:,} images (val {val:,})"
            kept += numbers(encoder) * 2 * (3 * FLOAT + ADAM)  # encoder/ and checkpoint.pt, and each once more while written
        kept += len(index) * 2 * checked.dimension * FLOAT
        if settings.caches.use:
            cached[f"pixels-{size}"] = len(index) * 3 * size * size, index
    if settings.caches.use:
        vae, size = checked.vae.config, settings.models.resolution
        side = size // 2 ** (len(vae.block_out_channels) - 1)
        cached[f"moments-{size}"] = len(used) * 2 * 2 * 2 * vae.latent_channels * side * side, used
        takes["images through the VAE"] = f"{len(used):,}, each also mirrored"
    trained = trained_numbers(options, checked)
    checkpoint = trained * (FLOAT + ADAM + (FLOAT if options.ema else 0))
    kept += checkpoint * (options.checkpoints_kept + 1) + trained * FLOAT
    missing = sum(max(0, size - _there(settings.data, kind, of, fingerprint)) for kind, (size, of) in cached.items())
    there = sum(path.stat().st_size for path in (settings.run / "training").rglob("*") if path.is_file())
    kept = max(0, kept - there)
    _check_disks({settings.data.cache: missing, settings.run: kept})
    takes["disk, caches"] = f"{in_words(missing)} in data.cache"
    takes["disk, run folder"] = f"up to {in_words(kept)}"
    half = 2 if precision_of(options.mixed_precision) in ("bf16", "fp16") else FLOAT
    frozen = half * (numbers(checked.unet) + numbers(checked.text_encoder)) + FLOAT * numbers(checked.vae)
    trains = trained * (2 * FLOAT + ADAM + (FLOAT if options.ema else 0))
    takes["memory, mapper"] = f"{in_words(frozen + trains)} of weights, gradients and Adam's states; activations come on top"
    if encoder and not space.imported:
        takes["memory, emotion encoder"] = f"{in_words(numbers(encoder) * (2 * FLOAT + ADAM))}; activations come on top"
    return takes


def numbers(model: torch.nn.Module | EmotionEncoder) -> int:
    """Return how many numbers a model has."""
    return sum(weight.numel() for weight in model.state_dict().values())


def trained_numbers(options: Mapper, checked: Checked) -> int:
    """Return how many numbers the mapper's training learns: the mapper's and the LoRA's."""
    with torch.device("meta"):
        sizes = (options.tokens, options.hidden_layers, options.hidden_size)
        mapper = EmotionMapper(checked.dimension, checked.text_encoder.config.hidden_size, *sizes)
    lora = sum(layer.in_features + layer.out_features for layer in lora_layers(checked.unet).values())
    return sum(weight.numel() for weight in mapper.parameters()) + options.lora_rank * lora


def _there(data: Data, kind: str, images: pd.DataFrame, fingerprint: str) -> int:
    """Return how many bytes lie already in a cache of these images."""
    of, size = digest(images[["image_id", "image"]].values.tolist()), 0
    for folder in data.cache.glob(f"{kind}-*"):
        inputs = (read_recipe(folder / RECIPE) or {}).get("inputs", {})
        if (inputs.get("images"), inputs.get("data set")) == (of, fingerprint):
            size = max(size, sum(path.stat().st_size for path in folder.glob("*.safetensors")))
    return size


def _check_disks(places: dict[Path, int]) -> None:
    """Raise UserError where a disk lacks room for the bytes that go to places on it."""
    on: dict[int, tuple[Path, int]] = {}
    for place, size in places.items():
        disk = next(each for each in (place, *place.parents) if each.exists()).stat().st_dev
        first, before = on.get(disk, (place, 0))
        on[disk] = (first, before + size)
    for place, size in on.values():
        check_room(place, size, "what the training caches and keeps")
