"""Run the six commands of `make demo`, and say before each what it does and about how long the rest takes.

    python demo/run.py
    python demo/run.py seed=1 run=runs/demo-1 data.emoset=data/drawn-1/EmoSet data.attribute_root=data/drawn-1/attributes

All six commands get the settings that you give, and paths count from the project's folder. A second thread helps models as
small as these less than a second process does. So each process has one, unless OMP_NUM_THREADS says otherwise, and two run
side by side: first the two trainings, for the understanding model needs nothing of the generator's but its emotion space,
and then two that share out the evaluation. One process gives the same figures.

The time left follows from how long the stages so far took, against how long they usually take. If a stage fails, the demo
ends what runs beside it, and then itself, with the exit code of the one that failed. Run it again and only changed stages
rerun. If you kill it, the same command resumes.
"""

import os
import queue
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import NamedTuple, TextIO

from runtime.machine import has_gpu, processors

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ("--config", "config/demo.yaml")
ALL = ""  # of a stage: what waits for it waits for its end
EMOTION_SPACE = "emotion space: .*val accuracy"  # training/main.py says so when it has one


class Stage(NamedTuple):
    """A command of the demo, and how many seconds after the first one it usually begins and ends on 2 cores."""

    command: tuple[str, ...]
    what: str
    begins: int
    ends: int
    after: tuple[tuple[int, str], ...] = ()  # what it waits for: stages' numbers, from 1, and what they say when so far
    name: str = ""  # before its lines, where another stage runs beside it
    processes: int = 1  # that share out its work, where there is no GPU


STAGES = (
    Stage(("demo/draw.py", *CONFIG), "draw a small EmoSet", 0, 7),
    Stage(("training/dataset_balance.py", *CONFIG), "draw a balanced set from it", 7, 10, ((1, ALL),)),
    Stage(("training/main.py", *CONFIG), "train the generator", 10, 151, ((2, ALL),), "generator"),
    Stage(("understanding.py", *CONFIG), "train the understanding model", 37, 200, ((3, EMOTION_SPACE),), "understanding"),
    Stage(("training/inference.py", *CONFIG), "make images", 151, 171, ((3, ALL),), "generator"),
    Stage(("evaluation/evaluate.py", *CONFIG), "measure both, write the report", 200, 286, ((4, ALL), (5, ALL)), "", 2),
)
UNBUFFERED = {"PYTHONUNBUFFERED": "1"}  # else a stage's lines would come all at once
KNOWN = 60  # seconds that count as having gone as expected, so that the short first stages alone do not tell the pace
TERMINATED = 128 + signal.SIGTERM
PATIENCE = 25  # seconds that interrupted stages have to end: clusters kill 30 after they ask


def main() -> None:
    if {"-h", "--help"} & {*sys.argv[1:]}:
        return print(__doc__)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # an exit, for the stages must end too
    began, children = time.monotonic(), {}
    try:
        run_all(children)
    except KeyboardInterrupt:  # Ctrl-C in a terminal reaches the stages too: they say so and end
        wait_for(children.values())
        if {child.poll() for child in children.values()} - {0} != {130}:
            print("\ninterrupted; finished work is kept, and the same command resumes", file=sys.stderr)
        sys.exit(130)
    except SystemExit:  # a stage failed; or SIGTERM, which trainings save themselves at, and a second one ends all at once
        for child in children.values():
            child.terminate()
        wait_for(children.values())
        raise
    finally:
        for child in children.values():
            child.kill()  # nothing, where it has ended
    minutes, seconds = divmod(round(time.monotonic() - began), 60)
    print(f"make demo took {minutes} min {seconds} s")


