"""Other people's data in EmoSet's layout: from a folder of classes, and from Parquet files."""

import csv
import json
import os
import shutil
from collections import Counter
from io import BytesIO

import datasets
import pandas as pd
import pytest
from PIL import Image

from config.errors import UserError
from config.loading import load
from config.taxonomy import read_taxonomy
from emoset import class_folders, dataset_rows, import_folder
from emoset.images import check_image
from emoset.imported_layout import Imported, emotions_of, split_of, with_three_splits
from emoset.labels import SPLITS
from emoset.model_card import about_data
from emoset.reading import read_emoset
from runtime.built_folder import MARKER
from runtime.recipe import read_recipe
from runtime.run_folder import log

EMOTIONS = ("calm", "dread", "joy")


@pytest.fixture
def taxonomy(tmp_path):
    path = tmp_path / "three.yaml"
    sides = dict(calm="positive", dread="negative", joy="positive")
    path.write_text("".join(f'{name}: {{side: {side}, colour: "#112233"}}\n' for name, side in sides.items()))
    return path


@pytest.fixture
def settings(tmp_path, taxonomy):
    """Return a function that reads the settings of an import into tmp_path/data."""

    def read(*arguments):
        places = [f"data.emoset={tmp_path}/data", f"run={tmp_path}/run", f"data.cache={tmp_path}/cache"]
        return load([*places, f"data.taxonomy={taxonomy}", "machine.processes=1", *map(str, arguments)])

    return read


@pytest.fixture
def bring(settings, tmp_path):
    """Return a function that imports a data set in this process, and gives what it logged."""

    def run(*arguments):
        path = tmp_path / "run/import/log.txt"
        before = path.read_text() if path.exists() else ""
        import_folder.main(settings(*arguments))
        return path.read_text()[len(before) :]

    yield run
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()


def encoded(colour=0, kind="JPEG"):
    file = BytesIO()
    Image.new("RGB", (12, 8), (colour % 256, 90, 30)).save(file, kind)
    return file.getvalue()


def photos(root, counts=None, splits=("",), suffix=".jpg"):
    """Make a folder of classes with so many images each; return it."""
    colour = 0
    for split in splits:
        for name, count in (counts or dict(calm=10, dread=10, Joy=12)).items():
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                colour += 1
                (root / split / name / f"{number:02d}{suffix}").write_bytes(encoded(colour))
    return root


def lists(tmp_path):
    return {split: json.loads((tmp_path / f"data/{split}.json").read_text()) for split in SPLITS}


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def sizes(tmp_path):
    return {split: dict(Counter(row[0] for row in rows)) for split, rows in lists(tmp_path).items()}


# --- classes and splits ------------------------------------------------------------------------------------------------


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
    ],
)
def test_the_mapping_as_people_write_it(settings, typed, expected):
    assert settings(f"source.classes={typed}").source.classes == expected


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


# --- a folder of classes -----------------------------------------------------------------------------------------------


def test_a_folder_of_classes_becomes_emosets_layout(bring, tmp_path, settings):
    root = photos(tmp_path / "photos")
    shown = bring(f"source.folder={root}")
    assert "imported data set: 32 images (26 train, 3 val, 3 test); 10 calm, 10 dread, 12 joy" in shown
    assert "the images are links (hard); the licence is not stated by the data set" in shown
    vocabulary = json.loads((tmp_path / "data/info.json").read_text())["emotion"]
    assert vocabulary["label2idx"] == dict(calm=0, dread=1, joy=2)
    assert vocabulary["idx2label"] == {"0": "calm", "1": "dread", "2": "joy"}
    assert ["joy", "Joy_03", "image/joy/Joy_03.jpg", "annotation/joy/Joy_03.json"] in [
        row for rows in lists(tmp_path).values() for row in rows
    ]
    assert os.path.samefile(tmp_path / "data/image/joy/Joy_03.jpg", root / "Joy/03.jpg")
    assert not (tmp_path / "data/annotation").exists()
    emoset = read_emoset(settings().data, tmp_path, 1)
    assert len(emoset.index) == 32
    assert emoset.problems.empty
    with (tmp_path / "data/imported.csv").open() as file:
        rows = {row["image_id"]: row for row in csv.DictReader(file)}
    assert rows["Joy_03"]["source"] == "Joy/03.jpg"
    about = about_data(tmp_path / "data", read_taxonomy(settings().data.taxonomy.path))
    assert about["data"] == "the images of photos"
    assert "The terms of its data: not stated by the data set." in about["limits"]


