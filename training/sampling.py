"""Making the images of a plan: by one process or many, once each, in batches that follow from the plan alone.

A plan is a dict of each image's parameters by its path. They are written into the image's PNG file (image_files.py), by
which the next run knows that the image is there and was made the same way.
"""

from itertools import groupby
from pathlib import Path

import diffusers
import torch
from accelerate.utils import gather_object
from diffusers import StableDiffusionPipeline, UniPCMultistepScheduler
from PIL import Image

from config.errors import UserError, first_line
from config.generation_settings import CONTENT
from config.section import ROOT
from emoset.images import load_image
from runtime.checking import in_words
from runtime.hub import fingerprint, hide_loading
from runtime.processes import shared_work, start_process
from runtime.run_folder import log, progress
from training.choosing import Score
from training.generator_parts import GENERATOR, read_about
from training.image_files import most_bytes, read_parameters, save_image
from training.pipeline import EmotionPipeline

# One value of each in a batch.
SHARED = ("strength", "spread", "steps", "guidance_scale", "resolution", "image_strength", "width", "height", "best_of")


def sampling_dtype(device: torch.device) -> torch.dtype:
    """Return the precision in which images are made: half on a GPU, of the kind with the wider range where it has that."""
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(False) else torch.float16


def ready_to_sample(pipe: StableDiffusionPipeline, device: torch.device) -> StableDiffusionPipeline:
    """Return a pipeline on the device, with the scheduler that all images are made with."""
    pipe.to(device)
    for part in (pipe.unet, pipe.vae):
        part.to(memory_format=torch.channels_last)  # a fifth faster on CPUs
    pipe.scheduler = UniPCMultistepScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def load_pipeline(folder: Path, dtype: torch.dtype = torch.float32) -> EmotionPipeline:
    """Return the pipeline of a generator's folder. Raises UserError where a part of it is missing or damaged."""
    try:
        return EmotionPipeline.from_pretrained(folder, dtype=dtype)
    except (UserError, MemoryError):
        raise
    except Exception as error:  # libraries raise whatever they stumble over in a damaged folder
        raise UserError(f"{folder}: is no whole generator ({type(error).__name__}: {first_line(error)})") from None


def load_generator(folder: Path, device: torch.device) -> tuple[EmotionPipeline, dict]:
    """Return the pipeline, ready on the device, and the parameters that all its images share.

    The hash among them tells a generator from one that was trained later in the same place. Raises UserError as
    load_pipeline does.
    """
    hide_loading(diffusers)
    pipe = ready_to_sample(load_pipeline(folder, sampling_dtype(device)), device)
    file = folder / GENERATOR
    about = read_about(file) if file.exists() else {}  # none in what save_pretrained wrote
    parts = [pipe.mapper, pipe.emotion_space, pipe.unet, pipe.text_encoder, pipe.vae]
    return pipe, {
        "scheduler": type(pipe.scheduler).__name__,
        "resolution": about.get("resolution"),
        "dtype": str(pipe.dtype).removeprefix("torch."),
        "generator": folder.relative_to(ROOT).as_posix() if folder.is_relative_to(ROOT) else folder.name,
        "generator_hash": fingerprint(*parts, *([pipe.unet_lora] if pipe.unet_lora else [])),
        "base_hashes": about.get("base_hashes", []),
    }


def words_of(parameters: dict) -> str:
    """Return the prompt of an image with its content in it."""
    return parameters["prompt"].replace(CONTENT, parameters.get("content", ""))


def make_images(
    pipe: StableDiffusionPipeline,
    plan: dict[str, dict],
    folder: Path,
    batch_size: int,
    what: str,
    photographs: Path | None = None,
    score: Score | None = None,
) -> dict[str, list[str]]:
    """Make the images of a plan that `folder` lacks, or holds damaged or with other parameters. All processes call it.

    plan: parameters by path below `folder`: prompt, seed, steps, guidance_scale, negative_prompt, resolution (pixels, None:
    the model's own); content, where the prompt says <content>; and, where there is an emotion, weights, strength and spread.
    An image without weights is plain Stable Diffusion's. One that starts from a photograph, in the folder `photographs`, has
    image, width, height and image_strength. One with best_of is the best of so many by the `score`, whose key is among its
    parameters. Batches are the same however many processes share them and whatever was there
    before. A batch of which an image is missing is made whole and only the missing image is saved, because in another batch
    it would differ a little.
    Returns the paths that were missing, and those of them that replaced a file: {"missing": [...], "replaced": [...]}.
    """
    state, batches, found = start_process(), _batches(plan, batch_size), {}
    if state.is_main_process:
        _remove_halves(plan, folder)

    def is_missing(batch: list[str]) -> bool:
        missing = [path for path in batch if read_parameters(folder / path) != plan[path]]
        found.update({path: (folder / path).exists() for path in missing})
        return bool(missing)

    with shared_work(batches, is_missing) as (_, mine):
        missing = dict(gather_object([*found.items()]))
        shared = f", {state.num_processes} processes" if state.num_processes > 1 else ""
        log.info(f"{what}{shared}: {_counted(len(plan), missing)}")
        for batch in progress(mine, what, len(mine), unit=" batches") if state.is_main_process else mine:
            made = sample(pipe, [plan[path] for path in batch], photographs, score)
            for path, image in zip(batch, made, strict=True):
                if path in missing:
                    save_image(folder / path, image, plan[path])
    ordered = [path for path in plan if path in missing]
    return {"missing": ordered, "replaced": [path for path in ordered if missing[path]]}


