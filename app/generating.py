"""Images of an emotion, made one after the other: what is asked for becomes the parameters of training/inference.py."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image, ImageOps
from pydantic import ValidationError

from app.run_models import GENERATES, RunModels
from config.errors import UserError
from config.generation_settings import CONTENT_PROMPT, PLACEHOLDER, Generate
from emoset.images import load_image
from training.image_files import plan_images, save_image
from training.inference import check_prompts
from training.sampling import sample, words_of

DRAWN, TYPED, NONE = "Drawn by the emotion", "Typed by you", "None"  # where the content of an image is from


def words_for(source: str, typed: str | None) -> dict:
    """Return the settings of what an image should show beside its emotion: `generate.prompts` and `generate.contents`.

    DRAWN leaves it to the generator, which draws an object or a scene as often as training images of the emotion show it.
    """
    content = " ".join((typed or "").split())
    if source == TYPED and not content:
        raise UserError("No content is typed. Type one, such as tree, or choose another source of the content.")
    if source == TYPED:
        return {"prompts": [CONTENT_PROMPT], "contents": [content]}
    return {"prompts": None if source == DRAWN else [PLACEHOLDER], "contents": []}


def parameters_of(models: RunModels, mix: dict[str, float], seed: int, **options) -> dict:
    """Return the parameters of an image, as its PNG will hold them.

    mix: weights by emotion, above 0 for one of them at least. options: those of `words_for`, strength, spread,
    guidance_scale, steps. Raises UserError for what the generator cannot make.
    """
    weights = {emotion: weight for emotion, weight in mix.items() if weight > 0}
    if not weights:
        raise UserError("All weights are 0. Raise one of them.")
    wanted = dict(generator=None, images_from=None, emotions=[], mixes=[weights], seeds=[seed]) | options
    try:
        generate = Generate(**models.settings_of(*GENERATES).generate.model_dump() | wanted)
    except ValidationError as invalid:
        wrong = invalid.errors()[0]
        raise UserError(f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}".lstrip(": ")) from None
    pipe, about = models.generator
    plan = plan_images(generate, models.taxonomy.emotions, seed, pipe.contents)
    check_prompts(pipe, plan)
    (parameters,) = plan.values()
    return parameters | about


def make_image(models: RunModels, parameters: dict, folder: Path, after_step: Callable) -> Path:
    """Make an image and return the PNG in `folder` that holds it and its parameters.

    after_step: diffusers' callback_on_step_end.
    """
    path = folder / f"{parameters['emotion']}-{parameters['seed']}.png"
    save_image(path, sample(models.generator[0], [parameters], callback_on_step_end=after_step)[0], parameters)
    return path


def change_photo(
    models: RunModels, photo: Path, parameters: dict, image_strength: float, folder: Path, after_step: Callable
) -> tuple[Path, Path]:
    """Put an emotion on a photograph; return PNG files in `folder` of it before, as large as after, and after.

    image_strength: how much of the photograph is replaced, above 0 to 1. after_step: diffusers' callback_on_step_end.
    Raises UserError where not one step would be left, and where the photograph is too long.
    """
    before = load_image(photo)
    after = models.generator[0](
        image=before,
        image_strength=image_strength,
        prompt=words_of(parameters),
        emotion=parameters["weights"],
        emotion_strength=parameters["strength"],
        emotion_spread=parameters["spread"],
        guidance_scale=parameters["guidance_scale"],
        num_inference_steps=parameters["steps"],
        generator=torch.Generator().manual_seed(parameters["seed"]),
        callback_on_step_end=after_step,
    ).images[0]
    files = folder / "before.png", folder / f"{parameters['emotion']}-{parameters['seed']}.png"
    ImageOps.fit(before, after.size, Image.Resampling.LANCZOS).save(files[0])
    save_image(files[1], after, parameters | {"image_strength": image_strength})
    return files


def caption_of(parameters: dict) -> str:
    """Return the parameters of an image as people read them."""
    mix = ", ".join(
        emotion if weight == 1 else f"{100 * weight:.3g} % {emotion}" for emotion, weight in parameters["weights"].items()
    )
    content = parameters.get("content")
    return (
        f"{mix}{f' · {content}' if content else ''} · seed {parameters['seed']} · strength {parameters['strength']:g} · "
        f"variety {parameters['spread']:g} · guidance {parameters['guidance_scale']:g} · {parameters['steps']} steps"
    )


def typical_content(models: RunModels, emotion: str | None = None) -> str:
    """Return what training images of an emotion, or of all, show most often; nothing where a generator knows no contents."""
    shown: Counter[str] = Counter()
    for each, counts in models.contents.items():
        shown.update(counts if emotion in (None, each) else {})
    return shown.most_common(1)[0][0] if shown else ""
