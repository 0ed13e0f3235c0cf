import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from config.errors import UserError
from runtime.built_folder import FILES, MARKER, building, is_built, lock, remove_built
from runtime.recipe import Recipe

OLD, NEW = (Recipe("thing", {}, {"version": version}) for version in (1, 2))


def build(folder, recipe, text):
    with building(folder, recipe) as work:
        (work / "content").write_text(text)


def test_built_and_rebuilt(tmp_path):
    folder = tmp_path / "below" / "folder"
    assert not is_built(folder, OLD)
    build(folder, OLD, "old")
    assert is_built(folder, OLD)
    assert not is_built(folder, NEW)
    build(folder, NEW, "new")
    assert (folder / "content").read_text() == "new"
    assert os.listdir(folder.parent) == ["folder"]


@pytest.mark.parametrize("moment", ["whole", "killed", "removed"])
def test_files_that_somebody_put_there_are_kept(tmp_path, caplog, moment):
    folder = tmp_path / "folder"
    with building(folder, OLD) as work:
        (work / "sub").mkdir()
        (work / "sub" / "ours\nof two lines").write_text("old")
    (folder / "sub" / "thesis.txt").write_text("years of work")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / ".DS_Store").write_text("")
    (tmp_path / "folder.kept").mkdir()
    (tmp_path / "folder.kept" / "earlier").write_text("of the last time")
    if moment == "killed":  # between the last rename and the removal
        folder.rename(tmp_path / ".folder.old")
        shutil.copytree(tmp_path / ".folder.old", folder, symlinks=True)
        for name in ("sub/thesis.txt", "link"):
            (folder / name).unlink()
    with caplog.at_level("INFO", "emotion"):
        remove_built(folder, "thing") if moment == "removed" else build(folder, NEW, "new")
    kept = tmp_path / "folder.kept-2"
    assert (kept / "sub" / "thesis.txt").read_text() == "years of work"
    assert {path.name for path in kept.rglob("*")} == {"sub", "thesis.txt", "link"}
    assert (tmp_path / "folder.kept" / "earlier").read_text() == "of the last time"
    assert "and 1 more in it were yours, and are in folder.kept-2/ now" in caplog.text
    assert folder.exists() == (moment != "removed")


def test_a_failure_leaves_the_old_folder(tmp_path):
    build(tmp_path / "folder", OLD, "old")

    def fail():
        with building(tmp_path / "folder", NEW) as work:
            (work / "content").write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert (tmp_path / "folder" / "content").read_text() == "old"
    assert os.listdir(tmp_path) == ["folder"]


@pytest.mark.parametrize("moment", ["failed", "killed"])
def test_the_old_folder_comes_back_from_between_the_two_renames(tmp_path, monkeypatch, moment):
    folder = tmp_path / "folder"
    build(folder, OLD, "old")
    if moment == "killed":
        folder.rename(tmp_path / ".folder.old")
        with pytest.raises(OSError, match="disk full"), building(folder, NEW):
            raise OSError("disk full")
    else:
        rename = Path.rename

        def refuse(path, target):
            if path.name == ".folder.new":
                raise OSError("refused")
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", refuse)
        with pytest.raises(OSError, match="refused"):
            build(folder, NEW, "new")
    assert (folder / "content").read_text() == "old"
    assert os.listdir(tmp_path) == ["folder"]


@pytest.mark.parametrize("what", ["folder", "file", "link"])
def test_what_others_built_is_not_touched(tmp_path, what):
    place, mine = tmp_path / "place", tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    match what:
        case "folder":
            mine.rename(place)
        case "file":
            place.write_text("years of work")
        case "link":
            place.symlink_to(mine)
    with pytest.raises(UserError, match=r"place exists and was not built by this project"):
        build(place, NEW, "new")
    assert "years of work" in (place / "thesis.txt" if place.is_dir() else place).read_text()