def test_a_second_run_changes_nothing_and_a_changed_setting_is_named(bring, tmp_path):
    root = photos(tmp_path / "photos")
    bring(f"source.folder={root}")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*")}
    assert "nothing has changed" in bring(f"source.folder={root}")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*")} == before
    shown = bring(f"source.folder={root}", "source.shares=0.5,0.3,0.2")
    assert "imported data set: source.shares [0.8, 0.1, 0.1] → [0.5, 0.3, 0.2]; the data are the same" in shown
    assert sizes(tmp_path)["train"] == dict(calm=5, dread=5, joy=6)
    (root / "calm/new.jpg").write_bytes(encoded())
    assert "imported data set: changed: files" in bring(f"source.folder={root}", "source.shares=0.5,0.3,0.2")
    assert sorted(path.name for path in tmp_path.glob("*data*")) == [".data.lock", "data"]


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        (("train", "val", "test"), dict(train=9, val=9, test=9)),
        (("Train", "validation", "TEST"), dict(train=9, val=9, test=9)),
        (("train", "valid", "test"), dict(train=9, val=9, test=9)),
        (("train", "test"), dict(train=6, val=3, test=9)),
        (("train",), dict(train=3, val=3, test=3)),
    ],
)
def test_split_folders_of_its_own(bring, tmp_path, splits, expected):
    photos(tmp_path / "photos", dict(calm=3, dread=3, joy=3), splits)
    (tmp_path / "photos/unlabelled").mkdir()
    shown = bring(f"source.folder={tmp_path}/photos")
    assert {split: len(rows) for split, rows in lists(tmp_path).items()} == expected
    assert "left out: unlabelled, for photos has a folder for each split" in shown


def test_a_class_may_be_called_test(bring, tmp_path):
    photos(tmp_path / "photos", dict(calm=3, test=3, joy=3))
    bring(f"source.folder={tmp_path}/photos", "source.classes={test: dread}")
    assert sizes(tmp_path)["train"] == dict(calm=1, dread=1, joy=1)


def test_broken_images_are_left_out_and_named(bring, tmp_path):
    root = photos(tmp_path / "photos")
    (root / "calm/00.jpg").write_bytes(b"")
    (root / "Joy/01.jpg").write_text("<html>")
    os.truncate(root / "dread/02.jpg", 100)
    (root / "dread/._03.jpg").write_bytes(b"what a desktop leaves behind")
    (root / "dread/notes.txt").write_text("no image")
    shown = bring(f"source.folder={root}")
    assert "3 images cannot be used and are left out (problems.csv): Joy/01.jpg (not an image), calm/00.jpg (empty" in shown
    assert len(pd.read_csv(tmp_path / "run/import/problems.csv")) == 3
    assert "29 images" in shown


