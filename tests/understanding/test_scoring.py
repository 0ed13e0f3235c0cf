"""Figures of answers, on values worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from config.taxonomy import DEFAULT, read_taxonomy
from config.understanding_settings import Answers
from understanding.scoring import figures, likelihood_columns, metrics, read_answers
from understanding.statistics import calibration_error, fitted_temperature, tempered

TAXONOMY = read_taxonomy(DEFAULT)
EMOTIONS = TAXONOMY.emotions
LIKELIHOODS = likelihood_columns(EMOTIONS)


def answers(*rows: tuple) -> pd.DataFrame:
    """Return kept answers from rows of kind, emotion, asked, completion."""
    columns = ["kind", "emotion", "asked", "completion"]
    table = pd.DataFrame(rows, columns=columns)
    table["image_id"] = [f"image_{row}" for row in table.index]
    table["options"] = [list(EMOTIONS) if kind == "multiple" else [] for kind in table["kind"]]
    return table


def read(*rows: tuple) -> pd.DataFrame:
    return read_answers(answers(*rows), TAXONOMY, Answers(reasoning=False))


def test_multiple_choice():
    found = figures(
        read(
            ("multiple", "awe", None, "awe"),
            ("multiple", "awe", None, "Awe."),
            ("multiple", "awe", None, "fear"),
            ("multiple", "awe", None, "awe and fear"),  # no answer
            ("multiple", "fear", None, "fear"),
            ("multiple", "fear", None, "<answer>fear</answer>"),  # not the format that was asked for
        ),
        TAXONOMY,
    )
    assert found["multiple_accuracy"]["value"] == pytest.approx(3 / 6)
    assert found["multiple_balanced_accuracy"]["value"] == pytest.approx((2 / 4 + 1 / 2) / 2)
    assert found["multiple_awe"]["value"] == pytest.approx(2 / 4)
    assert found["format_rate"]["value"] == pytest.approx(5 / 6)
    assert found["multiple_accuracy"]["n"] == 6
    assert found["multiple_awe"]["n"] == 4
    assert found["multiple_accuracy"]["low"] < 3 / 6 < found["multiple_accuracy"]["high"]
    assert not any(name.startswith(("binary", "misleading", "multiple_forced")) for name in found)


def test_forced_choice_goes_by_the_likelihoods_alone():
    table = read(("multiple", "awe", None, "nonsense"), ("multiple", "fear", None, "fear"), ("binary", "awe", "awe", "yes"))
    table[LIKELIHOODS] = np.nan
    table.loc[0, LIKELIHOODS] = [0.05, 0.65, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05]  # awe
    table.loc[1, LIKELIHOODS] = [0.65, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05]  # amusement
    found = figures(table, TAXONOMY)
    assert found["multiple_forced_accuracy"]["value"] == 0.5
    assert found["multiple_nll"]["value"] == pytest.approx(-(np.log(0.65) + np.log(0.05)) / 2)
    first, second = 0.35**2 + 7 * 0.05**2, 0.65**2 + 0.95**2 + 6 * 0.05**2
    assert found["multiple_brier"]["value"] == pytest.approx((first + second) / 2)
    assert found["multiple_ece"]["value"] == pytest.approx(0.65 - 0.5), "one of two is right, where .65 is stated"


def test_binary():
    found = figures(
        read(
            ("binary", "awe", "awe", "yes"),
            ("binary", "awe", "awe", "no"),
            ("binary", "awe", "awe", "yes"),
            ("binary", "awe", "fear", "no"),
            ("binary", "awe", "anger", "perhaps"),  # no answer is a wrong one
            ("binary", "awe", "anger", "yes"),
        ),
        TAXONOMY,
    )
    assert found["binary_balanced_accuracy"]["value"] == pytest.approx((2 / 3 + 1 / 3) / 2)
    assert found["yes_rate"]["value"] == pytest.approx(3 / 6)


def test_misleading():
    found = figures(
        read(
            ("misleading", "awe", "awe", "90"),
            ("misleading", "awe", "awe", "30"),
            ("misleading", "awe", "fear", "30"),
            ("misleading", "awe", "fear", "10"),
            ("misleading", "awe", "fear", "much"),  # counts as 50 among the ranks, and not in the means
        ),
        TAXONOMY,
    )
    # Pairs of a true and a wrong score: 90 beats 30, 10 and 50; 30 ties with 30, beats 10, loses to 50.
    assert found["misleading_auroc"]["value"] == pytest.approx((3 + 0.5 + 1) / 6)
    assert found["misleading_mean_true"]["value"] == pytest.approx(60)
    assert found["misleading_mean_wrong"]["value"] == pytest.approx(20)
    assert found["misleading_ece"]["n"] == 4


def test_valence():
    found = figures(
        read(
            ("valence", "awe", None, "positive"),
            ("valence", "awe", None, "Negative"),
            ("valence", "fear", None, "negative"),
            ("valence", "anger", None, "perhaps"),  # no answer is a wrong one
            ("valence", "anger", None, "negative"),
        ),
        TAXONOMY,
    )
    assert found["valence_balanced_accuracy"]["value"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert found["positive_rate"]["value"] == pytest.approx(1 / 5)


def test_every_figure_has_a_name_and_a_meaning_but_those_of_single_emotions():
    rows = [(kind, emotion, "awe", said) for emotion in ("awe", "fear") for kind, said in (
        ("binary", "yes"), ("multiple", "awe"), ("misleading", "70"), ("valence", "positive"))]  # fmt: skip
    table = read(*rows)
    table[[*LIKELIHOODS, "p_yes", "expected_score", "p_positive"]] = 1 / len(EMOTIONS)
    assert figures(table, TAXONOMY).keys() - {f"multiple_{emotion}" for emotion in EMOTIONS} == metrics(TAXONOMY).keys()
    assert metrics(TAXONOMY)["multiple_accuracy"].chance == 1 / 8


def test_figures_of_distributions_are_there_where_all_were_measured():
    rows = [("binary", emotion, "awe", "no") for emotion in ("awe", "awe", "fear", "anger")]
    table = read(*rows, *[("misleading", emotion, "awe", "5") for emotion in ("awe", "fear")])
    assert not {"binary_auroc", "misleading_expected_auroc", "misleading_expected_ece"} & figures(table, TAXONOMY).keys()
    table["p_yes"] = [0.4, 0.2, 0.3, 0.1, np.nan, np.nan]
    table["expected_score"] = [np.nan] * 4 + [30.0, 10.0]
    found = figures(table, TAXONOMY)
    assert found["binary_auroc"]["value"] == pytest.approx(3 / 4)
    assert found["misleading_expected_auroc"]["value"] == 1
    assert found["misleading_auroc"]["value"] == 0.5, "by the one score that is said"
    assert found["misleading_expected_ece"]["value"] == pytest.approx((0.7 + 0.1) / 2)


def test_calibration_error():
    stated = np.array([0.0, 0.05, 0.95, 1.0, 0.52, 0.58])
    came_true = np.array([False, True, True, True, False, True])
    # Bins 0: mean .025 against 1/2; 9: .975 against 1; 5: .55 against 1/2. Each holds a third.
    assert calibration_error(stated, came_true) == pytest.approx((0.475 + 0.025 + 0.05) / 3)
    assert calibration_error(np.array([0.5] * 4), np.array([True, False] * 2)) == 0


def test_the_same_seed_gives_the_same_interval():
    table = read(*[("multiple", "awe", None, "awe" if n % 3 else "fear") for n in range(60)])
    assert figures(table, TAXONOMY, seed=1) == figures(table, TAXONOMY, seed=1)
    interval = figures(table, TAXONOMY, seed=1)["multiple_accuracy"]
    assert interval["high"] - interval["low"] == pytest.approx(2 * 1.96 * np.sqrt(40 / 60 * 20 / 60 / 60), rel=0.15)


def test_the_temperature_that_fits_and_what_it_does():
    """Stated at 0.9 and right 3 times in 4: odds of 9 must become 3, the root of 9, so T = 2."""
    probabilities = np.tile([0.9, 0.1], (8, 1))
    true = np.array([[1, 0], [1, 0], [1, 0], [1, 0], [1, 0], [1, 0], [0, 1], [0, 1]])
    assert fitted_temperature(probabilities, true) == pytest.approx(2, abs=1e-4)
    assert fitted_temperature(np.tile([0.75, 0.25], (8, 1)), true) == pytest.approx(1, abs=1e-4)
    scaled = tempered(probabilities, true)  # either half is right 3 times in 4
    assert scaled == pytest.approx(np.tile([0.75, 0.25], (8, 1)), abs=1e-4)
    # Always right: as sharp as can be. A half is scaled by the other's temperature, not by its own.
    always = np.tile([1, 0], (8, 1))
    assert 0.05 <= fitted_temperature(probabilities, always) < 0.1
    assert fitted_temperature(np.zeros((2, 2)), np.eye(2)) > 0
    odd = np.where(np.arange(8)[:, None] % 2 == 1, [0, 1], [1, 0])
    assert tempered(probabilities, odd)[1, 0] > 0.99


def test_tempered_figures_stand_beside_the_plain_ones():
    table = read(*[("multiple", EMOTIONS[place % 8], None, EMOTIONS[0]) for place in range(16)])
    table[LIKELIHOODS] = np.random.default_rng(0).dirichlet(np.ones(8), 16)
    found = figures(table, TAXONOMY)
    assert found["multiple_temperature"]["value"] > 1, "random likelihoods are too sure"
    assert found["multiple_tempered_nll"]["value"] < found["multiple_nll"]["value"]
    assert {"multiple_tempered_ece", "multiple_temperature"} <= metrics(TAXONOMY).keys()
