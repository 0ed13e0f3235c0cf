"""Class maps and tables of votes: which images of another data set are asked about by which name, and what is told."""

import os

import numpy as np
import pytest
from PIL import Image

from config.errors import UserError
from config.section import ROOT
from config.taxonomy import read_taxonomy
from emoset import votes
from emoset.class_map import own_names, read_class_map, read_classes
from emoset.votes import read_votes, share_columns

MAPS = sorted((ROOT / "config" / "class_maps").glob("*.yaml"))
EKMAN = read_taxonomy("config/taxonomies/ekman6.yaml")


def images(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(root / name)


@pytest.mark.parametrize("path", MAPS, ids=lambda path: path.stem)
def test_a_map_covers_every_name_of_its_taxonomy(path):
    found = read_class_map(path)
    assert {found.emotion_of(name) for name in (*found.classes, *found.taxonomy.emotions)} >= set(found.taxonomy.emotions)


def test_webemo_has_25_classes_of_which_confusion_is_none_of_parrotts_six():
    six, seven = (read_class_map(ROOT / f"config/class_maps/webemo{count}.yaml") for count in (6, 7))
    own = {"sadness", "surprise"}  # the classes that are called like their name
    assert len(six.classes.keys() | own) == len(seven.classes.keys() | own) == 25
    assert (six.emotion_of("confusion"), seven.emotion_of("Confusion")) == ("", "confusion")
    assert {name: six.emotion_of(name) for name in ("zest", "rage", "own")} == {"zest": "joy", "rage": "anger", "own": None}


def test_images_by_their_folder_and_what_maps_to_nothing(tmp_path):
    images(tmp_path, "Joy/1.jpg", "joy/deep/2.jpg", "anger/1.jpg", "neutral/1.jpg", "neutral/2.jpg", "boredom/1.jpg")
    (tmp_path / "anger" / "broken.jpg").write_bytes(b"none")
    found = read_classes(tmp_path, read_class_map(ROOT / "config/class_maps/emotion6.yaml"))
    assert dict(zip(found.images["image_id"], found.images["emotion"], strict=True)) == {
        "Joy/1.jpg": "joy",
        "joy/deep/2.jpg": "joy",
        "anger/1.jpg": "anger",
    }
    assert found.left_out == {"boredom": 1, "neutral": 2}


def test_what_has_no_name_or_is_a_linked_folder_is_left_out_and_named(tmp_path, caplog):
    images(tmp_path, "joy/1.jpg", os.fsdecode(b"joy/caf\xe9.jpg"), "else/1.jpg")
    (tmp_path / "joy" / "more").symlink_to(tmp_path / "else")
    with caplog.at_level("INFO"):
        found = read_classes(tmp_path, own_names(tmp_path, EKMAN))
    assert list(found.images["image_id"]) == ["joy/1.jpg"]
    assert r"joy/caf\xe9.jpg (its name is not UTF-8; rename it), joy/more (a linked folder, which is not" in caplog.text


def test_classes_are_named_as_they_are_typed(tmp_path):
    text = "name: X\ntaxonomy: config/taxonomies/ekman6.yaml\nclasses: {0: joy, 01: fear, no: anger, null: sadness, other: }"
    (tmp_path / "map.yaml").write_text(text)
    found = read_class_map(tmp_path / "map.yaml")
    named = {name: found.emotion_of(name) for name in ("0", "01", "no", "null", "other", "1")}
    assert named == {"0": "joy", "01": "fear", "no": "anger", "null": "sadness", "other": "", "1": None}


def test_images_by_the_beginning_of_their_name(tmp_path):
    images(tmp_path, "sad_0012.jpg", "content_0001.jpg", "awe_0003.jpg")
    (tmp_path / "readme_1.txt").write_text("about")
    found = read_classes(tmp_path, read_class_map(ROOT / "config/class_maps/artphoto.yaml"))
    assert sorted(found.images["emotion"]) == ["awe", "contentment", "sadness"]
    assert found.left_out == {}


def test_a_folder_without_any_known_class_is_one_line(tmp_path):
    images(tmp_path, "boredom/1.jpg")
    with pytest.raises(UserError, match=r"no images of a class that FI knows; it has boredom\. evaluate\.class_map maps"):
        read_classes(tmp_path, read_class_map(ROOT / "config/class_maps/fi.yaml"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: X\ntaxonomy: config/taxonomies/ekman6.yaml\nclasses: {happy: delight}", "maps happy to delight, but its"),
        (
            "name: X\ntaxonomy: config/taxonomies/ekman6.yaml\nclasses: {Happy: joy, happy: fear}",
            "classes: Happy and happy are one class, .*; leave one of them out",
        ),
        ("name: X", "taxonomy: Field required"),
        ("name: X\ntaxonomy: nowhere.yaml", "taxonomy: .*nowhere.yaml cannot be read"),
        ("- a", "is no class map"),
    ],
)
def test_a_wrong_map_is_one_line(tmp_path, text, told):
    (tmp_path / "map.yaml").write_text(text)
    with pytest.raises(UserError, match=told) as error:
        read_class_map(tmp_path / "map.yaml")
    assert "\n" not in str(error.value)


def test_votes_as_emotion6_has_published_them(tmp_path):
    """Its own line of an example, and one image that nobody finds anything but neutral."""
    images(tmp_path, "disgust/1.jpg", "joy/2.jpg", "joy/3.jpg")
    head = "[image_filename]\t[valence]\t[arousal]\t" + "\t".join(
        f"[prob. {name}]" for name in ("anger", "disgust", "fear", "joy", "sadness", "surprise", "neutral")
    )
    lines = [
        head,
        "disgust/1.jpg\t2.5\t3.8\t0.133333\t0.7\t0\t0.0666667\t0.1\t0\t0",
        "joy/2.jpg\t5\t5\t0\t0\t0\t0.25\t0\t0.25\t0.5",
        "joy/3.jpg\t5\t5\t0\t0\t0\t0\t0\t0\t1",
    ]
    (tmp_path / "truth.txt").write_text("\n".join(lines))
    found = read_votes(tmp_path / "truth.txt", tmp_path, read_class_map(ROOT / "config/class_maps/emotion6.yaml"))
    assert list(found.images["emotion"]) == ["disgust", "joy"]  # of equally many votes the first name
    shares = found.images[share_columns(EKMAN.emotions)].to_numpy()
    assert np.allclose(shares[0], [0.133333, 0.7, 0, 0.0666667, 0.1, 0], atol=1e-6)
    assert np.allclose(shares[1], [0, 0, 0, 0.5, 0, 0.5])
    assert found.left_out == {"[prob. neutral]": 1.5}
    assert found.unlisted == ["[valence]", "[arousal]"]


def test_votes_of_our_own_format_and_lines_that_are_none(tmp_path):
    images(tmp_path, "a.jpg", "b.jpg")
    file, own = tmp_path / "votes.csv", own_names(tmp_path, EKMAN)
    file.write_text("image,joy,fear\na.jpg,3,1\nb.jpg,0,4\ngone.jpg,1,0\n")
    found = read_votes(file, tmp_path, own).images
    assert found[["share_joy", "share_fear"]].to_numpy().tolist() == [[0.75, 0.25], [0, 1]]
    for line, told in {
        "a.jpg,-1,1": "line 2: joy: -1",
        "a.jpg,many,1": "line 2: joy: many",
        "x.jpg,1,0": "none of the 1",
    }.items():
        file.write_text(f"image,joy,fear\n{line}\n")
        with pytest.raises(UserError, match=told):
            read_votes(file, tmp_path, own)
    file.write_text("image,size\na.jpg,1\n")
    with pytest.raises(UserError, match=r"no column of anger, .*; it has image, size"):
        read_votes(file, tmp_path, own)


def test_votes_about_images_that_are_named_in_other_ways(tmp_path, monkeypatch):
    """By whole paths, through a link too, or from ./; what lies outside the folder is named and left out."""
    told = []
    monkeypatch.setattr(votes, "log_left_out", lambda left_out, what: told.extend(left_out))
    root, link = tmp_path / "images", tmp_path / "link"
    images(root, "joy/1.jpg", "joy/2.jpg", "joy/3.jpg")
    link.symlink_to(root)
    names = ["./joy/1.jpg", f"{root}/joy/2.jpg", f"{link}/joy/3.jpg", "/data/else/4.jpg", "../5.jpg"]
    text = "image,joy,fear\n" + "".join(f"{name},1,0\n" for name in names)
    (tmp_path / "votes.csv").write_text(text, encoding="utf-8-sig")  # as spreadsheets write it
    found = read_votes(tmp_path / "votes.csv", link, own_names(link, EKMAN)).images
    assert list(found["image_id"]) == ["joy/1.jpg", "joy/2.jpg", "joy/3.jpg"]
    assert all(path.is_file() for path in found["path"])
    assert told == [("/data/else/4.jpg", "outside the folder"), ("../5.jpg", "outside the folder")]


def test_separators_at_the_end_of_lines_and_lines_without_an_image_do_not_matter(tmp_path):
    images(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "votes.csv").write_text("image,joy,fear,\n\na.jpg,3,1,\n,,,\nb.jpg,0,4,\n\n")
    found = read_votes(tmp_path / "votes.csv", tmp_path, own_names(tmp_path, EKMAN))
    assert found.images[["share_joy", "share_fear"]].to_numpy().tolist() == [[0.75, 0.25], [0, 1]]
    assert found.unlisted == []


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("a.jpg,1,0\n\nb.jpg,1,0\n./a.jpg,0,1", r"lines 2 and 5: both are about a\.jpg; give each image one line, with the"),
        ("a.jpg,1,0,\n\n\nb.jpg,?,1,", "line 5: joy: \\? is no number of votes; give 0 or more"),
        ("a.jpg,1,0\n\nb.jpg,1", "line 4: fear: nothing is no number of votes; give 0 or more"),
        ("a.jpg,1,0\n\nb.jpg,0,0,1", "line 4: has more than the 3 columns of the first line"),
    ],
)
def test_a_wrong_line_of_votes_is_named_by_its_number(tmp_path, lines, told):
    images(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "votes.csv").write_text(f"image,joy,fear\n{lines}\n")
    with pytest.raises(UserError, match=rf"^evaluate\.votes: .*votes\.csv, {told}") as error:
        read_votes(tmp_path / "votes.csv", tmp_path, own_names(tmp_path, EKMAN))
    assert "\n" not in str(error.value)


def test_a_column_of_votes_with_two_meanings_is_one_line(tmp_path):
    (tmp_path / "votes.csv").write_text("image,joy,joy\na.jpg,1,0\n")
    with pytest.raises(UserError, match="has two columns called 'joy'; rename or remove one"):
        read_votes(tmp_path / "votes.csv", tmp_path, own_names(tmp_path, EKMAN))


@pytest.mark.parametrize("text", ["", "\nimage,joy,fear\na.jpg,1,0\n", "image,joy,fear\n", "image\na.jpg\n"])
def test_a_table_of_votes_without_columns_or_lines_is_one_line(tmp_path, text):
    (tmp_path / "votes.csv").write_text(text)
    with pytest.raises(UserError, match=r"^evaluate\.votes: .*votes\.csv needs a column of images") as error:
        read_votes(tmp_path / "votes.csv", tmp_path, own_names(tmp_path, EKMAN))
    assert "\n" not in str(error.value)
