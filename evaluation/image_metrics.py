"""The metrics of generated images, from features alone. docs/metrics.md gives each one's formula and source.

Everywhere: emotions (n,) are the intended ones, as strings. Figures are {"value", "low", "high", "n"}.
"""

from collections.abc import Sequence
from math import isqrt
from random import Random

import numpy as np
import torch
from scipy.special import ndtr, stdtrit
from torch import Tensor
from torchmetrics.image.fid import FrechetInceptionDistance

from config.taxonomy import Taxonomy
from runtime.figures import NORMAL, figure, of_biased_statistic, of_mean

GROUPS = 6  # of the generated images, one of which is left out at a time, for the spread of FID; half of them in either half
BLOCK = 2048  # images that are compared at once
NEIGHBOURS = 3  # the one whose distance is the radius around a point, of precision and recall
PUBLISHED_PAIRS = 10  # of each emotion
ENOUGH = 5  # images for each feature, below which FID says more about their number than about them


class _Given(torch.nn.Module):
    """Lets FrechetInceptionDistance take features in place of images."""

    def __init__(self, width: int):
        super().__init__()
        self.num_features = width

    def forward(self, features: Tensor) -> Tensor:
        return features


def frechet_distances(real: Tensor, samples: list[Tensor]) -> list[float]:
    """Return the Fréchet distance (Heusel et al. 2017) of each sample's features (n, D) to the real ones (N, D)."""
    # Not synchronised: the features are those of all processes already.
    options = dict(reset_real_features=False, sync_on_compute=False)
    metric, found = FrechetInceptionDistance(feature=_Given(real.shape[1]), **options), []
    metric.update(real.double(), real=True)
    for generated in samples:
        metric.reset()
        metric.update(generated.double(), real=False)
        found.append(metric.compute().item())
    return found


