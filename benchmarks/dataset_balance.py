"""Times training/dataset_balance.py on a dataset of EmoSet's real size against plain loops over the same files.

    python benchmarks/dataset_balance.py path/to/published path/to/an/empty/folder

The dataset is rebuilt once from published metadata (real_shape.py). Each round warms the page cache, then times every row
one after the other. It prints medians over the rounds and ratios within this run. You need about 1 GB of disk.
"""

import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
from PIL import Image
from real_shape import rebuilt_annotations, write_dataset

from emoset.images import check_image, load_image

ROUNDS = 5
PHOTOGRAPHS, PHOTOGRAPH = 50, (500, 375)  # EmoSet's images are of the web, and about so large
SCRIPT = Path(__file__).resolve().parent.parent / "training" / "dataset_balance.py"


def main(published: Path, work: Path) -> None:
    emoset, attributes = work / "EmoSet", work / "attributes"
    mark = work / ".benchmark"
    if work.exists() and any(work.iterdir()) and not mark.exists():
        sys.exit(f"error: {work} is not empty, and not from a benchmark; name another folder")
    work.mkdir(parents=True, exist_ok=True)
    mark.touch()
    if not emoset.exists():
        print("rebuilding the dataset", flush=True)
        shutil.rmtree(work / "unfinished", ignore_errors=True)
        write_dataset(rebuilt_annotations(published), published / "info.json", work / "unfinished")
        (work / "unfinished").rename(emoset)
    command = [sys.executable, str(SCRIPT), f"data.emoset={emoset}", f"data.attribute_root={attributes}"]
    command += [f"data.cache={work / 'cache'}", f"run={work / 'run'}"]
    lists = [json.loads((emoset / f"{split}.json").read_text()) for split in ("train", "val", "test")]
    rows = [(annotation, image) for rows in lists for _, _, image, annotation in rows]
    times: dict[str, list[float]] = {}
    peak = 0.0

    def measure(name: str, action: Callable[[], object]) -> None:
        start = time.perf_counter()
        action()
        times.setdefault(name, []).append(time.perf_counter() - start)

    def run(*arguments: str) -> None:
        nonlocal peak
        peak = max(peak, peak_memory([*command, *arguments]))

    def clear() -> None:
        for folder in (attributes, work / "cache", work / "run", work / "copy"):
            shutil.rmtree(folder, ignore_errors=True)

    for number in range(ROUNDS):
        print(f"round {number + 1} of {ROUNDS}", flush=True)
        clear()
        for label, image in rows:  # warm the page cache
            (emoset / label).read_bytes(), (emoset / image).read_bytes()
        measure("plain loop: json.load of every annotation", lambda: [read_json(emoset / label) for label, _ in rows])
        measure("plain loop: Image.open of every image", lambda: [read_size(emoset / image) for _, image in rows])
        measure("first run of dataset_balance.py, data.decode=false", lambda: run("data.decode=false"))
        clear()
        measure("first run of dataset_balance.py", run)
        measure("second run of dataset_balance.py", run)
        measure(
            "cp -al of the attribute folders", lambda: subprocess.run(["cp", "-al", attributes, work / "copy"], check=True)
        )

    medians = {name: statistics.median(values) for name, values in times.items()}
    plain = sum(median for name, median in medians.items() if "dataset_balance" not in name)
    print(f"\n{len(rows):,} images, median of {ROUNDS} rounds, {psutil.cpu_count()} cores\n")
    print("| what | seconds | range | of the plain loops and cp together |\n|---|---:|---:|---:|")
    for name, median in medians.items():
        print(f"| {name} | {median:.1f} | {min(times[name]):.1f} to {max(times[name]):.1f} | {median / plain:.2f} |")
    print(f"| plain loops and cp -al together | {plain:.1f} | | 1.00 |")
    print(f"\npeak memory of a run, all its processes: {peak / 1e6:.0f} MB\n")
    time_photographs(work / "photographs")


def time_photographs(folder: Path) -> None:
    """Print what check_image takes of JPEGs as large as EmoSet's, whole ones and by their header alone."""
    folder.mkdir(exist_ok=True)
    for number in range(PHOTOGRAPHS):
        small = Image.effect_noise((60, 45), 90).resize(PHOTOGRAPH, Image.Resampling.BICUBIC)
        fine = Image.effect_noise(PHOTOGRAPH, 8)
        Image.blend(small, fine, 0.3).convert("RGB").save(folder / f"{number}.jpg", quality=90)
    paths = sorted(folder.iterdir())
    size = sum(path.stat().st_size for path in paths) / len(paths)
    print(f"{PHOTOGRAPH[0]} x {PHOTOGRAPH[1]} pixels, {size / 1e3:.0f} kB; milliseconds an image, of one core:")
    ways = {
        "opened": read_size,
        "checked, data.decode=false": partial(check_image, decode=False),
        "checked": check_image,
        "decoded whole": load_image,
    }
    for name, action in ways.items():
        rounds = []
        for _ in range(ROUNDS):
            start = time.process_time()
            for path in paths:
                action(path)
            rounds.append((time.process_time() - start) / len(paths) * 1e3)
        print(f"    {name}: {statistics.median(rounds):.2f}")


def read_json(path: Path) -> dict:
    with open(path) as file:
        return json.load(file)


def read_size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def peak_memory(command: list[str]) -> float:
    """Run `command`; return the largest sum of its processes' resident memory, in bytes, seen ten times a second."""
    process = psutil.Popen(command, stdout=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        memory = 0
        for each in (process, *process.children(recursive=True)):
            try:
                memory += each.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        peak = max(peak, memory)
        time.sleep(0.1)
    if process.returncode:
        sys.exit(f"error: {' '.join(command)} ended with {process.returncode}")
    return peak


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
