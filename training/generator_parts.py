"""Finds a generator's folder, here or on the Hub, and loads what lies in it beside its Stable Diffusion."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import torch
from diffusers import StableDiffusionPipeline
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
from pydantic import BaseModel, ConfigDict, ValidationError

from config.errors import UserError, first_line
from runtime.hub import fingerprints, load_model
from training.base_model import check_loaded, load_base
from training.emotion_lora import FOLDER as LORA_FOLDER
from training.emotion_lora import EmotionLora
from training.emotion_space import EmotionSpace
from training.mapper import EmotionMapper

GENERATOR = "generator.json"
WHOLE = "model_index.json"  # of a folder that save_pretrained wrote, which needs no other Stable Diffusion


class About(BaseModel):
    """What generator.json says, and model_index.json in part. What has a default may be missing."""

    model_config = ConfigDict(strict=True)
    base: str = ""
    base_hashes: list[str] = []
    resolution: int | None = None
    emotions: list[str] = []
    contents: dict[str, dict[str, int]] | None = None
    lora_rank: int | None = None
    trained_with: dict[str, str] | None = None


def find_generator(name: str | Path, options: dict) -> tuple[Path, dict]:
    """Return a generator's folder and the content of its generator.json; a `name` on the Hub is downloaded first.

    A folder that save_pretrained wrote has model_index.json instead, without "base_hashes".
    options: of from_pretrained. `revision` is removed from them, since the base has revisions of its own.
    Raises UserError if there is no generator.
    """
    folder = Path(name)
    if not folder.is_dir():
        revision = options.pop("revision", None)
        hub = {name: options[name] for name in ("token", "cache_dir", "local_files_only") if name in options}
        try:
            folder = Path(snapshot_download(str(folder), revision=revision, **hub))
        except (OSError, HFValidationError, RepositoryNotFoundError, ValueError):
            raise UserError(
                f"{folder}: no generator there; train one with training/main.py, or add the --config of a run that has one"
            ) from None
    if (folder / GENERATOR).exists():
        about = read_about(folder / GENERATOR)
        if missing := {"base", "base_hashes"} - about.keys():
            raise UserError(f"{folder / GENERATOR}: does not say {' or '.join(sorted(missing))}; train the generator again")
        return folder, about
    if (folder / WHOLE).exists():
        about = read_about(folder / WHOLE)
        if not {"mapper", "emotion_space"} <= about.keys():
            kind = about.get("_class_name", "pipeline")
            raise UserError(f"{folder}: is a {kind} and no generator; train one on it with training/main.py")
        return folder, about
    inner = folder / "generator" / GENERATOR
    instead = f"name {inner.parent}" if inner.exists() else "train one with training/main.py"
    raise UserError(f"{folder}: holds no {GENERATOR}, so it is no generator; {instead}")


def load_on_base(folder: Path, about: dict, place: str, options: dict) -> tuple[StableDiffusionPipeline, dict]:
    """Return the Stable Diffusion at `place`, and the parts of the generator's folder that was trained on it.

    Raises UserError where it is another Stable Diffusion, and as load_parts does.
    """
    stable = load_base(place, f"{folder / GENERATOR}: base", **options)
    if set(about["base_hashes"]).isdisjoint(fingerprints(stable.unet, stable.text_encoder)):
        raise UserError(f"{folder / GENERATOR}: was trained on another Stable Diffusion than {place}")
    return stable, load_parts(folder, about, stable.unet, stable.text_encoder.config.hidden_size)


def check_safety(pipe: StableDiffusionPipeline, wanted, place: str | Path) -> None:
    """Raise UserError where a safety checker is `wanted` and the pipeline of `place` has none."""
    if wanted is True and pipe.safety_checker is None:
        raise UserError(f"safety_checker=True: {place} has none; give a safety checker itself, or False")


def load_parts(folder: Path, about: dict, unet: torch.nn.Module, width: int, **options) -> dict:
    """Return the mapper, the emotion space and the LoRA, if any, of a generator's folder, in the precision of the U-Net.

    width: of the text encoder's states. options: for diffusers. Raises UserError for a part that is damaged or
    does not fit the other parts.
    """
    parts = {}
    for part, kind in {"mapper": EmotionMapper, "emotion_space": EmotionSpace}.items():
        if not (folder / part).is_dir():
            raise UserError(f"{folder}: has no {part}/, so it is no whole generator; train it again")
        parts[part] = load_model(kind, str(folder / part), "generator", dtype=unet.dtype, **options)
    has_lora = (folder / LORA_FOLDER).is_dir()
    if not has_lora and (about.get("lora_rank") or about.get(LORA_FOLDER, [None])[0]):
        raise UserError(f"{folder}: has no {LORA_FOLDER}/, and was trained with a LoRA; train it again")
    parts["unet_lora"] = EmotionLora.from_pretrained(folder / LORA_FOLDER, unet.dtype, unet) if has_lora else None
    mapper, space = parts["mapper"].config, parts["emotion_space"]
    if (mapper.dimension, mapper.width) != (space.config.dimension, width):
        raise UserError(
            f"{folder}: its mapper takes vectors of {mapper.dimension} and gives {mapper.width}, its emotion space has "
            f"{space.config.dimension} and its text encoder {width}; parts of two generators are mixed"
        )
    if tuple(about.get("emotions", space.emotions)) != space.emotions:
        raise UserError(f"{folder}: {GENERATOR} lists other emotions than its emotion space; parts of two are mixed")
    return parts


def load_whole(load: Callable, folder: Path, options: dict) -> StableDiffusionPipeline:
    """Return the pipeline that save_pretrained wrote into `folder`, by `load`. Raises UserError as load_parts does."""
    about = read_about(folder / WHOLE)
    if "variant" in options:
        pipe = load(folder, **options)  # whose error names the variant
    else:
        # from_pretrained of the pipeline's parent, for its own leads here.
        kind = SimpleNamespace(
            __name__=about["_class_name"],
            components=(),
            load_config=StableDiffusionPipeline.load_config,
            from_pretrained=load,
        )
        pipe = load_model(kind, str(folder), "generator", **options)
    check_loaded(pipe, f"generator: {str(folder)!r}")
    variant = {name: value for name, value in options.items() if name == "variant"}
    parts = load_parts(folder, about, pipe.unet, pipe.text_encoder.config.hidden_size, **variant)
    if pipe.unet_lora is None:  # an earlier version of this project did not list it
        pipe.register_modules(unet_lora=parts["unet_lora"])
    return pipe


def read_about(file: Path) -> dict:
    """Return the content of a generator's generator.json, or model_index.json.

    Raises UserError where it cannot be read, or a part of it is of another type than training/main.py writes.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        About.model_validate(content)
    except ValidationError as wrong:
        place, what = ".".join(map(str, wrong.errors()[0]["loc"])), wrong.errors()[0]["msg"]
        told = f" ({place}: {what})" if place else ""
        raise UserError(f"{file}: is not what training/main.py wrote{told}; train the generator again") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file}: cannot be read ({first_line(error)}); train the generator again") from None
    return content
