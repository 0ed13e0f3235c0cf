"""Which images are measured: those of each method, emotions on contents, and mixes of two emotions.

    <row>/<emotion>/<number>.png                              ours, prompt_only, attribute_prompt, and other generators
    transfer/<content>/<strength>/<emotion>/<number>.png      "a photo of a <emotion> <content>"
    fusion/<first>-<second>/<weight>/<number>.png             weight: of the second emotion

An image's seed follows from the settings' seed, its emotion and its number, so all methods start from the same noise, and
all strengths and weights of a curve. The content of a prompt that says <content> is drawn by that seed, so all methods that
draw one show the same. A plan is a dict of parameters by path, which training/sampling.py makes images of.
"""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from config.generation_settings import CONTENT, CONTENT_PROMPT
from runtime.seeds import derived_seed
from training.contents import Contents
from training.image_files import strength_of

CURVES = ("transfer", "fusion", "photographs")  # images of the run's own generator that are no row beside the others
STRENGTHS = WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)

Plan = dict[str, dict]


def emotion_plan(
    row: str, prompt: str, contents: Contents | None, emotions: tuple[str, ...], count: int, acting: dict, seed: int
) -> Plan:
    """Return the plan of a generator's images: `count` of each emotion.

    contents: what <content> is drawn from. acting: strength and spread, as the settings of generate have them.
    """
    return {
        path: _of_emotion(prompt, {emotion: 1.0}, contents, acting, image_seed)
        for path, emotion, image_seed in _numbered(row, emotions, count, seed)
    }


def prompt_plan(emotions: tuple[str, ...], count: int, seed: int) -> Plan:
    """Return the plan of plain Stable Diffusion's images of "an image of {emotion}"."""
    return {
        path: {"prompt": f"an image of {emotion}", "seed": image_seed}
        for path, emotion, image_seed in _numbered("prompt_only", emotions, count, seed)
    }


def attribute_plan(contents: Contents, emotions: tuple[str, ...], count: int, seed: int) -> Plan:
    """Return the plan of plain Stable Diffusion's images of "a photo of a {attribute}": what a content alone gives."""
    return {
        path: {
            "prompt": f"a photo of a {CONTENT}",
            "content": contents.of_image(emotion, image_seed),
            "seed": image_seed,
        }
        for path, emotion, image_seed in _numbered("attribute_prompt", emotions, count, seed)
    }


def transfer_plan(contents: list[str], emotions: tuple[str, ...], count: int, spread: float, seed: int) -> Plan:
    """Return the plan of emotions on contents, at strengths from 0, where the emotion does nothing, to 1.

    count: of images of each content, strength and emotion.
    """
    return {
        f"transfer/{content}/{strength}/{emotion}/{number:05d}.png": {
            "prompt": CONTENT_PROMPT,
            "content": content,
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


def fusion_plan(
    prompt: str, contents: Contents | None, pairs: tuple[tuple[str, str], ...], count: int, acting: dict, seed: int
) -> Plan:
    """Return the plan of mixes of two emotions, `count` images of each of the pairs and weights of the second.

    contents, acting: as of emotion_plan; the content of a mix is drawn from the mixed distribution.
    """
    return {
        f"fusion/{first}-{second}/{weight}/{number:05d}.png": _of_emotion(
            prompt,
            {name: share for name, share in ((first, 1 - weight), (second, weight)) if share},
            contents,
            acting,
            derived_seed(seed, "fusion", first, second, number),
        )
        for first, second in pairs
        for weight in WEIGHTS
        for number in range(count)
    }


def as_table(plan: Plan, folder: Path) -> pd.DataFrame:
    """Return the planned images as a table: image_id, emotion (the folder that an image lies in), path, content or ""."""
    rows = [(path, Path(path).parent.name, folder / path, each.get("content", "")) for path, each in plan.items()]
    return pd.DataFrame(rows, columns=["image_id", "emotion", "path", "content"])


def _of_emotion(prompt: str, weights: dict[str, float], contents: Contents | None, acting: dict, seed: int) -> dict:
    """Return the parameters of an image of an emotion or a mix."""
    shown = {"content": contents.of_image(weights, seed)} if CONTENT in prompt else {}
    acting = acting | {"strength": strength_of(prompt, acting["strength"])}
    return {"prompt": prompt, **shown, "weights": weights, **acting, "seed": seed}


def _numbered(row: str, emotions: tuple[str, ...], count: int, seed: int) -> Iterator[tuple[str, str, int]]:
    """Yield the path, the emotion and the seed of every image of a row."""
    for emotion in emotions:
        for number in range(count):
            yield f"{row}/{emotion}/{number:05d}.png", emotion, derived_seed(seed, emotion, number)
