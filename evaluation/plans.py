"""Which images are measured: those of each method, emotions on contents, and mixes of two emotions.

    <row>/<emotion>/<number>.png                              ours, prompt_only, attribute_prompt, and other generators
    transfer/<content>/<strength>/<emotion>/<number>.png      "a photo of a <emotion> bag"
    fusion/<first>-<second>/<weight>/<number>.png             weight: of the second emotion

An image's seed follows from the settings' seed, its emotion and its number, so all methods start from the same noise, and
all strengths and weights of a curve. A plan is a dict of parameters by path, which training/sampling.py makes images of.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from config.generation_settings import PLACEHOLDER
from emoset.attribute_folders import memberships
from runtime.seeds import derived_seed

CURVES = ("transfer", "fusion")  # images of the run's own generator that are no row beside the others
STRENGTHS = WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)

Plan = dict[str, dict]


def emotion_plan(row: str, emotions: tuple[str, ...], count: int, spread: float, seed: int) -> Plan:
    """Return the plan of a generator's images: `count` of each emotion. spread: of emotion vectors around their mean."""
    return {
        path: {
            "prompt": PLACEHOLDER,
            "weights": {emotion: 1.0},
            "strength": 1.0,
            "spread": spread,
            "seed": image_seed,
        }
        for path, emotion, _, image_seed in _numbered(row, emotions, count, seed)
    }


def prompt_plan(emotions: tuple[str, ...], count: int, seed: int) -> Plan:
    """Return the plan of plain Stable Diffusion's images of "an image of {emotion}"."""
    return {
        path: {"prompt": f"an image of {emotion}", "seed": image_seed}
        for path, emotion, _, image_seed in _numbered("prompt_only", emotions, count, seed)
    }


def attribute_plan(train: pd.DataFrame, kinds: list[str], emotions: tuple[str, ...], count: int, seed: int) -> Plan:
    """Return the plan of "a photo of {attribute}", the attribute drawn from p(attribute | emotion) of the index `train`.

    kinds: of the attributes that are drawn. An empty plan where the images of some emotion have none of them.
    """
    carried = memberships(train, kinds)
    by_emotion = {emotion: carried.loc[carried["emotion"] == emotion, "attribute"] for emotion in emotions}
    if any(own.empty for own in by_emotion.values()):
        return {}
    drawn = {
        emotion: np.random.default_rng(derived_seed(seed, "attributes", emotion)).choice(own, count)
        for emotion, own in by_emotion.items()
    }
    return {
        path: {"prompt": f"a photo of {drawn[emotion][number]}", "seed": image_seed}
        for path, emotion, number, image_seed in _numbered("attribute_prompt", emotions, count, seed)
    }


def transfer_plan(contents: list[str], emotions: tuple[str, ...], count: int, spread: float, seed: int) -> Plan:
    """Return the plan of emotions on contents, at strengths from 0, where the emotion does nothing, to 1.

    count: of images of each content, strength and emotion.
    """
    return {
        f"transfer/{content}/{strength}/{emotion}/{number:05d}.png": {
            "prompt": f"a photo of a {PLACEHOLDER} {content}",
            "weights": {emotion: 1.0},
            "strength": strength,
            "spread": spread,
            "seed": derived_seed(seed, "transfer", content, emotion, number),
        }
        for strength in STRENGTHS
        for content in contents
        for emotion in emotions
        for number in range(count)
    }


def fusion_plan(pairs: tuple[tuple[str, str], ...], count: int, spread: float, seed: int) -> Plan:
    """Return the plan of mixes of two emotions, `count` images of each of the pairs and weights of the second."""
    return {
        f"fusion/{first}-{second}/{weight}/{number:05d}.png": {
            "prompt": PLACEHOLDER,
            "weights": {name: share for name, share in ((first, 1 - weight), (second, weight)) if share},
            "strength": 1.0,
            "spread": spread,
            "seed": derived_seed(seed, "fusion", first, second, number),
        }
        for first, second in pairs
        for weight in WEIGHTS
        for number in range(count)
    }


def as_table(plan: Plan, folder: Path) -> pd.DataFrame:
    """Return the planned images as a table: image_id, emotion (the folder that an image lies in), path."""
    rows = [(path, Path(path).parent.name, folder / path) for path in plan]
    return pd.DataFrame(rows, columns=["image_id", "emotion", "path"])


def _numbered(row: str, emotions: tuple[str, ...], count: int, seed: int) -> Iterator[tuple[str, str, int, int]]:
    """Yield the path, the emotion, the number and the seed of every image of a row."""
    for emotion in emotions:
        for number in range(count):
            yield f"{row}/{emotion}/{number:05d}.png", emotion, number, derived_seed(seed, emotion, number)
