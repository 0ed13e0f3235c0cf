"""Classes become emotions, and images get three splits."""

import shlex

import pytest
from imported_data import EMOTIONS

from config.errors import UserError
from emoset.imported_layout import Imported, emotions_of, mapping_of, split_of, with_three_splits
from emoset.labels import SPLITS


@pytest.mark.parametrize(
    ("classes", "mapping", "expected"),
    [
        (["calm", "dread", "joy"], {}, dict(calm="calm", dread="dread", joy="joy")),
        (["Calm", "DREAD", "joy"], {}, {"Calm": "calm", "DREAD": "dread", "joy": "joy"}),
        (["calm", "fear", "Happy"], dict(FEAR="dread", happy="joy"), dict(calm="calm", fear="dread", Happy="joy")),
        (["calm", "dread", "joy", "neutral"], dict(neutral=""), dict(calm="calm", dread="dread", joy="joy", neutral="")),
        (["a", "b", "c", "d"], dict(a="joy", b="joy", c="calm", d="dread"), dict(a="joy", b="joy", c="calm", d="dread")),
        (
            ["calm", "dread", "joy", "bliss"],
            dict(joy="", bliss="joy"),
            dict(calm="calm", dread="dread", joy="", bliss="joy"),
        ),
    ],
)
def test_classes_become_emotions(classes, mapping, expected):
    assert emotions_of(classes, mapping, EMOTIONS) == expected


@pytest.mark.parametrize(
    ("classes", "mapping", "message"),
    [
        (
            ["calm", "dread", "joy", "neutral"],
            {},
            r"source\.classes: neutral is not an emotion of data\.taxonomy \(calm, dread, joy\), and not mapped to one; the "
            r"source has the classes calm, dread, joy, neutral\. Map each to an emotion, such as "
            r"source\.classes='\{neutral: calm\}', or to \"\" to leave it out",
        ),
        (["calm", "x", "y"], {}, r"source\.classes: x, y are no emotions of"),
        (["calm", "dread", "joy"], dict(hapy="joy"), r"source\.classes: there is no class hapy; the source has the classes"),
        (
            ["calm", "dread", "joy"],
            dict(Joy="calm", joy="joy"),
            r"source\.classes: Joy and joy are one class, .*, and have two emotions; leave one of them out",
        ),
        (["calm", "joy"], {}, r"source\.classes: no class is mapped to dread, and the source has the classes calm, joy;"),
    ],
)
def test_classes_that_are_no_emotions(classes, mapping, message):
    with pytest.raises(UserError, match=message) as error:
        emotions_of(classes, mapping, EMOTIONS)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("{joy: calm}", {"joy": "calm"}),
        ("{0: calm, 1: joy}", {"0": "calm", "1": "joy"}),
        ("{neutral: }", {"neutral": ""}),
        ('{neutral: ""}', {"neutral": ""}),
        ("{no: joy}", {"no": "joy"}),
        ("{null: joy, 01: calm, true: dread}", {"null": "joy", "01": "calm", "true": "dread"}),
    ],
)
def test_the_mapping_as_people_write_it(settings, tmp_path, typed, expected):
    assert settings(f"source.classes={typed}").source.classes == expected
    (tmp_path / "mine.yaml").write_text(f"source: {{classes: {typed}}}")
    assert settings(f"--config={tmp_path}/mine.yaml").source.classes == expected


@pytest.mark.parametrize("name", ["joy, bliss", "a: b", "it's", '"so"', "{x}", "#1", "- no", "", "null", "0", "日本 é"])
@pytest.mark.parametrize("emotion", ["calm", ""])
def test_the_mapping_that_an_error_shows_can_be_typed(settings, name, emotion):
    (typed,) = shlex.split(mapping_of(name, emotion))
    assert settings(typed).source.classes == {name: emotion}


def test_of_many_classes_an_error_names_the_first():
    with pytest.raises(UserError, match=r"source\.classes: 000, .*, 039, \.\.\. \(900 in all\) are no emotions of") as error:
        emotions_of([f"{number:03d}" for number in range(900)], {}, EMOTIONS)
    assert len(str(error.value)) < 1000


