import errno
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml
from PIL import Image

from config.errors import UserError
from config.loading import load
from config.section import ROOT
from runtime import links
from runtime.checking import in_words
from runtime.run_folder import log
from training import dataset_balance


def state(folder):
    """Return {path: (inode, size, mtime)} of all files but the log and what describes the run."""
    skip = {"log.txt", "environment.json", "config.yaml", "seconds.json", "problems.csv"}
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in skip)
    return {str(path): (path.stat().st_ino, path.stat().st_size, path.stat().st_mtime_ns) for path in paths}


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_from_emoset_to_a_balanced_set(drawn, balance, tmp_path):
    shown = balance(drawn).stdout
    assert "EmoSet: 400 images listed, 400 usable, 0 problems" in shown
    assert re.search(
        r"attribute folders: \d+ of object with \d+ links, \d+ of scene with \d+ links \((hard|symbolic)\)", shown
    )
    rows = pd.read_parquet(tmp_path / "run/balance/balanced.parquet")
    assert rows.groupby("emotion").size().nunique() == 1
    assert rows.groupby("image_id").size().max() <= 4
    per_emotion = len(rows) // 8
    for emotion, count in rows.groupby("emotion").size().items():
        assert re.search(rf"{emotion} +\d+ +\d+ +{count} +\d+ +\d", shown)
    for row in rows.head(50).itertuples():
        assert len(list(tmp_path.glob(f"attributes/{row.kind}/(*) {row.attribute}/{row.image_id}.jpg"))) == 1
    with Image.open(tmp_path / "run/balance/balance.png") as picture:
        assert picture.width > 1000
    assert per_emotion > 10


def test_the_run_folder_tells_how_it_was_made(drawn, balance, tmp_path):
    balance(drawn, "seed=5")
    folder = tmp_path / "run/balance"
    assert yaml.safe_load((folder / "config.yaml").read_text())["seed"] == 5
    assert '"python"' in (folder / "environment.json").read_text()
    assert "400 images listed" in (folder / "log.txt").read_text()
    assert {path.name for path in folder.iterdir()} == {
        "config.yaml", "environment.json", "log.txt", "seconds.json", "problems.csv", "balanced.parquet", "balance.png",
        "recipe.json",
    }  # fmt: skip


def test_a_second_run_changes_nothing_and_says_so(drawn, balance, tmp_path):
    balance(drawn)
    before = state(tmp_path)
    shown = balance(drawn).stdout
    assert "nothing has changed; everything is up to date" in shown
    assert state(tmp_path) == before


def test_a_changed_config_or_data_set_is_rebuilt(emoset_copy, balance, tmp_path):
    def rows():
        return pd.read_parquet(tmp_path / "run/balance/balanced.parquet")

    balance(emoset_copy)
    first = rows()
    assert "nothing has changed" not in balance(emoset_copy, "seed=1").stdout
    assert not rows().equals(first)
    balance(emoset_copy, "data.kinds=scene")
    assert set(rows()["kind"]) == {"scene"}
    assert not (tmp_path / "attributes/object").exists()
    gone = first["image_id"].iloc[0]
    next(emoset_copy.glob(f"image/*/{gone}.jpg")).unlink()
    balance(emoset_copy)
    assert gone not in set(rows()["image_id"])
    assert not list(tmp_path.glob(f"attributes/*/*/{gone}.jpg"))


def test_other_splits_come_with_a_warning(drawn, balance):
    assert "WARNING" not in balance(drawn).stdout
    assert (
        "WARNING: the balanced set draws from train, test; do not evaluate"
        in balance(drawn, "balance.splits=train,test").stdout
    )


def test_the_published_policy_and_all_kinds(drawn, balance, tmp_path):
    balance(drawn, "balance.policy=emogen")
    sizes = pd.read_parquet(tmp_path / "run/balance/balanced.parquet").groupby(["kind", "emotion"]).size()
    assert sizes["object"].nunique() == sizes["scene"].nunique() == 1
    shown = balance(drawn, "data.kinds=object,scene,facial_expression,human_action").stdout
    assert "of facial_expression with" in shown
    assert (tmp_path / "attributes/human_action").is_dir()


