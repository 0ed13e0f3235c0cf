"""Images, annotations and rows of lists that cannot be used: each is listed with its reason, and the rest is read."""

import json
import os
import socket
from pathlib import Path

import pandas as pd
import pytest
from changed_emoset import change_entry, first, rewrite

from config.errors import UserError


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
    "unknown emotion in the list": (change_entry(emotion="joy"), "'joy', which data.taxonomy does not list", "image"),
    "id is a path": (change_entry(image_id="../x"), "is no file name", "image"),
    "id holds a NUL": (change_entry(image_id="a\0b"), "is no file name", "image"),
    "id is no text": (change_entry(image_id="\udcff"), "surrogates not allowed", "image"),
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


@pytest.mark.parametrize("name", ["info.json", "train.json"])
def test_a_pipe_in_a_lists_place_is_not_waited_for(emoset_copy, read, name):
    _place(os.mkfifo)(emoset_copy / name)
    with pytest.raises(UserError, match=rf"{name}: cannot be read: not a file"):
        read(emoset_copy)


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
