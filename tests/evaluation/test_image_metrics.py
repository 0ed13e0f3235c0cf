"""The metrics against values computed by hand and against libraries."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose

from config.taxonomy import DEFAULT, read_taxonomy
from emoset.labels import KINDS
from evaluation import baselines, image_metrics, measure_cross, strength_and_weight
from evaluation.columns import by_emotion, confusion
from evaluation.content_judge import ContentJudge, first_contents, judges_of
from evaluation.metric_labels import cross_metrics, generation_metrics
from evaluation.perceptual import unweighted
from evaluation.photograph_curve import photograph_curve
from evaluation.plans import STRENGTHS, WEIGHTS
from evaluation.views import Views
from runtime.figures import figure_of, of_biased_statistic, of_mean, of_pairs
from understanding.scoring import likelihood_columns

EMOSET = read_taxonomy(DEFAULT)
EKMAN = read_taxonomy("config/taxonomies/ekman6.yaml")
EMOTIONS, PAIRS = EMOSET.emotions, EMOSET.opposites


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


def one_hot(*emotions: str) -> np.ndarray:
    return np.eye(len(EMOTIONS))[[EMOTIONS.index(emotion) for emotion in emotions]]


def values(figures: dict[str, dict]) -> dict[str, float]:
    return {name: each["value"] for name, each in figures.items()}


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
    entropy = of_biased_statistic(lambda rows: float(len(rows)), emotions, 0)
    assert entropy == {"value": 4.0, "low": 4.0, "high": 4.0, "n": 4}


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


def test_unweighted_lpips_by_hand():
    # One place: unit vectors (1, 0) and (0, 1) differ by 2; two places, of which one differs: by 1 on average.
    here, there = torch.tensor([[[[5.0]], [[0.0]]]]), torch.tensor([[[[0.0]], [[3.0]]]])
    half = (torch.tensor([[[[5.0, 1]], [[0.0, 1]]]]), torch.tensor([[[[0.0, 2]], [[3.0, 2]]]]))
    assert_allclose(unweighted((here, half[0]), (there, half[1])), [2 + 1], atol=1e-6)


def test_unweighted_lpips_is_that_of_the_package():
    pytest.importorskip("torchvision")
    lpips = pytest.importorskip("lpips")
    torch.manual_seed(0)
    package = lpips.LPIPS(net="alex", lpips=False, pnet_rand=True, verbose=False)
    first, second = torch.rand(2, 2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        stages = [package.net(package.scaling_layer(each)) for each in (first, second)]
        assert_allclose(unweighted(*stages), package(first, second).flatten(), rtol=1e-4)


def test_too_few_images_for_fid_give_a_warning():
    few, enough = torch.zeros(319, 64), torch.zeros(320, 64)
    assert image_metrics.too_few_for_fid(enough, enough) is None
    for real, made in ((few, enough), (enough, few)):
        assert f"FID of {len(made)} images to {len(real)} real ones" in image_metrics.too_few_for_fid(real, made)


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


def test_strengths_are_scored_against_the_content_that_was_asked_for(monkeypatch):
    contents, emotions = ["bag", "palm tree"], ["awe", "fear"]
    rows = [(*each, emotion) for each in ((s, c) for s in STRENGTHS for c in contents) for emotion in emotions]
    images = pd.DataFrame({"emotion": [emotion for *_, emotion in rows], "content": [content for _, content, _ in rows]})
    images["image_id"] = [f"transfer/{content}/{strength}/{emotion}/00000.png" for strength, content, emotion in rows]
    texts = {"a photo of a bag": [1.0, 0], "a photo of a palm tree": [0, 1.0]}
    monkeypatch.setattr(strength_and_weight, "clip_texts", lambda _, asked: torch.tensor([texts[text] for text in asked]))
    # Of a bag: cosine 0.6 to a bag. Of a tree: 0.28 to a tree; at strength 1 less than none. Contents are seen in awe alone.
    shown = {"bag": [3.0, 4.0], "palm tree": [24.0, 7.0]}
    clip = torch.tensor([[5.0, -5.0] if (s, c) == (1.0, "palm tree") else shown[c] for s, c, _ in rows])
    seen = np.array([e == "awe" for *_, e in rows])
    made = Views(images, clip, clip, clip, clip, (), ())
    judged = one_hot(*(emotion if strength == 0 or emotion == "fear" else "anger" for strength, _, emotion in rows))
    found = strength_and_weight.strength_curve(made, seen, judged, EMOTIONS, contents, "", 0)
    assert list(found) == ["0.0", "0.25", "0.5", "0.75", "1.0"]
    for strength, figures in found.items():
        score, accuracy = (60 + (0 if strength == "1.0" else 28)) / 2, 1 if strength == "0.0" else 0.5
        joint = 0.5 if strength == "0.0" else 0.0  # later fear is right, which shows no content
        expected = {"emotion_accuracy": accuracy, "clip_score": score, "content_accuracy": 0.5, "joint_accuracy": joint}
        assert values(figures) == pytest.approx(expected, abs=1e-4)
        assert {each["n"] for each in figures.values()} == {4}


def test_a_content_is_told_by_whoever_knows_the_word():
    labels = ("dog", "Plant, Palm_tree"), ("street", "beach")
    told = {"palm tree": "object classifier", "beach": "scene classifier", "old boot": "CLIP"}
    assert judges_of(np.array([*told]), *labels) == told
    judge = ContentJudge(("beach", "old boot"), torch.eye(2))
    wanted = ["palm tree", "palm tree", "beach", "beach", "old boot", "old boot", ""]
    dog, palm, street, beach = np.array([0.9, 0.1]), np.array([0.1, 0.9]), np.array([0.9, 0.1]), np.array([0.1, 0.9])
    objects = np.stack([palm, dog, palm, palm, palm, palm, palm])
    scenes = np.stack([street, beach, beach, street, beach, beach, beach])
    clip = torch.tensor([[9.0, 0]] * 4 + [[1.0, 2], [2.0, 1], [0, 1]])
    images = pd.DataFrame({"content": wanted})
    shown = judge.shown(Views(images, clip, objects, scenes, clip, *labels))
    assert shown.tolist() == [True, False, True, False, True, False, False]


def test_a_real_image_shows_its_first_attribute():
    index = pd.DataFrame([(["tree", "car"], "street", None, None), (None, "beach", None, None), (None, None, "sad", None)])
    index = index.set_axis([*KINDS], axis=1).assign(image_id=["a", "b", "c"])
    assert first_contents(index, ["object", "scene"]).tolist() == ["tree", "beach", ""]


def test_photographs_are_scored_against_what_they_show_and_where_they_started():
    rows = [(strength, emotion, n) for strength in ("0.0", "0.6") for emotion in ("awe", "fear") for n in (0, 1)]
    images = pd.DataFrame({"image_id": [f"photographs/{s}/{emotion}/{n:05d}.png" for s, emotion, n in rows]})
    images["emotion"] = [emotion for _, emotion, _ in rows]
    images["content"] = ["dog" if n == 0 else "" for *_, n in rows]  # the photograph of number 1 has none
    shown = np.array([(s, emotion) != ("0.6", "awe") and n == 0 for s, emotion, n in rows])
    judged = one_hot(*(emotion if (s, n) == ("0.6", 0) else "anger" for s, emotion, n in rows))
    compared = []

    class Distances:
        def distances(self, images, pairs):
            compared.extend(map(tuple, pairs))
            return np.array([0.5 if images["emotion"][row] == "awe" else 1.5 for _, row in pairs])

    found = photograph_curve(images, shown, judged, EMOTIONS, Distances(), 0)
    assert values(found["0.0"]) == {"emotion_accuracy": 0, "content_accuracy": 1, "joint_accuracy": 0}
    kept = {"content_accuracy": 0.5, "joint_accuracy": 0.5}
    assert values(found["0.6"]) == {"emotion_accuracy": 0.5, "lpips": 1.0} | kept
    assert (found["0.6"]["content_accuracy"]["n"], found["0.6"]["lpips"]["n"]) == (2, 4)
    assert compared == [(0, 4), (1, 5), (2, 6), (3, 7)]


def test_weights_have_figures_by_pair_and_the_two_emotions_apart():
    rows = [(first, second, weight, n) for first, second in PAIRS for weight in WEIGHTS for n in (0, 1)]
    images = pd.DataFrame({"image_id": [f"fusion/{a}-{b}/{weight}/{n:05d}.png" for a, b, weight, n in rows]})
    judged = np.zeros((len(rows), 8))
    for row, (first, second, weight, number) in enumerate(rows):
        place = 1 + PAIRS.index((first, second))  # so that no pair is taken for another
        judged[row, [EMOTIONS.index(first), EMOTIONS.index(second)]] = (1 - weight) / place, weight * number / place
    found = strength_and_weight.weight_curve(images, judged, EMOSET, 0)
    assert list(found) == ["-".join(pair) for pair in PAIRS]
    for place, (first, second) in enumerate(PAIRS, 1):
        for weight, figures in found[f"{first}-{second}"].items():
            expected = {first: (1 - float(weight)) / place, second: float(weight) / 2 / place}
            assert values(figures) == pytest.approx(expected)
            assert {each["n"] for each in figures.values()} == {2}


def test_agreement_with_what_was_intended_and_with_the_judge_by_hand():
    rows = [
        # intended, said, likeliest, judged
        ("awe", "awe", "awe", "awe"),
        ("awe", "awe", "fear", "fear"),
        ("awe", None, "awe", "awe"),
        ("awe", "anger", "anger", "awe"),
        ("fear", "sadness", "fear", "sadness"),
    ]
    answers = pd.DataFrame(rows, columns=["emotion", "said_emotion", "likeliest", "judged"])
    answers[likelihood_columns(EMOTIONS)] = 0.1 + 0.2 * one_hot(*answers["likeliest"])
    found = measure_cross.agreement(answers, EMOTIONS, 0)
    # Means over the two emotions, of four images and of one.
    expected = {"intended": (2 / 4 + 0) / 2, "judge": (1 / 4 + 1) / 2}
    expected |= {"intended_forced": (2 / 4 + 1) / 2, "judge_forced": (3 / 4 + 0) / 2}
    assert values(found) == pytest.approx(expected)


def test_likelihoods_of_the_two_emotions_of_a_mix():
    answers = pd.DataFrame({"p_awe": [0.5, 0.2, 0.2], "p_fear": [0.1, 0.0, 0.2], "p_anger": [0.4, 0.8, 0.6]})
    assert values(measure_cross.likelihoods(answers, "awe-fear", 0)) == pytest.approx({"awe": 0.3, "fear": 0.1})


def test_the_two_ways_are_the_sides_of_the_taxonomy_however_many_emotions_each_has():
    """Ekman's six have two positive emotions, joy and surprise, which stand apart."""
    said = np.full((3, 6), 0.1)
    said[0, EKMAN.emotions.index("joy")] = 0.5  # right
    said[1, [EKMAN.emotions.index(name) for name in ("joy", "surprise")]] = 0.3, 0.35  # surprise, on the right side
    said[2] = [0.25, 0.15, 0.15, 0.31, 0.11, 0.03]  # joy is likeliest, but the negative side is: right
    intended = np.array(["joy", "joy", "fear"])
    found = values(image_metrics.emotion_figures(said, intended, EKMAN, 0))
    assert found == {"emotion_accuracy": (1 / 2 + 0) / 2, "emotion_accuracy_two_way": 1.0}
    assert set(by_emotion(said, np.zeros(len(intended), int), intended, EKMAN, 0)) == {"joy", "fear"}
    table = confusion(said, intended, EKMAN.emotions)
    assert table.shape == (6, 6)
    assert table.loc["fear", "joy"] == table.loc["joy", "surprise"] == 1


