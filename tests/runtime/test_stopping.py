"""SIGTERM: the first ends a script in order, with one line and code 143; the second at once."""

import os
import signal
import subprocess
import sys
import time

import pytest

SCRIPT = """
import os, signal, sys, time
from runtime.script import read_settings, run

read_settings(__name__, "A script.")

from concurrent.futures import ProcessPoolExecutor
from runtime.built_folder import lock
from runtime.stopping import finishing_updates, has_sigterm, nothing_to_save, stop

{imported}

def update(number):
    print("update", number, flush=True)
    time.sleep(0.1)


def main(settings):
    with lock(settings.run / "stage", wait=False):
        {main}


if __name__ == "__main__":
    run(main)
"""
SLEEPS = "print('ready', flush=True); time.sleep(60)"
UPDATES = """
        with finishing_updates():
            for number in range(100):
                update(number)
                if has_sigterm():
                    stop(f"a checkpoint was saved after update {number}")
"""
DEAF = "\n        with finishing_updates():\n            print('ready', flush=True)\n            time.sleep(60)"
AT_ONCE = DEAF.replace("():", "(), nothing_to_save():")
WORKERS = """
        with ProcessPoolExecutor(2) as pool:
            pool.submit(time.sleep, 0.1).result()
            print('ready', flush=True)
            pool.submit(time.sleep, 1).result()
            time.sleep(60)
"""
FAILS = DEAF.replace("sleep(60)", "sleep(1)\n            raise RuntimeError")
FINISHED = "\nterminated: what was finished is kept; run the same command again for the rest\n"


@pytest.fixture
def start(tmp_path):
    """Return a function that starts a script, in a process group of its own, and returns once it has said something."""
    started = []

    def starts(main: str, imported: str = "", **environment: str) -> subprocess.Popen:
        script = tmp_path / "script.py"
        script.write_text(SCRIPT.format(main=main, imported=imported))
        command = [sys.executable, str(script), f"run={tmp_path}/run"]
        piped = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        started.append(subprocess.Popen(command, **piped, env=os.environ | environment))
        assert started[-1].stdout.readline()
        return started[-1]

    yield starts
    for process in started:
        process.kill()


SAVED = "\nterminated: a checkpoint was saved after update 0; run the same command again for the rest\n"


@pytest.mark.parametrize(
    ("main", "imported", "said", "to"),
    [
        pytest.param(SLEEPS, "", FINISHED, "the process", id="at work"),
        pytest.param("pass", SLEEPS, FINISHED, "the process", id="importing"),
        pytest.param(AT_ONCE, "", FINISHED, "the process", id="nothing to save"),
        pytest.param(WORKERS, "", FINISHED, "the process", id="with workers"),
        pytest.param(WORKERS, "", FINISHED, "its group", id="with workers, which hear it too"),
        pytest.param(FAILS, "", FINISHED, "the process", id="a put off end that fails"),
        pytest.param(UPDATES, "", SAVED, "the process", id="in an update"),
    ],
)
def test_it_ends_with_one_line_and_143(start, main, imported, said, to):
    process = start(main, imported)
    (os.killpg if to == "its group" else os.kill)(process.pid, signal.SIGTERM)
    shown, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (143, said)
    assert "update 1" not in shown
    again = start("print('nobody holds the lock')")
    assert again.wait(30) == 0


def test_a_second_one_ends_it_at_once(start):
    process = start(DEAF)
    process.terminate()
    time.sleep(0.5)
    assert process.poll() is None
    process.terminate()
    assert process.wait(10) == 143


def test_one_that_a_launcher_passes_on_once_more_counts_once(start):
    process = start(UPDATES, RANK="0")
    process.terminate()
    process.terminate()
    assert "saved after update 0" in process.communicate(timeout=30)[1]


def test_a_launcher_that_dies_takes_its_process_along(start):
    """accelerate starts a single process and waits; it passes no signal on."""
    code = "import subprocess, sys; subprocess.run(sys.argv[1:])"
    process = start(UPDATES)
    process.terminate()
    process.wait(30)
    launched = os.environ | {"ACCELERATE_DYNAMO_BACKEND": "NO"}
    piped = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=launched)
    launcher = subprocess.Popen([sys.executable, "-c", code, *process.args], **piped)
    launcher.stdout.readline()
    launcher.terminate()
    assert "saved after update 0" in launcher.communicate(timeout=30)[1]  # the pipe ends with the last that holds it


BATCHES = """
        from torch.utils.data import DataLoader

        with finishing_updates():
            for number, batch in enumerate(DataLoader(range(50), 1, num_workers=2, persistent_workers=True)):
                update(number)
                if has_sigterm() and number == 20:
                    stop("done")
"""


def test_processes_that_load_batches_go_on_until_the_update_is_done(start):
    process = start(BATCHES)
    os.killpg(process.pid, signal.SIGTERM)
    shown, errors = process.communicate(timeout=60)
    assert (process.returncode, "update 20" in shown) == (143, True)
    assert errors.splitlines()[-1] == "terminated: done; run the same command again for the rest"  # torch warns of one core


@pytest.mark.parametrize(
    "signals", [[signal.SIGKILL], [signal.SIGTERM, signal.SIGTERM]], ids=["killed", "by a second SIGTERM"]
)
def test_processes_that_load_batches_end_with_the_one_that_they_load_for(start, signals):
    """Also those that nobody reads from any more, whose queue is full."""
    process = start(BATCHES.replace("range(50), 1", "[bytes(10**6)] * 50, None"))
    for number in signals:
        os.kill(process.pid, number)
        time.sleep(0.3)
    shown, _ = process.communicate(timeout=20)  # the pipe ends with the last that holds it
    assert process.returncode in (-signal.SIGKILL, 143)
    assert "update 49" not in shown, "it did not just come to its end"