def test_names_that_would_be_one_id_stay_apart(bring, tmp_path, settings):
    root = photos(tmp_path / "photos")
    for name in ("calm/a/b.jpg", "calm/a_b.JPG", "calm/a_b.png", "calm/日本 é.jpg", f"calm/{'long' * 55}.jpg"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(encoded())
    bring(f"source.folder={root}")
    emoset = read_emoset(settings().data, tmp_path, 1)
    assert len(emoset.index) == 37
    assert emoset.problems.empty
    assert {"calm_a_b", "calm_a_b_2", "calm_a_b_3", "calm_日本 é"} <= set(emoset.index["image_id"])
    assert max(map(len, emoset.index["image_id"])) < 100


@pytest.mark.parametrize("link", ["symbolic", "copy"])
def test_other_links(bring, tmp_path, link, settings):
    photos(tmp_path / "photos")
    assert f"the images are links ({link})" in bring(f"source.folder={tmp_path}/photos", f"data.link={link}")
    image = tmp_path / "data/image/joy/Joy_03.jpg"
    assert image.is_symlink() == (link == "symbolic")
    assert image.read_bytes() == (tmp_path / "photos/Joy/03.jpg").read_bytes()
    assert read_emoset(settings().data, tmp_path, 1).problems.empty


def test_the_order_of_the_disk_changes_nothing(bring, tmp_path, monkeypatch):
    root = photos(tmp_path / "photos")
    bring(f"source.folder={root}")
    before = contents(tmp_path / "data")
    shutil.rmtree(tmp_path / "data")
    walk = os.walk
    monkeypatch.setattr(class_folders.os, "walk", lambda top: [(a, b[::-1], sorted(c)[::-1]) for a, b, c in walk(top)])
    bring(f"source.folder={root}")
    assert contents(tmp_path / "data") == before


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (lambda root: None, ["source.folder={}"], r"source\.folder: no folder .*photos"),
        (
            lambda root: root.mkdir(),
            ["source.folder={}"],
            r"source\.folder: .*photos has no folders of classes, .* found nothing",
        ),
        (
            lambda root: photos(root).joinpath("anger").mkdir(),
            ["source.folder={}"],
            "source.classes: anger is not an emotion",
        ),
        (
            lambda root: photos(root, dict(calm=3, dread=3, joy=0)),
            ["source.folder={}"],
            r"source\.folder: joy has no images, .* leave it out: source\.classes='\{joy: \"\"\}'",
        ),
        (
            lambda root: photos(root, dict(calm=3, dread=2, joy=3)),
            ["source.folder={}"],
            "test split would have no image of dread",
        ),
        (
            lambda root: photos(root, dict(calm=3, dread=3, joy=3), ("train", "val", "valid")),
            ["source.folder={}"],
            "more than one val split: val, valid",
        ),
        (photos, [], r"source: set source\.folder to a folder of classes, or source\.dataset .* not both"),
        (photos, ["source.folder={}", "source.dataset=x"], "and not both"),
        (photos, ["source.folder={}", "data.emoset={}/new"], r"data\.emoset: .* and source\.folder: .* overlap"),
    ],
)
def test_what_cannot_be_imported_gets_one_line(bring, tmp_path, make, arguments, message):
    root = tmp_path / "photos"
    make(root)
    with pytest.raises(UserError, match=message) as error:
        bring(*(argument.format(root) for argument in arguments))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "data").exists()


def test_images_that_are_all_broken(bring, tmp_path):
    root = photos(tmp_path / "photos", dict(calm=3, dread=3, joy=3))
    for path in root.glob("joy/*"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match="the train split would have no image of joy"):
        bring(f"source.folder={root}")


@pytest.mark.parametrize("what", ["foreign", "of an earlier version", "drawn"])
def test_what_stands_there_is_never_overwritten(bring, tmp_path, script, what):
    root, place = photos(tmp_path / "photos"), tmp_path / "data"
    if what == "drawn":
        script("demo/draw.py", f"data.emoset={place}", f"run={tmp_path}/run", "drawn.images=80", "drawn.size=32")
    else:
        place.mkdir()
        (place / (".built.json" if what == "of an earlier version" else "thesis.txt")).write_text("{}")
    before = contents(place)
    with pytest.raises(UserError, match=r"data (exists and was not|was) built by"):
        bring(f"source.folder={root}")
    assert contents(place) == before


# --- Parquet files -----------------------------------------------------------------------------------------------------


