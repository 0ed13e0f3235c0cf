"""EmoSet is read in every layout that people have it in, and what is no EmoSet is one line."""

import json
import re
import shutil

import pandas as pd
import pytest
from changed_emoset import change_entry, first, rewrite

from config.errors import UserError
from config.taxonomy import DEFAULT, read_taxonomy
from emoset.labels import SPLITS
from emoset.reading import read_vocabulary

EMOTIONS = read_taxonomy(DEFAULT).emotions


def test_a_clean_set_is_read_whole(drawn, read):
    emoset = read(drawn)
    assert len(emoset.index) == emoset.listed == 400
    assert emoset.problems.empty
    assert set(emoset.index["emotion"]) == set(EMOTIONS)
    assert emoset.index["image_id"].is_monotonic_increasing
    annotations = {path.stem: json.loads(path.read_text()) for path in drawn.glob("annotation/*/*.json")}
    for row in emoset.index.itertuples():
        annotation = annotations[row.image_id]
        assert row.emotion == annotation["emotion"]
        assert row.brightness == pytest.approx(annotation["brightness"])
        assert row.colorfulness == pytest.approx(annotation["colorfulness"])
        assert (row.width, row.height) == (32, 32)
        for kind in ("scene", "facial_expression", "human_action"):
            expected = annotation.get(kind)
            found = getattr(row, kind)
            assert pd.isna(found) if expected is None else found == expected.strip().replace("_", " ")
        assert (list(row.object) if row.object is not None else None) == (
            [annotation["object"][0].lower()] if "object" in annotation else None
        )
    for split in SPLITS:
        assert set(emoset.index.query("split == @split")["image_id"]) == {
            e[1] for e in json.loads((drawn / f"{split}.json").read_text())
        }


def test_one_worker_and_two_read_the_same(drawn, read, tmp_path):
    one = read(drawn, "machine.processes=1")
    two = read(drawn, "machine.processes=2", f"data.cache={tmp_path / 'other'}")
    pd.testing.assert_frame_equal(one.index, two.index)
    assert one.fingerprint == two.fingerprint


def test_lists_of_three_columns_are_read_too(emoset_copy, read):
    for split in SPLITS:
        rewrite(emoset_copy / f"{split}.json", lambda rows: [[emotion, image, label] for emotion, _, image, label in rows])
    assert len(read(emoset_copy).index) == 400


# --- other people's data -----------------------------------------------------------------------------------------------


def as_ekman6(root):
    """Make an EmoSet with six emotions of a drawn one, whose images keep their ids."""
    names = dict(anger="anger", disgust="disgust", fear="fear", amusement="joy", sadness="sadness", awe="surprise")
    vocabulary = {"label2idx": {name: number for number, name in enumerate(sorted(names.values()))}}
    rewrite(root / "info.json", lambda info: info | {"emotion": vocabulary})
    for split in SPLITS:
        rewrite(root / f"{split}.json", lambda rows: [[names[row[0]], *row[1:]] for row in rows if row[0] in names])
    for path in root.glob("annotation/*/*.json"):
        rewrite(path, lambda content: content | {"emotion": names.get(content["emotion"], content["emotion"])})


def test_six_emotions(emoset_copy, read):
    as_ekman6(emoset_copy)
    emoset = read(emoset_copy, "data.taxonomy=config/taxonomies/ekman6.yaml")
    assert set(emoset.index["emotion"]) == {"anger", "disgust", "fear", "joy", "sadness", "surprise"}
    assert len(emoset.index) == emoset.listed > 250
    assert set(emoset.problems["left_out"]) == {"nothing"}  # the images of the other two are in no list
    with pytest.raises(UserError, match=r"its emotions are anger, .*; name the taxonomy of this data set: data\.taxonomy="):
        read(emoset_copy)


