import json
import os
import random
import re
import shutil
import socket
import time
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from config.errors import UserError
from config.loading import load
from config.taxonomy import DEFAULT, read_taxonomy
from emoset import reading
from emoset.labels import SPLITS
from emoset.reading import read_emoset, read_vocabulary

EMOTIONS = read_taxonomy(DEFAULT).emotions


@pytest.fixture
def read(tmp_path):
    """Return a function that reads a data set, by default however many problems it has."""

    def run(root, *arguments, problems_allowed=1):
        places = [f"data.emoset={root}", f"data.cache={tmp_path / 'cache'}", f"data.problems_allowed={problems_allowed}"]
        settings = load([*places, *arguments])
        return read_emoset(settings.data, tmp_path, settings.machine.processes)

    return run


def first(root, split="train"):
    """Return the first entry of a split list: emotion, id, image, annotation."""
    return json.loads((root / f"{split}.json").read_text())[0]


def rewrite(path, change):
    content = json.loads(path.read_text())
    path.write_text(json.dumps(change(content) or content))


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


def _annotation(**changes):
    return lambda root, image, label: rewrite(root / label, lambda content: content | changes)


def _text(text):
    return lambda root, image, label: (root / label).write_bytes(text)


def _folder(root, image, label):
    (root / label).unlink()
    (root / label).mkdir()


def _loop(root, image, label):
    (root / image).unlink()
    (root / image).symlink_to(root / image)


def _entry(**changes):
    def change(root, image, label):
        def rows(content):
            names = ("emotion", "image_id", "image", "annotation")
            content[0] = [changes.get(name, cell) for name, cell in zip(names, content[0], strict=True)]

        rewrite(root / "train.json", rows)

    return change


DIRT = {
    "no annotation": (lambda root, image, label: (root / label).unlink(), "no annotation", "image"),
    "no image": (lambda root, image, label: (root / image).unlink(), "cannot be read: no such file or directory", "image"),
    "truncated": (lambda root, image, label: os.truncate(root / image, 500), "truncated", "image"),
    "empty image": (lambda root, image, label: os.truncate(root / image, 0), "empty file", "image"),
    "html for image": (lambda root, image, label: (root / image).write_text("<html>"), "not an image", "image"),
    "loop of links": (_loop, "too many levels of symbolic links", "image"),
    "folder for file": (_folder, "is a directory", "image"),
    "empty annotation": (_text(b""), "not valid JSON", "image"),
    "broken annotation": (_text(b'{"emotion": '), "not valid JSON", "image"),
    "annotation not in UTF-8": (_text(b'{"emotion": "\xff"}'), "not valid JSON", "image"),
    "annotation nested too deep": (_text(b"[" * 100_000), "nested too deep", "image"),
    "annotation is a list": (_text(b"[]"), "expected a JSON object, found list", "image"),
    "another image's annotation": (_annotation(image_id="awe_99999"), "is about another image, 'awe_99999'", "image"),
    "another emotion": (_annotation(emotion="boredom"), "says 'boredom', the split list 'amusement'", "image"),
    "unknown object": (_annotation(object=["Balloon", "Gizmo"]), "object 'Gizmo' is not in info.json", "label"),
    "object is a number": (_annotation(object=[7]), "object 7 is not in info.json", "label"),
    "unknown scene": (_annotation(scene="moon base"), "scene 'moon base' is not in info.json", "label"),
    "two scenes": (_annotation(scene=["park", "beach"]), "expected one label", "label"),
    "brightness as text": (_annotation(brightness="high"), "brightness is 'high', expected 0 to 1", "label"),
    "brightness too high": (_annotation(brightness=7), "brightness is 7, expected 0 to 1", "label"),
    "unknown emotion in the list": (_entry(emotion="joy"), "'joy', which data.taxonomy does not list", "image"),
    "id is a path": (_entry(image_id="../x"), "is no file name", "image"),
    "id holds a NUL": (_entry(image_id="a\0b"), "is no file name", "image"),
    "id is no text": (_entry(image_id="\udcff"), "surrogates not allowed", "image"),
}


@pytest.mark.parametrize("name", DIRT)
def test_dirt_is_listed_and_the_rest_read(emoset_copy, read, tmp_path, name):
    dirty, reason, left_out = DIRT[name]
    _, image_id, image, label = first(emoset_copy)
    dirty(emoset_copy, image, label)
    emoset = read(emoset_copy)
    problem = emoset.problems.iloc[0]
    assert reason in problem["problem"]
    assert problem["left_out"] == left_out
    assert len(emoset.index) == 400 - (left_out == "image")
    assert (image_id in set(emoset.index["image_id"])) == (left_out != "image")
    listed = pd.read_csv(tmp_path / "problems.csv")
    assert list(listed.columns) == ["image_id", "file", "problem", "left_out"]
    assert listed["problem"].str.contains(reason, regex=False).any()


