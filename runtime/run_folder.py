"""The run folder: each stage's settings, environment, log and seconds."""

import importlib.metadata
import logging
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from config.errors import UserError
from config.loading import dump
from config.section import ROOT
from config.settings import Settings
from runtime.files import DamagedError, read_json, write_atomically, write_json
from runtime.full_disk import naming
from runtime.machine import DRIVER

PACKAGES = ("accelerate", "datasets", "deepspeed", "diffusers", "numpy", "pandas", "peft", "pillow", "pyarrow", "pydantic")
PACKAGES += ("safetensors", "scikit-learn", "torch", "torchmetrics", "transformers", "trl")
# A progress bar where there is no terminal: a line every 20 seconds, ended, so that it shows when it is written.
LINES = {"mininterval": 20, "maxinterval": 20, "delay": 20, "bar_format": "{l_bar}{bar}{r_bar}\n"}
log = logging.getLogger("emotion")
_opened: list[Path] = []  # the folders whose seconds this process counts


class _Screen(logging.StreamHandler):
    """Shows what is logged. In a terminal a progress bar makes room for a line."""

    def emit(self, record: logging.LogRecord) -> None:
        bars = sys.modules.get("tqdm") if sys.stderr.isatty() else None  # whoever shows a bar has imported it
        with bars.tqdm.external_write_mode(self.stream) if bars else nullcontext():
            super().emit(record)


def open_run_folder(settings: Settings, stage: str) -> Path:
    """Return `<run>/<stage>/`, with the resolved config and the environment written into it and the log going there.

    Of many processes only the first, by the launcher's RANK, writes and logs. Its `seconds.json` is of all runs with the
    same config: it begins at 0 with a config that is new there, and a folder from before there were such files gets none.
    With check=true nothing is written and nothing is made.
    """
    folder = settings.run / stage if settings.check else _make_folder(settings.run / stage)
    log.handlers.clear()
    log.setLevel(logging.DEBUG)
    log.propagate = False
    if not is_first_process():
        log.addHandler(logging.NullHandler())
        return folder
    logging.raiseExceptions = False  # a closed pipe or a full disk must not print a traceback for each line
    screen = _Screen(sys.stdout)
    screen.setLevel(logging.INFO)  # tables are debug lines, which log.txt gets alone
    log.addHandler(screen)
    if settings.check:
        _check_writable(folder)
        return folder
    log.addHandler(_describe(folder, settings))
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


@contextmanager
def counting_seconds() -> Iterator[None]:
    """Add the wall seconds of the block to `seconds.json` of each run folder that it opens, however it ends."""
    began = time.monotonic()
    _opened.clear()

    def count() -> None:
        for folder in _opened:
            _add_seconds(folder, time.monotonic() - began)

    try:
        yield
    except BaseException:
        with suppress(OSError):  # which would take the place of the error
            count()
        raise
    count()


def is_first_process() -> bool:
    """Tell whether this is the only process, or the first of those that a launcher such as accelerate started."""
    return os.environ.get("RANK", "0") == "0"


def progress(items: Iterable | None, description: str, total: int, initial: int = 0, unit: str = " images"):
    """Wrap `items` in a tqdm bar that counts what `unit` says; where there is no terminal, a line about every 20 seconds.

    The bar goes when the work is done, for the log tells what came of it. initial: how many were done before this run.
    """
    from tqdm import tqdm  # which the tests of a script's start do without

    lines = {} if sys.stderr.isatty() else LINES
    return tqdm(items, description, total, initial=initial, unit=unit, leave=False, disable=not total, **lines)


def _make_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"run: {folder} cannot be made, a file stands in the way; choose another run folder") from None
    return folder


def _check_writable(folder: Path) -> None:
    """Raise UserError unless `folder` is one that can be written to, or can be made."""
    place = next(place for place in (folder, *folder.parents) if place.exists())
    if not place.is_dir():
        raise UserError(f"run: {folder} cannot be made, a file stands in the way; choose another run folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UserError(f"run: {place} cannot be written to; choose another run folder")


def _describe(folder: Path, settings: Settings) -> logging.Handler:
    """Write the resolved config and the environment into a stage's folder. Return what logs there."""
    with naming(folder):
        config, resolved = folder / "config.yaml", dump(settings).encode()
        if not config.is_file() or config.read_bytes() != resolved:
            _write_seconds(folder, 0.0)
            write_atomically(config, lambda beside: beside.write_bytes(resolved))
        write_json(folder / "environment.json", _environment())
    # A file's name may hold bytes that are no UTF-8.
    to_file = logging.FileHandler(folder / "log.txt", encoding="utf-8", errors="backslashreplace")
    to_file.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    return to_file


def _add_seconds(folder: Path, seconds: float) -> None:
    try:
        counted = read_json(folder / "seconds.json")
        if counted is not None:
            _write_seconds(folder, counted["seconds"] + seconds)
    except (DamagedError, LookupError, TypeError):  # cut off or damaged: what it had counted is lost
        _write_seconds(folder, seconds)


def _write_seconds(folder: Path, seconds: float) -> None:
    write_json(folder / "seconds.json", {"seconds": round(seconds, 1)})


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
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "packages": versions,
        "git": commit or None,
    }
