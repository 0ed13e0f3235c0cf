"""Paired differences: by hand, by images and not by rows, and how often their intervals hold what is true."""

import numpy as np
import pytest
from scipy.stats import binomtest

from runtime.figures import Statistic, balanced_share, figure_of, of_difference, paired, share


def test_fixed_and_broken_are_counted_and_tested():
    first, second = np.array([1, 1, 0, 0, 1, 1, 1, 1], dtype=bool), np.array([1, 0, 1, 0, 0, 0, 0, 0], dtype=bool)
    found = paired({"right": share(first), "other": share(first)}, {"right": share(second)}, np.arange(8), np.zeros(8), 0)
    assert set(found) == {"right"}, "what both have"
    assert found["right"]["value"] == pytest.approx(6 / 8 - 2 / 8)
    assert (found["right"]["fixed"], found["right"]["broken"], found["right"]["n"]) == (5, 1, 8)
    assert found["right"]["p"] == pytest.approx(2 * (6 + 1) / 2**6), "McNemar: 5 or 6 of 6, both sides"


def test_p_is_of_images_where_rows_share_them():
    """Two of ten images have all their four rows fixed: no more than two fixed images, whose interval holds 0 too."""
    second, images = np.zeros(40, dtype=bool), np.arange(40) // 4
    found = paired({"a": share(images < 2)}, {"a": share(second)}, images, np.zeros(40), 0)["a"]
    assert (found["fixed"], found["broken"], found["p"]) == (8, 0, pytest.approx(0.5))
    assert found["low"] < 0 < found["high"]
    torn = np.arange(40) == 0
    second[1] = True
    assert paired({"a": share(torn)}, {"a": share(second)}, images, np.zeros(40), 0)["a"]["p"] == 1.0, "its sum is 0"


def test_what_is_equal_differs_by_nothing():
    right = np.random.default_rng(0).random(50) < 0.7
    numbers = Statistic(lambda rows: float(np.var(right[rows])), np.zeros(50))
    found = paired({"a": numbers}, {"a": numbers}, np.arange(50), np.zeros(50), 0)["a"]
    assert (found["value"], found["low"], found["high"], found["p"]) == (0, 0, 0, 1.0)
    for statistic in (share(right), balanced_share(right, np.arange(50) % 5)):
        found = paired({"a": statistic}, {"a": statistic}, np.arange(50), np.zeros(50), 0)["a"]
        assert (found["value"], found["p"], found["low"]) == (0, 1.0, -found["high"])
        assert found["high"] == pytest.approx(1.96 * 2**0.5 / 52), "50 equal answers do not show that all are equal"


def test_differences_of_shares_have_the_interval_of_bonett_and_price():
    """By hand: of 40 rows 9 are fixed and 2 broken."""
    first, second = np.zeros(40, dtype=bool), np.zeros(40, dtype=bool)
    first[:9], second[9:11] = True, True
    found = paired({"a": share(first)}, {"a": share(second)}, np.arange(40), np.zeros(40), 0)["a"]
    middle, half = (10 - 3) / 42, 1.96 * np.sqrt((13 / 42 - (7 / 42) ** 2) / 42)
    assert (found["value"], found["n"]) == (pytest.approx(7 / 40), 40)
    assert (found["low"], found["high"]) == pytest.approx((middle - half, middle + half))


def test_a_rate_is_neither_right_nor_wrong_and_has_wilsons_interval():
    yes, never = np.arange(30) < 12, np.zeros(30, dtype=bool)
    found = paired({"a": share(yes, is_rate=True)}, {"a": share(never, is_rate=True)}, np.arange(30), np.zeros(30), 0)["a"]
    assert (found["fixed"], found["broken"]) == (None, None)
    assert found["p"] == pytest.approx(2 / 1001), "1,000 resamples tell no smaller one"
    assert figure_of(share(never, is_rate=True), 0)["high"] == pytest.approx(1.96**2 / 30 / (1 + 1.96**2 / 30))