def fid_figures(real: Tensor, generated: Tensor, seed: int) -> dict[str, dict]:
    """Return fid, and fid_half, its mean over two halves of the generated images: how much it owes to their number.

    low, high: Student's t times the delete-a-group jackknife's standard error (Kott 2001), over the generated images. For
    fid_half the group is left out of its own half. A bootstrap's whole interval may lie above the value, because doubled
    images make FID larger.
    """
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(generated)))
    halves = [half.tensor_split(GROUPS // 2) for half in order.chunk(2)]
    samples = [order, *map(torch.cat, halves), *_each_left_out([*halves[0], *halves[1]])]
    samples += [rows for half in halves for rows in _each_left_out(half)]
    whole, first, second, *fewer = frechet_distances(real, [generated[rows] for rows in samples])
    without, first_without, second_without = np.split(np.array(fewer), [GROUPS, GROUPS * 3 // 2])
    half_error = np.hypot(_jackknife_error(first_without), _jackknife_error(second_without)) / 2
    found = {
        "fid": (whole, stdtrit(GROUPS - 1, 0.975) * _jackknife_error(without), len(generated)),
        "fid_half": ((first + second) / 2, stdtrit(GROUPS - 2, 0.975) * half_error, len(order.chunk(2)[0])),
    }
    return {name: figure(value, max(0, value - width), value + width, n) for name, (value, width, n) in found.items()}


def _each_left_out(groups: Sequence[Tensor]) -> list[Tensor]:
    """Return all rows but those of a group, for each of the groups."""
    return [torch.cat([rows for rows in groups if rows is not left_out]) for left_out in groups]


def _jackknife_error(without: np.ndarray) -> float:
    """Return the standard error of a statistic from its values without each of as many equal parts."""
    return float(np.sqrt((len(without) - 1) * np.mean(np.square(without - without.mean()))))


def kid_figure(real: Tensor, generated: Tensor, within_real: Tensor | None = None) -> dict:
    """Return the squared kernel distance (Bińkowski et al. 2018), unbiased, with the kernel (x·y / D + 1)³, over all images.

    low, high: 1.96 times the standard error of the jackknife that leaves out each image, real (N, D) and generated (n, D).
    within_real: kernel_sums(real), where they are known.
    """
    return _jackknifed(*kernel_distance(real, generated, within_real))


def kid_difference(first: tuple[Tensor, ...], second: tuple[Tensor, ...]) -> dict:
    """Return by how much the KID of some images is more than that of others, in pairs, as runtime.figures.paired does.

    first, second: their kernel_distance, the images of both in the same order. The jackknife leaves out both images of a
    pair, and each real image for both. p is of the normal distribution.
    """
    found = _jackknifed(*(here - there for here, there in zip(first, second, strict=True)))
    error = (found["high"] - found["value"]) / NORMAL
    p = 2 * ndtr(-abs(found["value"]) / error) if error else 1.0
    return found | {"fixed": None, "broken": None, "p": float(p)}


def kernel_distance(real: Tensor, generated: Tensor, within_real: Tensor | None = None) -> tuple[Tensor, ...]:
    """Return KID, what it is without each generated image (n,), and without each real one (N,); kid_figure has the rest."""
    m, n = len(generated), len(real)
    own, other = kernel_sums(generated), kernel_sums(real) if within_real is None else within_real
    across, back = sums_across(generated, real)
    inner, outer, between = own.sum() / (m * (m - 1)), other.sum() / (n * (n - 1)), across.sum() / (m * n)
    without_made = (own.sum() - 2 * own) / ((m - 1) * (m - 2)) + outer - 2 * (across.sum() - across) / ((m - 1) * n)
    without_real = inner + (other.sum() - 2 * other) / ((n - 1) * (n - 2)) - 2 * (across.sum() - back) / (m * (n - 1))
    return inner + outer - 2 * between, without_made, without_real


def _jackknifed(value: Tensor, without_made: Tensor, without_real: Tensor) -> dict:
    """Return a figure of generated images from its value, and those without each of them (n,) or each real one (N,)."""
    width = NORMAL * np.hypot(*(_jackknife_error(each.numpy()) for each in (without_made, without_real)))
    return figure(value, value - width, value + width, len(without_made))


def kernel_sums(features: Tensor) -> Tensor:
    """Return (n,) the sum of KID's kernel between each image's features (n, D) and those of all others."""
    itself = (features.double().square().sum(1) / features.shape[1] + 1) ** 3
    return sums_across(features, features)[0] - itself


def sums_across(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return (n,) and (N,): for each image of `first` (n, D) the sum of KID's kernel to all of `second` (N, D), and back."""
    rows, columns, second = [], torch.zeros(len(second), dtype=torch.float64), second.double()
    for block in first.split(BLOCK):
        kernel = (block.double() @ second.T / first.shape[1] + 1) ** 3
        rows.append(kernel.sum(1))
        columns += kernel.sum(0)
    return torch.cat(rows), columns


def manifold_figures(
    real: Tensor, real_emotions: np.ndarray, made: Tensor, emotions: np.ndarray, seed: int
) -> dict[str, dict]:
    """Return precision and recall (Kynkäänniemi et al. 2019) of features: real (N, D) and made (n, D).

    A point lies within a set of points where it is no farther from one of them than that one's third nearest neighbour in
    the set is. precision: the share of what is made that lies within the real ones. recall: the other way round. Both sets
    are cut to the size of the smaller, by `seed`, since a larger one covers more. The interval is over the points that are
    counted, the other set being given. real_emotions: (N,).
    """
    count, rng = min(len(real), len(made)), np.random.default_rng(seed)
    chosen, own = (np.sort(rng.permutation(size)[:count]) for size in (len(real), len(made)))
    real, made = real[chosen].double(), made[own].double()
    return {
        "precision": of_mean(within(made, real), emotions[own], seed),
        "recall": of_mean(within(real, made), real_emotions[chosen], seed),
    }


def within(points: Tensor, others: Tensor) -> np.ndarray:
    """Return which (n,) points (n, D) lie within others (N, D), as manifold_figures has it."""
    nearest = min(NEIGHBOURS, len(others) - 1) + 1  # the nearest of all is the point itself
    radii = torch.cat([torch.cdist(some, others).kthvalue(nearest, dim=1).values for some in others.split(BLOCK)])
    return torch.cat([(torch.cdist(some, others) <= radii).any(1) for some in points.split(BLOCK)]).numpy()


def emotion_figures(
    probabilities: np.ndarray, emotions: np.ndarray, taxonomy: Taxonomy, seed: int, pooled: bool = False
) -> dict[str, dict]:
    """Return how often the judge's (n, K) likeliest emotion, and the likelier one of positive and negative, is the intended.

    pooled: over all images, as published, and not the mean over emotions.
    """
    names = np.array(taxonomy.emotions)
    columns = {side: np.isin(names, own) for side, own in taxonomy.sides.items()}
    sides = np.stack([probabilities[:, own].sum(1) for own in columns.values()], axis=1)
    said = np.array(list(columns))[sides.argmax(1)]
    intended = np.array([taxonomy.side_of(emotion) for emotion in emotions])
    return {
        "emotion_accuracy": of_mean(names[probabilities.argmax(1)] == emotions, emotions, seed, pooled),
        "emotion_accuracy_two_way": of_mean(said == intended, emotions, seed, pooled),
    }


def clarity_figure(objects: np.ndarray, scenes: np.ndarray, emotions: np.ndarray, seed: int, pooled: bool = False) -> dict:
    """Return semantic clarity: the larger of the top probabilities of objects (n, O) and of scenes (n, S), averaged."""
    return of_mean(np.maximum(objects.max(1), scenes.max(1)), emotions, seed, pooled)


def attributes_shown(objects: np.ndarray, scenes: np.ndarray) -> np.ndarray:
    """Return (n,) the number of what each image shows: its likeliest object, or O + its likeliest scene if that is surer."""
    surer = scenes.max(1) > objects.max(1)
    return np.where(surer, objects.shape[1] + scenes.argmax(1), objects.argmax(1))


def attribute_figures(
    shown: np.ndarray, emotions: np.ndarray, real_shown: np.ndarray, real_emotions: np.ndarray, seed: int
) -> dict[str, dict]:
    """Return how many-sided the attributes (n,) of each emotion's images are, averaged over the emotions.

    attribute_entropy: in nats. attribute_coverage: the share of the emotion's real images whose attribute is among them.
    """
    kinds, codes = np.unique(np.concatenate([shown, real_shown]), return_inverse=True)
    shown, real_shown, names = codes[: len(shown)], codes[len(shown) :], np.unique(emotions)
    real = {name: np.bincount(real_shown[real_emotions == name], minlength=len(kinds)) for name in names}

    def counts(rows):
        for name in names:
            yield name, np.bincount(shown[rows][emotions[rows] == name], minlength=len(kinds))

    def entropy(rows):
        shares = [count[count > 0] / count.sum() for _, count in counts(rows)]
        return np.mean([-(share * np.log(share)).sum() for share in shares])

    def coverage(rows):
        return np.mean([real[name][count > 0].sum() / max(real[name].sum(), 1) for name, count in counts(rows)])

    return {
        "attribute_entropy": of_biased_statistic(entropy, emotions, seed, most=np.inf),
        "attribute_coverage": of_biased_statistic(coverage, emotions, seed),
    }


def nearest_figure(features: Tensor, training: Tensor, emotions: np.ndarray, seed: int) -> dict:
    """Return the mean cosine distance, 0 to 2, of features (n, D) to the nearest of the training images' (N, D)."""
    features, training = (torch.nn.functional.normalize(each, dim=1) for each in (features, training))
    nearest = torch.cat([(rows @ training.T).amax(1) for rows in features.split(1024)])
    return of_mean(1 - nearest.numpy(), emotions, seed)


def pairs_within(emotions: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return (P, 2) numbers of different images of the same emotion: `count` pairs, or all that there are; none twice."""
    pairs, names = [], np.unique(emotions)
    for emotion in names:
        rows, rng = np.flatnonzero(emotions == emotion), Random(f"{seed} pairs {emotion}")
        there_are = len(rows) * (len(rows) - 1) // 2
        for number in sorted(rng.sample(range(there_are), min(-(-count // len(names)), there_are))):
            second = (1 + isqrt(1 + 8 * number)) // 2  # the pairs of `second` follow those of all smaller ones
            pairs.append((rows[number - second * (second - 1) // 2], rows[second]))
    return np.array(pairs, dtype=int).reshape(-1, 2)


def published_pairs(emotions: np.ndarray, names: tuple[str, ...], seed: int) -> np.ndarray:
    """Return (10 K, 2) numbers of images as published: ten pairs for each emotion, from a pool that no emotion ever leaves.

    names: the K emotions, in the order in which they enter the pool.
    """
    rng, pool, pairs = Random(seed), [], []
    for emotion in names:
        pool += np.flatnonzero(emotions == emotion).tolist()
        pairs += [rng.sample(pool, 2) for _ in range(PUBLISHED_PAIRS) if len(pool) > 1]
    return np.array(pairs, dtype=int)


def mean_squares(features: Tensor, pairs: np.ndarray) -> np.ndarray:
    """Return (P,) the mean squared difference of features (n, D) of pairs (P, 2) of images."""
    first, second = (features[torch.from_numpy(pairs[:, side])].double() for side in (0, 1))
    return (first - second).square().mean(1).numpy()


def published_pair_figure(distances: np.ndarray, seed: int) -> dict:
    """Return the mean distance of published_pairs; the interval resamples the ten pairs of each emotion.

    A pair without a distance, NaN, has an image that cannot be read.
    """
    there = np.isfinite(distances)
    return of_mean(distances[there], (np.arange(len(distances)) // PUBLISHED_PAIRS)[there], seed)


def too_few_for_fid(real: Tensor, generated: Tensor) -> str | None:
    """Return a warning where there are too few images for FID, of features (N, D) of real ones or (n, D) of those generated.

    FID then compares methods at equal N and n alone.
    """
    width = generated.shape[1]
    if min(len(real), len(generated)) >= ENOUGH * width:
        return None
    return (
        f"FID of {len(generated):,} images to {len(real):,} real ones, by {width:,} features, is biased upwards. "
        "Compare it only at equal numbers of both, or use KID"
    )
