"""How much longer does the demo take when another program takes one of two cores?

    python benchmarks/busy_core.py path/to/an/empty/folder
    python benchmarks/busy_core.py path/to/an/empty/folder free --config demo/miniature.yaml

Runs the demo twice from nothing on the first two cores that this process may use: alone, and then beside an endless loop.
The loop stays on one core, or moves where the system puts it with `free`. What follows goes to demo/run.py. Prints both
times and their ratio. Takes some 15 minutes on 2 quiet cores, and a busy machine makes the ratio worthless.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACES = {"run": "run", "data.emoset": "EmoSet", "data.attribute_root": "attributes", "data.cache": "cache"}


def main(folder: Path, stays: bool, words: list[str]) -> None:
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        sys.exit("error: this process may use one core only; give it two")
    os.sched_setaffinity(0, cores)
    if (busy := os.getloadavg()[0]) > 0.5:
        print(f"warning: {busy:.1f} programs were running in the last minute")
    alone = seconds_of_demo(folder / "alone", words)
    loop = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        if stays:
            os.sched_setaffinity(loop.pid, cores[:1])
        beside = seconds_of_demo(folder / "beside", words)
    finally:
        loop.kill()
    where = "stays on one" if stays else "moves between the two"
    print(f"alone {alone:.0f} s, beside a loop that {where} {beside:.0f} s: {beside / alone:.2f} times as long")


def seconds_of_demo(folder: Path, words: list[str]) -> float:
    """Run the demo, with all that it makes in `folder`, and its log. Return its wall seconds; where it fails, end."""
    folder.mkdir(parents=True)
    command = [sys.executable, "demo/run.py", *words, *(f"{key}={folder / name}" for key, name in PLACES.items())]
    began = time.monotonic()
    with (folder / "log.txt").open("w") as log:
        code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT).returncode
    if code:
        sys.exit(f"error: the demo failed with status {code}; see log.txt in {folder}")
    return time.monotonic() - began


if __name__ == "__main__":
    given = sys.argv[1:]
    if not given or given[0].startswith("-"):
        sys.exit(__doc__)
    place = Path(given[0]).resolve()
    if place.is_dir() and any(place.iterdir()):
        sys.exit(f"error: {place} is not empty; name a new folder")
    main(place, given[1:2] != ["free"], [word for word in given[1:] if word != "free"])
