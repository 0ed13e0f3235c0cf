"""What `run` does around a script: the seconds that it counts in the run folder, and the line that an error becomes."""

import errno
import json
import os
import subprocess
import sys
import weakref
from contextlib import suppress
from types import SimpleNamespace

import pytest
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from config.errors import UserError
from config.loading import load
from config.section import ROOT
from runtime.run_folder import LINES, inner_stage, log, open_run_folder, progress
from runtime.script import read_settings, run


def run_with(main) -> None:
    """Run `main` as a script does, with the settings of sys.argv."""
    with suppress(SystemExit):
        read_settings("__main__", "")
        run(main)


@pytest.fixture(autouse=True)
def no_hook(monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # which read_settings replaces


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
        run_with(main)
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


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"seconds": "many"}', "\0\0"])
def test_what_is_damaged_begins_anew(stage, tmp_path, damage):
    stage(30.0)
    (tmp_path / "stage" / "seconds.json").write_text(damage)
    assert stage(5.0) == 5


def test_a_full_disk_hides_no_other_error(stage, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "seconds.json")

    stage(1.0)
    monkeypatch.setattr("runtime.run_folder._write_seconds", full)
    stage(1.0, ends=UserError("do this"))
    assert capsys.readouterr().err == "error: do this\n"
    stage(1.0)
    assert capsys.readouterr().err.startswith(
        "error: No space left on device: seconds.json. Nothing finished before was lost"
    )


def test_of_many_processes_the_first_counts(stage, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert stage(30.0) is None


def test_of_many_processes_the_first_speaks(stage, monkeypatch, capsys):
    waited = []
    monkeypatch.setattr("runtime.script.time", SimpleNamespace(sleep=lambda seconds: waited.append(capsys.readouterr().err)))
    for rank, said in (("0", True), ("1", False)):
        monkeypatch.setenv("RANK", rank)
        stage(1.0, ends=KeyboardInterrupt())
        assert ("interrupted" in capsys.readouterr().err) == said
    stage(1.0, ends=UserError("mine alone"))
    assert waited == [""]  # nothing before the launcher had its time
    assert capsys.readouterr().err == "error: mine alone\n"


def test_what_all_processes_meet_is_said_once(python, tmp_path):
    launch = [python, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    given = [f"run={tmp_path}", f"data.emoset={tmp_path / 'nowhere'}"]
    ended = subprocess.run([*launch, "training/main.py", *given], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode
    assert ended.stderr.count("error: ") == 1, ended.stderr


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
    run_with(main)
    assert left == [None]
    assert not distributed.is_initialized()


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
        run_with(main)
        seconds = [json.loads((tmp_path / stage / "seconds.json").read_text())["seconds"] for stage in ("outer", "inner")]
        assert seconds == [8 * times, 5 * times]
    configs = [(tmp_path / stage / "config.yaml").read_bytes() for stage in ("outer", "inner")]
    assert configs[0] == configs[1]
    assert "packages" in json.loads((tmp_path / "inner" / "environment.json").read_text())
    assert "after it" not in (tmp_path / "inner" / "log.txt").read_text()
    for stage in ("outer", "inner"):
        assert (tmp_path / stage / "log.txt").read_text().count("in inner") == 2


def test_progress_without_a_terminal_is_whole_lines(monkeypatch, capsys):
    for wait in ("mininterval", "maxinterval", "delay"):
        monkeypatch.setitem(LINES, wait, 0)
    bar = progress(None, "mapper", 3)
    for done in (1, 2, 3):
        bar.update()
        said = capsys.readouterr().err
        assert said.startswith("\rmapper: ")
        assert said.rstrip(" ").endswith("]\n")  # spaces would clear a longer line
        assert f"{done}/3" in said
    bar.close()
    assert not capsys.readouterr().err.strip()


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


FAULTY = """
from runtime.script import read_settings, run

read_settings(__name__, "A script.")

{after}


def main(settings):
    {main}


if __name__ == "__main__":
    run(main)
"""


@pytest.mark.parametrize(
    ("after", "main", "code", "line"),
    [
        ("import not_there", "pass", 1, "error: not_there is not installed; in the project's folder: pip install"),
        ("raise KeyboardInterrupt", "pass", 130, "interrupted; finished work is kept"),
        (
            "import errno",
            'raise OSError(errno.ENOSPC, "No space left", "/x")',
            1,
            "error: No space left: /x. Nothing",
        ),
        ("", "settings.run.mkdir()", 1, "error: File name too long: "),
        ("", 'raise RuntimeError("I/O error: ... (os error 28)")', 1, "error: No space left on device"),
        ("from config.errors import UserError", 'raise UserError("do this")', 1, "error: do this"),
        ("", "raise KeyboardInterrupt", 130, "interrupted; finished work is kept"),
    ],
)
def test_an_error_is_one_line(tmp_path, after, main, code, line):
    script = tmp_path / "script.py"
    script.write_text(FAULTY.format(after=after, main=main))
    ended = subprocess.run([sys.executable, script, "seed=3", f"run={'x' * 300}"], capture_output=True, text=True)
    assert ended.returncode == code
    assert ended.stderr.strip().startswith(line)
    assert ended.stderr.strip().count("\n") == 0


def test_a_terminal_without_these_letters_loses_no_line(tmp_path):
    script = tmp_path / "script.py"
    main = 'open_run_folder(settings, "stage"); log.info("λ → 1"); log.info("a\\udcff.jpg"); print("é")'
    script.write_text(
        FAULTY.format(after="from runtime.run_folder import log, open_run_folder", main=main), encoding="utf-8"
    )
    ascii_alone = os.environ | {"PYTHONIOENCODING": "ascii"}
    ended = subprocess.run([sys.executable, script, f"run={tmp_path}"], capture_output=True, text=True, env=ascii_alone)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines()[-3:] == [r"\u03bb \u2192 1", r"a\udcff.jpg", r"\xe9"]
    assert [line[20:] for line in (tmp_path / "stage/log.txt").read_text("utf-8").splitlines()[-2:]] == [
        "λ → 1",
        r"a\udcff.jpg",
    ]
    asked = subprocess.run(
        [sys.executable, "loop/main.py", "--help"], capture_output=True, text=True, env=ascii_alone, cwd=ROOT
    )
    assert asked.returncode == 0, asked.stderr


def test_a_fault_of_ours_keeps_its_traceback(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(FAULTY.format(after="1 / 0", main="pass"))
    assert "ZeroDivisionError" in subprocess.run([sys.executable, script], capture_output=True, text=True).stderr


def test_an_error_in_the_config_comes_before_the_imports(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(FAULTY.format(after="print('imported')", main="pass"))
    ended = subprocess.run([sys.executable, script, "seed=many"], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("error: command line: seed: 'many' is not allowed")
