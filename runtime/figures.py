"""Figures with their 95 % intervals: {"value", "low", "high", "n"}, by a bootstrap within groups, such as each emotion."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

RESAMPLES = 1000
OfRows = Callable[[np.ndarray], float]  # row numbers -> a number


class Statistic(NamedTuple):
    """What is computed of rows of a table.

    of: the number that some rows give. groups: (n,), within which rows are resampled. right: (n,), whether each is right, of
    what counts right rows. counts: (n,), whether a row counts; None: all do.
    """

    of: OfRows
    groups: np.ndarray
    right: np.ndarray | None = None
    counts: np.ndarray | None = None

    @property
    def rows(self) -> np.ndarray:
        """The numbers of the rows that count."""
        return np.arange(len(self.groups)) if self.counts is None else np.flatnonzero(self.counts)


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


def share(values, where=None) -> Statistic:
    """Return the mean of values (n,), or of those that a mask (n,) tells; they are right ones if they are booleans."""
    values = np.asarray(values)
    counts = np.ones(len(values), dtype=bool) if where is None else np.asarray(where, dtype=bool)
    right = values & counts if values.dtype == bool else None
    return Statistic(lambda rows: values[rows[counts[rows]]].mean(), np.zeros(len(values)), right, counts)


def balanced_share(right: np.ndarray, groups: np.ndarray) -> Statistic:
    """Return the mean over the groups (n,) of the share of each that is right (n,)."""
    names = np.unique(groups)
    return Statistic(lambda rows: np.mean([right[rows][groups[rows] == name].mean() for name in names]), groups, right)


def figure_of(statistic: Statistic, seed: int) -> dict:
    """Return a statistic of the rows that count, the interval by the percentiles of its resamples within the groups."""
    rows = statistic.rows
    return of_statistic(lambda drawn: statistic.of(rows[drawn]), statistic.groups[rows], seed)


def of_share(values, seed: int) -> dict:
    """Return the mean of values (n,), the interval by percentiles of all of them as one group."""
    return figure_of(share(values), seed)


def of_statistic(of: OfRows, groups: np.ndarray, seed: int) -> dict:
    """Return a number of rows, the interval by the percentiles of its resamples within groups (n,)."""
    drawn = [of(rows) for rows in resamples(groups, seed)]
    return figure(of(np.arange(len(groups))), *np.percentile(drawn, [2.5, 97.5]), len(groups))


def of_balanced_share(right: np.ndarray, groups: np.ndarray, seed: int) -> dict:
    """Return the mean over the groups (n,) of the share of each that is right (n,), resampled within groups."""
    return figure_of(balanced_share(right, groups), seed)


def paired(
    first: Mapping[str, Statistic], second: Mapping[str, Statistic], images: np.ndarray, groups: np.ndarray, seed: int
) -> dict[str, dict]:
    """Return how much more `first` is than `second`, by name, of the same rows: {"value", "low", "high", "n", ...}.

    images: (n,), whom the rows are about; groups: (n,), of the image, such as its emotion. Images are resampled within
    groups, with all their rows, the same for both. fixed, broken: how many rows `first` alone has right, and `second` alone;
    None where nothing is right or wrong. p: McNemar's exact test of these, otherwise of the resamples on either side of 0.
    """
    numbers = np.unique(images, return_inverse=True)[1]
    rows_of = [np.flatnonzero(numbers == number) for number in range(numbers.max() + 1)]
    of_group = np.array([groups[rows[0]] for rows in rows_of])
    drawn = [np.concatenate([rows_of[image] for image in chosen]) for chosen in resamples(of_group, seed)]
    every, found = np.arange(len(images)), {}
    for name in [name for name in first if name in second]:
        one, other = first[name], second[name]
        apart = np.array([one.of(rows) - other.of(rows) for rows in drawn])
        value = figure(
            one.of(every) - other.of(every), *np.nanpercentile(apart, [2.5, 97.5]), min(len(one.rows), len(other.rows))
        )
        if one.right is None or other.right is None:
            p = min(1.0, 2 * min(np.nanmean(apart <= 0), np.nanmean(apart >= 0)))
            found[name] = value | {"fixed": None, "broken": None, "p": float(p)}
            continue
        fixed, broken = int((one.right & ~other.right).sum()), int((other.right & ~one.right).sum())
        p = float(binomtest(fixed, fixed + broken).pvalue) if fixed + broken else 1.0
        found[name] = value | {"fixed": fixed, "broken": broken, "p": p}
    return found


def of_biased_statistic(statistic: OfRows, groups: np.ndarray, seed: int) -> dict:
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
