"""What replacing more of a photograph does: whether its new emotion is seen, its content kept, and how far it moves.

    photographs/<image_strength>/<emotion>/<number>.png       made from a real image of another emotion; 0.0: that image

All strengths of an emotion and number start from the same real image and the same noise. The prompt names the image's
content beside the emotion, so that it may be kept. An image that has none gets the emotion alone.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from config.generation_settings import CONTENT_PROMPT, PLACEHOLDER
from emoset.images import load_image
from evaluation.perceptual import Lpips
from runtime.figures import of_mean
from runtime.seeds import derived_seed
from training.image_files import read_parameters, save_image
from training.photographs import of_photograph

ROW = "photographs"
STRENGTHS = (0.2, 0.4, 0.6, 0.8, 1.0)


def photograph_plan(
    real: pd.DataFrame, root: Path, emotions: tuple[str, ...], count: int, steps: int, side: int, acting: dict, seed: int
) -> dict[str, dict]:
    """Return the plan of images from real ones: `count` of each emotion at each strength that leaves a step of `steps`.

    real: the index of the real images, below `root`. Those of the emotion itself are not taken, so that it has to be put
    there. side: pixels of a side, to which photographs are cut. acting: the emotion's `strength` beside a content, and
    its `spread`.
    """
    planned = {}
    for emotion in emotions:
        others = real[real["emotion"] != emotion]
        taken = others.sample(min(count, len(others)), random_state=derived_seed(seed, ROW, emotion) % 2**32)
        for number, (image, content) in enumerate(zip(taken["image"], taken["content"], strict=True)):
            photograph = of_photograph(root, image) | {"width": side, "height": side}
            shown = {"prompt": CONTENT_PROMPT, "content": content, **acting}
            if not content:
                shown = {"prompt": PLACEHOLDER, **acting, "strength": 1.0}
            for strength in (each for each in STRENGTHS if int(each * steps)):
                planned[f"{ROW}/{strength}/{emotion}/{number:05d}.png"] = photograph | {
                    **shown,
                    "weights": {emotion: 1.0},
                    "seed": derived_seed(seed, ROW, emotion, number),
                    "image_strength": strength,
                }
    return planned


def as_cut(plan: dict[str, dict]) -> dict[str, dict]:
    """Return the photographs of a plan as they are cut, by their paths in photographs/0.0/."""
    names = ("image", "image_hash", "width", "height")
    return {f"{ROW}/0.0/{path.split('/', 2)[2]}": {name: each[name] for name in names} for path, each in plan.items()}


def cut_photographs(cut: dict[str, dict], root: Path, folder: Path) -> None:
    """Write photographs, as as_cut tells them, below `folder`: cut as the pipeline cuts them. root: where they lie."""
    for path, each in cut.items():
        if read_parameters(folder / path) != each:
            size = each["width"], each["height"]
            image = ImageOps.fit(load_image(root / each["image"]), size, Image.Resampling.LANCZOS)
            save_image(folder / path, image, each)


def photograph_curve(
    images: pd.DataFrame, shown: np.ndarray, judged: np.ndarray, emotions: tuple[str, ...], lpips: Lpips, seed: int
) -> dict[str, dict]:
    """Return, by strength, figures of images of `photographs/`: accuracies of emotion, content and both, and lpips.

    Those of content are over photographs that have one. lpips: of an image and its photograph.
    images: with the photograph's content, or "". shown: (N,) whether each shows it. judged: (N, K), of the K `emotions`.
    """
    ids, intended = images["image_id"], images["emotion"].to_numpy()
    strengths, has_content = ids.str.split("/").str[1].to_numpy(), images["content"].to_numpy() != ""
    is_felt = np.array(emotions)[judged.argmax(1)] == intended
    first = {image.split("/", 2)[2]: row for row, image in enumerate(ids) if strengths[row] == "0.0"}
    curve = {}
    for strength in sorted(set(strengths), key=float):
        here = strengths == strength
        curve[strength] = {"emotion_accuracy": of_mean(is_felt[here], intended[here], seed)}
        if (counted := here & has_content).any():
            curve[strength]["content_accuracy"] = of_mean(shown[counted], intended[counted], seed)
            curve[strength]["joint_accuracy"] = of_mean((is_felt & shown)[counted], intended[counted], seed)
        pairs = [(first.get(ids[row].split("/", 2)[2]), row) for row in np.flatnonzero(here)]
        pairs = np.array([pair for pair in pairs if pair[0] is not None], dtype=int).reshape(-1, 2)
        if strength != "0.0" and len(pairs):
            distances = lpips.distances(images, pairs)
            there = np.isfinite(distances)
            curve[strength]["lpips"] = of_mean(distances[there], intended[pairs[there, 1]], seed)
    return curve