def test_near_duplicates_on_request(emoset_copy, balance, tmp_path):
    one, other = (json.loads((emoset_copy / f"{split}.json").read_text())[0] for split in ("train", "test"))
    shutil.copyfile(emoset_copy / one[2], emoset_copy / other[2])
    balance(emoset_copy, "data.near_duplicates=0")
    pairs = pd.read_csv(tmp_path / "run/balance/near_duplicates.csv")
    assert (one[1], "train", other[1], "test", 0) in set(pairs.itertuples(index=False, name=None))
    assert (pairs["split"] != pairs["other_split"]).all()
    balance(emoset_copy)
    assert not (tmp_path / "run/balance/near_duplicates.csv").exists()


@pytest.fixture
def balance_here(drawn, tmp_path, capsys):
    """Return a function that runs the script in this process, which is quicker, and gives what it shows."""

    def run(*arguments, emoset=drawn):
        places = [f"data.attribute_root={tmp_path}/attributes", f"data.cache={tmp_path}/cache", f"run={tmp_path}/run"]
        dataset_balance.main(load([f"data.emoset={emoset}", *places, "machine.processes=1", *arguments]))
        return capsys.readouterr().out

    yield run
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()


def test_a_damaged_result_is_made_anew(balance_here, tmp_path):
    balance_here()
    sound = {name: (tmp_path / "run/balance" / name).read_bytes() for name in ("balanced.parquet", "balance.png")}
    rng = random.Random(0)
    for name, content in sound.items():
        flipped = bytearray(content)
        for place in rng.sample(range(len(content)), 200):
            flipped[place] ^= 255
        for damaged in (b"", flipped):
            (tmp_path / "run/balance" / name).write_bytes(damaged)
            assert "wrote balanced.parquet, balance.png" in balance_here()
            assert {name: (tmp_path / "run/balance" / name).read_bytes() for name in sound} == sound
    assert "nothing has changed" in balance_here()


def test_a_check_says_what_it_would_take_and_writes_nothing(balance_here, drawn, tmp_path):
    shown = balance_here("check=true")
    assert "images: 400\n" in shown
    assert re.search(r"draws: \d+\n +links to make: (\d+) \(hard\)\n", shown)
    assert "Nothing was run" in shown
    assert not list(tmp_path.iterdir())
    links = int(re.search(r"links to make: (\d+)", shown)[1])
    assert links == sum(1 for _ in memberships_of(drawn))
    sizes = sum(path.stat().st_size for path in memberships_of(drawn))
    assert f"disk: {in_words(sizes + 64 * links)}" in balance_here("check=true", "data.link=copy")
    balance_here()
    before = state(tmp_path)
    assert "links to make: none" in balance_here("check=true")
    assert state(tmp_path) == before


def memberships_of(root):
    """Yield the image of each attribute that the annotations name, object or scene."""
    for path in root.glob("annotation/*/*.json"):
        facts = json.loads(path.read_text())
        for _ in [*facts.get("object", []), *([facts["scene"]] if "scene" in facts else [])]:
            yield root / "image" / facts["emotion"] / f"{path.stem}.jpg"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data.attribute_root={drawn}/attributes"], r"data\.attribute_root: .* overlap"),
        (["data.attribute_root={file}/attributes"], r"data\.attribute_root: .* cannot be made, for .*file is a file"),
        (["data.cache={file}"], r"data\.cache: .* cannot be made, for .*file is a file"),
        (["data.attribute_root={foreign}"], "foreign exists and was not built by this project"),
        (["data.near_duplicates=4"], r"data\.near_duplicates: imagehash is not installed"),
        (["data.link=copy"], "the attribute root takes .*, and its disk has 10 bytes left"),
    ],
)
@pytest.mark.parametrize("check", ["true", "false"])
def test_what_can_be_known_before_is_told_before_anything_is_made(
    balance_here, drawn, tmp_path, monkeypatch, arguments, message, check
):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/thesis.txt").write_text("years of work")
    places = {"drawn": drawn, "file": tmp_path / "file", "foreign": tmp_path / "foreign"}
    monkeypatch.setattr(dataset_balance, "find_spec", lambda name: None)
    monkeypatch.setattr(dataset_balance, "build_attribute_root", None)
    monkeypatch.setattr("runtime.checking.shutil.disk_usage", lambda place: SimpleNamespace(free=10))
    if "copy" not in arguments[0]:
        monkeypatch.setattr(dataset_balance, "read_emoset", None)
    with pytest.raises(UserError, match=message):
        balance_here(*(argument.format(**places) for argument in arguments), f"check={check}")
    assert not (tmp_path / "attributes").exists()


