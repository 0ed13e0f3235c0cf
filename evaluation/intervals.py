"""Figures with their 95 % intervals: {"value", "low", "high", "n"}, by a bootstrap within each emotion."""

from collections.abc import Callable

import numpy as np

RESAMPLES = 1000


def figure(value: float, low: float, high: float, n: int) -> dict:
    """Return a figure as every file of the evaluation holds it."""
    return {"value": float(value), "low": float(low), "high": float(high), "n": int(n)}


def of_mean(values: np.ndarray, emotions: np.ndarray, seed: int, pooled: bool = False) -> dict:
    """Return the mean over the emotions of the means of values (n,), each of an image of emotions (n,), or of pairs.

    pooled: the mean over all values instead, as published code takes it.
    """
    rng = np.random.default_rng(seed)
    groups = [np.asarray(values, dtype=float)[emotions == emotion] for emotion in np.unique(emotions)]
    weights = [len(group) / len(values) if pooled else 1 / len(groups) for group in groups]
    drawn = sum(
        weight * (rng.multinomial(len(group), np.full(len(group), 1 / len(group)), RESAMPLES) @ group) / len(group)
        for weight, group in zip(weights, groups, strict=True)
    )
    value = sum(weight * group.mean() for weight, group in zip(weights, groups, strict=True))
    return figure(value, *np.percentile(drawn, [2.5, 97.5]), len(values))


def of_pairs(pairs: np.ndarray, distances: np.ndarray, emotions: np.ndarray, seed: int) -> dict:
    """Return the mean over the emotions of the mean distances (P,) of pairs (P, 2) of images, both of the same emotion.

    Images are resampled, not pairs: an image drawn twice counts twice in each of its pairs. For pairs share images, and
    resampling them as if they did not would make the interval too narrow. emotions: (n,) of the images.
    """
    rng = np.random.default_rng(seed)
    means, drawn = [], []
    for emotion in np.unique(emotions):
        rows = np.flatnonzero(emotions == emotion)
        own = emotions[pairs[:, 0]] == emotion
        if not own.any():  # a single image has no pair
            continue
        times = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), RESAMPLES)
        first, second = (np.searchsorted(rows, pairs[own, side]) for side in (0, 1))
        weights = (times[:, first] * times[:, second]).astype(float)
        weights[weights.sum(1) == 0] = 1.0  # few pairs, none of which was drawn whole
        means.append(distances[own].mean())
        drawn.append(weights @ distances[own] / weights.sum(1))
    return figure(np.mean(means), *np.percentile(np.mean(drawn, axis=0), [2.5, 97.5]), len(pairs))


def of_statistic(statistic: Callable[[np.ndarray], float], emotions: np.ndarray, seed: int) -> dict:
    """Return a statistic of the row numbers of images of emotions (n,).

    The interval lies around the value: what is counted in a sample, as entropy is, is biased downwards, and in a resample
    once more; so the resamples give the spread and not the place.
    """
    rng = np.random.default_rng(seed)
    groups = [np.flatnonzero(emotions == emotion) for emotion in np.unique(emotions)]
    drawn = [statistic(np.concatenate([rng.choice(group, len(group)) for group in groups])) for _ in range(RESAMPLES)]
    value = statistic(np.arange(len(emotions)))
    low, high = value + np.percentile(np.array(drawn) - np.mean(drawn), [2.5, 97.5])
    return figure(value, low, high, len(emotions))
