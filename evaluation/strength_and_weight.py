"""What the strength of an emotion does to content and emotion, and the weight of a mix to the judge."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from torch.nn.functional import normalize

from config.taxonomy import Taxonomy
from evaluation.completeness import gaps
from evaluation.networks import clip_texts
from evaluation.plans import STRENGTHS, WEIGHTS
from evaluation.views import Views
from runtime.figures import of_mean


def strength_curve(
    seen: Views,
    shown: np.ndarray,
    judged: np.ndarray,
    emotions: tuple[str, ...],
    contents: list[str],
    clip: str,
    seed: int,
) -> dict[str, dict]:
    """Return, by strength, figures of the images of `transfer/`: accuracies of emotion, content and both, and clip_score.

    clip_score: 100 cos(image, "a photo of a {content}"), 0 where that is negative (Hessel et al. 2021, without their 2.5).
    shown: (N,) whether each image shows its content. judged: (N, K), of the K `emotions`. contents: as many images show each
    as the next. clip: as models.clip names it.
    """
    strengths = seen.images["image_id"].str.split("/", expand=True)[2].to_numpy()
    content, intended = seen.images["content"].to_numpy(), seen.emotions
    texts = clip_texts(clip, [f"a photo of a {name}" for name in contents])
    wanted = texts[[contents.index(name) for name in content]]
    scores = 100 * (normalize(seen.clip, dim=1) * wanted).sum(1).clamp(min=0).numpy()
    is_felt = np.array(emotions)[judged.argmax(1)] == intended
    curve = {}
    for strength in map(str, STRENGTHS):
        here = strengths == strength
        curve[strength] = {
            "emotion_accuracy": of_mean(is_felt[here], intended[here], seed),
            "content_accuracy": of_mean(shown[here], content[here], seed),
            "joint_accuracy": of_mean((is_felt & shown)[here], intended[here], seed),
            "clip_score": of_mean(scores[here], content[here], seed),
        }
    return curve


def curve_gaps(images: pd.DataFrame, emotions: tuple[str, ...], contents: list[str]) -> list[str]:
    """Return in words what the images of `transfer/` lack: emotions or contents at a strength."""
    return [f"strength {strength}: {text}" for strength, text in _lacking(images, emotions, contents)]


def weight_curve(images: pd.DataFrame, judged: np.ndarray, taxonomy: Taxonomy, seed: int) -> dict[str, dict]:
    """Return, by pair of opposites and weight of the second, the mean probability, of judged (N, K), of each of the two."""
    parts = images["image_id"].str.split("/", expand=True)
    curve = {}
    for pair in taxonomy.opposites:
        name = "-".join(pair)
        for weight in map(str, WEIGHTS):
            here = ((parts[1] == name) & (parts[2] == weight)).to_numpy()
            one_group = np.zeros(here.sum())
            curve.setdefault(name, {})[weight] = {
                emotion: of_mean(judged[here][:, taxonomy.emotions.index(emotion)], one_group, seed) for emotion in pair
            }
    return curve


def _lacking(images: pd.DataFrame, emotions: tuple[str, ...], contents: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the strengths that lack images of an emotion or a content, and what each lacks."""
    parts = images["image_id"].str.split("/", expand=True)
    for strength in map(str, STRENGTHS):
        own = images[parts[2] == strength]
        for text in gaps(own["emotion"], emotions, pairs=False):
            yield strength, text
        if missing := [name for name in contents if name not in set(parts[1][own.index])]:
            yield strength, f"no images of {', '.join(missing)}, so its figures are over fewer contents"
