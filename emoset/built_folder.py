"""Folders that are built whole: in a folder beside, then renamed into place."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from config.loading import UserError
from config.script import naming

MARKER = ".built.json"


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Keep a second process from building `folder` at the same time; it waits. A killed process holds nothing back."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(_beside(folder, "lock")):
        yield


def is_built(folder: Path, recipe: dict) -> bool:
    """Tell whether `folder` stands as built by `recipe`.

    Raises UserError where something stands there that was not built by `building`.
    """
    marker = folder / MARKER
    if marker.is_file():
        return marker.read_text() == _text(recipe)
    if folder.is_symlink() or folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UserError(f"{folder} exists and was not built by this project; it stays as it is: name another folder")
    return False


@contextmanager
def building(folder: Path, recipe: dict) -> Iterator[Path]:
    """Yield an empty folder beside `folder`; when the block ends well, it takes the place of `folder`.

    Killed at any moment, the old folder or none stands, and what is left beside it is removed by the next call.
    """
    is_built(folder, recipe)
    beside, old = _beside(folder, "new"), _beside(folder, "old")
    for leftover in (beside, old):
        if leftover.exists():
            shutil.rmtree(leftover)
    beside.mkdir(parents=True)
    try:
        with naming(folder):
            yield beside
        (beside / MARKER).write_text(_text(recipe))
        if folder.exists():
            folder.rename(old)
        beside.rename(folder)
    finally:
        for leftover in (beside, old):
            shutil.rmtree(leftover, ignore_errors=True)


def _text(recipe: dict) -> str:
    return json.dumps(recipe, indent=1) + "\n"


def _beside(folder: Path, suffix: str) -> Path:
    return folder.with_name(f".{folder.name}.{suffix}")