def rows(count=15, kinds=("JPEG", "PNG")):
    """Return rows of a data set: bytes, and a number for the class."""
    return [(encoded(3 * number, kinds[number % len(kinds)]), number % 3) for number in range(count)]


def parquet(folder, table=None, form="classes", names=("calm", "dread", "joy"), image="image", label="label"):
    """Write Parquet files as `datasets` does, one for each split of `table`; return the folder."""
    folder.mkdir()
    for split, content in (table or {"train": rows()}).items():
        images = [{"bytes": stored, "path": None} for stored, _ in content]
        if form == "classes":
            kind, labels = datasets.ClassLabel(names=list(names)), [number for _, number in content]
        else:
            kind = datasets.Value("string" if form == "names" else "int64")
            labels = [number if form == "numbers" or number is None else names[number] for _, number in content]
        features = datasets.Features({image: datasets.Image(), label: kind, "more": datasets.Value("int64")})
        columns = {image: images, label: labels, "more": list(range(len(content)))}
        datasets.Dataset.from_dict(columns, features).to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return folder


@pytest.fixture(autouse=True)
def quiet():
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


@pytest.mark.parametrize("form", ["classes", "names", "numbers"])
def test_parquet_files_become_emosets_layout(bring, tmp_path, settings, form):
    source = parquet(tmp_path / "parquet", form=form)
    (source / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n# Faces\n")
    mapping = ["source.classes={0: calm, 1: dread, 2: joy}"] if form == "numbers" else []
    shown = bring(f"source.dataset={source}", *mapping)
    assert "importing parquet; its licence: cc-by-4.0" in shown
    assert "imported data set: 15 images (9 train, 3 val, 3 test); 5 calm, 5 dread, 5 joy" in shown
    emoset = read_emoset(settings().data, tmp_path, 1)
    assert len(emoset.index) == 15
    assert emoset.problems.empty
    written = {path.name: path.read_bytes() for path in (tmp_path / "data/image").rglob("*.*")}
    expected = {f"train_{number:06d}{('.jpg', '.png')[number % 2]}": stored for number, (stored, _) in enumerate(rows())}
    assert written == expected  # the bytes as they were
    assert not (tmp_path / "data/journals").exists()
    assert read_recipe(tmp_path / "data" / MARKER)["inputs"]["licence"] == "cc-by-4.0"
    limits = about_data(tmp_path / "data", settings().data.taxonomy)["limits"]
    assert "The terms of its data: cc-by-4.0." in limits
    assert "nothing has changed" in bring(f"source.dataset={source}", *mapping)
    assert "imported data set: seed 0 → 1; the data are the same" in bring(f"source.dataset={source}", *mapping, "seed=1")


def test_splits_and_columns_of_other_names(bring, tmp_path):
    table = {"train": rows(), "validation": rows(6), "test": rows(9)}
    source = parquet(tmp_path / "parquet", table, image="picture", label="emotion")
    columns = ["source.image_column=picture", "source.label_column=emotion"]
    shown = bring(f"source.dataset={source}", *columns)
    assert "its licence: not stated by the data set" in shown
    assert sizes(tmp_path)["val"] == dict(calm=2, dread=2, joy=2)
    assert {split: len(members) for split, members in lists(tmp_path).items()} == dict(train=15, val=6, test=9)


def test_a_column_of_bytes_and_labels_that_are_missing(bring, tmp_path):
    (tmp_path / "parquet").mkdir()
    content = rows(15, ["WEBP", "GIF", "BMP"])
    names = [EMOTIONS[number] for _, number in content]
    table = pd.DataFrame({"image": [stored for stored, _ in content], "label": names})
    table.loc[0, "label"], table.loc[1, "image"], table.loc[2, "image"] = None, b"<html>", None
    table.to_parquet(tmp_path / "parquet/all.parquet")
    shown = bring(f"source.dataset={tmp_path}/parquet")
    assert "3 images cannot be used and are left out (problems.csv): train, row 0 (no label), " in shown
    assert "train, row 1 (not an image), train, row 2 (no image)" in shown
    found = {path.suffix for path in (tmp_path / "data/image").rglob("*.*")}
    assert found == {".webp", ".gif", ".bmp"}


def test_dropped_classes_and_labels_below_zero(bring, tmp_path):
    content = [(stored, number if place else -1) for place, (stored, number) in enumerate(rows(40))]
    content = [(stored, 3 if place % 10 == 9 else number) for place, (stored, number) in enumerate(content)]
    source = parquet(tmp_path / "parquet", {"train": content}, names=[*EMOTIONS, "Neutral"])
    shown = bring(f"source.dataset={source}", 'source.classes={neutral: ""}')
    assert "1 images cannot be used and are left out (problems.csv): train, row 0 (no label)" in shown
    assert "35 images" in shown


def test_a_run_that_was_killed_resumes_behind_its_last_image(bring, tmp_path, monkeypatch):
    source = parquet(tmp_path / "parquet", {"train": rows(), "test": rows(6)})
    bring(f"source.dataset={source}", f"data.emoset={tmp_path}/whole")
    written = dataset_rows._write_image
    calls = []

    def killed(work, about, stored):
        calls.append(about["image_id"])
        if len(calls) == stop:
            raise KeyboardInterrupt
        return written(work, about, stored)

    monkeypatch.setattr(dataset_rows, "_write_image", killed)
    stop = 8
    with pytest.raises(KeyboardInterrupt):
        bring(f"source.dataset={source}")
    stop = 20
    with pytest.raises(KeyboardInterrupt):
        bring(f"source.dataset={source}")
    assert not (tmp_path / "data").exists()
    journal = tmp_path / ".data.new/journals/train.jsonl"
    assert journal.read_text().endswith('{"finished": true}\n')
    with (tmp_path / ".data.new/journals/test.jsonl").open("a") as file:
        file.write('{"image_id": "cut o')
    opened = []
    rest = dataset_rows.Rows._rest
    monkeypatch.setattr(dataset_rows.Rows, "_rest", lambda self, *args: opened.append(args[1]) or rest(self, *args))
    stop = None
    bring(f"source.dataset={source}")
    assert opened == [3]  # rows that are done of the test split; the train split is not opened again
    assert Counter(calls).most_common(2)[1][1] == 2  # the two images that were being written
    assert len(calls) == 23
    assert contents(tmp_path / "data").keys() == contents(tmp_path / "whole").keys()
    for name, content in contents(tmp_path / "whole").items():
        assert name == MARKER or contents(tmp_path / "data")[name] == content
    assert sorted(path.name for path in tmp_path.glob("*data*")) == [".data.lock", "data"]


def test_what_a_killed_run_with_other_settings_left_is_begun_again(bring, tmp_path, monkeypatch):
    source = parquet(tmp_path / "parquet")
    with monkeypatch.context() as patch:
        patch.setattr(dataset_rows, "check_image", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            bring(f"source.dataset={source}")
    bring(f"source.dataset={source}", "source.classes={calm: joy, joy: calm}")
    assert (tmp_path / "data/image/joy/train_000000.jpg").exists()
    assert not (tmp_path / "data/image/calm/train_000000.jpg").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["source.image_column=img"],
            r"source\.image_column: the data set has no column 'img'; its columns are image, label, mo",
        ),
        (
            ["source.label_column=class"],
            r"source\.label_column: the data set has no column 'class'; its columns are image, lab",
        ),
        (["source.image_column=more"], r"source\.image_column: the column 'more' holds no images, but Value"),
        (["source.label_column=image"], r"source\.label_column: the column 'image' holds no classes, but Image"),
        (["source.classes={calm: joy}"], "no class is mapped to calm"),
        (["source.classes={bliss: joy}"], "there is no class bliss"),
    ],
)
@pytest.mark.parametrize("form", ["classes", "names"])
def test_what_cannot_be_read_gets_one_line(bring, tmp_path, arguments, message, form):
    source = parquet(tmp_path / "parquet", form=form)
    with pytest.raises(UserError, match=message) as error:
        bring(f"source.dataset={source}", *arguments)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "data").exists()


