"""What every script does around its algorithm: settings in, a run folder out, one clear line where the user must act."""

import gc
import importlib.metadata
import json
import logging
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from config.loading import UserError, dump, load
from config.settings import ROOT, Settings

PACKAGES = ("accelerate", "datasets", "deepspeed", "diffusers", "numpy", "pandas", "peft", "pillow", "pyarrow", "pydantic")
PACKAGES += ("safetensors", "scikit-learn", "torch", "torchmetrics", "transformers", "trl")
DRIVER = Path("/proc/driver/nvidia/gpus")  # a folder for each GPU
log = logging.getLogger("emotion")
_opened: list[Path] = []  # the folders whose seconds this process counts


def run(main: Callable[[Settings], None], description: str) -> None:
    """Call `main` with the settings of this command line; a UserError or a full disk ends the process with one line.

    Unless it is killed, its wall seconds are added to `seconds.json` in the run folder that it opened.
    """
    began = time.monotonic()
    _opened.clear()
    for library in ("TRANSFORMERS", "DIFFUSERS"):  # read when they are imported
        os.environ.setdefault(f"{library}_VERBOSITY", "error")
    try:
        try:
            main(load(sys.argv[1:], description))
            end_process_group()
        finally:
            for folder in _opened:
                _add_seconds(folder, time.monotonic() - began)
    except UserError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        where = f": {error.filename2 or error.filename}" if error.filename else ""
        sys.exit(f"error: {error.strerror or error}{where}. Nothing finished before was lost; mend it and run again")
    except KeyboardInterrupt:
        print("\ninterrupted; what was finished stays, run the same command again for the rest", file=sys.stderr)
        sys.exit(130)


def end_process_group() -> None:
    """Destroy torch's process group, if there is one, after freeing the models that hold it.

    A group's threads need the interpreter's lock to let go of tensors. Gone with a model, a destroyed group keeps that lock
    while it waits for them, which may be for ever; left to the interpreter's end, it may abort the process
    (https://github.com/pytorch/pytorch/issues/190489).
    """
    if "torch" not in sys.modules:  # whose import takes seconds
        return
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        gc.collect()  # trainers hold models in cycles
        distributed.destroy_process_group()


def open_run_folder(settings: Settings, stage: str) -> Path:
    """Return `<run>/<stage>/`, with the resolved config and the environment written into it and the log going there.

    Of many processes only the first, by the launcher's RANK, writes and logs. Its `seconds.json` is of all runs with the
    same config: it begins at 0 with a config that is new there, and a folder from before there were such files gets none.
    """
    folder = _make_folder(settings.run / stage)
    log.handlers.clear()
    log.setLevel(logging.INFO)
    log.propagate = False
    if not is_first_process():
        log.addHandler(logging.NullHandler())
        return folder
    logging.raiseExceptions = False  # a closed pipe or a full disk must not print a traceback for each line
    log.addHandler(_describe(folder, settings))
    log.addHandler(logging.StreamHandler(sys.stdout))
    _opened.append(folder)
    return folder


@contextmanager
def inner_stage(settings: Settings, stage: str) -> Iterator[Path]:
    """Yield `<run>/<stage>/` for a stage that the script of another one runs: it holds what that of its own would write.

    What it logs, and its seconds, are the other stage's too.
    """
    began, folder = time.monotonic(), _make_folder(settings.run / stage)
    if not is_first_process():
        yield folder
        return
    to_file = _describe(folder, settings)
    log.addHandler(to_file)
    try:
        yield folder
    finally:
        log.removeHandler(to_file)
        to_file.close()
        _add_seconds(folder, time.monotonic() - began)


def is_first_process() -> bool:
    """Tell whether this is the only process, or the first of those that a launcher such as accelerate started."""
    return os.environ.get("RANK", "0") == "0"


def progress(items: Iterable | None, description: str, total: int, initial: int = 0, unit: str = " images"):
    """Wrap `items` in a tqdm bar that counts what `unit` says; where there is no terminal, a line about every 20 seconds.

    initial: how many were done before this run.
    """
    from tqdm import tqdm

    terminal = sys.stderr.isatty()
    return tqdm(
        items,
        description,
        total,
        initial=initial,
        unit=unit,
        leave=terminal,
        mininterval=0.1 if terminal else 20,
        delay=0 if terminal else 20,
    )


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` make a file beside `path` and rename it into place: readers see the old file or the whole new one."""
    # Not the process's id, which another machine that shares the disk may have too. The suffix stays: some writers go by it.
    beside = path.with_name(f".{uuid.uuid4().hex}.{path.name}")
    try:
        with naming(path):
            write(beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an OSError that names no file, as a full disk's often does not, name `path`."""
    try:
        yield
    except OSError as error:
        if error.errno and not error.filename:
            error.filename = str(path)
        raise


def _make_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"run: {folder} cannot be made, a file stands in the way; choose another run folder") from None
    return folder


def _describe(folder: Path, settings: Settings) -> logging.Handler:
    """Write the resolved config and the environment into a stage's folder; return what logs there."""
    with naming(folder):
        config, resolved = folder / "config.yaml", dump(settings).encode()
        if not config.is_file() or config.read_bytes() != resolved:
            _write_seconds(folder, 0.0)
            config.write_bytes(resolved)
        (folder / "environment.json").write_text(json.dumps(_environment(), indent=2) + "\n", encoding="utf-8")
    to_file = logging.FileHandler(folder / "log.txt", encoding="utf-8")
    to_file.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    return to_file


def _add_seconds(folder: Path, seconds: float) -> None:
    path = folder / "seconds.json"
    if path.is_file():
        _write_seconds(folder, json.loads(path.read_text(encoding="utf-8"))["seconds"] + seconds)


def _write_seconds(folder: Path, seconds: float) -> None:
    text = json.dumps({"seconds": round(seconds, 1)}) + "\n"
    write_atomically(folder / "seconds.json", lambda beside: beside.write_text(text, encoding="utf-8"))


def _environment() -> dict:
    commit = ""
    if shutil.which("git"):
        describe = ["git", "describe", "--always", "--dirty"]
        commit = subprocess.run(describe, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    # The driver tells the GPUs without torch, whose import takes seconds.
    files = sorted(DRIVER.glob("*/information"))
    gpus = Counter(re.search(r"Model:\s*(.*)", file.read_text(encoding="utf-8"))[1] for file in files)
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": ", ".join(f"{count} x {model}" for model, count in gpus.items()) or "cpu",
        "processors": os.cpu_count(),
        "packages": versions,
        "git": commit or None,
    }