def test_images_are_resampled_with_all_their_rows():
    random = np.random.default_rng(0)
    first, second = (random.random(40) < chance for chance in (0.8, 0.5))
    once = paired({"a": share(first)}, {"a": share(second)}, np.arange(40), np.zeros(40), 0)["a"]
    often = [np.repeat(each, 4) for each in (first, second, np.arange(40))]
    found = paired({"a": share(often[0])}, {"a": share(often[1])}, often[2], np.zeros(160), 0)["a"]
    assert (found["low"], found["high"]) == pytest.approx((once["low"], once["high"])), "four rows tell no more than one"


def test_a_masked_share_is_that_of_its_rows():
    values, where = np.array([1.0, 5.0, 3.0, 9.0]), np.array([True, False, True, False])
    found = figure_of(share(values, where), 0)
    assert (found["value"], found["n"]) == (2.0, 2)
    assert 1 <= found["low"] <= found["high"] <= 3


def test_a_share_has_wilsons_interval():
    right = np.arange(30) < 27
    found = figure_of(share(right), 0)
    assert (found["low"], found["high"]) == pytest.approx(binomtest(27, 30).proportion_ci(method="wilson"), abs=1e-3)
    all_right = figure_of(share(np.ones(30, dtype=bool)), 0)
    assert (all_right["low"], all_right["high"]) == pytest.approx((1 / (1 + 1.96**2 / 30), 1)), "not from 1 to 1"


def test_rows_about_one_image_count_as_one():
    """Three answers about each of 30 images, all three alike: no more is known than by one answer each."""
    right, images = np.arange(30) < 27, np.arange(30)
    once = figure_of(share(right), 0)
    often = figure_of(share(np.repeat(right, 3)), 0, np.repeat(images, 3))
    assert (often["low"], often["high"]) == pytest.approx((once["low"], once["high"]))
    numbers = np.random.default_rng(0).random(30)
    one, three = (
        Statistic(lambda rows, own=own: own[rows].mean(), np.zeros(len(own))) for own in (numbers, numbers.repeat(3))
    )
    often = figure_of(three, 0, np.repeat(images, 3))
    assert (often["low"], often["high"]) == pytest.approx(tuple(figure_of(one, 0)[end] for end in ("low", "high")))


@pytest.mark.parametrize(("true", "n"), [(0.97, 28), (0.5, 28), (0.9, 224)])
def test_intervals_of_shares_hold_what_is_true_as_often_as_they_say(true, n):
    """Balanced over four groups that are unlike each other; 2,000 draws. A bootstrap holds .97 of 28 in 56 of 100."""
    random, groups = np.random.default_rng(0), np.arange(n) % 4
    chance = true + (1 - true) * np.array([-0.5, 0.5, -1, 1])[groups] / 2
    found = (figure_of(balanced_share(random.random(n) < chance, groups), 0) for _ in range(2000))
    assert 0.93 <= np.mean([each["low"] <= true <= each["high"] for each in found]) <= 0.99


@pytest.mark.parametrize(
    ("fixed", "broken", "n"), [(0.25, 0.1, 80), (0.01, 0.03, 224), (0.02, 0.02, 224), (0.05, 0.02, 512)]
)
def test_intervals_hold_the_true_difference_as_often_as_they_say(fixed, broken, n):
    """2,000 draws of answers that few or many differ in. A bootstrap holds a difference of -.02 of 224 in 88 of 100."""
    random, held, images = np.random.default_rng(0), 0, np.arange(n)
    for _ in range(2000):
        which = random.random(n)
        first = (which < fixed) | (which > 0.5)
        second = (which > 0.5) | ((fixed < which) & (which < fixed + broken))
        found = of_difference(first, second, images % 4)
        held += found["low"] <= fixed - broken <= found["high"]
    assert 0.93 <= held / 2000 <= 0.99