def test_what_an_earlier_version_built_is_refused_in_one_line_and_left_alone(tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    (place / ".built.json").write_text('{"what": "thing"}')
    (place / "content").write_text("old")
    for attempt in (is_built, lambda folder, recipe: build(folder, recipe, "new")):
        with pytest.raises(UserError, match=r"^\S+place was built by an earlier version of this project; remove it, or .*$"):
            attempt(place, NEW)
    assert sorted(os.listdir(place)) == [".built.json", "content"]
    assert os.listdir(tmp_path) == ["place"]


def test_a_marker_of_another_format_is_refused(tmp_path):
    build(tmp_path / "folder", OLD, "old")
    (tmp_path / "folder" / MARKER).write_text('{"format": 99}')
    with pytest.raises(UserError, match="was written by another version of this project"):
        is_built(tmp_path / "folder", OLD)
    assert (tmp_path / "folder" / "content").read_text() == "old"


DAMAGES = [b"", b"\0" * 300, b'{"format": 1, "what": "thi', b"\x89PNG\xff\xfe", b"[1, 2]", b'{"format": 1}', b"[" * 5000]


@pytest.mark.parametrize("place", ["folder", ".folder.new", ".folder.old"])
@pytest.mark.parametrize(
    ("marker", "damage"), [(MARKER, damage) for damage in DAMAGES] + [(".built.json", damage) for damage in DAMAGES[:4]]
)
def test_a_damaged_marker_is_of_unfinished_work(tmp_path, caplog, place, marker, damage):
    build(tmp_path / place, OLD, "old")
    (tmp_path / place / MARKER).unlink()
    (tmp_path / place / marker).write_bytes(damage)
    with caplog.at_level("INFO", "emotion"):
        assert not is_built(tmp_path / "folder", NEW)
        build(tmp_path / "folder", NEW, "new")
    assert is_built(tmp_path / "folder", NEW)
    assert (tmp_path / "folder" / "content").read_text() == "new"
    assert sorted(os.listdir(tmp_path / "folder")) == [FILES, MARKER, "content"]
    assert os.listdir(tmp_path) == ["folder"]
    told = ["folder/: its marker is cut off or damaged; what is there counts as unfinished and is made again"]
    assert caplog.messages == (told if place == "folder" else [])


@pytest.mark.parametrize("suffix", ["new", "old"])
def test_what_others_put_beside_is_not_touched(tmp_path, suffix):
    beside = tmp_path / f".folder.{suffix}"
    beside.mkdir()
    (beside / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match=rf"\.folder\.{suffix} exists and was not built by this project"):
        build(tmp_path / "folder", NEW, "new")
    assert (beside / "thesis.txt").read_text() == "years of work"


def test_another_thing_of_ours_is_not_touched(tmp_path):
    build(tmp_path / "folder", OLD, "old")
    with pytest.raises(UserError, match="was built by this project, but is no data set; name another folder"):
        build(tmp_path / "folder", Recipe("data set", {}, {}), "new")
    assert (tmp_path / "folder" / "content").read_text() == "old"


def test_links_within_are_removed_not_followed(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    build(tmp_path / "folder", OLD, "old")
    (tmp_path / "folder" / "link").symlink_to(tmp_path / "mine")
    build(tmp_path / "folder", NEW, "new")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("left", ["", "a link to nothing", "a link to an empty folder"])
def test_a_link_to_a_folder_of_ours_gives_way_and_its_target_stays(tmp_path, left):
    """left: what a kill, and then somebody who removed the target, may have left of an earlier link."""
    (tmp_path / "run").mkdir()
    folder, elsewhere = tmp_path / "run/folder", tmp_path / "elsewhere"
    build(elsewhere, OLD, "old")
    folder.symlink_to(elsewhere)
    if left:
        (tmp_path / "run/.folder.old").symlink_to(tmp_path / "gone")
    if "empty" in left:
        (tmp_path / "gone").mkdir()
    build(folder, NEW, "new")
    assert not folder.is_symlink()
    assert ((folder / "content").read_text(), (elsewhere / "content").read_text()) == ("new", "old")
    assert is_built(elsewhere, OLD)
    assert os.listdir(tmp_path / "run") == ["folder"]


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "folder").mkdir()
    build(tmp_path / "folder", NEW, "new")
    assert is_built(tmp_path / "folder", NEW)


def _build_slowly(folder, ready):
    with lock(folder), building(folder, NEW) as work:
        (work / "content").write_text("half")
        ready.set()
        time.sleep(60)


def test_killed_while_building(tmp_path):
    folder = tmp_path / "folder"
    build(folder, OLD, "old")
    ready = multiprocessing.Event()
    process = multiprocessing.Process(target=_build_slowly, args=(folder, ready))
    process.start()
    ready.wait()
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert (folder / "content").read_text() == "old"
    with lock(folder):  # the killed process holds it no longer
        build(folder, NEW, "new")
    assert (folder / "content").read_text() == "new"
    assert sorted(os.listdir(tmp_path)) == [".folder.lock", "folder"]


def test_killed_between_the_two_renames(tmp_path):
    folder = tmp_path / "folder"
    build(folder, OLD, "old")
    folder.rename(tmp_path / ".folder.old")
    (tmp_path / ".folder.new").mkdir()
    build(folder, NEW, "new")
    assert os.listdir(tmp_path) == ["folder"]


def _build_once(folder, built):
    with lock(folder):
        if not is_built(folder, NEW):
            build(folder, NEW, "new")
            with built.get_lock():
                built.value += 1


def test_two_at_once_build_it_once(tmp_path):
    built = multiprocessing.Value("i", 0)
    processes = [multiprocessing.Process(target=_build_once, args=(tmp_path / "folder", built)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert built.value == 1
    assert [process.exitcode for process in processes] == [0] * 4


def test_a_second_process_need_not_wait(tmp_path):
    with (
        lock(tmp_path / "run"),
        pytest.raises(UserError, match="another process is at work there"),
        lock(tmp_path / "run", wait=False),
    ):
        pass
    with lock(tmp_path / "run", wait=False):
        pass
