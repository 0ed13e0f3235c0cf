"""What is known before anything is computed: whether there is room, and what the run would take."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from config.errors import UserError
from config.settings import Settings
from runtime.run_folder import is_first_process, log


def check_writable(folder: Path, setting: str) -> None:
    """Raise UserError, naming `setting`, unless `folder` is one that can be written to, or can be made."""
    place = next(place for place in (folder, *folder.parents) if place.exists())
    if not place.is_dir():
        raise UserError(f"{setting}: {folder} cannot be made, for {place} is a file; name another folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UserError(f"{setting}: {place} cannot be written to; name another folder, or change its permissions")


def check_outside(run: Path, target: Path, setting: str) -> None:
    """Raise UserError where a run folder lies in `target`, the folder of `setting`, which a script replaces as a whole."""
    if run.resolve().is_relative_to(target.resolve()):
        raise UserError(f"run: {run} lies in {setting} ({target}), which is replaced as a whole; name another run folder")


def check_room(folder: Path, needed: int, what: str) -> None:
    """Raise UserError unless the disk that `folder` is on, or will be, has `needed` bytes left for `what`."""
    free = shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.exists())).free
    if free < needed:
        raise UserError(f"{folder}: {what} takes {in_words(needed)}, and its disk has {in_words(free)} left; make room")


def stops_here(settings: Settings, takes: Mapping[str, str]) -> bool:
    """Tell whether the script stops after its checks, which check=true asks for, and then log what the run would take.

    takes: by what it is, such as "updates" or "disk", in words.
    """
    if settings.check and is_first_process():
        lines = "".join(f"\n    {what}: {amount}" for what, amount in takes.items())
        log.info(f"All checks passed. The run would take:{lines}\nNothing was run; leave out check=true to run it")
    return settings.check


def in_words(size: int) -> str:
    """Return a size in bytes as people read it: 1.4 GB."""
    for unit, bytes_of_it in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= bytes_of_it:
            return f"{size / bytes_of_it:.3g} {unit}"
    return f"{size} bytes"