def test_kinds_of_link_that_the_disk_refuses_are_told_of_first(balance_here, tmp_path, monkeypatch):
    def refuse(source, destination):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(links, "_LINK", links._LINK | {"hard": refuse})
    monkeypatch.setattr(dataset_balance, "build_attribute_root", None)
    with pytest.raises(UserError, match=r"data\.link: hard does not work from .*info\.json .* auto takes what does"):
        balance_here("data.link=hard")
    assert re.search(r"links to make: \d+ \(symbolic\)", balance_here("check=true"))
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "run"}


def test_a_drawn_emoset_is_no_attribute_root(drawn, balance, script, tmp_path):
    script("demo/draw.py", f"data.emoset={tmp_path}/mine", f"run={tmp_path}/run", "drawn.images=80", "drawn.size=32")
    result = balance(drawn, f"data.attribute_root={tmp_path}/mine", check=False)
    assert "mine was built by this project, but is no attribute root; name another folder" in result.stderr
    assert (tmp_path / "mine/train.json").exists()


def test_a_foreign_folder_stays_as_it_is(drawn, balance, tmp_path):
    (tmp_path / "attributes").mkdir()
    (tmp_path / "attributes/thesis.txt").write_text("years of work")
    result = balance(drawn, check=False)
    assert result.returncode == 1
    assert re.fullmatch(r"error: .*attributes exists and was not built by this project, .*\n", result.stderr)
    assert os.listdir(tmp_path / "attributes") == ["thesis.txt"]


@pytest.mark.parametrize("wrong", ["one too high", "one too low"])
def test_the_folder_above_or_below_is_the_one_that_is_meant(balance_here, emoset_copy, wrong):
    place = emoset_copy.parent if wrong == "one too high" else emoset_copy / "image"
    with pytest.raises(UserError, match=rf"is not EmoSet: no .*; {emoset_copy} looks like EmoSet, did you mean that\?"):
        balance_here(f"data.attribute_root={place}/attributes", emoset=place)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data.emoset=nowhere"], "error: data.emoset: no folder .*nowhere; set it to the folder that"),
        (["balance.temprature=1"], "error: command line: balance.temprature: no such key; did you mean balance.temperature"),
        (["balance.images_per_emotion=99999"], "error: balance.images_per_emotion: 99999 is too many: .*"),
        (["run={file}"], "error: .*file.*"),
    ],
)
def test_bad_input_gets_one_line(drawn, balance, tmp_path, arguments, message):
    (tmp_path / "file").write_text("in the way")
    result = balance(drawn, *(argument.format(file=tmp_path / "file") for argument in arguments), check=False)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert re.match(message, result.stderr)


@pytest.fixture
def start(python, drawn):
    """Return a function that starts the script, everything it writes going to a folder."""

    def starts(folder):
        places = f"data.attribute_root={folder}/attributes data.cache={folder}/cache run={folder}/run".split()
        command = [python, ROOT / "training/dataset_balance.py", f"data.emoset={drawn}", *places]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    return starts


@pytest.mark.slow
def test_killed_at_any_moment_the_next_run_finishes(start, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    began = time.monotonic()
    assert start(whole).wait() == 0
    duration = time.monotonic() - began
    rng = random.Random(0)
    for _ in range(4):
        process = start(killed)
        time.sleep(rng.uniform(0.3, 1) * duration)
        process.send_signal(signal.SIGKILL)
        process.wait()
        root = killed / "attributes"
        assert not root.exists() or contents(root).keys() == contents(whole / "attributes").keys()
    assert start(killed).wait() == 0
    assert contents(killed / "attributes") == contents(whole / "attributes")
    for name in ("balanced.parquet", "balance.png"):
        assert (killed / "run/balance" / name).read_bytes() == (whole / "run/balance" / name).read_bytes()
    assert {path.name for path in killed.iterdir()} == {".attributes.lock", "attributes", "cache", "run"}


def test_interrupted_it_says_that_it_goes_on(start, tmp_path):
    process = start(tmp_path)
    log = tmp_path / "run/balance/log.txt"
    while process.poll() is None and not (log.exists() and "usable" in log.read_text()):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate(timeout=60)
    assert process.returncode == 130
    assert shown.strip().endswith("interrupted; finished work is kept, and the same command resumes")
    assert "Traceback" not in shown


def test_two_at_once_agree(start, tmp_path):
    processes = [start(tmp_path) for _ in range(2)]
    for process in processes:
        assert process.wait() == 0, process.stderr.read()
    assert len(pd.read_parquet(tmp_path / "run/balance/balanced.parquet")) > 0
    assert sorted(os.listdir(tmp_path)) == [".attributes.lock", "attributes", "cache", "run"]
