"""What training/main.py checks before it reads an image: the settings, the models by their configs and files, and the room.

A model is made without its numbers, on the meta device, and its files are looked at. Of the two text encoders alone, where
they are compared, the numbers are read. That takes seconds. What follows takes hours.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import diffusers
import pandas as pd
import torch
import transformers
from accelerate.utils import parse_flag_from_env
from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel

from config.errors import UserError
from config.generation_settings import Mapper
from config.settings import Settings
from emoset.reading import read_vocabulary
from runtime.built_folder import check_ours
from runtime.checking import check_writable
from runtime.hub import check_pipeline, check_repository, hide_loading, is_single_file, load_model
from runtime.metrics import check_tracker
from runtime.run_folder import is_first_process
from training.accelerator import precision_of
from training.attributes import check_clip, check_words, load_tokenizer, read_attribute_list
from training.base_model import check_parts, check_schedule
from training.emotion_encoder import EmotionEncoder, new_encoder
from training.imported_space import check_imported
from training.mapper_data import Share
from training.training_module import lora_layers

SD = "models.stable_diffusion"
WITHOUT_A_CHECKER = dict(safety_checker=None, requires_safety_checker=False)


@dataclass(frozen=True)
class Checked:
    """What the checks have found out.

    vae, unet, text_encoder: Stable Diffusion's, without numbers. dimension: of an emotion vector. encoder: without
    numbers, or an imported one, or None where no images are encoded.
    counted: the attributes of the attribute loss; None: all. compares: whether the attribute or the emotion loss counts.
    """

    vae: AutoencoderKL
    unet: UNet2DConditionModel
    text_encoder: CLIPTextModel
    dimension: int
    encoder: EmotionEncoder | None
    counted: list[str] | None
    compares: bool


def check_training(settings: Settings, rows: pd.DataFrame) -> Checked:
    """Raise UserError for whatever would end the training of `settings` on the balanced set `rows` later on."""
    options, space, emotions = settings.mapper, settings.emotion_space, settings.data.taxonomy.emotions
    hide_loading(transformers, diffusers)
    check_tracker(settings.machine.tracker)
    check_writable(settings.data.cache, "data.cache")
    check_ours(settings.run / "generator", "generator")
    _check_launch(options)
    updates_of(options, len(rows), share_of(options))
    compares = bool(rows["attribute"].ne("").any() and (options.attribute_weight or options.emotion_weight))
    counted = None
    if options.attributes:
        vocabulary = read_vocabulary(settings.data.emoset, emotions)
        counted = read_attribute_list(options.attributes, set().union(*(vocabulary[kind] for kind in settings.data.kinds)))
    with one_thread():
        parts = check_stable_diffusion(settings.models.stable_diffusion, settings.models.resolution)
        if options.lora_rank and not lora_layers(parts["unet"]):
            raise UserError(f"mapper.lora_rank: the U-Net of {SD} has no cross-attention for LoRA to act on; set it to 0")
        if space.imported:
            dimension, encoder = check_imported(space.imported, emotions)
        else:
            dimension = space.dimension
            encoder = new_encoder(settings.models.backbone, space, len(emotions), settings.seed, device="meta")
        if compares:
            check_clip(settings.models.clip, parts["text_encoder"], parts["tokenizer"])
    if options.push_to_hub and is_first_process() and not settings.check:
        check_repository(options.push_to_hub, "mapper.push_to_hub")
    return Checked(parts["vae"], parts["unet"], parts["text_encoder"].to("meta"), dimension, encoder, counted, compares)


def check_stable_diffusion(name: str, resolution: int) -> dict[str, Any]:
    """Return the parts of models.stable_diffusion by name. Only the text encoder has its weights.

    Of a folder no weights are read but the text encoder's. A single file is read whole.
    Raises UserError if it is not a Stable Diffusion 1 or 2 for text alone, if its parts do not fit each other, or if it
    makes no images of `resolution`.
    """
    called = f"{SD}: {name!r}"
    if is_single_file(name):
        parts = load_model(StableDiffusionPipeline, name, SD, dtype=torch.float32, **WITHOUT_A_CHECKER).components
        check_parts(parts, called)
        check_words(parts["tokenizer"], name, SD, parts["text_encoder"].config)
        scheduler, asked = type(parts["scheduler"]).__name__, parts["scheduler"].config.get("prediction_type", "epsilon")
    else:
        folder, parts = check_pipeline(StableDiffusionPipeline, name, SD, **WITHOUT_A_CHECKER)
        check_parts(parts, called)
        parts["tokenizer"] = load_tokenizer(str(folder / "tokenizer"), SD, parts["text_encoder"].config)
        asked = load_model(DDPMScheduler, str(folder / "scheduler"), SD).config.prediction_type
        scheduler = DDPMScheduler.load_config(folder / "scheduler").get("_class_name", "")
        parts["text_encoder"] = load_model(CLIPTextModel, str(folder / "text_encoder"), SD, dtype=torch.float32)
    check_schedule(scheduler, asked, called)
    factor = 2 ** (len(parts["vae"].config.block_out_channels) - 1)
    if resolution % factor:
        raise UserError(
            f"models.resolution: {resolution} is no multiple of {factor}, by which the VAE of {name!r} shrinks it"
        )
    return parts | {part: parts[part].to("meta") for part in ("vae", "unet")}


def check_splits(index: pd.DataFrame, emotions: Sequence[str], processes: int) -> None:
    """Raise UserError where the splits have too few images for the emotion encoder, its Gaussians and its confusability."""
    for split in ("train", "val"):
        if (images := int((index["split"] == split).sum())) < processes:
            raise UserError(f"data.emoset: {images} images in the {split} split; the emotion encoder needs more")
    train, val = (Counter(index.loc[index["split"] == split, "emotion"]) for split in ("train", "val"))
    if few := [emotion for emotion in emotions if train[emotion] < 2]:
        raise UserError(f"train split: fewer than two images of {', '.join(few)}; a Gaussian needs more: check data.emoset")
    if missing := [emotion for emotion in emotions if not val[emotion]]:
        raise UserError(f"val split: no image of {', '.join(missing)}; confusability.json needs each: check data.emoset")


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute in this thread alone: reading EmoSet forks, and a fork after threads have started may hang."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def share_of(options: Mapper) -> Share:
    """Return how a batch is shared out, by the launcher's word: before the processes have met."""
    processes, process = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    return Share(options.batch_size, options.gradient_accumulation, processes, process)


def updates_of(options: Mapper, rows: int, share: Share) -> int:
    """Return the number of updates. Raises UserError where an epoch has not enough images for one."""
    per_epoch = rows // share.total
    if not per_epoch:
        raise UserError(
            f"mapper.batch_size: an update takes {share.total} images ({share.batch_size} x {share.accumulation} accumulated"
            f" x {share.processes} processes), the balanced set has {rows}; lower one of these"
        )
    return min(options.epochs * per_epoch, options.max_train_steps or options.epochs * per_epoch)


def _check_launch(options: Mapper) -> None:
    """Raise UserError for what the way that the script was launched does not allow."""
    if precision_of(options.mixed_precision) == "fp16" and not torch.cuda.is_available():
        raise UserError("mapper.mixed_precision: fp16 needs a GPU; choose no or bf16")
    deepspeed = parse_flag_from_env("ACCELERATE_USE_DEEPSPEED")
    if options.compile and deepspeed:
        raise UserError(
            "mapper.compile does not work under DeepSpeed: a compiled U-Net skips its hooks. Set mapper.compile=false."
        )
    if options.ema and deepspeed:
        raise UserError(
            "mapper.ema does not work under DeepSpeed: weights are shared out, or in half precision. Set mapper.ema=null."
        )
