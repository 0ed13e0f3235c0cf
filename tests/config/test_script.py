"""What `run` does around a script: the seconds that it counts in the run folder."""

import json
import sys
import weakref
from contextlib import suppress
from types import SimpleNamespace

import pytest
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from config.loading import load
from runtime.files import write_atomically
from runtime.run_folder import inner_stage, log, open_run_folder
from runtime.script import run


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """Return a function that runs a stage which takes some seconds by its clock, and gives what is counted then."""
    now = [0.0]
    monkeypatch.setattr("runtime.run_folder.time", SimpleNamespace(monotonic=lambda: now[0]))

    def runs(takes: float, *arguments: str, ends: BaseException | None = None) -> float | None:
        def main(settings):
            open_run_folder(settings, "stage")
            now[0] += takes
            if ends:
                raise ends

        monkeypatch.setattr(sys, "argv", ["stage.py", f"run={tmp_path}", *arguments])
        with suppress(SystemExit):
            run(main, "")
        path = tmp_path / "stage" / "seconds.json"
        return json.loads(path.read_text())["seconds"] if path.exists() else None

    return runs


def test_runs_with_the_same_settings_are_added_up_an_interrupted_one_too(stage):
    assert stage(30.0, ends=KeyboardInterrupt()) == 30
    assert stage(12.3) == 42.3


def test_with_other_settings_it_begins_anew(stage):
    stage(30.0)
    assert stage(5.0, "seed=3") == 5


def test_a_folder_from_before_has_none(stage, tmp_path):
    stage(30.0)
    (tmp_path / "stage" / "seconds.json").unlink()
    assert stage(5.0) is None


def test_of_many_processes_the_first_counts(stage, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert stage(30.0) is None


def test_the_process_group_ends_after_the_models_that_hold_it(tmp_path, monkeypatch):
    held, left, destroy = [], [], distributed.destroy_process_group

    def main(settings):
        distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
        trainer = SimpleNamespace(model=DistributedDataParallel(torch.nn.Linear(2, 2)))
        trainer.callback = trainer  # as a trainer is held by what it calls
        held.append(weakref.ref(trainer.model))

    def destroying():
        left.append(held[0]())
        destroy()

    monkeypatch.setattr(distributed, "destroy_process_group", destroying)
    monkeypatch.setattr(sys, "argv", ["stage.py", f"run={tmp_path}"])
    run(main, "")
    assert left == [None]
    assert not distributed.is_initialized()


def test_two_writers_of_one_file_have_each_their_own_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr("os.getpid", lambda: 1)  # as two machines that share a disk may both have it
    target = tmp_path / "numbers.csv"

    def first(beside):
        beside.write_text("first")
        write_atomically(target, lambda other: other.write_text("second"))
        assert beside.read_text() == "first"
        assert beside.suffix == ".csv"

    write_atomically(target, first)
    assert target.read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["numbers.csv"]


def test_a_stage_within_another_leaves_what_its_own_script_would(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("runtime.run_folder.time", SimpleNamespace(monotonic=lambda: now[0]))

    def main(settings):
        open_run_folder(settings, "outer")
        now[0] += 3
        with inner_stage(settings, "inner") as folder:
            log.info(f"in {folder.name}")
            now[0] += 5
        log.info("after it")

    monkeypatch.setattr(sys, "argv", ["outer.py", f"run={tmp_path}"])
    for times in (1, 2):
        run(main, "")
        seconds = [json.loads((tmp_path / stage / "seconds.json").read_text())["seconds"] for stage in ("outer", "inner")]
        assert seconds == [8 * times, 5 * times]
    configs = [(tmp_path / stage / "config.yaml").read_bytes() for stage in ("outer", "inner")]
    assert configs[0] == configs[1]
    assert "packages" in json.loads((tmp_path / "inner" / "environment.json").read_text())
    assert "after it" not in (tmp_path / "inner" / "log.txt").read_text()
    for stage in ("outer", "inner"):
        assert (tmp_path / stage / "log.txt").read_text().count("in inner") == 2


def test_the_environment_names_the_gpus(tmp_path, monkeypatch):
    settings = load([f"run={tmp_path}/run"])
    monkeypatch.setattr("runtime.run_folder.DRIVER", tmp_path / "gpus")
    for device in ("cpu", "2 x NVIDIA H200"):
        about = json.loads((open_run_folder(settings, "stage") / "environment.json").read_text())
        assert about["device"] == device
        for number in (0, 1):
            (tmp_path / f"gpus/0000:0{number}:06.0").mkdir(parents=True, exist_ok=True)
            text = "Model: \t\t NVIDIA H200\nIRQ:   \t\t 41\n"
            (tmp_path / f"gpus/0000:0{number}:06.0/information").write_text(text)
