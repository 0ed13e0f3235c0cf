import dataclasses
import errno
import json
import os
import shutil
from collections import Counter

import pytest

from config.errors import UserError
from config.loading import load
from emoset.attribute_folders import build_attribute_root, links_to_make, read_attribute_root
from emoset.labels import KINDS, attribute_name
from emoset.reading import read_emoset
from runtime import links


@pytest.fixture(scope="module")
def emoset(drawn, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    return read_emoset(load([f"data.emoset={drawn}", f"data.cache={folder}"]).data, folder, 2)


def expected_folders(drawn, kinds):
    """Return {kind/(n) attribute: image ids}, from the annotation files alone."""
    found = {}
    for path in drawn.glob("annotation/*/*.json"):
        annotation = json.loads(path.read_text())
        for kind in set(kinds) & annotation.keys():
            labels = annotation[kind] if kind == "object" else [annotation[kind]]
            for label in labels:
                found.setdefault((kind, attribute_name(label)), []).append(path.stem)
    return {f"{kind}/({len(ids)}) {attribute}": sorted(ids) for (kind, attribute), ids in found.items()}


@pytest.mark.parametrize("kinds", [["object", "scene"], list(KINDS)])
def test_the_layout(emoset, drawn, tmp_path, kinds):
    root = tmp_path / "attributes"
    assert build_attribute_root(emoset, drawn, root, kinds, "auto") in ("hard", "symbolic")
    found = {str(folder.relative_to(root)): sorted(path.stem for path in folder.iterdir()) for folder in root.glob("*/*")}
    assert found == expected_folders(drawn, kinds)
    image = next(root.glob("object/*/*.jpg"))
    assert image.read_bytes() == next(drawn.glob(f"image/*/{image.name}")).read_bytes()


@pytest.mark.parametrize("link", ["hard", "symbolic", "copy"])
def test_each_way_of_linking(emoset, drawn, tmp_path, link):
    root = tmp_path / "attributes"
    assert build_attribute_root(emoset, drawn, root, ["scene"], link) == link
    image = next(root.glob("scene/*/*.jpg"))
    source = next(drawn.glob(f"image/*/{image.name}"))
    assert image.read_bytes() == source.read_bytes()
    assert image.is_symlink() == (link == "symbolic")
    assert os.path.samefile(image, source) == (link != "copy")
    if link == "symbolic":
        assert not os.readlink(image).startswith("/")


def test_symbolic_links_still_lead_there_when_both_move(emoset, emoset_copy, tmp_path):
    (tmp_path / "here").mkdir()
    emoset_copy.rename(tmp_path / "here/EmoSet")
    build_attribute_root(emoset, tmp_path / "here/EmoSet", tmp_path / "here/attributes", ["scene"], "symbolic")
    (tmp_path / "here").rename(tmp_path / "there")
    assert all(image.exists() for image in tmp_path.glob("there/attributes/*/*/*.jpg"))


@pytest.mark.parametrize(("refused", "taken"), [(["hard"], "symbolic"), (["hard", "symbolic"], "copy")])
def test_auto_takes_what_the_disk_allows(emoset, drawn, tmp_path, monkeypatch, refused, taken):
    def refuse(source, destination):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    for method in refused:
        monkeypatch.setitem(links._LINK, method, refuse)
    assert build_attribute_root(emoset, drawn, tmp_path / "attributes", ["scene"], "auto") == taken
    with pytest.raises(UserError, match=r"data\.link: hard does not work from .* Invalid cross-device link; auto takes"):
        build_attribute_root(emoset, drawn, tmp_path / "others", ["scene"], "hard")
    assert not (tmp_path / "others").exists()


def test_one_folder_on_another_disk(emoset, drawn, tmp_path, monkeypatch):
    def refuse_fear(source, destination):
        if "/fear/" in source:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        os.link(source, destination)

    monkeypatch.setitem(links._LINK, "hard", refuse_fear)
    how = build_attribute_root(emoset, drawn, tmp_path / "attributes", ["scene"], "auto")
    linked = list(tmp_path.glob("attributes/*/*/*.jpg"))
    symbolic = [link for link in linked if link.is_symlink()]
    assert {link.name.split("_")[0] for link in symbolic} == {"fear"}
    assert how == f"{len(linked) - len(symbolic)} hard, {len(symbolic)} symbolic"


def test_a_vanished_image_is_an_error_not_a_dangling_link(emoset, emoset_copy, tmp_path):
    for path in emoset_copy.glob("image/fear/*.jpg"):
        path.unlink()
    with pytest.raises(FileNotFoundError):
        build_attribute_root(emoset, emoset_copy, tmp_path / "attributes", ["scene"], "auto")


@pytest.mark.parametrize("link", ["hard", "symbolic", "copy"])
def test_images_that_are_links_themselves(emoset, emoset_copy, tmp_path, link):
    (tmp_path / "store").mkdir()
    for path in list(emoset_copy.glob("image/*/*.jpg")):
        path.rename(tmp_path / "store" / path.name)
        path.symlink_to(f"../../../store/{path.name}")
    build_attribute_root(emoset, emoset_copy, tmp_path / "attributes", ["scene"], link)
    assert all(image.exists() for image in tmp_path.glob("attributes/*/*/*.jpg"))


def test_a_full_disk_leaves_what_stood_there(emoset, drawn, tmp_path, monkeypatch):
    root = tmp_path / "attributes"
    build_attribute_root(emoset, drawn, root, ["scene"], "auto")
    before = sorted(root.rglob("*"))
    done = Counter()

    def fill_up(source, destination):
        done["links"] += 1
        if done["links"] > 20:
            raise OSError(errno.ENOSPC, "No space left on device", destination)
        os.link(source, destination)

    monkeypatch.setitem(links._LINK, "hard", fill_up)
    with pytest.raises(OSError, match="No space left on device"):
        build_attribute_root(emoset, drawn, root, ["scene", "object"], "auto")
    assert sorted(root.rglob("*")) == before
    assert sorted(os.listdir(tmp_path)) == [".attributes.lock", "attributes"]


def test_a_second_build_changes_nothing_and_a_missing_file_is_noticed(emoset, drawn, tmp_path):
    root = tmp_path / "attributes"
    build_attribute_root(emoset, drawn, root, ["scene"], "auto")
    inode = root.stat().st_ino
    assert build_attribute_root(emoset, drawn, root, ["scene"], "auto") == "up to date"
    assert root.stat().st_ino == inode
    next(root.glob("scene/*/*.jpg")).unlink()
    assert build_attribute_root(emoset, drawn, root, ["scene"], "auto") != "up to date"
    assert build_attribute_root(emoset, drawn, root, ["object"], "auto") != "up to date"
    assert not (root / "scene").exists()
    shutil.rmtree(root / "object")
    assert build_attribute_root(emoset, drawn, root, ["object"], "auto") != "up to date"


def test_a_link_to_an_empty_folder_is_filled(emoset, drawn, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "attributes").symlink_to(tmp_path / "elsewhere")
    given = emoset, drawn, tmp_path / "attributes", ["scene"], "auto"
    assert len(links_to_make(*given))
    build_attribute_root(*given)
    assert links_to_make(*given).empty
    assert next(tmp_path.glob("elsewhere/scene/*/*.jpg")).is_file()


@pytest.mark.parametrize("link", ["copy", "symbolic"])
def test_an_emptied_copy_or_a_broken_link_is_made_again(emoset, drawn, tmp_path, link):
    root = tmp_path / "attributes"
    build_attribute_root(emoset, drawn, root, ["scene"], link)
    image = next(root.glob("scene/*/*.jpg"))
    content = image.read_bytes()
    image.unlink()
    if link == "copy":
        image.touch()
    else:
        image.symlink_to("nowhere")
    assert build_attribute_root(emoset, drawn, root, ["scene"], link) == link
    assert image.read_bytes() == content
    assert build_attribute_root(emoset, drawn, root, ["scene"], link) == "up to date"


@pytest.mark.parametrize("place", ["", "image", ".."])
def test_a_place_that_overlaps_with_the_data_set_is_refused(emoset, emoset_copy, place):
    with pytest.raises(UserError, match="overlap; name a folder outside the data set"):
        build_attribute_root(emoset, emoset_copy, emoset_copy / place, ["scene"], "auto")


def test_no_image_of_the_kinds(emoset, drawn, tmp_path):
    empty = dataclasses.replace(emoset, index=emoset.index.assign(scene=None))
    with pytest.raises(UserError, match=r"data\.kinds: no image has an attribute of the kinds scene"):
        build_attribute_root(empty, drawn, tmp_path / "attributes", ["scene"], "auto")


def test_reading_back_also_as_published(emoset, drawn, tmp_path):
    root = tmp_path / "attributes"
    build_attribute_root(emoset, drawn, root, ["object", "scene"], "auto")
    ours = read_attribute_root(root)
    assert ours["images"].sum() == sum(map(len, expected_folders(drawn, ["object", "scene"]).values()))
    for folder in root.glob("*/*"):
        folder.rename(folder.with_name(folder.name.replace(") ", ")").title().replace(" ", "_")))
    published = read_attribute_root(root)
    columns = ["kind", "attribute", "images"]
    assert sorted(published[columns].itertuples(index=False)) == sorted(ours[columns].itertuples(index=False))
