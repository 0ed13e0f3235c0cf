"""Kill the demo in miniature at random moments, until it has ended; are its figures those of a run that was left alone?

    python benchmarks/killed_demo.py path/to/an/empty/folder

Takes some ten minutes on 2 cores. SIGKILL ends the whole process group, as a machine's reset would. Prints where each kill
struck and which figures differ, of generation, understanding and each by the other; ends with status 1 where any does.
"""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KILLS, SEED = 8, 0
MOMENTS = (8, 40)  # seconds after a start, between which a kill may strike


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        sys.exit(f"error: {folder} is not empty; name a new folder")
    rng = random.Random(SEED)
    end(start(folder / "alone"), None)
    for kill in range(1, KILLS + 1):
        process = start(folder / "killed")
        moment = rng.uniform(*MOMENTS)
        if end(process, moment):
            print(f"ended before kill {kill}")
            break
        log = (folder / "killed" / "log.txt").read_text(errors="replace").replace("\r", "\n").split("\n")
        last = [line.strip() for line in log if line.strip()][-1]
        print(f"kill {kill}, after {moment:.0f} s, at: {last[:100]}", flush=True)
    else:
        end(start(folder / "killed"), None)
    alone, killed = (flat(figures(folder / name / "run/evaluation")) for name in ("alone", "killed"))
    different = sorted(name for name in alone.keys() | killed.keys() if alone.get(name) != killed.get(name))
    print(f"{len(alone)} figures, {len(different)} of them different {different[:10] or ''}")
    sys.exit(bool(different))


def start(folder: Path) -> subprocess.Popen:
    """Start the demo, with all that it makes in `folder`, and the log of this start."""
    folder.mkdir(exist_ok=True)
    places = {"run": "run", "data.emoset": "EmoSet", "data.attribute_root": "attributes", "data.cache": "cache"}
    where = [f"{key}={folder / name}" for key, name in places.items()]
    command = [sys.executable, str(ROOT / "demo/run.py"), "--config", "demo/miniature.yaml", *where]
    with (folder / "log.txt").open("w") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)


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


def figures(folder: Path) -> dict:
    """Return all figures of an evaluation's folder, by what they measure."""
    parts = ("generation", "understanding", "cross")
    return {part: json.loads((folder / f"{part}.json").read_text())["figures"] for part in parts}


def flat(tree: dict, above: str = "") -> dict[str, float]:
    """Return the leaves of a tree by path."""
    found = {}
    for name, value in tree.items():
        found |= flat(value, f"{above}{name}/") if isinstance(value, dict) else {f"{above}{name}": value}
    return found


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    main(Path(sys.argv[1]).resolve())
