"""Answers by phrasing, by place and by probability, on tables made by hand."""

import numpy as np
import pandas as pd

from config.taxonomy import DEFAULT, read_taxonomy
from evaluation.answers_by_question import by_phrasing, by_place, reliability
from understanding.kinds import binary, multiple

TAXONOMY = read_taxonomy(DEFAULT)
EMOTIONS = TAXONOMY.emotions


def chosen(true: str, said: str, options: tuple[str, ...], phrasing: int) -> dict:
    about = {"kind": "multiple", "image_id": "a", "emotion": true, "asked": None}
    return about | {"phrasing": phrasing, "options": list(options), "said_emotion": said}


def test_right_answers_are_counted_by_phrasing_and_by_the_place_of_the_right_option():
    first, second = EMOTIONS[:2]
    turned = EMOTIONS[::-1]
    table = pd.DataFrame(
        [
            chosen(first, first, EMOTIONS, 0),  # at place 1
            chosen(first, second, EMOTIONS, 0),
            chosen(first, first, turned, 1),  # at the last place
            chosen(second, second, EMOTIONS, 1),  # at place 2
        ]
    )
    assert {place: (each["value"], each["n"]) for place, each in by_place(table, TAXONOMY)["multiple"].items()} == {
        "1": (0.5, 2),
        "2": (1.0, 1),
        str(len(EMOTIONS)): (1.0, 1),
    }
    found = by_phrasing(table, TAXONOMY, 0)["multiple"]
    assert {text: each["value"] for text, each in found.items()} == {multiple.PHRASINGS[0]: 0.5, multiple.PHRASINGS[1]: 1.0}


def test_a_model_that_is_right_as_often_as_it_says_lies_on_the_line():
    random = np.random.default_rng(0)
    stated = random.random(4000)
    asked = np.where(random.random(4000) < stated, "awe", "fear")
    table = pd.DataFrame({"kind": "binary", "emotion": "awe", "asked": asked, "p_yes": stated})
    points = reliability(table, binary, TAXONOMY)
    assert len(points) == 8
    assert all(low - 0.02 <= mean <= high + 0.02 for mean, _, low, high in points)
    sure = reliability(table.assign(p_yes=np.round(stated)), binary, TAXONOMY)
    assert sure[0][0] < sure[0][2], "too sure of no"
    assert sure[-1][0] > sure[-1][3], "too sure of yes"
    assert reliability(table.assign(p_yes=np.nan), binary, TAXONOMY) == []
