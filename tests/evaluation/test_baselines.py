"""CLIP beside the models: zero-shot and by a linear probe."""

import pandas as pd
import pytest
import torch
from hand_made import one_hot, values

from config.taxonomy import DEFAULT, read_taxonomy
from evaluation import baselines
from runtime.figures import figure_of

EMOTIONS = read_taxonomy(DEFAULT).emotions


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
