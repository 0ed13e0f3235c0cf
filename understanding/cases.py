"""The cases of a question that names an emotion: for each emotion and phrasing, half of the questions are true."""

from collections.abc import Iterator
from random import Random

import numpy as np
from scipy.optimize import linear_sum_assignment

from config.understanding_settings import Questions

LEAST = 0.01  # how often, at least, any wrong emotion is shown, of what equal shares would be: so that scaling ends
SCALINGS = 1000


def half_true(
    rounds: int, emotions: tuple[str, ...], questions: Questions, confusability: np.ndarray | None, rng: Random
) -> Iterator[tuple[str, str]]:
    """Yield (asked, true) emotions: each emotion is asked about `rounds` times where it is true, and as often where not.

    In each round every emotion is asked about once where it is wrong, and shown once: so neither the emotion that is asked
    about nor the one that is shown tells anything by itself. In the share `questions.confusable_share` of the rounds an
    asked emotion is one that the shown one is easily taken for.
    confusability: (K, K), row i, column j: how easily an image of emotion i is taken for j, or None where that share is 0.
    """
    share, count = questions.confusable_share, len(emotions)
    confusable = int(rounds * share + rng.random()) if share else 0  # so that few of many cells have their share too
    shifts = rng.sample(range(1, count), count - 1)  # each shows every emotion once, and none where it is asked about
    shown = [np.roll(range(count), shifts[number % len(shifts)]) for number in range(rounds - confusable)]
    if confusable:
        matchings, shares = decomposed(doubly_stochastic(confusability.T))
        shown += rng.choices(matchings, shares, k=confusable)
    for matching in shown:
        for asked, true in enumerate(matching):
            yield emotions[asked], emotions[asked]
            yield emotions[asked], emotions[true]


def doubly_stochastic(weights: np.ndarray) -> np.ndarray:
    """Return weights (K, K) with rows and columns scaled in turn until all sum to 1; the diagonal is 0 (Sinkhorn 1967)."""
    apart = 1 - np.eye(len(weights))
    scaled = (weights + LEAST * weights.sum() / apart.sum()) * apart if weights.any() else apart
    for _ in range(SCALINGS):
        scaled = scaled / scaled.sum(1, keepdims=True)
        scaled = scaled / scaled.sum(0)
    return scaled


def decomposed(matrix: np.ndarray) -> tuple[list[np.ndarray], list[float]]:
    """Return permutations, the column of each row, and their shares, whose mean is a doubly stochastic matrix (K, K).

    Birkhoff's theorem (1946): each time the permutation whose least entry is largest, as far as that goes, is taken off.
    """
    left, matchings, shares = matrix.copy(), [], []
    rows = np.arange(len(matrix))
    while left.sum() > 1e-6 * len(matrix):
        _, columns = linear_sum_assignment(-np.log(left.clip(1e-12)))
        share = left[rows, columns].min()
        if share <= 1e-9:
            break
        matchings.append(columns)
        shares.append(float(share))
        left[rows, columns] -= share
    return matchings, shares