def test_a_folder_without_parquet_files(bring, tmp_path):
    photos(tmp_path / "photos")
    with pytest.raises(UserError, match=r"photos holds no Parquet files; source\.folder imports a folder of images"):
        bring(f"source.dataset={tmp_path}/photos")


def test_a_data_set_that_is_not_there(bring, monkeypatch):
    def refuse(name, streaming):
        raise ConnectionError("Couldn't reach 'nobody/none' on the Hub\nmore")

    monkeypatch.setattr(dataset_rows.datasets, "load_dataset", refuse)
    with pytest.raises(
        UserError, match=r"'nobody/none' is neither .* from the Hub \(Couldn't reach 'nobody/none' on the Hub\)$"
    ):
        bring("source.dataset=nobody/none")


def test_one_of_the_hub_is_streamed_and_not_looked_at_again(bring, tmp_path, monkeypatch):
    """With names for labels, whose classes are known when they are met alone."""
    source = parquet(tmp_path / "parquet", form="names")
    loaded = datasets.load_dataset(str(source), streaming=True)
    monkeypatch.setattr(dataset_rows.DatasetCard, "load", lambda name: (_ for _ in ()).throw(ConnectionError))
    monkeypatch.setattr(dataset_rows.datasets, "load_dataset", lambda name, streaming: loaded)
    with pytest.raises(UserError, match=r"source\.classes: dread is not an emotion"):
        bring("source.dataset=somebody/faces", f"data.taxonomy={_without_dread(tmp_path)}")
    bring("source.dataset=somebody/faces")
    assert sizes(tmp_path)["train"] == dict(calm=3, dread=3, joy=3)
    monkeypatch.setattr(dataset_rows.datasets, "load_dataset", None)
    assert "nothing has changed" in bring("source.dataset=somebody/faces")
    assert read_recipe(tmp_path / "data" / MARKER)["inputs"]["source"] == "somebody/faces"


