"""Intervals of the figures of images: against binomials, simulated samples and jackknives by hand."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from evaluation import image_metrics
from runtime.figures import of_mean, of_pairs


def test_a_mean_over_emotions_counts_each_emotion_alike_and_a_pooled_one_each_image():
    values, emotions = np.array([1.0, 1, 1, 0]), np.array(["awe", "awe", "awe", "fear"])
    assert of_mean(values, emotions, 0) == {"value": 0.5, "low": 0.5, "high": 0.5, "n": 4}
    assert of_mean(values, emotions, 0, pooled=True)["value"] == 0.75


def test_the_interval_of_a_mean_is_that_of_a_binomial():
    values, emotions = np.repeat([0.0, 1.0], 200), np.tile(["awe", "fear"], 200)
    found = of_mean(values, emotions, 0)
    half_width = 1.96 * 0.5 / np.sqrt(400)
    assert found["low"] == pytest.approx(0.5 - half_width, abs=0.006)
    assert found["high"] == pytest.approx(0.5 + half_width, abs=0.006)


def test_the_interval_of_pairs_covers_the_truth_because_it_resamples_images():
    rng, covered, narrow = np.random.default_rng(0), 0, 0
    emotions = np.array(["awe"] * 20)
    pairs = image_metrics.pairs_within(emotions, 190, 0)
    for seed in range(60):
        features = rng.normal(size=20)  # E (a - b)^2 = 2
        distances = (features[pairs[:, 0]] - features[pairs[:, 1]]) ** 2
        found = of_pairs(pairs, distances, emotions, seed)
        as_if_apart = of_mean(distances, np.zeros(len(pairs)), seed)
        covered += found["low"] <= 2 <= found["high"]
        narrow += as_if_apart["low"] <= 2 <= as_if_apart["high"]
    assert covered >= 48
    assert narrow < covered


def test_fid_of_known_gaussians():
    # Two dimensions; the same covariance, means 3 and 4 apart: 25. Points whose sample moments are exact.
    square = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    assert image_metrics.frechet_distances(square, [square + torch.tensor([3.0, 4.0])])[0] == pytest.approx(25, abs=1e-6)
    # Twice the standard deviation: trace of (2 - 1)^2 * covariance, whose diagonal is 4 / 3.
    assert image_metrics.frechet_distances(square, [2 * square])[0] == pytest.approx(2 * 4 / 3, abs=1e-6)


def test_fid_has_no_bootstrap_interval():
    rng = torch.Generator().manual_seed(0)
    real, made = (torch.randn(600, 16, generator=rng) for _ in range(2))
    found = image_metrics.fid_figures(real, made, 0)
    assert found["fid"]["low"] <= found["fid"]["value"] <= found["fid"]["high"]
    assert (found["fid"]["n"], found["fid_half"]["n"]) == (600, 300)
    assert found["fid_half"]["value"] > found["fid"]["value"]  # few images look worse
    # What a bootstrap would have said: an interval that lies above the value as a whole.
    resampled = [made[torch.randint(600, (600,), generator=rng)] for _ in range(40)]
    assert min(image_metrics.frechet_distances(real, resampled)) > found["fid"]["value"]


@pytest.mark.parametrize("n", [224, 1000])
def test_intervals_of_fid_and_kid_are_as_wide_as_figures_of_other_samples_lie_apart(n):
    """By simulation: half an interval is about two standard deviations of the figures of 40 samples, 2.6 by Student's t."""
    rng, found = torch.Generator().manual_seed(0), []
    real = torch.randn(800, 16, generator=rng)
    for seed in range(40):
        made = 1.1 * torch.randn(n, 16, generator=rng) + 0.1
        kid = image_metrics.kid_figure(real, made)
        found.append({"kid": kid, **image_metrics.fid_figures(real, made, seed)})
    for name, most in {"kid": 3, "fid": 3.6, "fid_half": 4.2}.items():
        value, low, high = (np.array([each[name][part] for each in found]) for part in ("value", "low", "high"))
        assert 1.6 < (high - low).mean() / 2 / value.std() < most, name
        assert ((low <= value.mean()) & (value.mean() <= high)).mean() >= 0.85, name  # .95, less three standard errors


def test_kid_is_its_formula_and_its_interval_the_jackknife_of_all_images():
    rng = torch.Generator().manual_seed(0)
    real, made = torch.randn(9, 3, generator=rng).double(), torch.randn(7, 3, generator=rng).double() + 0.5

    def kid(real, made):
        def kernel(a, b):
            return (a @ b.T / 3 + 1) ** 3

        inner = [(kernel(a, a).sum() - kernel(a, a).trace()) / (len(a) * (len(a) - 1)) for a in (real, made)]
        return (sum(inner) - 2 * kernel(real, made).mean()).item()

    found = image_metrics.kid_figure(real, made)
    assert found["value"] == pytest.approx(kid(real, made))
    fewer_real = np.array([kid(torch.cat([real[:row], real[row + 1 :]]), made) for row in range(9)])
    fewer_made = np.array([kid(real, torch.cat([made[:row], made[row + 1 :]])) for row in range(7)])
    error = np.sqrt(8 / 9 * 9 * fewer_real.var() + 6 / 7 * 7 * fewer_made.var())
    assert found["high"] - found["value"] == pytest.approx(1.96 * error)

    other = made + torch.randn(7, 3, generator=rng) / 2
    of_other, of_made = (image_metrics.kernel_distance(real, each) for each in (other, made))
    apart = image_metrics.kid_difference(of_other, of_made)
    assert (apart["value"], apart["n"]) == (pytest.approx(kid(real, other) - kid(real, made)), 7)
    rows = [([*range(row), *range(row + 1, 9)], [*range(7)]) for row in range(9)]
    rows += [([*range(9)], [*range(row), *range(row + 1, 7)]) for row in range(7)]
    fewer = np.array([kid(real[own], other[pairs]) - kid(real[own], made[pairs]) for own, pairs in rows])
    error = np.sqrt(8 * fewer[:9].var() + 6 * fewer[9:].var())
    assert apart["high"] - apart["value"] == pytest.approx(1.96 * error)
    assert apart["p"] == pytest.approx(2 * norm.sf(abs(apart["value"]) / error))
    same = image_metrics.kid_difference(of_made, of_made)
    assert (same["low"], same["high"], same["p"], same["fixed"]) == (0, 0, 1, None)


def test_too_few_images_for_fid_give_a_warning():
    few, enough = torch.zeros(319, 64), torch.zeros(320, 64)
    assert image_metrics.too_few_for_fid(enough, enough) is None
    for real, made in ((few, enough), (enough, few)):
        assert f"FID of {len(made)} images to {len(real)} real ones" in image_metrics.too_few_for_fid(real, made)
