"""Run the six commands of `make demo`, and say before each what it does and about how long the rest takes.

    python demo/run.py
    python demo/run.py seed=1 run=runs/demo-1 data.emoset=data/drawn-1/EmoSet data.attribute_root=data/drawn-1/attributes

All six commands get the settings that you give, and paths count from the project's folder. The time left follows from how
long the stages so far took, against how long they usually take. If a stage fails, the demo ends with its exit code. Run it
again and only changed stages rerun. If you kill it, the same command resumes.
"""

import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ["--config", "config/demo.yaml"]
# Each stage's command, what it does, and its seconds on 2 cores.
STAGES = (
    (["demo/draw.py", *CONFIG], "draw a small EmoSet", 6),
    (["training/dataset_balance.py", *CONFIG], "draw a balanced set from it", 3),
    (["training/main.py", *CONFIG], "train the generator", 80),
    (["training/inference.py", *CONFIG], "make images", 10),
    (["understanding.py", *CONFIG], "train the understanding model", 102),
    (["evaluation/evaluate.py", *CONFIG], "measure both, write the report", 90),
)
KNOWN = 60  # seconds that count as having gone as expected, so that the short first stages alone do not tell the pace
TERMINATED = 128 + signal.SIGTERM
PATIENCE = 25  # seconds that an interrupted stage has to end: clusters kill 30 after they ask


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # an exit, for the stage must end too
    began = time.monotonic()
    taken = expected = KNOWN
    for number, (command, what, usual) in enumerate(STAGES, 1):
        left = sum(seconds for *_, seconds in STAGES[number - 1 :]) * taken / expected
        print(f"[{number} of {len(STAGES)}] {command[0]}: {what}, {about(left)} left", flush=True)
        started = time.monotonic()
        code = run_stage([*command, *sys.argv[1:]])
        if code:
            sys.exit(code if code > 0 else 128 - code)  # below 0: a signal ended it, which a shell tells so
        took = time.monotonic() - started
        if took > usual / 3:  # otherwise its result was up to date
            taken, expected = taken + took, expected + usual
    minutes, seconds = divmod(round(time.monotonic() - began), 60)
    print(f"make demo took {minutes} min {seconds} s")


def run_stage(command: list[str]) -> int:
    """Run a stage and return its exit code; it ends before this does. 130: interrupted, and a line has said so."""
    with subprocess.Popen([sys.executable, *command], cwd=ROOT) as stage:
        try:
            return stage.wait()
        except KeyboardInterrupt:
            with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
                stage.wait(PATIENCE)  # Ctrl-C in a terminal reaches the stage too: it says so and ends
            if stage.poll() != 130:
                print("\ninterrupted; what was finished stays, run the same command again for the rest", file=sys.stderr)
            return 130
        except SystemExit:  # SIGTERM, which the stage saves its training at; a second one ends both at once
            stage.terminate()
            with suppress(subprocess.TimeoutExpired):
                stage.wait(PATIENCE)
            raise
        finally:
            stage.kill()  # nothing, where it has ended


def about(seconds: float) -> str:
    """Return a length of time as people say it."""
    minutes = round(seconds / 60)
    return f"about {minutes} minute{'s' if minutes > 1 else ''}" if minutes else "less than a minute"


if __name__ == "__main__":
    main()