def run_all(children: dict[tuple[int, int], subprocess.Popen]) -> None:
    """Run all STAGES, each as soon as it can start, and exit with the code of one that fails.

    children: gets their processes, by the number of the stage and that of the process.
    """
    news: queue.Queue[tuple[int, str | int]] = queue.Queue()  # stages' numbers, and a line that was said or an exit code
    started: dict[int, float] = {}
    running: dict[int, int] = {}  # how many processes of a stage have not ended
    met: set[tuple[int, str]] = set()
    ended, taken, expected = 0, KNOWN, KNOWN
    while ended < len(STAGES):
        for number, stage in enumerate(STAGES, 1):
            if number not in started and met.issuperset(stage.after):
                left = (STAGES[-1].ends - stage.begins) * taken / expected
                print(f"[{number} of {len(STAGES)}] {stage.command[0]}: {stage.what}, {about(left)} left", flush=True)
                started[number] = time.monotonic()
                running[number] = 1 if has_gpu() else min(stage.processes, processors())
                for process, environment in enumerate(environments(running[number])):
                    child = children[number, process] = start(stage, environment)  # at once: a signal must find it there
                    follow(child, stage.name, lambda said, number=number: news.put((number, said)))
        number, said = news.get()
        if isinstance(said, str):
            met |= {(number, words) for words in (EMOTION_SPACE,) if re.match(words, said)}
            continue
        if said:
            sys.exit(said if said > 0 else 128 - said)  # below 0: a signal ended it, which a shell tells so
        running[number] -= 1
        if running[number]:
            continue
        met |= {(number, words) for words in (EMOTION_SPACE, ALL)}
        took, usual = time.monotonic() - started[number], STAGES[number - 1].ends - STAGES[number - 1].begins
        if took > usual / 3:  # otherwise its result was up to date
            taken, expected = taken + took, expected + usual
        ended += 1


def environments(processes: int) -> list[dict[str, str]]:
    """Return what torch.distributed reads in the environment of each process of a stage; nothing, where it has one."""
    if processes == 1:
        return [{}]
    with socket.create_server(("127.0.0.1", 0)) as free:
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": str(processes)}
    shared["CUDA_VISIBLE_DEVICES"] = ""  # each would take a GPU of its own, where has_gpu does not see one that works (WSL2)
    if sys.platform == "linux":
        shared["GLOO_SOCKET_IFNAME"] = "lo"  # a laptop's name need not resolve to an address
    return [shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]


def start(stage: Stage, environment: dict[str, str]) -> subprocess.Popen:
    piped = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) if stage.name else {}
    command, environment = [sys.executable, *stage.command, *sys.argv[1:]], os.environ | UNBUFFERED | environment
    return subprocess.Popen(command, cwd=ROOT, env=environment, **piped)


def follow(child: subprocess.Popen, name: str, hear: Callable[[str | int], None]) -> None:
    """Call `hear` with each line that a stage says, where it has a name, and at last with its exit code."""
    streams = ((child.stdout, sys.stdout), (child.stderr, sys.stderr)) if name else ()
    readers = [Thread(target=show, args=(*pair, name, hear), daemon=True) for pair in streams]

    def wait() -> None:
        code = child.wait()
        for reader in readers:
            reader.join(5)  # seconds: what the stage has left running may hold its streams for longer
        hear(code)

    for thread in (*readers, Thread(target=wait, daemon=True)):
        thread.start()


def show(said: TextIO, shown: TextIO, name: str, hear: Callable[[str], None]) -> None:
    for line in said:  # a progress bar's too, which ends with a carriage return
        if line.strip():
            shown.write(f"{name:13} | {line.rstrip()}\n")  # in one piece, for another stage's lines come from another thread
            shown.flush()
            hear(line)


def wait_for(children: Collection[subprocess.Popen]) -> None:
    """Wait until all have ended, or PATIENCE is."""
    deadline = time.monotonic() + PATIENCE
    for child in children:
        with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            child.wait(max(0, deadline - time.monotonic()))


def about(seconds: float) -> str:
    """Return a length of time as people say it."""
    minutes = round(seconds / 60)
    return f"about {minutes} minute{'s' if minutes > 1 else ''}" if minutes else "less than a minute"


if __name__ == "__main__":
    main()
