"""Files that are whole or not there."""

import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def write_atomically(path: Path, write: Callable[[Path], Any], sync: bool = False) -> None:
    """Let `write` make a file beside `path` and rename it into place: readers see the old file or the whole new one.

    sync: return when both the file and its name are on the disk, so that they survive a power cut too.
    """
    # Not the process's id, which another machine that shares the disk may have too. The suffix stays: some writers go by it.
    beside = path.with_name(f".{uuid.uuid4().hex}.{path.name}")
    try:
        with naming(path):
            write(beside)
            if sync:
                _sync(beside)
        beside.replace(path)
        if sync:
            _sync(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def write_json(path: Path, content: Any, sync: bool = False) -> None:
    """Write JSON, whole or not at all."""
    text = json.dumps(content, indent=1) + "\n"
    write_atomically(path, lambda beside: beside.write_text(text, encoding="utf-8"), sync)


def read_json(path: Path) -> Any:
    """Return a JSON file's content; None where there is no such file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def file_states(paths: Iterable[Path]) -> list[list[int]]:
    """Return the sizes and times of files, which tell a file that was written anew from the one before."""
    return [[state.st_size, state.st_mtime_ns] for state in (path.stat() for path in paths)]


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an OSError that names no file, as a full disk's often does not, name `path`."""
    try:
        yield
    except OSError as error:
        if error.errno and not error.filename:
            error.filename = str(path)
        raise


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
