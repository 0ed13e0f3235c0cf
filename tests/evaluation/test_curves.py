"""Curves of strength, of weight and of photographs, and who tells a content, by hand."""

import numpy as np
import pandas as pd
import pytest
import torch
from hand_made import one_hot, values

from config.taxonomy import DEFAULT, read_taxonomy
from emoset.labels import KINDS
from evaluation import content_judge, strength_and_weight
from evaluation.content_judge import ContentJudge, first_contents, judges_of
from evaluation.photograph_curve import photograph_curve
from evaluation.plans import STRENGTHS, WEIGHTS
from evaluation.views import Views

EMOSET = read_taxonomy(DEFAULT)
EMOTIONS, PAIRS = EMOSET.emotions, EMOSET.opposites


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


def test_a_content_is_told_in_any_spelling(monkeypatch):
    monkeypatch.setattr(content_judge, "clip_texts", lambda clip, texts: torch.eye(len(texts)))
    index = pd.DataFrame([(["old boot"], None, None, None)], columns=list(KINDS))
    judge = content_judge.load_content_judge(index, ["object"], ["Old_boot", "Cup", "alarm_clock"], "")
    assert judge.vocabulary == ("alarm clock", "cup", "old boot")
    images, one = pd.DataFrame({"content": ["alarm_clock", "Cup"]}), np.ones((2, 1))
    seen = Views(images, torch.tensor([[0.0, 0, 1], [0, 1, 0]]), one, one, torch.ones(2, 1), ("Alarm clock",), ("street",))
    assert judges_of(images["content"], seen.object_labels, ()) == {"alarm clock": "object classifier", "cup": "CLIP"}
    assert judge.shown(seen).tolist() == [True, True]


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
