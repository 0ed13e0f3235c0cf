"""Figures with their 95 % intervals: {"value", "low", "high", "n"}.

Shares of right ones have Wilson's intervals, and their differences Bonett and Price's, for a bootstrap's are far too narrow
near 0 and 1, and where few answers differ. All else is resampled within groups, such as each emotion. Where several rows are
about one image, images are what is drawn, with all their rows.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

RESAMPLES = 1000
NORMAL = 1.96  # the 97.5 % point of the normal distribution
OfRows = Callable[[np.ndarray], float]  # row numbers -> a number


class Statistic(NamedTuple):
    """What is computed of rows of a table.

    of: the number that some rows give. groups: (n,), within which rows are resampled. right: (n,), whether each is right,
    where the statistic is the mean over the groups of the share of each that is right. counts: (n,), whether a row counts;
    None: all do. is_biased: it is larger or smaller the fewer the rows, as a calibration error is. is_rate: `right` says
    what was answered, such as yes, and not that it is right.
    """

    of: OfRows
    groups: np.ndarray
    right: np.ndarray | None = None
    counts: np.ndarray | None = None
    is_biased: bool = False
    is_rate: bool = False

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
        yield np.concatenate([own[rng.integers(len(own), size=len(own))] for own in rows])


def share(values, where=None, is_rate: bool = False) -> Statistic:
    """Return the mean of values (n,), or of those that a mask (n,) tells. They are right ones if they are booleans."""
    values = np.asarray(values)
    counts = np.ones(len(values), dtype=bool) if where is None else np.asarray(where, dtype=bool)
    right = values & counts if values.dtype == bool else None
    return Statistic(lambda rows: values[rows[counts[rows]]].mean(), np.zeros(len(values)), right, counts, is_rate=is_rate)


def balanced_share(right: np.ndarray, groups: np.ndarray) -> Statistic:
    """Return the mean over the groups (n,) of the share of each that is right (n,)."""
    names, numbers = np.unique(groups, return_inverse=True)

    def of(rows: np.ndarray) -> float:
        own = numbers[rows]
        return (np.bincount(own, right[rows], len(names)) / np.bincount(own, minlength=len(names))).mean()

    return Statistic(of, groups, right)


def figure_of(statistic: Statistic, seed: int, images: np.ndarray | None = None) -> dict:
    """Return a statistic of the rows that count. images: (n,), whom the rows are about; None: each is about its own.

    The interval is Wilson's for shares of right rows, else by percentiles of the resamples.
    """
    rows = statistic.rows
    groups, images = statistic.groups[rows], rows if images is None else images[rows]
    if statistic.right is not None:
        return of_right(statistic.right[rows], groups, images)
    if statistic.is_biased:
        return of_biased_statistic(lambda drawn: statistic.of(rows[drawn]), groups, seed, images)
    drawn = [statistic.of(rows[each]) for each in resampled_images(images, groups, seed)]
    return figure(statistic.of(rows), *np.nanpercentile(drawn, [2.5, 97.5]), len(rows))


def of_right(right: np.ndarray, groups: np.ndarray, images: np.ndarray | None = None) -> dict:
    """Return the mean over the groups (n,) of the share of each that is right (n,), with Wilson's interval (1927).

    It is that of as many independent rows as would spread as much (Korn & Graubard 1998): images (n,) that several rows are
    about give fewer, and so do groups of unequal size.
    """
    value, _, spread, at_most = _spread(right, groups, images)
    alone = min(value * (1 - value) / spread, at_most) if spread else at_most
    return figure(value, *wilson(value, alone), len(right))


def of_difference(first: np.ndarray, second: np.ndarray, groups: np.ndarray, images: np.ndarray | None = None) -> dict:
    """Return by how much the share of `first` (n,) that is right is more than that of `second` (n,), in the same rows.

    The interval is Bonett and Price's (2012): one row more that `first` alone has right, and one that `second` alone has.
    The number of rows is that of as many independent ones as would spread as much, as in `of_right`.
    """
    apart = first.astype(float) - second
    value, weights, spread, at_most = _spread(apart, groups, images)
    fixed, broken = ((weights * (apart == sign)).sum() for sign in (1, -1))
    alone = min((fixed + broken - (fixed - broken) ** 2) / spread, at_most) if spread else at_most
    more, less = ((each * alone + 1) / (alone + 2) for each in (fixed, broken))
    half = NORMAL * np.sqrt((more + less - (more - less) ** 2) / (alone + 2))
    return figure(value, max(-1.0, more - less - half), min(1.0, more - less + half), len(apart))


def _spread(values: np.ndarray, groups: np.ndarray, images: np.ndarray | None) -> tuple[float, np.ndarray, float, float]:
    """Return the mean over the groups (n,) of the means of some values (n,), each value's weight in it, and its variance.

    Last, of how many independent values at most it is the mean. images: (n,), whom several values may be about.
    """
    numbers = np.unique(groups, return_inverse=True)[1]
    weights = 1 / (np.bincount(numbers)[numbers] * (numbers.max() + 1))
    means = np.bincount(numbers, values) / np.bincount(numbers)
    clusters = np.arange(len(values)) if images is None else np.unique(images, return_inverse=True)[1]
    spread = np.square(np.bincount(clusters, weights * (values - means[numbers]))).sum()
    at_most = 1 / np.square(weights if spread else np.bincount(clusters, weights)).sum()
    return float(means.mean()), weights, spread, at_most


def wilson(share: float, n: float) -> tuple[float, float]:
    """Return the ends of Wilson's 95 % interval of a share of n independent rows.

    >>> "{:.3f} to {:.3f}".format(*wilson(0.9, 10))
    '0.596 to 0.982'
    """
    squared = NORMAL**2 / n
    middle, half = share + squared / 2, NORMAL * np.sqrt(share * (1 - share) / n + squared / (4 * n))
    return max(0.0, (middle - half) / (1 + squared)), min(1.0, (middle + half) / (1 + squared))


def resampled_images(images: np.ndarray, groups: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """Yield row numbers of images (n,) drawn with replacement within each group (n,), each with all its rows there."""
    group, image = (np.unique(each, return_inverse=True)[1] for each in (groups, images))
    numbers = np.unique(group * (image.max() + 1) + image, return_inverse=True)[1]
    rows_of = np.split(np.argsort(numbers, kind="stable"), np.cumsum(np.bincount(numbers))[:-1])
    of_group = np.array([group[rows[0]] for rows in rows_of])
    for chosen in resamples(of_group, seed):
        yield np.concatenate([rows_of[each] for each in chosen])


def of_share(values, seed: int) -> dict:
    """Return the mean of values (n,): of right ones, if they are booleans."""
    return figure_of(share(values), seed)


def paired(
    first: Mapping[str, Statistic], second: Mapping[str, Statistic], images: np.ndarray, groups: np.ndarray, seed: int
) -> dict[str, dict]:
    """Return how much more `first` is than `second`, by name, of the same rows: {"value", "low", "high", "n", ...}.

    images: (n,), whom the rows are about; groups: (n,), of the image, such as its emotion. What is not right or wrong is
    resampled: images within groups, with all their rows, the same for both. fixed, broken: how many rows `first` alone has
    right, and `second` alone; None where nothing is right or wrong. p: McNemar's exact test of
    these; where rows share images, its like of images, the exact sign test of how many more of an image's rows `first` has
    right, without the images where that is 0. Of what is not right or wrong it is of the resamples on either side of 0.
    """
    drawn = list(resampled_images(images, groups, seed))
    every, found = np.arange(len(images)), {}
    for name in [name for name in first if name in second]:
        one, other = first[name], second[name]
        if one.right is None or other.right is None or one.is_rate or not np.array_equal(one.rows, other.rows):
            apart = np.array([one.of(rows) - other.of(rows) for rows in drawn])
            p = min(1.0, 2 * min(1 + np.nansum(apart <= 0), 1 + np.nansum(apart >= 0)) / (1 + len(apart)))
            ends, count = np.nanpercentile(apart, [2.5, 97.5]), min(len(one.rows), len(other.rows))
            nothing = {"fixed": None, "broken": None, "p": float(p)}
            found[name] = figure(one.of(every) - other.of(every), *ends, count) | nothing
            continue
        rows = one.rows
        here, there = one.right[rows], other.right[rows]
        fixed, broken = int((here & ~there).sum()), int((there & ~here).sum())
        sums = np.bincount(np.unique(images[rows], return_inverse=True)[1], here.astype(int) - there)
        better, worse = int((sums > 0).sum()), int((sums < 0).sum())
        p = float(binomtest(better, better + worse).pvalue) if better + worse else 1.0
        found[name] = of_difference(here, there, one.groups[rows], images[rows]) | {"fixed": fixed, "broken": broken, "p": p}
    return found


def of_biased_statistic(
    statistic: OfRows, groups: np.ndarray, seed: int, images: np.ndarray | None = None, most: float = 1.0
) -> dict:
    """Return a statistic of row numbers that a sample biases, as entropy is: the resamples give the spread, not the place.

    What is counted in a sample is biased, and in a resample once more. So the interval lies around the value, and is one of
    what as large samples give. It ends at 0 and at `most`, between which all such statistics lie. images: as figure_of has
    them.
    """
    images = np.arange(len(groups)) if images is None else images
    drawn = np.array([statistic(rows) for rows in resampled_images(images, groups, seed)])
    value = statistic(np.arange(len(groups)))
    ends = np.clip(value + np.percentile(drawn - drawn.mean(), [2.5, 97.5]), 0, most)
    return figure(value, *ends, len(groups))


def of_mean(values: np.ndarray, groups: np.ndarray, seed: int, pooled: bool = False) -> dict:
    """Return the mean over the groups (n,) of the means of values (n,), each of an image, or of pairs.

    values: booleans are right ones. pooled: the mean over all values instead, as published code takes it.
    """
    if np.asarray(values).dtype == bool:
        return of_right(values, np.zeros(len(values)) if pooled else groups)
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
