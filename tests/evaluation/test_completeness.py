"""What keeps a row's figures from standing beside those of others, in words and in the row's mark."""

import pytest

from config.taxonomy import DEFAULT, read_taxonomy
from evaluation.completeness import gaps, mark, unknown_folders

EMOTIONS = read_taxonomy(DEFAULT).emotions


def emotions(**counts: int) -> list[str]:
    return [name for name in EMOTIONS for _ in range(counts.get(name, 4))]


@pytest.mark.parametrize(
    ("counts", "marked", "said"),
    [
        ({}, None, []),
        ({"awe": 8}, None, []),
        ({"sadness": 0}, "7 of 8 emotions", ["no images of sadness, so its means are over 7 of 8"]),
        ({"sadness": 0, "awe": 0}, "6 of 8 emotions", ["no images of awe, sadness"]),
        ({"awe": 1}, "pairs of 7 of 8 emotions", ["one image of awe, which makes no pair", "1 images of awe but 4"]),
        ({"awe": 9}, None, ["4 images of amusement but 9 of awe"]),
    ],
)
def test_what_a_row_lacks(counts, marked, said):
    assert mark(emotions(**counts), EMOTIONS) == marked
    found = gaps(emotions(**counts), EMOTIONS)
    assert len(found) == len(said)
    assert all(text in each for text, each in zip(said, found, strict=True))


def test_answers_make_no_pairs():
    assert mark(emotions(awe=1), EMOTIONS, pairs=False) is None
    assert not any("pair" in text for text in gaps(emotions(awe=1), EMOTIONS, pairs=False))


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("sad", "sad/ is no emotion: did you mean sadness?"),
        ("Sadnes", "Sadnes/ is no emotion: did you mean sadness?"),
        ("sadness ", "sadness / is no emotion: did you mean sadness?"),
        ("joy", "joy/ is no emotion, and was left out"),
        ("awe2", "awe2/ is no emotion, and was left out"),  # awe is there
    ],
)
def test_folders_that_are_no_emotion_are_named_with_what_may_be_meant(tmp_path, folder, said):
    for name in (*(name for name in EMOTIONS if name != "sadness"), folder, ".cache"):
        (tmp_path / name).mkdir()
    assert unknown_folders(tmp_path, EMOTIONS) == [said]


def test_an_emotions_folder_in_other_letters_is_known(tmp_path):
    (tmp_path / "AWE").mkdir()
    assert unknown_folders(tmp_path, EMOTIONS) == []
