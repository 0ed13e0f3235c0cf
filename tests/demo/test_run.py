"""What `make demo` says of its stages, and how it ends: with stages that are a line of Python each."""

import os
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from config.section import ROOT
from demo import run

SLEEPS = "import time; print('asleep', flush=True); time.sleep(60)"
# As runtime/script.py does; `deaf` to Ctrl-C otherwise.
SAYS_SO = (
    f"import sys\ntry:\n exec({SLEEPS!r})\nexcept KeyboardInterrupt:\n print('interrupted', file=sys.stderr); sys.exit(130)"
)
DEAF = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); {SLEEPS}"


def start(*stages: str, patience: float = 60) -> subprocess.Popen:
    """Start demo/run.py with these stages, in a process group of its own, as a terminal would."""
    stages = [(["-c", f"import os; print(os.getpid(), flush=True)\n{stage}"], "work", 60) for stage in stages]
    code = f"from demo import run; run.STAGES, run.PATIENCE = {stages!r}, {patience}; run.main()"
    piped = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, start_new_session=True, **piped)


def read_until_asleep(process: subprocess.Popen) -> int:
    """Return the process id of the stage, once it sleeps."""
    lines = []
    while "asleep" not in lines:
        lines.append(process.stdout.readline().strip())
        assert lines[-1], process.stderr.read()
    return int(lines[-2])


def is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_stages_are_scripts_of_the_project():
    for (script, _, config), *_ in run.STAGES:
        assert (ROOT / script).is_file()
        assert (ROOT / config).is_file()


def test_every_stage_is_told_of_before_it_runs():
    shown, errors = start("print('one')", "print('two')").communicate(timeout=60)
    shown = re.sub(r"^\d+\n", "", shown, flags=re.M)
    assert re.fullmatch(
        r"\[1 of 2\] -c: work, about 2 minutes left\none\n\[2 of 2\] -c: work, about 1 minute left\ntwo\n"
        r"make demo took 0 min \d+ s\n",
        shown,
    )
    assert not errors


@pytest.mark.parametrize(
    ("pace", "told"),
    [
        (1.0, ["10 minutes", "10 minutes", "10 minutes", "6 minutes", "5 minutes", "2 minutes"]),
        (2.0, ["10 minutes", "12 minutes", "12 minutes", "10 minutes", "10 minutes", "5 minutes"]),
        (0.01, ["10 minutes", "10 minutes", "10 minutes", "6 minutes", "5 minutes", "2 minutes"]),  # all was done before
    ],
)
def test_the_time_left_follows_the_pace(pace, told, monkeypatch, capsys):
    now, seconds = [0.0], (15, 5, 240, 20, 170, 150)
    stages = [([f"{number}.py"], "work", usual) for number, usual in enumerate(seconds)]

    def run_stage(command: list[str]) -> int:
        now[0] += pace * seconds[int(command[0][0])]
        return 0

    monkeypatch.setattr(run, "STAGES", stages)
    monkeypatch.setattr(run, "run_stage", run_stage)
    monkeypatch.setattr(run, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(run.signal, "signal", lambda *_: None)
    run.main()
    shown = capsys.readouterr().out
    assert re.findall(r"about (.*) left", shown) == told
    assert shown.endswith(f"make demo took {int(600 * pace) // 60} min {int(600 * pace) % 60} s\n")


@pytest.mark.parametrize(("stage", "code"), [("exit('error: no room')", 1), ("os.kill(os.getpid(), 9)", 137)])
def test_a_failing_stage_ends_it_with_its_exit_code(stage, code):
    process = start(stage, "print('two')")
    shown, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert "[2 of 2]" not in shown
    assert errors == ("error: no room\n" if code == 1 else "")


def test_ctrl_c_ends_both_with_one_line():
    process = start(SAYS_SO, "print('two')")
    stage = read_until_asleep(process)
    os.killpg(process.pid, signal.SIGINT)
    shown, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (shown, errors) == ("", "interrupted\n")
    assert not is_running(stage)


def test_a_stage_that_does_not_hear_ctrl_c_is_not_left_behind():
    process = start(DEAF, patience=0.1)
    stage = read_until_asleep(process)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.strip() == "interrupted; what was finished stays, run the same command again for the rest"
    assert not is_running(stage)


def test_terminated_it_takes_its_stage_along():
    process = start(SAYS_SO)
    stage = read_until_asleep(process)
    began = time.monotonic()
    process.terminate()
    assert process.wait(timeout=30) == 143
    assert time.monotonic() - began < 20
    assert not is_running(stage)


SAVES = f"import signal\nsignal.signal(signal.SIGTERM, lambda *_: exit('terminated: a checkpoint was saved'))\n{SLEEPS}"


def test_terminated_it_lets_its_stage_save_what_it_trains():
    process = start(SAVES)
    read_until_asleep(process)
    process.terminate()
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (143, "terminated: a checkpoint was saved\n")


def test_terminated_twice_it_ends_both_at_once():
    process = start(SAVES.replace("exit('terminated: a checkpoint was saved')", "print('at it', flush=True)"))
    stage = read_until_asleep(process)
    process.terminate()
    assert process.stdout.readline() == "at it\n"
    process.terminate()
    assert process.wait(timeout=30) == 143
    assert not is_running(stage)
