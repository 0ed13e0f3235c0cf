"""Fill the disk under every script, in growing sizes: does each end with one line, and with room as if nothing had been?

    python benchmarks/full_disk.py path/to/an/empty/folder [attempts] [script ...]

Runs the demo in miniature twice: `alone/` on the disk of that folder, and `full/` on a disk in memory (tmpfs, which only
root may mount). That one starts full for each script. The script must end with status 1 and one line that names a file. Then
the disk grows by a random size, and the same command runs again. Checks of the room beforehand are off, as another program
may fill the disk later. `attempts` is about how often that happens to each script, 20 by default. Prints for each script how
often, on which files, and whether the results are equal. It ends with status 1 if a line is none or results differ.
"""

import json
import os
import random
import re
import runpy
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parent.parent
PAGE = 4096
CONFIG = ["--config", "config/demo.yaml", "--config", "demo/miniature.yaml", "machine.loaders=0", "machine.processes=1"]
LINE = re.compile(r"error: No space left on device: (.+)\. Nothing finished before was lost; fix it and run again\n")
PROGRESS = re.compile(r".*\r|\n(?=error: )|^\n")  # bars
SCRIPTS = {  # and what changes beside the miniature's settings
    "training/dataset_balance.py": ["data.link=copy"],
    "training/main.py": ["mapper.sample_every=3", "machine.tracker=tensorboard"],
    "training/inference.py": [],
    "understanding.py": ["warmup.steps=2"],
    "understanding/merge.py": [],
    "understanding/predict.py": ["predict.images={folder}/EmoSet/image/awe"],
    "evaluation/evaluate.py": [],
    "emoset/import_folder.py": ["source.folder={folder}/EmoSet/image", "data.emoset={folder}/imported", "data.link=copy"],
}


def main(folder: Path, attempts: int, scripts: list[str]) -> None:
    os.chdir(ROOT)
    alone, full = folder / "alone", folder / "full"
    for place in (alone, full):
        place.mkdir(parents=True, exist_ok=True)
        if any(place.iterdir()):
            sys.exit(f"error: {place} is not empty; name a new folder")
    import_all()
    places = "data.emoset={folder}/EmoSet data.attribute_root={folder}/attributes data.cache={folder}/cache run={folder}/run"
    arguments = {place: [*CONFIG, *places.format(folder=place).split()] for place in (alone, full)}
    mount(full, 1 << 30)
    for place in (alone, full):
        finish("demo/draw.py", arguments[place], folder)
    failed, rng = False, random.Random(0)
    try:
        last = max((place for place, script in enumerate(SCRIPTS) if not scripts or script in scripts), default=0)
        for script, changed in [*SCRIPTS.items()][: last + 1]:
            given = {place: [*arguments[place], *(each.format(folder=place) for each in changed)] for place in (alone, full)}
            before = size_of(alone)
            finish(script, given[alone], folder)
            if scripts and script not in scripts:
                mount(full, 1 << 30, "remount")
                finish(script, given[full], folder)
                continue
            step, size, named, wrong = (size_of(alone) - before) / attempts, used(full), Counter(), []
            while True:
                mount(full, size, "remount")
                code, _, errors = run(script, given[full], folder)
                if not code:
                    break
                told = LINE.fullmatch(PROGRESS.sub("", errors))
                file = told[1] if told else ""
                named[re.sub(r"[0-9a-f]{12,}|\d+", "#", Path(file).name) or "?"] += 1
                if not file.startswith(str(full)):
                    wrong.append(errors)
                size = max(size, used(full)) + PAGE * rng.randint(1, max(1, round(2 * step / PAGE)))
            different = differences(alone, full)
            print(
                f"{script}: full {named.total()} times, {len(wrong)} without the line, different: {different or 'nothing'}"
            )
            print(f"    {', '.join(f'{name} {count}' for name, count in named.most_common())}", flush=True)
            for errors in wrong[:3]:
                print("    ".join(["", *errors.splitlines(True)[-12:]]), flush=True)
            failed |= bool(wrong or different)
    finally:
        subprocess.run(["umount", str(full)], check=False)
    sys.exit(failed)


