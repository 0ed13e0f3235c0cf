"""Making the images that are measured: what each method makes, emotions on contents, and mixes of emotions.

    <row>/<emotion>/<number>.png                              ours, prompt_only, attribute_prompt, and other generators
    transfer/<content>/<strength>/<emotion>/<number>.png      "a photo of a <emotion> bag"
    fusion/<first>-<second>/<weight>/<number>.png             weight: of the second emotion

An image's seed follows from the settings' seed, its emotion and its number, so all methods start from the same noise, and
all strengths and weights of a curve. A plan is a dict of parameters by path.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from diffusers import StableDiffusionPipeline

from runtime.run_folder import progress
from emoset.labels import EMOTIONS
from config.generation_settings import PLACEHOLDER
from config.settings import Settings
from emoset.attribute_folders import memberships
from runtime.hub import load_model
from training.generation import read_parameters, ready_to_sample, sampling_dtype, save_image
from runtime.seeds import derived_seed

STRENGTHS = WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
PAIRS = (("awe", "fear"), ("contentment", "anger"), ("amusement", "sadness"), ("excitement", "disgust"))


def plan_emotions(row: str, settings: Settings) -> dict[str, dict]:
    """Return the plan of a generator's images of the eight emotions."""
    return {
        path: {
            "prompt": PLACEHOLDER,
            "weights": {emotion: 1.0},
            "strength": 1.0,
            "spread": settings.generate.spread,
            "seed": seed,
        }
        for path, emotion, _, seed in _numbered(row, settings)
    }


def plan_prompts(settings: Settings) -> dict[str, dict]:
    """Return the plan of plain Stable Diffusion's images of "an image of {emotion}"."""
    return {
        path: {"prompt": f"an image of {emotion}", "seed": seed}
        for path, emotion, _, seed in _numbered("prompt_only", settings)
    }


def plan_attributes(settings: Settings, train: pd.DataFrame) -> dict[str, dict]:
    """Return the plan of "a photo of {attribute}", the attribute drawn from p(attribute | emotion) of the index `train`."""
    carried = memberships(train, settings.data.kinds)
    drawn = {}
    for emotion in EMOTIONS:
        rng = np.random.default_rng(derived_seed(settings.seed, "attributes", emotion))
        drawn[emotion] = rng.choice(carried.loc[carried["emotion"] == emotion, "attribute"], settings.evaluate.generated)
    return {
        path: {"prompt": f"a photo of {drawn[emotion][number]}", "seed": seed}
        for path, emotion, number, seed in _numbered("attribute_prompt", settings)
    }


def plan_transfer(settings: Settings) -> dict[str, dict]:
    """Return the plan of emotions on contents, at strengths from 0, where the emotion does nothing, to 1."""
    return {
        f"transfer/{content}/{strength}/{emotion}/{number:05d}.png": {
            "prompt": f"a photo of a {PLACEHOLDER} {content}",
            "weights": {emotion: 1.0},
            "strength": strength,
            "spread": settings.generate.spread,
            "seed": derived_seed(settings.seed, "transfer", content, emotion, number),
        }
        for strength in STRENGTHS
        for content in settings.evaluate.contents
        for emotion in EMOTIONS
        for number in range(settings.evaluate.curve_images)
    }


def plan_fusion(settings: Settings) -> dict[str, dict]:
    """Return the plan of mixes of two emotions, by the second one's weight."""
    return {
        f"fusion/{first}-{second}/{weight}/{number:05d}.png": {
            "prompt": PLACEHOLDER,
            "weights": {name: share for name, share in ((first, 1 - weight), (second, weight)) if share},
            "strength": 1.0,
            "spread": settings.generate.spread,
            "seed": derived_seed(settings.seed, "fusion", first, second, number),
        }
        for first, second in PAIRS
        for weight in WEIGHTS
        for number in range(4 * settings.evaluate.curve_images)
    }


def load_base(name: str, setting: str, device: torch.device) -> StableDiffusionPipeline:
    """Return the Stable Diffusion that prompts are given to, with the generator's scheduler."""
    options = dict(safety_checker=None, requires_safety_checker=False)
    pipe = load_model(StableDiffusionPipeline, name, setting, dtype=sampling_dtype(device), **options)
    return ready_to_sample(pipe, device)


def make_images(pipe, about: dict, plan: dict[str, dict], folder: Path, settings: Settings, what: str) -> None:
    """Make those images of a plan that `folder` lacks, or has made otherwise. All processes call it together.

    about: what all parameters hold besides, such as the generator's hash. Batches are the same however many processes
    share them, and so, to the bit, are images; a killed run goes on.
    """
    state, options = PartialState(), settings.generate
    about = about | {name: getattr(options, name) for name in ("steps", "guidance_scale", "negative_prompt")}
    plan = {path: parameters | about for path, parameters in plan.items()}
    own = [path for path in list(plan)[state.process_index :: state.num_processes]]
    missing = set(gather_object([path for path in own if read_parameters(folder / path) != plan[path]]))
    paths = sorted(plan, key=lambda path: plan[path].get("strength", 0))  # a batch has one strength; sorting is stable
    batches = [[]]
    for path in paths:
        last = batches[-1]
        if last and (len(last) == options.batch_size or plan[last[0]].get("strength") != plan[path].get("strength")):
            batches.append([])
        batches[-1].append(path)
    share = [batch for batch in batches if missing.intersection(batch)][state.process_index :: state.num_processes]
    for batch in progress(share, what, len(share), unit=" batches") if state.is_main_process else share:
        parameters = [plan[path] for path in batch]
        emotion = {}
        if "weights" in parameters[0]:
            emotion = dict(emotion=[each["weights"] for each in parameters])
            emotion |= {f"emotion_{name}": parameters[0][name] for name in ("strength", "spread")}
        images = pipe(
            prompt=[each["prompt"] for each in parameters],
            negative_prompt=[options.negative_prompt] * len(batch),
            generator=[torch.Generator().manual_seed(each["seed"]) for each in parameters],
            num_inference_steps=options.steps,
            guidance_scale=options.guidance_scale,
            height=about["resolution"],
            width=about["resolution"],
            **emotion,
        ).images
        for path, image in zip(batch, images, strict=True):
            save_image(folder / path, image, plan[path])
    state.wait_for_everyone()


def as_table(plan: dict[str, dict], folder: Path) -> pd.DataFrame:
    """Return the planned images as a table: image_id, emotion (the folder that an image lies in), path."""
    rows = [(path, Path(path).parent.name, folder / path) for path in plan]
    return pd.DataFrame(rows, columns=["image_id", "emotion", "path"])


def _numbered(row: str, settings: Settings):
    for emotion in EMOTIONS:
        for number in range(settings.evaluate.generated):
            yield f"{row}/{emotion}/{number:05d}.png", emotion, number, derived_seed(settings.seed, emotion, number)
