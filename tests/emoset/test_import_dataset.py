"""Parquet files and Hub data sets in EmoSet's layout."""

import os
from collections import Counter

import datasets
import pandas as pd
import pyarrow.parquet as pq
import pytest
from imported_data import EMOTIONS, contents, lists, parquet, photos, rows, sizes

from config.errors import UserError
from emoset import dataset_rows, import_folder
from emoset.model_card import about_data
from emoset.reading import read_emoset
from runtime.built_folder import MARKER
from runtime.recipe import read_recipe

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"6" * 64 + b"\nsize 1000\n"


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
    table.loc[3, "label"] = " "
    table.loc[0, "label"], table.loc[1, "image"], table.loc[2, "image"] = None, b"<html>", None
    table.to_parquet(tmp_path / "parquet/all.parquet")
    shown = bring(f"source.dataset={tmp_path}/parquet")
    assert "4 images cannot be used and are left out (problems.csv): train, row 0 (no label), " in shown
    assert "train, row 1 (not an image), train, row 2 (no image), train, row 3 (no label)" in shown
    found = {path.suffix for path in (tmp_path / "data/image").rglob("*.*")}
    assert found == {".webp", ".gif", ".bmp"}


def test_rows_that_name_files(bring, tmp_path):
    """Windows' slashes are read, and what cannot be opened is a problem of its row."""
    (tmp_path / "photos").mkdir()
    content = rows(12)
    for number, (stored, _) in enumerate(content):
        (tmp_path / f"photos/{number}.jpg").write_bytes(stored)
    (tmp_path / "photos/0.jpg").unlink()
    (tmp_path / "photos/1.jpg").unlink()
    os.mkfifo(tmp_path / "photos/1.jpg")
    images = [{"bytes": None, "path": f"{tmp_path}/photos\\{number}.jpg"} for number in range(12)]
    kinds = {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(EMOTIONS))}
    columns = {"image": images, "label": [number for _, number in content]}
    (tmp_path / "parquet").mkdir()
    table = datasets.Dataset.from_dict(columns, datasets.Features(kinds)).with_format("arrow")[:]
    pq.write_table(table, tmp_path / "parquet/train.parquet")
    shown = bring(f"source.dataset={tmp_path}/parquet")
    assert "train, row 0 (cannot be read: " in shown
    assert "train, row 1 (cannot be read: " in shown
    assert "10 images" in shown


def test_a_check_says_what_would_be_imported_and_makes_nothing(settings, tmp_path, capsys):
    source = parquet(tmp_path / "parquet")
    (source / "notes.txt").write_text("stray")
    (source / "._train.parquet").write_bytes(b"hidden")
    before = sorted(tmp_path.rglob("*"))
    import_folder.main(settings(f"source.dataset={source}", "check=true"))
    shown = capsys.readouterr().out
    assert "images: 15\n" in shown
    assert "disk: " in shown
    assert sorted(tmp_path.rglob("*")) == before


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


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: bytes(1000), r"{path} is damaged, or no Parquet file \(.*\); replace or remove it$"),
        (lambda content: POINTER, r"{path} is a Git LFS pointer to 1,000 bytes, not the file itself; get that with"),
        (
            lambda whole: whole[:40] + b"\xff" * 1960 + whole[2000:],
            r"reading .* broke off \(.*\); replace or remove {path}$",
        ),
    ],
)
def test_a_damaged_file_is_named_in_one_line(bring, tmp_path, damage, message):
    source = parquet(tmp_path / "parquet", {"train": rows(60), "test": rows(60)})
    path = source / "test-00000-of-00001.parquet"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=rf"^source\.dataset: {message.format(path=path)}") as error:
        bring(f"source.dataset={source}")
    assert "\n" not in str(error.value)


def test_a_connection_that_breaks_off_can_be_resumed(bring, tmp_path, monkeypatch):
    loaded = datasets.load_dataset(str(parquet(tmp_path / "parquet")), streaming=True)
    monkeypatch.setattr(dataset_rows.DatasetCard, "load", lambda name: (_ for _ in ()).throw(ConnectionError))
    monkeypatch.setattr(dataset_rows.datasets, "load_dataset", lambda name, streaming: loaded)
    monkeypatch.setattr(datasets.IterableDataset, "__iter__", lambda self: (_ for _ in ()).throw(ConnectionError("gone")))
    with pytest.raises(UserError, match=r"faces broke off \(gone\); run the same command again to resume$"):
        bring("source.dataset=somebody/faces")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (dict(label="emotion"), r"source\.dataset: the files of .* differ in their columns; give all the same"),
        (
            dict(names=("joy", "calm", "dread")),
            r"source\.label_column: .*test-.* and .*train-.* number their classes differently",
        ),
    ],
)
def test_files_that_do_not_belong_together_are_refused(bring, tmp_path, other, message):
    source = parquet(tmp_path / "parquet")
    (parquet(tmp_path / "other", {"test": rows()}, **other) / "test-00000-of-00001.parquet").rename(
        source / "test-0.parquet"
    )
    with pytest.raises(UserError, match=message) as error:
        bring(f"source.dataset={source}")
    assert "\n" not in str(error.value)


def test_a_column_that_holds_no_classes_is_named(bring, tmp_path, monkeypatch):
    monkeypatch.setattr(dataset_rows, "MOST_CLASSES", 2)
    source = parquet(tmp_path / "parquet", form="names")
    with pytest.raises(
        UserError, match=r"source\.label_column: the column 'label' holds more than 2 different values; name"
    ):
        bring(f"source.dataset={source}")
