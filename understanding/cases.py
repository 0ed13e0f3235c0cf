"""The cases of a question that names an emotion: for each emotion and phrasing, half of the questions are true."""

from collections.abc import Iterator
from random import Random

import numpy as np

from config.understanding_settings import Questions


def half_true(
    rounds: int, emotions: tuple[str, ...], questions: Questions, confusability: np.ndarray | None, rng: Random
) -> Iterator[tuple[str, str]]:
    """Yield (asked, true) emotions: each emotion is asked about `rounds` times where it is true, and as often where not.

    The asked emotion comes first and the image after, so how often an emotion is asked about tells nothing. Of the wrong
    half the share `questions.confusable_share` shows emotions that are easily taken for the asked one.
    confusability: (K, K), row i, column j: how easily an image of emotion i is taken for j; None where that share is 0.
    """
    for asked in emotions:
        wrong = _wrong_emotions(asked, rounds, emotions, questions.confusable_share, confusability, rng)
        for true in [asked] * rounds + wrong:
            yield asked, true


def _wrong_emotions(
    asked: str, count: int, emotions: tuple[str, ...], share: float, confusability: np.ndarray | None, rng: Random
) -> list[str]:
    """Return the true emotions of `count` images for which `asked` is wrong, on average a share of them confusable."""
    others = [emotion for emotion in emotions if emotion != asked]
    confusable = int(count * share + rng.random()) if share else 0  # so that few of many cells have their share too
    shown = [others[number % len(others)] for number in range(count - confusable)] if confusable < count else []
    shown = rng.sample(others, len(others))[: len(shown)] if len(shown) < len(others) else shown
    if confusable:
        column = confusability[:, emotions.index(asked)]
        weights = column if column.any() else np.array([emotion != asked for emotion in emotions], dtype=float)
        shown += rng.choices(emotions, weights.tolist(), k=confusable)
    return shown
