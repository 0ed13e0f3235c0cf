"""What a model says of generated images, and what the taxonomy makes of it, by hand."""

import json

import numpy as np
import pandas as pd
import pytest
from hand_made import one_hot, values
from PIL import Image

from config.taxonomy import DEFAULT, read_taxonomy
from evaluation import image_metrics, measure_cross
from evaluation.columns import by_emotion, confusion
from evaluation.metric_labels import cross_metrics, generation_metrics
from runtime.built_folder import MARKER
from runtime.hub import network_digest, weights_digest
from training.image_files import save_image
from understanding.model_folder import model_recipe
from understanding.scoring import likelihood_columns

EMOSET = read_taxonomy(DEFAULT)
EKMAN = read_taxonomy("config/taxonomies/ekman6.yaml")
EMOTIONS = EMOSET.emotions


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


def test_a_model_that_trained_the_generator_or_chose_its_images_agrees_in_a_circle(tmp_path):
    """As the loop leaves them: digests in generator.json, and the score by which an image was chosen in its PNG."""
    model, generator = tmp_path / "model", tmp_path / "generator"
    for folder in (model, generator):
        folder.mkdir()
    (model / "config.json").write_text("{}")
    images = pd.DataFrame({"path": [tmp_path / "0.png"]})

    def warned(trained_with: dict, parameters: dict) -> bool:
        (generator / "generator.json").write_text(json.dumps({"trained_with": trained_with}))
        save_image(images["path"][0], Image.new("RGB", (4, 4)), parameters)
        return bool(measure_cross.circular(generator, images, str(model)))

    assert warned({"the loop's reward": network_digest(str(model))}, {})
    assert warned({}, {"score": "understanding 12ab"})
    assert not warned({"the loop's reward": "12ab"}, {"score": "encoder 12ab"})
    assert not warned({}, {})
    (generator / "mapper").mkdir()
    (generator / "mapper" / "config.json").write_text("{}")
    taught = f"Taught by 3 images of the generator {weights_digest(str(generator / 'mapper'))} and 7 real ones"
    model_recipe("key", ["Step I", taught]).finish(model / MARKER)
    assert warned({}, {})
    model_recipe("key", ["Step I", "Taught by 3 images of the generator 12ab and 7 real ones"]).finish(model / MARKER)
    assert not warned({}, {})
    assert not measure_cross.circular(None, images, str(model))


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