def test_a_mapping_with_a_class_twice_is_one_line(settings):
    with pytest.raises(UserError, match=r"^command line: source\.classes: the key 'joy' stands twice in '\{joy: calm,"):
        settings("source.classes={joy: calm, joy: dread}")


def test_the_mapping_leads_to_emotions_of_the_taxonomy(settings):
    with pytest.raises(UserError, match=r"source\.classes: 'bliss' is not allowed; data\.taxonomy lists calm, dread, joy"):
        settings("source.classes={happy: bliss}")


@pytest.mark.parametrize(
    ("name", "split"), [("train", "train"), ("Validation", "val"), ("dev", "val"), ("TEST", "test"), ("extra", None)]
)
def test_names_of_splits(name, split):
    assert split_of(name) == split


def images(counts, split="train"):
    return [
        Imported(f"{emotion}_{split}_{number:03d}", emotion, split, f"image/{emotion}/{number}.jpg", "")
        for emotion, count in counts.items()
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("counts", "shares", "expected"),
    [
        (dict(calm=10, dread=20, joy=100), [0.8, 0.1, 0.1], [(8, 1, 1), (16, 2, 2), (80, 10, 10)]),
        (dict(calm=3, dread=4, joy=5), [0.8, 0.1, 0.1], [(1, 1, 1), (2, 1, 1), (3, 1, 1)]),
        (dict(calm=10, dread=10, joy=10), [0.5, 0.5, 0.0], [(5, 5, 0)] * 3),
        (dict(calm=7, dread=7, joy=7), [1.0, 0.0, 0.0], [(7, 0, 0)] * 3),
        (dict(calm=11, dread=11, joy=11), [0.34, 0.33, 0.33], [(4, 4, 3)] * 3),
    ],
)
def test_each_emotion_is_shared_out_alike(counts, shares, expected):
    splits = with_three_splits(images(counts), shares, EMOTIONS, seed=0)
    found = {emotion: [sum(each.emotion == emotion for each in splits[split]) for split in SPLITS] for emotion in EMOTIONS}
    assert [tuple(found[emotion]) for emotion in EMOTIONS] == expected
    every = [each.image_id for members in splits.values() for each in members]
    assert len(every) == len(set(every)) == sum(counts.values())
    assert all(each.split == split for split, members in splits.items() for each in members)


def test_the_seed_decides_and_the_order_does_not():
    some = images(dict(calm=20, dread=20, joy=20))
    shares = [0.8, 0.1, 0.1]
    once = with_three_splits(some, shares, EMOTIONS, 0)
    assert with_three_splits(some[::-1], shares, EMOTIONS, 0) == once
    assert with_three_splits(some, shares, EMOTIONS, 1) != once


def test_splits_of_the_source_stay_and_a_missing_one_is_drawn_from_train():
    own = images(dict(calm=8, dread=8, joy=8)) + images(dict(calm=3, dread=3, joy=3), "test")
    splits = with_three_splits(own, [0.6, 0.2, 0.2], EMOTIONS, 0)
    assert {split: len(members) for split, members in splits.items()} == {"train": 18, "val": 6, "test": 9}
    assert splits["test"] == sorted(each for each in own if each.split == "test")


@pytest.mark.parametrize(
    ("some", "split", "missing"),
    [
        (images(dict(calm=5, dread=2, joy=5)), "test", "dread"),
        (images(dict(calm=5, joy=5)), "train", "dread"),
        (images(dict(calm=5, dread=5, joy=5)) + images(dict(calm=2), "test"), "test", "dread, joy"),
    ],
)
def test_a_split_without_an_emotion(some, split, missing):
    with pytest.raises(UserError, match=rf"source: the {split} split would have no image of {missing}, and every split"):
        with_three_splits(some, [0.8, 0.1, 0.1], EMOTIONS, 0)
