"""Questions that name an emotion: what is asked and what is shown tell nothing by themselves, whatever is confusable."""

from collections import Counter
from random import Random

import numpy as np
import pytest

from config.understanding_settings import Questions
from understanding.cases import decomposed, doubly_stochastic, half_true


def confusable(count: int, seed: int = 0) -> np.ndarray:
    """A confusability with some emotions that most others are taken for, and zeros."""
    drawn = np.random.default_rng(seed).dirichlet([0.1] * count, size=count) * (1 - np.eye(count))
    return np.where(drawn < 1e-3, 0, drawn)


@pytest.mark.parametrize("count", [2, 3, 8, 26])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("rounds", [1, 7, 50])
def test_each_emotion_is_asked_about_and_shown_equally_often_right_and_wrong(count, share, rounds):
    emotions = tuple(f"emotion{number}" for number in range(count))
    drawn = list(half_true(rounds, emotions, Questions(confusable_share=share), confusable(count), Random(0)))
    for is_true in (True, False):
        own = [(asked, true) for asked, true in drawn if (asked == true) == is_true]
        for side in zip(*own, strict=True):
            assert Counter(side) == dict.fromkeys(emotions, rounds)


def test_what_is_easily_taken_for_another_is_shown_more_often():
    emotions, matrix = tuple("abcd"), np.full((4, 4), 0.05)
    matrix[1, 0] = matrix[0, 1] = matrix[2, 3] = matrix[3, 2] = 1.0
    drawn = list(half_true(300, emotions, Questions(confusable_share=0.5), matrix * (1 - np.eye(4)), Random(0)))
    wrong = Counter(pair for pair in drawn if pair[0] != pair[1])
    assert wrong["a", "b"] > 1.8 * wrong["a", "c"] > 0
    assert min(wrong.values()) >= 50, "a third of the other half"


def test_a_matrix_is_the_mean_of_its_permutations():
    for count in (2, 3, 8, 26):
        matrix = doubly_stochastic(confusable(count).T)
        matchings, shares = decomposed(matrix)
        mean = sum(share * np.eye(count)[columns] for share, columns in zip(shares, matchings, strict=True))
        np.testing.assert_allclose(mean, matrix, atol=1e-5)
        assert sum(shares) == pytest.approx(1, abs=1e-4)
        assert not np.diag(mean).any()


def test_where_nothing_is_confusable_all_are_alike():
    np.testing.assert_allclose(doubly_stochastic(np.zeros((4, 4))), (1 - np.eye(4)) / 3)