def test_without_annotations(emoset_copy, read):
    shutil.rmtree(emoset_copy / "annotation")
    rewrite(emoset_copy / "info.json", lambda info: {"emotion": info["emotion"]})
    emoset = read(emoset_copy, problems_allowed=0)
    assert len(emoset.index) == 400
    assert emoset.problems.empty
    assert emoset.index[["brightness", "object", "scene", "facial_expression", "human_action"]].isna().all(axis=None)
    assert set(emoset.index["width"]) == {32}


def test_annotations_without_attributes(emoset_copy, read):
    for path in emoset_copy.glob("annotation/*/*.json"):
        rewrite(path, lambda content: {name: content[name] for name in ("image_id", "emotion")})
    emoset = read(emoset_copy, problems_allowed=0)
    assert len(emoset.index) == 400
    assert emoset.index[["object", "scene"]].isna().all(axis=None)


# --- dirty data: (what is done to the first training image, the reason listed, what is left out) ---------------------


@pytest.mark.parametrize("columns", [3, 4])
def test_lists_of_windows_name_the_same_images(emoset_copy, drawn, read, columns):
    def of_windows(rows):
        rows = [[emotion, name, *(path.replace("/", "\\") for path in paths)] for emotion, name, *paths in rows]
        return rows if columns == 4 else [[row[0], *row[2:]] for row in rows]

    for split in SPLITS:
        rewrite(emoset_copy / f"{split}.json", of_windows)
    emoset = read(emoset_copy, problems_allowed=0)
    assert emoset.problems.empty
    pd.testing.assert_frame_equal(emoset.index, read(drawn).index)


@pytest.mark.parametrize(
    ("changes", "column", "expected"),
    [
        ({"object": ["BALLOON", "ice_cream", "Balloon"]}, "object", ["balloon", "ice cream"]),
        ({"object": "Balloon"}, "object", ["balloon"]),
        ({"scene": "Mountain Snowy"}, "scene", "mountain snowy"),
        ({"scene": ["park"]}, "scene", "park"),
        ({"emotion": "Amusement"}, "emotion", "amusement"),
        ({"brightness": 1}, "brightness", 1.0),
        ({"colour": "unknown keys are ignored"}, "emotion", "amusement"),
    ],
)
def test_what_people_write_differently_is_read_rightly(emoset_copy, read, changes, column, expected):
    _, image_id, _, label = first(emoset_copy)
    rewrite(emoset_copy / label, lambda content: content | changes)
    emoset = read(emoset_copy)
    assert emoset.problems.empty
    value = emoset.index.set_index("image_id").loc[image_id, column]
    assert (list(value) if column == "object" else value) == expected


def test_names_with_spaces_and_non_ascii(emoset_copy, read):
    emotion, _, image, label = first(emoset_copy)
    name = "amusement día 1 日本"
    (emoset_copy / image).rename(emoset_copy / f"image/{emotion}/{name}.jpg")
    rewrite(emoset_copy / label, lambda content: content | {"image_id": name})
    (emoset_copy / label).rename(emoset_copy / f"annotation/{emotion}/{name}.json")
    change_entry(image_id=name, image=f"image/{emotion}/{name}.jpg", annotation=f"annotation/{emotion}/{name}.json")(
        emoset_copy, "", ""
    )
    emoset = read(emoset_copy)
    assert emoset.problems.empty
    assert name in set(emoset.index["image_id"])


def test_listed_twice_counts_once(emoset_copy, read):
    rewrite(emoset_copy / "val.json", lambda rows: [*rows, rows[0]])
    emoset = read(emoset_copy)
    assert list(emoset.problems["problem"]) == ["listed twice in val.json"]
    assert len(emoset.index) == emoset.listed == 400


def test_an_id_in_two_splits_ends_the_run(emoset_copy, read):
    entry = first(emoset_copy, "train")
    rewrite(emoset_copy / "test.json", lambda rows: [*rows, entry])
    with pytest.raises(UserError, match=rf"test\.json: {entry[1]} \(.*\) is in train\.json too"):
        read(emoset_copy)


