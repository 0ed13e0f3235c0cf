"""A folder of classes in EmoSet's layout, and the script that imports it."""

import csv
import json
import os
import shutil

import pandas as pd
import pytest
from imported_data import contents, encoded, lists, parquet, photos, sizes

from config.errors import UserError
from config.taxonomy import read_taxonomy
from emoset import class_folders, import_folder
from emoset.images import check_image
from emoset.model_card import about_data
from emoset.reading import read_emoset
from runtime.checking import in_words


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
    card = (tmp_path / "data/README.md").read_text()
    assert "32 images of 3 emotions" in card
    assert "| | train | val | test |\n|---|---:|---:|---:|\n| calm | 8 | 1 | 1 |" in card
    assert "Source: photos. Its licence: not stated by the data set." in card


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
    assert "left out of photos: 1 folders beside those of the splits (unlabelled)" in shown


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


def test_what_opens_counts_and_a_stray_file_is_told(bring, tmp_path, settings):
    root = photos(tmp_path / "photos")
    (root / "calm/photo").write_bytes(encoded(1, "PNG"))
    (root / "calm/scan.dat").write_bytes(encoded(2))
    os.mkfifo(root / "calm/pipe.jpg")
    (root / "Joy/slides.jpg").symlink_to("nowhere")
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "._00.jpg", "__MACOSX/._00.jpg", ".hidden/00.jpg"):
        (root / "calm" / name).parent.mkdir(exist_ok=True)
        (root / "calm" / name).write_bytes(encoded(3))
    (root / "__MACOSX").mkdir()
    (root / "dread/notes.txt").write_text("no image")
    (root / "dread/list").touch()
    shown = bring(f"source.folder={root}")
    assert "2 images cannot be used and are left out (problems.csv): Joy/slides.jpg (cannot be read: no such file" in shown
    assert "calm/pipe.jpg (cannot be read: not a file, but a pipe" in shown
    assert "2 files are no images and are left out: dread/list, dread/notes.txt" in shown
    assert "34 images" in shown
    assert len(pd.read_csv(tmp_path / "run/import/problems.csv")) == 2
    emoset = read_emoset(settings().data, tmp_path, 1)
    assert {"calm_photo", "calm_scan"} <= set(emoset.index["image_id"])


def test_a_check_says_what_would_be_imported_and_makes_nothing(bring, settings, tmp_path, capsys):
    root = photos(tmp_path / "photos")
    (root / "calm/00.jpg").write_bytes(b"")
    before = sorted(path for path in tmp_path.rglob("*"))
    size = sum(path.stat().st_size for path in root.glob("*/*.jpg"))
    import_folder.main(settings(f"source.folder={root}", "check=true", "data.link=copy"))
    shown = capsys.readouterr().out
    assert "images: 31 as links (copy)" in shown
    assert f"disk: {in_words(size + 31 * 64)}" in shown
    assert "Nothing was run" in shown
    for path in (root / "dread").iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match="train split would have no image of dread"):
        import_folder.main(settings(f"source.folder={root}", "check=true"))
    assert sorted(path for path in tmp_path.rglob("*")) == before


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


@pytest.mark.parametrize("split", ["", "train"])
def test_what_is_in_no_class_is_counted_and_named(bring, tmp_path, split):
    root = photos(tmp_path / "photos", splits=(split,))
    for name in ("a.jpg", "b.jpg", ".DS_Store", "_old/1.jpg", ".cache/1.jpg", "__MACOSX/1.jpg"):
        (root / split / name).parent.mkdir(exist_ok=True)
        (root / split / name).write_bytes(encoded())
    (root / split / "calm/more").symlink_to(root)
    shown = bring(f"source.folder={root}")
    above = f"{split}/" if split else ""
    assert f"left out of photos: 2 files in no class folder ({above}a.jpg, {above}b.jpg); " in shown
    assert f"; 2 folders whose names begin with _ or . ({above}.cache, {above}_old)\n" in shown
    assert f"are left out (problems.csv): {above}calm/more (a linked folder, which is not followed" in shown
    assert "32 images" in shown


def test_a_name_may_end_in_a_dot_and_text(bring, tmp_path, settings):
    root = photos(tmp_path / "photos")
    text = "and a sentence that goes on and on. " * 6
    (root / f"calm/photo.{text[:200]}").write_bytes(encoded())
    (root / "calm" / os.fsdecode(b"x." + b"\xe9" * 100)).write_bytes(encoded())
    bring(f"source.folder={root}")
    emoset = read_emoset(settings().data, tmp_path, 1)
    assert len(emoset.index) == 34
    assert emoset.problems.empty


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
        (
            lambda root: photos(root).joinpath(os.fsdecode(b"caf\xe9")).mkdir(),
            ["source.folder={}"],
            r"source\.folder: the name of the folder caf\\xe9 is not UTF-8; rename it",
        ),
        (photos, [], r"source: set source\.folder to a folder of classes, or source\.dataset .* not both"),
        (photos, ["source.folder={}", "source.dataset=x"], "and not both"),
        (photos, ["source.folder={}", "data.emoset={}/new"], r"data\.emoset: .* and source\.folder: .* overlap"),
        (photos, ["source.dataset={}", "data.emoset={}/new"], r"data\.emoset: .* and source\.dataset: .* overlap"),
        (
            photos,
            ["source.folder={}", "data.emoset={}/../x", "run={}/../x/run"],
            r"run: .* lies in data\.emoset",
        ),
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
