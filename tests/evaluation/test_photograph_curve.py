"""Which images the curve of photographs is made of."""

import pandas as pd
import pytest
from PIL import Image

from evaluation.photograph_curve import photograph_plan

ACTING = {"strength": 0.8, "spread": 0.5}


@pytest.fixture
def real(tmp_path) -> pd.DataFrame:
    """Six images of two emotions; every third shows nothing that has a name."""
    rows = []
    for number in range(6):
        Image.new("RGB", (20, 16), (number * 40, 0, 0)).save(tmp_path / f"{number}.png")
        rows.append((f"{number}.png", ("awe", "fear")[number % 2], "" if number % 3 == 0 else "tree"))
    return pd.DataFrame(rows, columns=["image", "emotion", "content"])


def test_the_prompt_names_what_the_photograph_shows(real, tmp_path):
    plan = photograph_plan(real, tmp_path, ("awe", "fear"), 3, 10, 16, ACTING, 0)
    content_of = dict(zip(real["image"], real["content"], strict=True))
    assert {each["image"] for each in plan.values()} == set(real["image"])
    for each in plan.values():
        if content_of[each["image"]]:
            assert (each["prompt"], each["content"], each["strength"]) == ("a photo of a <emotion> <content>", "tree", 0.8)
        else:
            assert (each["prompt"], each["strength"], "content" in each) == ("<emotion>", 1.0, False)
        assert each["spread"] == 0.5


def test_photographs_are_of_other_emotions_and_start_all_strengths_alike(real, tmp_path):
    plan = photograph_plan(real, tmp_path, ("awe", "fear"), 2, 10, 16, ACTING, 0)
    emotion_of = dict(zip(real["image"], real["emotion"], strict=True))
    started = {}
    for path, each in plan.items():
        _, strength, emotion, number = path.split("/")
        assert emotion_of[each["image"]] != emotion == next(iter(each["weights"]))
        started.setdefault((emotion, number), {})[float(strength)] = (each["image"], each["seed"])
    for starts in started.values():
        assert sorted(starts) == [0.2, 0.4, 0.6, 0.8, 1.0]
        assert len({*starts.values()}) == 1
