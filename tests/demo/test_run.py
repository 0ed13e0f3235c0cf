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


def start(
    *lines: str,
    names: tuple[str, ...] = (),
    after: dict[int, tuple] | None = None,
    patience: float = 60,
    processes: int = 1,
) -> subprocess.Popen:
    """Start demo/run.py with these stages, one after the other or as `after` says, in a process group of its own.

    processes: of the first stage.
    """
    stages = []
    for number, line in enumerate(lines, 1):
        waits = (after or {}).get(number, ((number - 1, ""),) if number > 1 else ())
        # In one write: two processes share the pipe, and Python without a buffer writes a line's end by itself.
        code = f"import os; os.write(1, b'%d\\n' % os.getpid())\n{line}"
        shared = processes if number == 1 else 1
        stages.append(
            (("-c", code), "work", number * 60 - 60, number * 60, waits, dict(enumerate(names, 1)).get(number, ""), shared)
        )
    told = f"run.STAGES, run.PATIENCE = tuple(run.Stage(*each) for each in {stages!r}), {patience}"
    told += "; run.processors, run.has_gpu = lambda: 2, lambda: False"
    code = f"from demo import run; {told}; run.main()"
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
    for stage in run.STAGES:
        script, _, config = stage.command
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
    begins = [sum(seconds[:number]) for number in range(7)]
    stages = [
        run.Stage((f"{number}.py",), "work", begins[number], begins[number + 1], ((number, run.ALL),) if number else ())
        for number in range(6)
    ]

    def start(stage: run.Stage, environment: dict) -> None:
        now[0] += pace * (stage.ends - stage.begins)

    monkeypatch.setattr(run, "STAGES", stages)
    monkeypatch.setattr(run, "start", start)
    monkeypatch.setattr(run, "follow", lambda child, name, hear: hear(0))
    monkeypatch.setattr(run, "time", SimpleNamespace(monotonic=lambda: now[0]))
    run.run_all({})
    assert re.findall(r"about (.*) left", capsys.readouterr().out) == told


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
    assert errors.strip() == "interrupted; finished work is kept, and the same command resumes"
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


BOTH = {2: (), 3: ((1, run.ALL), (2, run.ALL))}  # the first two side by side, and then the third


def test_two_side_by_side_put_their_names_before_their_lines():
    says = "print('red', flush=True); print('blue', file=sys.stderr)"
    shown, errors = start(
        f"import sys; {says}", "print('green')", "print('last')", names=("one", "two"), after=BOTH
    ).communicate(timeout=60)
    assert sorted(re.findall(r"(one|two) +\| (red|green)", shown)) == [("one", "red"), ("two", "green")]
    assert errors == "one           | blue\n"
    assert re.search(r"\[3 of 3\].*\n\d+\nlast\n", shown)


def test_one_that_waits_for_an_emotion_space_starts_beside_what_makes_it(tmp_path):
    mark = tmp_path / "mark"
    encoder = "print('emotion encoder: epoch 1, val accuracy 80%', flush=True); time.sleep(1)"
    wait = f"while not os.path.exists({str(mark)!r}): time.sleep(.05)"  # until the second has started
    first = f"import time\n{encoder}\nprint('emotion space: val accuracy 86%', flush=True)\n{wait}"
    second = f"print('started', flush=True); open({str(mark)!r}, 'w')"
    process = start(first, second, names=("one", "two"), after={2: ((1, run.EMOTION_SPACE),)})
    shown, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert shown.index("emotion space") < shown.index("[2 of 2]") < shown.index("started")


@pytest.mark.parametrize("failing", [1, 2])
def test_the_failure_of_one_ends_what_runs_beside_it(failing, tmp_path):
    mark = str(tmp_path / "mark")
    fails = f"import time\nwhile not os.path.exists({mark!r}): time.sleep(.05)\nexit('error: no room')"
    stages = [fails, SAVES.replace(SLEEPS, f"open({mark!r}, 'w')\n{SLEEPS}"), "print('last')"]
    if failing == 2:
        stages[:2] = stages[1::-1]
    process = start(*stages, names=("one", "two"), after=BOTH)
    shown, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "[3 of 3]" not in shown
    told = [line.partition(" | ")[2] for line in errors.splitlines()]
    assert told == ["error: no room", "terminated: a checkpoint was saved"]
    for stage in re.findall(r"\| (\d+)$", shown, re.M):
        assert not is_running(int(stage))


def test_ctrl_c_ends_both_of_two():
    process = start(SAYS_SO, SAYS_SO, names=("one", "two"), after={2: ()})
    stages = []
    while len(stages) < 4:
        stages += re.findall(r"\| (\d+|asleep)$", process.stdout.readline())
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert sorted(errors.splitlines()) == ["one           | interrupted", "two           | interrupted"]
    assert not any(is_running(int(stage)) for stage in stages if stage != "asleep")


RANKS = "rank = os.environ['RANK'] + ' of ' + os.environ['WORLD_SIZE']"


@pytest.mark.parametrize(("platform", "interface"), [("linux", "lo"), ("darwin", None)])
def test_processes_that_share_a_stage_take_no_gpu_and_meet_on_this_machine(platform, interface, monkeypatch):
    monkeypatch.setattr(run.sys, "platform", platform)
    assert run.environments(1) == [{}]
    for rank, each in enumerate(run.environments(2)):
        assert (each["RANK"], each["MASTER_ADDR"], each["CUDA_VISIBLE_DEVICES"]) == (str(rank), "127.0.0.1", "")
        assert each.get("GLOO_SOCKET_IFNAME") == interface


def test_two_processes_share_a_stage_and_the_next_waits_for_both():
    line = f"import time\n{RANKS}\ntime.sleep(rank[0] == '0')\nprint(rank, flush=True)"
    shown, errors = start(line, "print('RANK' in os.environ)", processes=2).communicate(timeout=60)
    assert re.findall(r"\d of 2$|True|False", shown, re.M) == ["1 of 2", "0 of 2", "False"]
    assert (shown.count("[1 of 2]"), errors) == (1, "")


def test_the_failure_of_one_process_ends_the_stage():
    line = f"{RANKS}\nif rank[0] == '1': exit('error: no room')\n{SAVES}"
    process = start(line, "print('two')", processes=2)
    shown, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "[2 of 2]" not in shown
    assert "error: no room" in errors.splitlines()
    assert not any(is_running(int(number)) for number in re.findall(r"^\d+$", shown, re.M))


def test_help_runs_no_stage():
    done = subprocess.run([sys.executable, "demo/run.py", "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "make demo took" not in done.stdout
    assert done.stdout.strip() == run.__doc__.strip()