def _without_dread(tmp_path):
    path = tmp_path / "other.yaml"
    path.write_text('calm: {side: positive, colour: "#112233"}\nfear: {side: negative, colour: "#112233"}\n')
    return path


def test_a_damaged_file_ends_it_in_one_line_that_can_be_resumed(bring, tmp_path):
    source = parquet(tmp_path / "parquet", {"train": rows(), "test": rows(6)})
    path = source / "test-00000-of-00001.parquet"
    path.write_bytes(bytes(1000))
    with pytest.raises(
        UserError, match=r"source\.dataset: reading .* broke off \(.*\); run the same command again to resume"
    ):
        bring(f"source.dataset={source}")


# --- the script --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["folder", "dataset"])
def test_the_balanced_set_is_drawn_from_it(script, balance, tmp_path, taxonomy, kind):
    source = photos(tmp_path / "photos") if kind == "folder" else parquet(tmp_path / "parquet")
    places = [f"data.emoset={tmp_path}/data", f"data.taxonomy={taxonomy}"]
    done = script("emoset/import_folder.py", f"source.{kind}={source}", f"run={tmp_path}/run", *places)
    assert "imported data set:" in done.stdout
    assert done.stderr == ""
    shown = balance(tmp_path / "data", places[1]).stdout
    assert "0 problems" in shown
    drawn = pd.read_parquet(tmp_path / "run/balance/balanced.parquet")
    assert drawn.groupby("emotion").size().nunique() == 1
    for row in drawn.itertuples():
        assert check_image(next((tmp_path / "data/image" / row.emotion).glob(f"{row.image_id}.*"))) == (12, 8)


def test_an_error_is_one_line(script, tmp_path):
    result = script("emoset/import_folder.py", "source.folder=nowhere", f"run={tmp_path}/run", check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("error: source.folder: no folder ")
    assert result.stderr.count("\n") == 1