def _place(make):
    """Return what puts something else in a file's place."""

    def change(path):
        path.unlink()
        make(path)

    return change


def _socket(path):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(path))


IN_A_FILES_PLACE = {
    "not a file, but a pipe": _place(os.mkfifo),
    "not a file, but a pipe, a socket": _place(_socket),
    "not a file, but a pipe, a socket or a device": _place(lambda path: path.symlink_to("/dev/zero")),
    "is a directory": _place(Path.mkdir),
}
PATHS = {
    "/etc/passwd": "it is absolute",
    "\\\\server\\image\\a.jpg": "it is absolute",
    "C:\\EmoSet\\image\\a.jpg": "it begins with the drive C:",
    "d:/image/a.jpg": "it begins with the drive d:",
    "./../image/a.jpg": "it leaves the data set by ..",
    "image\\..\\..\\a.jpg": "it leaves the data set by ..",
    "info.json": "it begins with neither",
    "": "it begins with neither",
    "image/a\0.jpg": "its path holds a NUL character",
}
ROWS = [["awe"], "awe", None, 3, {"emotion": "awe"}, ["awe", None, "image/a.jpg", "annotation/a.json"], ["awe"] * 5, []]


def test_whatever_stands_in_a_files_place_or_in_a_list_is_listed_with_its_own_reason(emoset_copy, read, monkeypatch):
    monkeypatch.chdir(emoset_copy)  # a socket's path must be short
    entries, wanted = json.loads((emoset_copy / "train.json").read_text()), {}
    faulty = iter(entries)
    for reason, put in IN_A_FILES_PLACE.items():
        for column in (2, 3):
            entry = next(faulty)
            put(emoset_copy / entry[column])
            wanted[entry[1]] = reason
    for path, reason in PATHS.items():
        for column in (2, 3):
            entry = next(faulty)
            entry[column], wanted[entry[1]] = path, reason
    broken_link = next(faulty)
    _place(lambda path: path.symlink_to("nowhere"))(emoset_copy / broken_link[2])
    wanted[broken_link[1]] = "no such file"
    (emoset_copy / "train.json").write_text(json.dumps([*ROWS, *entries]))
    emoset = read(emoset_copy)
    assert len(emoset.index) == 400 - len(wanted)
    assert emoset.listed == 400 + len(ROWS)
    left_out = emoset.problems.query("left_out == 'image'").set_index("image_id")["problem"]
    assert len(left_out) == len(wanted) + len(ROWS)
    for image_id, reason in wanted.items():
        assert reason in left_out[image_id]
        assert "JSON" not in left_out[image_id]
    assert left_out["train, entry 0"] == 'expected [emotion, image id, image path, annotation path], found ["awe"]'
    assert left_out["train, entry 2"].endswith("found null")
    with pytest.raises(UserError, match=r"35 of 408 images have problems"):
        read(emoset_copy, problems_allowed=0.01)


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


@pytest.mark.parametrize("name", ["info.json", "train.json"])
def test_a_pipe_in_a_lists_place_is_not_waited_for(emoset_copy, read, name):
    _place(os.mkfifo)(emoset_copy / name)
    with pytest.raises(UserError, match=rf"{name}: cannot be read: not a file"):
        read(emoset_copy)


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
    _entry(image_id=name, image=f"image/{emotion}/{name}.jpg", annotation=f"annotation/{emotion}/{name}.json")(
        emoset_copy, "", ""
    )
    emoset = read(emoset_copy)
    assert emoset.problems.empty
    assert name in set(emoset.index["image_id"])


def test_files_that_no_list_names_are_listed(emoset_copy, read):
    (emoset_copy / "image/awe/stray.jpg").write_bytes(b"x")
    (emoset_copy / "annotation/awe/lonely.json").write_text("{}")
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._stray.jpg"):
        (emoset_copy / "image/awe" / name).write_bytes(b"x")
    problems = read(emoset_copy).problems
    assert sorted(problems["file"]) == ["annotation/awe/lonely.json", "image/awe/stray.jpg"]
    assert set(problems["problem"]) == {"in no split list"}


def test_file_names_that_are_no_text(emoset_copy, read, tmp_path):
    with open(os.fsencode(emoset_copy) + b"/image/awe/\xff\xfe.jpg", "wb"):
        pass
    assert len(read(emoset_copy).problems) == 1
    assert "in no split list" in (tmp_path / "problems.csv").read_text()


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


def test_too_many_problems_end_the_run_with_the_counts(emoset_copy, read, tmp_path):
    for path in list(emoset_copy.glob("image/fear/*.jpg"))[:6]:
        os.truncate(path, 0)
    assert len(read(emoset_copy, problems_allowed=0.015).index) == 394
    with pytest.raises(
        UserError, match=r"6 of 400 images have problems \(1\.5%, .* 1\.0%\): 6 x empty file\. problems\.csv"
    ):
        read(emoset_copy, problems_allowed=0.01)
    assert len(pd.read_csv(tmp_path / "problems.csv")) == 6


