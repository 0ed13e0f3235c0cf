"""The metrics of images against values computed by hand and against libraries."""

import numpy as np
import pytest
import torch
from hand_made import one_hot, values

from config.taxonomy import DEFAULT, read_taxonomy
from evaluation import image_metrics
from evaluation.columns import by_emotion
from runtime.figures import of_biased_statistic

EMOSET = read_taxonomy(DEFAULT)
EMOTIONS = EMOSET.emotions


def test_precision_and_recall_on_a_line(monkeypatch):
    """With one neighbour: real 0, 1, 2 reach 1 each. Of what is made 0.5 lies within, 4 does not. Made ones reach 3.5."""
    monkeypatch.setattr(image_metrics, "NEIGHBOURS", 1)
    real, made = torch.tensor([[0.0], [1], [2]]), torch.tensor([[0.5], [4]])
    assert image_metrics.within(made, real).tolist() == [True, False]
    assert image_metrics.within(real, made).tolist() == [True, True, True]
    far = torch.tensor([[10.0], [10.25]])
    assert image_metrics.within(real, far).tolist() == [False, False, False]
    # Three neighbours, or as many as there are: 0, 1, 2 then reach 2, 1, 2, and 3.5 lies in the reach of 2 alone.
    monkeypatch.setattr(image_metrics, "NEIGHBOURS", 3)
    assert image_metrics.within(torch.tensor([[3.5], [4.5]]), real).tolist() == [True, False]


def test_precision_and_recall_compare_equally_many():
    rng = torch.Generator().manual_seed(0)
    real, emotions = torch.randn(200, 4, generator=rng), np.array(["awe", "fear"] * 100)
    found = image_metrics.manifold_figures(real, emotions, real[:40] + 100, emotions[:40], 0)
    assert found["precision"]["value"] == found["recall"]["value"] == 0
    assert found["precision"]["n"] == found["recall"]["n"] == 40
    same = image_metrics.manifold_figures(real, emotions, torch.randn(200, 4, generator=rng), emotions, 0)
    assert min(same["precision"]["value"], same["recall"]["value"]) > 0.7


def test_emotion_accuracy_and_two_way():
    said = np.full((3, 8), 0.01)
    said[0, EMOTIONS.index("awe")] = 0.9  # right
    said[1, EMOTIONS.index("contentment")] = 0.9  # wrong, on the right side
    said[2] = [0.09, 0.09, 0.09, 0.09, 0.34, 0.1, 0.1, 0.1]  # anger likeliest, and the negative side
    found = image_metrics.emotion_figures(said, np.array(["awe", "awe", "anger"]), EMOSET, 0)
    assert found["emotion_accuracy"]["value"] == pytest.approx((0.5 + 1) / 2)
    assert found["emotion_accuracy_two_way"]["value"] == 1
    pooled = image_metrics.emotion_figures(said, np.array(["awe", "awe", "anger"]), EMOSET, 0, pooled=True)
    assert pooled["emotion_accuracy"]["value"] == pytest.approx(2 / 3)


def test_clarity_is_the_larger_of_the_two_tops():
    objects, scenes = np.array([[0.9, 0.1], [0.5, 0.5]]), np.array([[0.4, 0.6], [0.2, 0.8]])
    emotions = np.array(["awe", "awe"])
    assert image_metrics.clarity_figure(objects, scenes, emotions, 0)["value"] == pytest.approx(0.85)
    assert image_metrics.attributes_shown(objects, scenes).tolist() == [0, 3]


def test_attribute_entropy_and_coverage_by_hand():
    emotions = np.array(["awe"] * 4)
    shown, real = np.array([7, 7, 9, 9]), np.array([7, 7, 7, 9, 3])
    found = image_metrics.attribute_figures(shown, emotions, real, np.array(["awe"] * 5), 0)
    assert found["attribute_entropy"]["value"] == pytest.approx(np.log(2))
    assert found["attribute_coverage"]["value"] == pytest.approx(4 / 5)
    entropy = of_biased_statistic(lambda rows: float(len(rows)), emotions, 0, most=9)
    assert entropy == {"value": 4.0, "low": 4.0, "high": 4.0, "n": 4}
    error = of_biased_statistic(lambda rows: 0.01 * (rows == 0).sum(), np.zeros(30), 0)
    assert 0 == error["low"] < error["value"] == 0.01 < error["high"] < 1, "no error is below 0"


def test_the_nearest_training_image():
    training = torch.tensor([[1.0, 0], [0, 2]])
    features = torch.tensor([[3.0, 0], [1, 1]])
    found = image_metrics.nearest_figure(features, training, np.array(["awe", "awe"]), 0)
    assert found["value"] == pytest.approx((0 + 1 - np.sqrt(0.5)) / 2, abs=1e-6)


def test_pairs_are_within_emotions_and_none_comes_twice():
    emotions = np.array(["awe", "fear", "awe", "fear", "awe"])
    pairs = image_metrics.pairs_within(emotions, 1000, 0)
    assert {tuple(sorted(pair)) for pair in pairs.tolist()} == {(0, 2), (0, 4), (2, 4), (1, 3)}
    many = image_metrics.pairs_within(np.repeat(list(EMOTIONS), 50), 2000, 0)
    assert len({tuple(pair) for pair in many.tolist()}) == len(many) == 2000
    assert (np.repeat(np.arange(8), 50)[many[:, 0]] == np.repeat(np.arange(8), 50)[many[:, 1]]).all()
    assert image_metrics.pairs_within(np.repeat(list(EMOTIONS), 50), 2000, 0).tolist() == many.tolist()


def test_mean_squares():
    features = torch.tensor([[0.0, 0], [3, 1]])
    assert image_metrics.mean_squares(features, np.array([[0, 1], [1, 1]])).tolist() == [5.0, 0.0]


def test_both_accuracies_by_emotion():
    judged = one_hot("awe", "contentment", "fear", "anger", "anger", "awe")
    found = by_emotion(judged, np.array([0, 1, 1, 2, 2, 2]), np.array(["awe"] * 3 + ["anger"] * 3), EMOSET, 0)
    entropy = pytest.approx(np.log(3) - 2 / 3 * np.log(2))  # of one and two of the three
    assert {emotion: values(each) for emotion, each in found.items()} == {
        "awe": {
            "emotion_accuracy": pytest.approx(1 / 3),
            "emotion_accuracy_two_way": pytest.approx(2 / 3),
            "attribute_entropy": entropy,
        },
        "anger": {
            "emotion_accuracy": pytest.approx(2 / 3),
            "emotion_accuracy_two_way": pytest.approx(2 / 3),
            "attribute_entropy": 0,
        },
    }
    assert found["awe"]["emotion_accuracy"]["n"] == 3
