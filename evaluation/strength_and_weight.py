"""What the strength of an emotion does to content and emotion, and the weight of a mix to the judge."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from torch.nn.functional import normalize

from config.taxonomy import Taxonomy
from emoset.labels import attribute_name
from evaluation.columns import Views
from evaluation.completeness import gaps
from evaluation.networks import clip_texts
from evaluation.plans import STRENGTHS, WEIGHTS
from runtime.figures import of_mean


def strength_curve(
    seen: Views, judged: np.ndarray, emotions: tuple[str, ...], contents: list[str], clip: str, seed: int
) -> dict[str, dict]:
    """Return, by strength, figures of the images of `transfer/`: emotion_accuracy, clip_score, and content_accuracy.

    clip_score: 100 cos(image, "a photo of a {content}"), 0 where that is negative (Hessel et al. 2021, without their 2.5).
    content_accuracy: how often the content is the likeliest of the object classifier's labels, of contents that are.
    judged: (N, K), of the K `emotions`. contents: as many images show each as the next. clip: as models.clip names it.
    """
    parts = seen.images["image_id"].str.split("/", expand=True)
    content, strengths, intended = parts[1].to_numpy(), parts[2].to_numpy(), seen.emotions
    texts = clip_texts(clip, [f"a photo of a {name}" for name in contents])
    wanted = texts[[contents.index(name) for name in content]]
    scores = 100 * (normalize(seen.clip, dim=1) * wanted).sum(1).clamp(min=0).numpy()
    spelled = _spelled(seen.object_labels)
    right = np.array([name in spelled[top] for name, top in zip(content, seen.objects.argmax(1), strict=True)])
    known = np.isin(content, known_contents(contents, seen.object_labels))
    is_shown = np.array(emotions)[judged.argmax(1)] == intended
    curve = {}
    for strength in map(str, STRENGTHS):
        here = strengths == strength
        curve[strength] = {
            "emotion_accuracy": of_mean(is_shown[here], intended[here], seed),
            "clip_score": of_mean(scores[here], content[here], seed),
        }
        if known.any():
            curve[strength]["content_accuracy"] = of_mean(right[here & known], content[here & known], seed)
    return curve


def known_contents(contents: list[str], labels: tuple[str, ...]) -> list[str]:
    """Return the contents that an object classifier with these labels can name."""
    spelled = _spelled(labels)
    return [name for name in contents if any(name in each for each in spelled)]


def curve_gaps(images: pd.DataFrame, emotions: tuple[str, ...], contents: list[str], labels: tuple[str, ...]) -> list[str]:
    """Return in words what the images of `transfer/` lack: emotions or contents at a strength, contents with a label."""
    found = [f"strength {strength}: {text}" for strength, text in _lacking(images, emotions, contents)]
    if unknown := [name for name in contents if name not in known_contents(contents, labels)]:
        known = len(contents) - len(unknown)
        found.append(
            f"evaluate.object_classifier has no label {', '.join(unknown)}: Content is of {known} of {len(contents)}"
        )
    return found


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


def _spelled(labels: tuple[str, ...]) -> list[set[str]]:
    return [{attribute_name(name) for name in label.split(",")} for label in labels]
