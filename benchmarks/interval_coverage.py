"""How often the evaluation's 95 % intervals hold what they should, by simulated samples whose truth is known.

    OMP_NUM_THREADS=1 python benchmarks/interval_coverage.py

Each row draws samples of n images (or answers, or seeds) and counts how many of their intervals hold the truth. What an
interval is about is the truth itself or, of figures that few images bias, the mean figure of samples as large. A share of
SAMPLES samples that is 95 % in truth is found between 92 and 98 % in 95 of 100 tries.
"""

from collections.abc import Callable, Iterator
from statistics import NormalDist

import numpy as np
import torch

from evaluation.image_metrics import attribute_figures, fid_figures, kid_figure, pairs_within
from evaluation.over_seeds import over_seeds
from runtime import figures
from runtime.figures import Statistic, balanced_share, figure_of, of_mean, of_pairs, paired, share
from runtime.script import take_no_arguments
from understanding.statistics import auroc, calibration_error

SAMPLES = 200
RESAMPLES = 200  # of each bootstrap; the evaluation draws 1,000
FEATURES, REAL = 16, 800  # of FID and KID: numbers an image, and real images
Draw = Callable[[np.random.Generator], dict]


def main() -> None:
    figures.RESAMPLES = RESAMPLES
    print(f"{SAMPLES} samples a row, {RESAMPLES} resamples a bootstrap; nominal: 95 %\n")
    print("| interval of | n | about | holds it |\n|:---|---:|:---|---:|")
    for name, n, truth, draw in cases():
        found = [draw(np.random.default_rng(seed)) for seed in range(SAMPLES)]
        value, low, high = (np.array([each[part] for each in found]) for part in ("value", "low", "high"))
        about = "the mean of such samples" if truth is None else "the truth"
        truth = value.mean() if truth is None else truth
        held = (low <= truth) & (truth <= high)
        print(f"| {name} | {n} | {about} | {held.mean():.1%} |", flush=True)


def cases() -> Iterator[tuple[str, int, float | None, Draw]]:
    """Yield what an interval is of, its n, its truth (None: the mean figure of samples as large), and a draw."""
    for true, n in ((0.97, 28), (0.5, 28), (0.9, 224)):
        yield f"a share of right answers, {true}: Wilson", n, true, lambda rng, p=true, n=n: shares(rng, p, n)
    yield "the same, three answers about each of 75 images", 225, 0.8, clustered
    yield "a mean over 8 emotions: bootstrap", 224, 0.4, lambda rng: of_mean(rng.beta(2, 3, 224), np.arange(224) % 8, 0)
    yield "pairs (LPIPS): bootstrap of images", 500, 1.0, distances
    for n in (224, 1000):
        for name in ("fid", "fid_half", "kid"):
            what = {"fid": "FID: jackknife of 6 groups", "fid_half": "FID of halves: jackknife", "kid": "KID: jackknife"}
            yield what[name], n, None, lambda rng, name=name, n=n: frechet(rng, name, n)
    yield "a mean over seeds: Student's t", 3, 0.7, lambda rng: over_seeds(rng.normal(0.7, 0.02, 3))
    for n in (80, 224):
        yield "a paired difference of shares: Bonett and Price", n, 0.15, lambda rng, n=n: difference(rng, n)
    yield "the same, where one answer in 25 differs", 224, -0.02, rare_difference
    yield "a paired difference of AUROC: bootstrap of images", 224, None, difference_of_ranks
    yield "AUROC: bootstrap", 224, NormalDist().cdf(0.5**0.5), ranked
    yield "calibration error: bootstrap, laid around the value", 224, None, calibrated
    yield "attribute entropy: the same", 224, None, entropies


def shares(rng: np.random.Generator, true: float, n: int) -> dict:
    groups = np.arange(n) % 4
    chance = true + (1 - true) * np.array([-0.5, 0.5, -1, 1])[groups] / 2  # groups unlike each other
    return figure_of(balanced_share(rng.random(n) < chance, groups), 0)


def clustered(rng: np.random.Generator) -> dict:
    ease = rng.beta(4, 1, 75).repeat(3)  # so that answers about an image go together
    return figure_of(share(rng.random(225) < ease), 0, np.arange(75).repeat(3))


def ranked(rng: np.random.Generator) -> dict:
    truth = np.arange(224) % 2 == 0
    scores = rng.normal(size=224) + truth
    return figure_of(Statistic(lambda rows: auroc(truth[rows], scores[rows]), truth), 0)


def calibrated(rng: np.random.Generator) -> dict:
    stated = rng.uniform(0.5, 1, 224)
    true = rng.random(224) < stated - 0.1
    of = Statistic(lambda rows: calibration_error(stated[rows], true[rows]), np.zeros(224), is_biased=True)
    return figure_of(of, 0)


def entropies(rng: np.random.Generator) -> dict:
    shown, emotions = rng.choice(12, 224, p=np.arange(1, 13) / 78), np.arange(224) % 8
    return attribute_figures(shown, emotions, shown, emotions, 0)["attribute_entropy"]


def difference(rng: np.random.Generator, n: int) -> dict:
    ease = rng.random(n)
    first, second = ease < 0.75, np.where(rng.random(n) < 0.7, ease, rng.random(n)) < 0.6
    return paired({"a": share(first)}, {"a": share(second)}, np.arange(n), np.zeros(n), 0)["a"]


def rare_difference(rng: np.random.Generator) -> dict:
    which = rng.random(224)
    first, second = (which > 0.5) | (which < 0.01), (which > 0.5) | ((which > 0.01) & (which < 0.04))
    return paired({"a": share(first)}, {"a": share(second)}, np.arange(224), np.zeros(224), 0)["a"]


def difference_of_ranks(rng: np.random.Generator) -> dict:
    truth, both = np.arange(224) % 2 == 0, rng.normal(size=224)
    near, far = (both + rng.normal(size=224) / 2 + apart * truth for apart in (1, 1.5))
    one, other = ({"a": Statistic(lambda rows, own=own: auroc(truth[rows], own[rows]), truth)} for own in (far, near))
    return paired(one, other, np.arange(224), truth, 0)["a"]


def distances(rng: np.random.Generator) -> dict:
    emotions, places = np.arange(224) % 8, rng.normal(size=(224, 8))
    pairs = pairs_within(emotions, 500, 0)
    apart = np.square(places[pairs[:, 0]] - places[pairs[:, 1]]).mean(1) / 2  # 1 on average
    return of_pairs(pairs, apart, emotions, 0)


def frechet(rng: np.random.Generator, name: str, n: int) -> dict:
    real = torch.randn(REAL, FEATURES, generator=torch.Generator().manual_seed(0))  # the same for all samples
    made = torch.from_numpy(1.1 * rng.normal(size=(n, FEATURES)) + 0.1).float()
    return kid_figure(real, made) if name == "kid" else fid_figures(real, made, 0)[name]


if __name__ == "__main__":
    take_no_arguments(__doc__)
    main()
