"""Figures with their 95 % intervals: {"value", "low", "high", "n"}, by a bootstrap within groups, such as each emotion."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

RESAMPLES = 1000
Statistic = Callable[[np.ndarray], float]  # of row numbers


class Metric(NamedTuple):
    """A figure as people read it. better: an arrow, or "" where neither way is. chance: what a guess gives."""

    label: str
    better: str
    meaning: str
    chance: float | None = None


def figure(value: float, low: float, high: float, n: int) -> dict:
    """Return a figure as every file of the evaluation holds it."""
    return {"value": float(value), "low": float(low), "high": float(high), "n": int(n)}


def resamples(groups: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """Yield row numbers (n,) drawn with replacement within each group (n,), as often as the bootstrap wants them."""
    rng = np.random.default_rng(seed)
    rows = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    for _ in range(RESAMPLES):
        yield np.concatenate([rng.choice(own, len(own)) for own in rows])


def of_share(values, seed: int) -> dict:
    """Return the mean of values (n,), the interval by percentiles of all of them as one group."""
    values = np.asarray(values, dtype=float)
    return of_statistic(lambda rows: values[rows].mean(), np.zeros(len(values)), seed)


def of_statistic(statistic: Statistic, groups: np.ndarray, seed: int) -> dict:
    """Return a statistic of row numbers, the interval by the percentiles of its resamples within groups (n,)."""
    drawn = [statistic(rows) for rows in resamples(groups, seed)]
    return figure(statistic(np.arange(len(groups))), *np.percentile(drawn, [2.5, 97.5]), len(groups))


def of_balanced_share(right: np.ndarray, groups: np.ndarray, seed: int) -> dict:
    """Return the mean over the groups (n,) of the share of each that is right (n,), resampled within groups."""
    names = np.unique(groups)
    return of_statistic(lambda rows: np.mean([right[rows][groups[rows] == name].mean() for name in names]), groups, seed)


def of_biased_statistic(statistic: Statistic, groups: np.ndarray, seed: int) -> dict:
    """Return a statistic of row numbers that a sample biases, as entropy is: the resamples give the spread, not the place.

    What is counted in a sample is biased downwards, and in a resample once more; so the interval lies around the value.
    """
    drawn = np.array([statistic(rows) for rows in resamples(groups, seed)])
    value = statistic(np.arange(len(groups)))
    return figure(value, *(value + np.percentile(drawn - drawn.mean(), [2.5, 97.5])), len(groups))


def of_mean(values: np.ndarray, groups: np.ndarray, seed: int, pooled: bool = False) -> dict:
    """Return the mean over the groups (n,) of the means of values (n,), each of an image, or of pairs.

    pooled: the mean over all values instead, as published code takes it.
    """
    rng = np.random.default_rng(seed)
    parts = [np.asarray(values, dtype=float)[groups == group] for group in np.unique(groups)]
    weights = [len(part) / len(values) if pooled else 1 / len(parts) for part in parts]
    drawn = sum(
        weight * (rng.multinomial(len(part), np.full(len(part), 1 / len(part)), RESAMPLES) @ part) / len(part)
        for weight, part in zip(weights, parts, strict=True)
    )
    value = sum(weight * part.mean() for weight, part in zip(weights, parts, strict=True))
    return figure(value, *np.percentile(drawn, [2.5, 97.5]), len(values))


def of_pairs(pairs: np.ndarray, distances: np.ndarray, groups: np.ndarray, seed: int) -> dict:
    """Return the mean over the groups of the mean distances (P,) of pairs (P, 2) of images, both of the same group.

    Images are resampled, not pairs: an image drawn twice counts twice in each of its pairs. For pairs share images, and
    resampling them as if they did not would make the interval too narrow. groups: (n,) of the images, such as emotions.
    """
    rng = np.random.default_rng(seed)
    means, drawn = [], []
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        own = groups[pairs[:, 0]] == group
        if not own.any():  # a single image has no pair
            continue
        times = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), RESAMPLES)
        first, second = (np.searchsorted(rows, pairs[own, side]) for side in (0, 1))
        weights = (times[:, first] * times[:, second]).astype(float)
        weights[weights.sum(1) == 0] = 1.0  # few pairs, none of which was drawn whole
        means.append(distances[own].mean())
        drawn.append(weights @ distances[own] / weights.sum(1))
    return figure(np.mean(means), *np.percentile(np.mean(drawn, axis=0), [2.5, 97.5]), len(pairs))