def _counted(images: int, missing: dict[str, bool]) -> str:
    """Return how many images are to be made, in words. missing: whether a file is replaced, by path."""
    counts = {"to make": len(missing), "kept as they are": images - len(missing)}
    counts["replaced (damaged, or of other parameters)"] = sum(missing.values())
    return ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)


def would_take(pipe: StableDiffusionPipeline, plan: dict[str, dict], folder: Path, batch_size: int) -> dict[str, str]:
    """Return what make_images would take, by what it is, in words."""
    missing = {path for path in plan if read_parameters(folder / path) != plan[path]}
    batches = [batch for batch in _batches(plan, batch_size) if not missing.isdisjoint(batch)]
    first = [plan[batch[0]] for batch in batches]
    conditions = [(each["guidance_scale"] > 1) + (1 if each.get("strength", 1) in (0, 1) else 2) for each in first]
    rows = max((len(batch) * each for batch, each in zip(batches, conditions, strict=True)), default=0)
    weights = sum(
        weight.numel() * weight.element_size()
        for part in pipe.components.values()
        if isinstance(part, torch.nn.Module)
        for weight in part.state_dict().values()
    )
    side = pipe.unet.config.sample_size * pipe.vae_scale_factor
    steps = sum(int(each["steps"] * each.get("image_strength", 1)) * each.get("best_of", 1) for each in first)
    return {
        "images": f"{len(missing):,} of {len(plan):,}, in {len(batches):,} batches",
        "U-Net calls": f"{steps:,}, of {rows} rows at most",
        "disk": f"{in_words(sum(most_bytes(plan[path], side) for path in missing))} at most",
        "memory": f"{in_words(weights)} for the weights, beside what the images of a batch take",
    }


def _batches(plan: dict[str, dict], batch_size: int) -> list[list[str]]:
    """Return the paths of a plan in batches that the pipeline can make at once, in the order of the plan otherwise."""

    def shared(path: str) -> tuple:
        return ("weights" in plan[path], *(plan[path].get(name) or 0 for name in SHARED))

    groups = [list(paths) for _, paths in groupby(sorted(plan, key=shared), key=shared)]
    return [group[first : first + batch_size] for group in groups for first in range(0, len(group), batch_size)]


def _remove_halves(plan: dict[str, dict], folder: Path) -> None:
    """Remove the half-written files that a killed run left beside the images of a plan."""
    for parent in {(folder / path).parent for path in plan}:
        for half in parent.glob(".*.png"):
            if half.is_file():
                half.unlink()


def sample(
    pipe: StableDiffusionPipeline,
    batch: list[dict],
    photographs: Path | None = None,
    score: Score | None = None,
    **options,
) -> list[Image.Image]:
    """Return the images of a batch of parameters as make_images takes them, which have the same of SHARED.

    photographs: the folder of those that they start from. score: by which the best of several is chosen. options: the
    pipeline's others.
    """
    first, emotion, start = batch[0], {}, {}
    if "image" in first:
        start = {"image": [load_image(photographs / each["image"]) for each in batch]}
        start["image_strength"] = first["image_strength"]
    if "weights" in first:
        emotion = {"emotion": [each["weights"] for each in batch]}
        emotion |= {"emotion_strength": first["strength"], "emotion_spread": first["spread"]}
        emotion |= {"prompt": [each["prompt"] for each in batch], "content": [each.get("content") for each in batch]}
        if first.get("best_of", 1) > 1:
            emotion |= {"best_of": first["best_of"], "score": score}
    else:
        emotion = {"prompt": [words_of(each) for each in batch]}
    return pipe(
        negative_prompt=[each["negative_prompt"] for each in batch],
        generator=[torch.Generator().manual_seed(each["seed"]) for each in batch],
        num_inference_steps=first["steps"],
        guidance_scale=first["guidance_scale"],
        height=first.get("height", first["resolution"]),
        width=first.get("width", first["resolution"]),
        **emotion,
        **start,
        **options,
    ).images