def test_chance_follows_from_the_taxonomy():
    """Of the accuracy 1/K; of the two ways what the side with more emotions gives, whoever always says it."""
    for taxonomy, two_way in ((EMOSET, 1 / 2), (EKMAN, 4 / 6)):
        metrics = generation_metrics(taxonomy)
        assert metrics["emotion_accuracy"].chance == 1 / len(taxonomy)
        assert metrics["emotion_accuracy_two_way"].chance == two_way
        negative = np.array([[float(taxonomy.side_of(name) == "negative") for name in taxonomy.emotions]] * len(taxonomy))
        found = image_metrics.emotion_figures(negative, np.array(taxonomy.emotions), taxonomy, 0)
        assert found["emotion_accuracy_two_way"]["value"] == pytest.approx(two_way)
        assert all(metric.chance == 1 / len(taxonomy) for metric in cross_metrics(taxonomy).values())


def test_clip_says_the_nearest_text_and_a_probe_what_it_was_fitted_to(monkeypatch):
    class Cache:
        def features_of(self, network, images, what):
            return torch.from_numpy(7 * one_hot(*images["seen"])).float()

    def clip_texts(name, texts):
        assert texts == [f"an image of {emotion}" for emotion in EMOTIONS]
        return torch.eye(8)

    monkeypatch.setattr(baselines, "clip_network", lambda _: None)
    monkeypatch.setattr(baselines, "clip_texts", clip_texts)
    images = pd.DataFrame({"emotion": ["awe", "awe", "awe", "fear"], "seen": ["awe", "awe", "fear", "fear"]})
    images["image_id"] = list("abcd")

    def measured(table: pd.DataFrame) -> dict[str, float]:
        return values({name: figure_of(each, 0) for name, each in baselines.choices(table).items()})

    found = baselines.clip_answers(images, None, EMOTIONS, "clip", Cache())
    assert measured(found.pop("CLIP, zero-shot")) == pytest.approx(
        {"multiple_forced_accuracy": 3 / 4, "multiple_forced_balanced_accuracy": (2 / 3 + 1) / 2}
    )
    assert not found
    # Fitted to images of awe that look like fear, and the other way round, it says the contrary.
    train = pd.DataFrame({"emotion": EMOTIONS, "seen": EMOTIONS}).replace({"seen": {"awe": "fear", "fear": "awe"}})
    found = baselines.clip_answers(images, train, EMOTIONS, "clip", Cache())
    assert measured(found["CLIP, linear probe"]) == pytest.approx(
        {"multiple_forced_accuracy": 1 / 4, "multiple_forced_balanced_accuracy": (1 / 3 + 0) / 2}
    )


def test_a_model_is_compared_with_clip_on_the_images_that_both_have():
    clip = pd.DataFrame({"image_id": list("abcd"), "emotion": ["awe", "awe", "fear", "fear"], "said": ["awe"] * 4})
    answers = pd.DataFrame({"image_id": list("dcbx"), "kind": "multiple", "emotion": ["fear", "fear", "awe", "awe"]})
    answers[[f"p_{emotion}" for emotion in EMOTIONS]] = one_hot("fear", "awe", "awe", "awe")
    found = baselines.differences_from(clip, answers, EMOTIONS, 0)["multiple_forced_accuracy"]
    assert found["value"] == pytest.approx(2 / 3 - 1 / 3)
    assert (found["n"], found["fixed"], found["broken"], found["p"]) == (3, 1, 0, 1.0)
