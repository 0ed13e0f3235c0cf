"""What `run` does around a script: the seconds that it counts in the run folder."""

import json
import sys
from contextlib import suppress
from types import SimpleNamespace

import pytest

from config.script import open_run_folder, run, write_atomically


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """Return a function that runs a stage which takes some seconds by its clock, and gives what is counted then."""
    now = [0.0]
    monkeypatch.setattr("config.script.time", SimpleNamespace(monotonic=lambda: now[0]))

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