def import_all() -> None:
    """Import what the scripts do, once; each run is a fork of this process, which starts no thread."""
    for library in ("TRANSFORMERS", "DIFFUSERS"):  # as read_settings does, of a script that runs
        os.environ[f"{library}_VERBOSITY"] = "error"
    for script in ["demo/draw.py", *SCRIPTS]:
        runpy.run_path(str(ROOT / script), run_name="imported")
    for module in [*sys.modules.values()]:  # else most would tell beforehand that there is no room, and never fill the disk
        for name in ("check_room", "_check_room"):
            if callable(vars(module).get(name)):
                setattr(module, name, lambda *_: None)


def run(script: str, arguments: list[str], folder: Path) -> tuple[int, str, str]:
    """Return a script's exit code, what it printed and its errors."""
    outputs = [folder / name for name in ("stdout.txt", "stderr.txt")]
    child = os.fork()
    if not child:
        for number, path in enumerate(outputs, 1):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), number)
        sys.argv = [script, *arguments]
        code = 70
        try:
            runpy.run_path(str(ROOT / script), run_name="__main__")
            code = 0
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, *(path.read_text(errors="replace") for path in outputs)


def finish(script: str, arguments: list[str], folder: Path) -> None:
    code, _, errors = run(script, arguments, folder)
    if code:
        sys.exit(f"error: {script} ended with {code} where there is room:\n{errors}")


def mount(folder: Path, size: int, *options: str) -> None:
    """Mount a disk in memory, or give it another size in bytes."""
    options = ",".join([*options, f"size={-(-size // PAGE) * PAGE}", "nr_inodes=0"])
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)


def used(folder: Path) -> int:
    disk = os.statvfs(folder)
    return (disk.f_blocks - disk.f_bfree) * disk.f_frsize


def size_of(folder: Path) -> int:
    return sum(-(-path.lstat().st_size // PAGE) * PAGE for path in folder.rglob("*") if path.is_file())


def differences(alone: Path, full: Path) -> list[str]:
    """Return the results that are not the same in both."""
    return [name for name, read in results(alone).items() if name not in (there := results(full)) or read() != there[name]()]


def results(folder: Path) -> dict[str, Callable]:
    """Return what reads each result of the scripts, by its path."""

    def tensors(path: Path) -> dict:
        return {name: (tensor.shape, tensor.tolist()) for name, tensor in load_file(path).items()}

    def pixels(path: Path) -> bytes:
        with Image.open(path) as image:
            return image.convert("RGB").tobytes()

    def figures(path: Path) -> dict:
        return json.loads(path.read_text())["figures"]

    def predictions(path: Path) -> list[dict]:
        """Likelihoods round otherwise where a resumed run batches images otherwise."""
        found = [json.loads(line) | {"image": ""} for line in path.read_text().splitlines()]
        for line in found:
            line["likelihoods"] = {name: round(p, 4) for name, p in line["likelihoods"].items()}
        return found

    found = {}
    for pattern, read in {
        "run/balance/balanced.parquet": Path.read_bytes,
        "attributes/*/*/*": Path.read_bytes,
        "imported/image/*/*": Path.read_bytes,
        "imported/*.json": Path.read_bytes,
        "run/**/*.safetensors": tensors,
        "run/images/**/*.png": pixels,
        "run/training/mapper/metrics.jsonl": Path.read_bytes,
        **{f"run/evaluation/{part}.json": figures for part in ("generation", "understanding", "cross")},
        "run/predict/predictions.jsonl": predictions,
    }.items():
        for path in (path for path in folder.glob(pattern) if "checkpoints" not in path.parts):
            found[path.relative_to(folder).as_posix()] = lambda path=path, read=read: read(path)
    return found


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    main(Path(sys.argv[1]).resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else 20, sys.argv[3:])
