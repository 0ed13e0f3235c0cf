"""Kill the demo in miniature at random moments until it has ended. Are its figures those of a run that was left alone?

    python benchmarks/killed_demo.py path/to/an/empty/folder
    python benchmarks/killed_demo.py path/to/an/empty/folder evaluation 30

Takes some ten minutes on 2 cores. SIGKILL ends the whole process group, as a machine's reset would. Prints where each kill
struck and which figures differ, of generation, understanding and each by the other. It ends with status 1 if any does.

evaluation: all before is copied from the run that was left alone, and the kills, 30 by default, strike the evaluation and
its report. Where it ends before one strikes, it is compared and starts again. The report's numbers are compared too.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KILLS, SEED = 8, 0
MOMENTS = (8, 40)  # seconds after a start, between which a kill may strike
DEMO = ["demo/run.py", "--config", "demo/miniature.yaml"]
EVALUATION = ["evaluation/evaluate.py", "--config", "config/demo.yaml", "--config", "demo/miniature.yaml"]
OF_EVALUATION = ("run/evaluation", "run/report", "cache/features")  # what it leaves


def main(folder: Path) -> None:
    rng = random.Random(SEED)
    end(start(DEMO, folder / "alone"), None)
    for kill in range(1, KILLS + 1):
        process, moment = start(DEMO, folder / "killed"), rng.uniform(*MOMENTS)
        if end(process, moment):
            print(f"ended before kill {kill}")
            break
        tell(kill, moment, folder / "killed")
    else:
        end(start(DEMO, folder / "killed"), None)
    sys.exit(bool(differences(folder)))


def kill_evaluation(folder: Path, kills: int) -> None:
    rng, killed = random.Random(SEED), folder / "killed"
    end(start(DEMO, folder / "alone"), None)
    shutil.copytree(folder / "alone", killed)
    began = time.monotonic()
    clear(killed)
    end(start(EVALUATION, killed), None)
    longest, different, rounds = time.monotonic() - began, differences(folder), 1
    clear(killed)
    for kill in range(1, kills + 1):
        moment = rng.uniform(2, longest)
        while end(start(EVALUATION, killed), moment):
            different, rounds = different + differences(folder), rounds + 1
            clear(killed)
            moment = rng.uniform(2, longest)
        tell(kill, moment, killed)
    end(start(EVALUATION, killed), None)
    different += differences(folder)
    print(f"{kills} kills in {rounds} evaluations")
    sys.exit(bool(different))


def clear(folder: Path) -> None:
    for place in OF_EVALUATION:
        shutil.rmtree(folder / place, ignore_errors=True)


def tell(kill: int, moment: float, folder: Path) -> None:
    log = (folder / "log.txt").read_text(errors="replace").replace("\r", "\n").split("\n")
    last = [line.strip() for line in log if line.strip()] or ["nothing said yet"]
    print(f"kill {kill}, after {moment:.0f} s, at: {last[-1][:100]}", flush=True)


def differences(folder: Path) -> list[str]:
    """Return the figures that differ in the two folders, and print how many there are."""
    alone, killed = (flat(figures(folder / name / "run")) for name in ("alone", "killed"))
    different = sorted(name for name in alone.keys() | killed.keys() if alone.get(name) != killed.get(name))
    print(f"{len(alone)} figures, {len(different)} of them different {different[:10] or ''}", flush=True)
    return different


def start(command: list[str], folder: Path) -> subprocess.Popen:
    """Start a script, with all that it makes in `folder`, and the log of this start."""
    folder.mkdir(exist_ok=True)
    places = {"run": "run", "data.emoset": "EmoSet", "data.attribute_root": "attributes", "data.cache": "cache"}
    where = [f"{key}={folder / name}" for key, name in places.items()]
    command = [sys.executable, str(ROOT / command[0]), *command[1:], *where]
    with (folder / "log.txt").open("w") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, cwd=ROOT)


def end(process: subprocess.Popen, moment: float | None) -> bool:
    """Wait for the demo's end, or kill it at the moment; return whether it ended. Where it fails, this ends too."""
    try:
        code = process.wait(moment)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return False
    if code:
        sys.exit(f"error: the demo failed with status {code}; see log.txt in the folder")
    return True


def figures(run: Path) -> dict:
    """Return all figures of a run, by what they measure, and those of its report but the seconds."""
    parts = ("generation", "understanding", "cross")
    found = {part: json.loads((run / "evaluation" / f"{part}.json").read_text())["figures"] for part in parts}
    report = json.loads((run / "report" / "metrics.json").read_text())
    return found | {"report": {name: value for name, value in report.items() if name != "seconds"}}


def flat(tree: dict, above: str = "") -> dict[str, float]:
    """Return the leaves of a tree by path."""
    found = {}
    for name, value in tree.items():
        found |= flat(value, f"{above}{name}/") if isinstance(value, dict) else {f"{above}{name}": value}
    return found


if __name__ == "__main__":
    given = sys.argv[1:]
    if not given or given[0].startswith("-") or given[1:2] not in ([], ["evaluation"]):
        sys.exit(__doc__)
    place = Path(given[0]).resolve()
    place.mkdir(parents=True, exist_ok=True)
    if any(place.iterdir()):
        sys.exit(f"error: {place} is not empty; name a new folder")
    if given[1:]:
        kill_evaluation(place, int((given[2:] or ["30"])[0]))
    main(place)
