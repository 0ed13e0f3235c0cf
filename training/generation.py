"""Which images training/inference.py makes, and how they and what is known of them lie on disk.

    awe/00000.png                                               the bare prompt <emotion>
    awe-0.7+fear-0.3/a-photo-of-a-EMOTION-bag-00000.png         a mix in another prompt
    awe.png                                                     a contact sheet
    manifest.jsonl                                              a line for each image: its path and its parameters

An image's parameters are a flat dict that goes into its PNG file; the plan is a dict of them by path.
"""

import json
import re
from hashlib import blake2b
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline, UniPCMultistepScheduler
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from config.errors import UserError
from runtime.files import write_atomically
from emoset.labels import EMOTIONS
from config.generation_settings import PLACEHOLDER
from config.section import ROOT
from config.settings import Settings
from runtime.hub import fingerprint
from training.pipeline import GENERATOR, EmotionPipeline
from training.samples import grid
from runtime.seeds import derived_seed

CHUNK = "emotion_images"
SHEET_COLUMNS, SHEET_ROWS = 8, 32  # of a contact sheet, the rows being prompts


def plan_images(settings: Settings) -> dict[str, dict]:
    """Return the parameters of every image, by its path in the images folder: what differs, and what all share.

    An image's seed is that of generate.seeds at its number; or follows from settings.seed, emotion or mix, prompt, number.
    Raises UserError where there is nothing to make.
    """
    generate = settings.generate
    mixes = dict(_named(mix) for mix in [*({emotion: 1.0} for emotion in generate.emotions), *generate.mixes])
    if not mixes:
        raise UserError("generate: neither emotions nor mixes, so there is nothing to make; give some of either")
    images = generate.images if generate.seeds is None else len(generate.seeds)
    return {
        f"{name}/{_file_stem(prompt)}{number:05d}.png": {
            "emotion": name,
            "weights": weights,
            "prompt": prompt,
            "number": number,
            "seed": generate.seeds[number] if generate.seeds else derived_seed(settings.seed, name, prompt, number),
            "steps": generate.steps,
            "guidance_scale": generate.guidance_scale,
            "strength": generate.strength,
            "spread": generate.spread,
            "negative_prompt": generate.negative_prompt,
        }
        for name, weights in mixes.items()
        for prompt in generate.prompts
        for number in range(images)
    }


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


def load_generator(folder: Path, device: torch.device) -> tuple[EmotionPipeline, dict]:
    """Return the pipeline, ready on the device, and the parameters that all its images share.

    The hash among them tells a generator from one trained anew in the same place. Raises UserError as from_pretrained does.
    """
    pipe = ready_to_sample(EmotionPipeline.from_pretrained(folder, dtype=sampling_dtype(device)), device)
    file = folder / GENERATOR
    about = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}  # none in what save_pretrained wrote
    return pipe, {
        "scheduler": type(pipe.scheduler).__name__,
        "resolution": about.get("resolution"),
        "dtype": str(pipe.dtype).removeprefix("torch."),
        "generator": folder.relative_to(ROOT).as_posix() if folder.is_relative_to(ROOT) else folder.name,
        "generator_hash": fingerprint(pipe.mapper, pipe.emotion_space, pipe.unet, pipe.text_encoder, pipe.vae),
        "base_hashes": about.get("base_hashes", []),
    }


def save_image(path: Path, image: Image.Image, parameters: dict) -> None:
    """Write a PNG with its parameters, whole or not at all."""
    text = PngInfo()
    text.add_text(CHUNK, json.dumps(parameters))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda beside: image.save(beside, pnginfo=text))


def read_parameters(path: Path) -> dict | None:
    """Return the parameters in a PNG file, or None where it is damaged, not there, or not one of ours."""
    try:
        with Image.open(path) as image:
            parameters = json.loads(image.info[CHUNK])
            image.verify()
        return parameters
    except Exception:  # damaged files make decoders raise whatever they stumble over
        return None


def write_manifest(folder: Path, planned: dict[str, dict]) -> None:
    """Write manifest.jsonl, in the order of the plan."""
    lines = [json.dumps({"path": path} | parameters) + "\n" for path, parameters in planned.items()]
    write_atomically(folder / "manifest.jsonl", lambda beside: beside.write_text("".join(lines), encoding="utf-8"))


def write_contact_sheets(folder: Path, planned: dict[str, dict]) -> None:
    """Write `<emotion>.png` for each emotion and mix: the first images of its first prompts, a row for each prompt."""
    sheets: dict[str, dict[str, list[Path]]] = {}
    for path, parameters in planned.items():
        rows = sheets.setdefault(parameters["emotion"], {})
        images = rows.setdefault(parameters["prompt"].replace(PLACEHOLDER, parameters["emotion"]), [])
        if len(images) < SHEET_COLUMNS:
            images.append(folder / path)
    for name, rows in sheets.items():
        shown = {
            label: [Image.open(path).convert("RGB") for path in images] for label, images in [*rows.items()][:SHEET_ROWS]
        }
        write_atomically(folder / f"{name}.png", grid(shown).save)


def _named(mix: dict[str, float]) -> tuple[str, dict[str, float]]:
    """Return the name of a mix and its weights, which sum to 1, to the four digits of the name."""
    total = sum(mix.values())
    weights = {emotion: float(f"{mix[emotion] / total:.4g}") for emotion in EMOTIONS if emotion in mix}
    if len(weights) == 1:
        return next(iter(weights)), weights
    return "+".join(f"{emotion}-{weight:g}" for emotion, weight in weights.items()), weights


def _file_stem(prompt: str) -> str:
    """Return what stands in a file's name before the number: nothing for the bare placeholder, else the prompt.

    A prompt that cannot be read back from that is told from others by a hash.
    """
    if prompt == PLACEHOLDER:
        return ""
    slug = re.sub(r"\W+", "-", prompt.lower().replace(PLACEHOLDER, " EMOTION ")).strip("-")[:60]
    if slug.replace("-", " ").replace("EMOTION", PLACEHOLDER) != prompt:
        slug += "-" + blake2b(prompt.encode(), digest_size=3).hexdigest()
    return f"{slug}-"