# --- a wrong folder --------------------------------------------------------------------------------------------------


def test_no_folder(read, tmp_path):
    with pytest.raises(UserError, match=r"data\.emoset: no folder .*nowhere; set it to EmoSet's folder"):
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


def test_the_cache_serves_until_something_changes(emoset_copy, read, monkeypatch, tmp_path):
    before = read(emoset_copy)
    with monkeypatch.context() as patch:
        patch.setattr("emoset.reading._read", None)  # a second reading would raise
        again = read(emoset_copy)
    pd.testing.assert_frame_equal(before.index, again.index)
    assert before.fingerprint == again.fingerprint

    _, image_id, image, label = first(emoset_copy)
    rewrite(emoset_copy / label, lambda content: content | {"scene": "park"})
    os.utime(emoset_copy / label, ns=(0, time.time_ns() + 1))
    changed = read(emoset_copy)
    assert changed.fingerprint != before.fingerprint
    assert changed.index.set_index("image_id").loc[image_id, "scene"] == "park"

    Image.new("RGB", (50, 20)).save(emoset_copy / image)
    assert read(emoset_copy).index.set_index("image_id").loc[image_id, "width"] == 50


def test_other_layouts_below_image_are_read_and_watched(emoset_copy, read):
    moved = {}
    for path in list(emoset_copy.glob("image/*/*.jpg")):
        place = emoset_copy / "image/all/of/them" / path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        path.rename(place)
        moved[str(path.relative_to(emoset_copy))] = str(place.relative_to(emoset_copy))
    for split in SPLITS:
        rewrite(emoset_copy / f"{split}.json", lambda rows: [[*row[:2], moved[row[2]], row[3]] for row in rows])
    before = read(emoset_copy)
    assert before.problems.empty
    os.truncate(emoset_copy / moved[next(iter(moved))], 0)
    assert len(read(emoset_copy).index) == len(before.index) - 1


def test_permissions_that_were_mended_are_noticed(emoset_copy, read):
    label = emoset_copy / first(emoset_copy)[3]
    before = read(emoset_copy).fingerprint
    label.chmod(0o400)
    assert read(emoset_copy).fingerprint != before


def test_a_damaged_cache_is_read_anew(emoset_copy, read, tmp_path):
    before = read(emoset_copy)
    (cached,) = (tmp_path / "cache").glob("index-*")
    sound, rng = cached.read_bytes(), random.Random(0)
    for damage in ("cut off", "flipped"):
        content = bytearray(sound[:100] if damage == "cut off" else sound)
        for place in rng.sample(range(len(content)), 0 if damage == "cut off" else 200):
            content[place] ^= 255
        cached.write_bytes(content)
        pd.testing.assert_frame_equal(read(emoset_copy).index, before.index)
        assert cached.read_bytes() == sound


def test_no_damage_to_the_cache_goes_unseen(drawn, read, tmp_path):
    before = read(drawn)
    (cached,) = (tmp_path / "cache").glob("index-*")
    sound, rng = cached.read_bytes(), random.Random(0)
    for _ in range(300):
        content = bytearray(sound)
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        cached.write_bytes(content)
        found = reading._load(cached, before.fingerprint)
        if found is not None:  # a byte that nothing is read from
            pd.testing.assert_frame_equal(found.index, before.index)
            assert (found.listed, len(found.problems)) == (400, 0)


def test_decoding_changes_the_fingerprint_only_where_it_finds_something(emoset_copy, read):
    assert read(emoset_copy).fingerprint == read(emoset_copy, "data.decode=false").fingerprint
    image = emoset_copy / first(emoset_copy)[2]
    content = bytearray(image.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 2] = b"\xff\xd8"
    image.write_bytes(content)
    decoded, seen = read(emoset_copy), read(emoset_copy, "data.decode=false")
    assert [len(each.index) for each in (decoded, seen)] == [399, 400]
    assert decoded.fingerprint != seen.fingerprint


def test_a_check_reads_and_writes_nothing(drawn, tmp_path):
    data = load([f"data.emoset={drawn}", f"data.cache={tmp_path}/cache"]).data
    assert len(read_emoset(data, tmp_path / "run", 1, check=True).index) == 400
    assert not list(tmp_path.iterdir())


def test_problems_are_kept_with_the_cache(emoset_copy, read, tmp_path):
    os.truncate(emoset_copy / first(emoset_copy)[2], 0)
    before = read(emoset_copy).problems
    (tmp_path / "problems.csv").unlink()
    pd.testing.assert_frame_equal(read(emoset_copy).problems, before)
    assert (tmp_path / "problems.csv").exists()