def test_an_image_in_two_splits_under_two_ids_ends_the_run(emoset_copy, read):
    emotion, _, image, label = first(emoset_copy, "train")
    rewrite(emoset_copy / "test.json", lambda rows: [*rows, [emotion, "another_id", image, label]])
    with pytest.raises(UserError, match=rf"test\.json: another_id \({image}\) is in train\.json too"):
        read(emoset_copy)


def test_an_id_of_two_images(emoset_copy, read):
    entry, other = json.loads((emoset_copy / "train.json").read_text())[:2]
    rewrite(emoset_copy / "train.json", lambda rows: [row if row != other else [row[0], entry[1], *row[2:]] for row in rows])
    problems = read(emoset_copy).problems
    assert problems["problem"].iloc[0] == f"its id is that of {entry[2]}"
    assert problems["left_out"].iloc[0] == "image"
    assert list(problems["file"].iloc[1:]) == [other[3], other[2]]  # in no list now


def test_lists_of_a_part_can_be_used(emoset_copy, read):
    for split in SPLITS:
        rewrite(emoset_copy / f"{split}.json", lambda rows: rows[::3])
    emoset = read(emoset_copy, problems_allowed=0)
    assert 130 <= len(emoset.index) == emoset.listed <= 136
    assert set(emoset.problems["left_out"]) == {"nothing"}


def test_no_folder(read, tmp_path):
    with pytest.raises(UserError, match=r"data\.emoset: no folder .*nowhere; set it to the folder that"):
        read(tmp_path / "nowhere")


@pytest.mark.parametrize("below", [True, False])
def test_the_folder_above_or_below_is_recognised(emoset_copy, read, below):
    root = emoset_copy / "image" if below else emoset_copy.parent
    with pytest.raises(UserError, match=r"is not EmoSet: no info\.json, .*; found .*EmoSet looks like EmoSet"):
        read(root)


def test_another_folder(read, tmp_path):
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "beach.jpg").touch()
    with pytest.raises(UserError, match=r"is not EmoSet: no info\.json, train\.json, .*image; found beach\.jpg$"):
        read(tmp_path / "holiday")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.json", "[", "not valid JSON"),
        ("train.json", "{}", "expected a JSON list, found dict"),
        ("info.json", "[]", "expected a JSON dict, found list"),
        ("info.json", "{}", "not in EmoSet's layout: KeyError 'emotion'"),
        ("info.json", '{"emotion": {"label2idx": 3}}', "not in EmoSet's layout: AttributeError"),
    ],
)
def test_broken_lists(emoset_copy, read, name, content, message):
    (emoset_copy / name).write_text(content)
    with pytest.raises(UserError, match=rf"{name}: {message}"):
        read(emoset_copy)


def test_a_folder_where_a_list_should_be(emoset_copy, read):
    (emoset_copy / "val.json").unlink()
    (emoset_copy / "val.json").mkdir()
    with pytest.raises(UserError, match=r"val\.json: cannot be read: Is a directory"):
        read(emoset_copy)


def test_other_emotions_than_those_of_the_taxonomy(emoset_copy, read):
    rewrite(emoset_copy / "info.json", lambda info: info["emotion"]["label2idx"].update(amusement=1, awe=0))
    with pytest.raises(UserError) as error:
        read(emoset_copy)
    assert re.fullmatch(
        r".*info\.json: its emotions are awe, amusement, contentment, .*, and data\.taxonomy lists amusement, awe, .*;"
        r" name the taxonomy of this data set: data\.taxonomy=file\.yaml",
        str(error.value),
    )


def test_the_published_vocabulary(published):
    vocabulary = read_vocabulary(published, EMOTIONS)
    assert {kind: len(names) for kind, names in vocabulary.items()} == {
        "object": 409,
        "scene": 254,
        "facial_expression": 6,
        "human_action": 264,
    }


# --- the cache -------------------------------------------------------------------------------------------------------
