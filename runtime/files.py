"""Files that are whole or not there, also after a full disk and a power cut."""

import hashlib
import json
import os
import re
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from config.errors import UserError
from runtime.full_disk import naming

DIGEST_SIZE = 16  # bytes of a file's hash
LEFT_BEHIND = {".ds_store", "thumbs.db", "desktop.ini", "__macosx"}  # by desktops, in any case of letters


class DamagedError(UserError, ValueError):
    """A file that this project has written, and that is empty, cut off or damaged."""


def write_atomically(path: Path, write: Callable[[Path], Any], sync: bool = True) -> None:
    """Let `write` make a file beside `path` and rename it into place: readers see the old file or the whole new one.

    sync: return when both the file and its name are on the disk, so that they survive a power cut too, and nothing that is
    written later survives without them. A full disk is an OSError that names `path`, whatever the writer made of it; but it
    must say something: numpy.save, given a path, does not.
    """
    # Not the process's id, which another machine that shares the disk may have too. The suffix stays: some writers go by it.
    beside = path.with_name(f".{uuid.uuid4().hex}.{path.name}")
    try:
        with naming(path, beside):
            write(beside)
            if sync:
                sync_to_disk(beside)
            beside.replace(path)
            if sync:
                sync_to_disk(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def write_json(path: Path, content: Any, sync: bool = True) -> None:
    """Write JSON, whole or not at all."""
    text = json.dumps(content, indent=1) + "\n"
    write_atomically(path, lambda beside: beside.write_text(text, encoding="utf-8"), sync)


def read_json(path: Path) -> Any:
    """Return a JSON file's content, or None where there is no such file. Raises DamagedError if it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (ValueError, RecursionError):
        raise DamagedError(f"{path}: is cut off or damaged; remove it, and make it again") from None


def lfs_pointer(path: Path) -> str:
    """Return what an error says of a Git LFS pointer, such as "a Git LFS pointer to 108,913,577 bytes, ...".

    A pointer is a short text that a clone holds in place of a large file. For any other file the result is "".
    """
    if not path.is_file() or path.stat().st_size > 1024:
        return ""
    with path.open("rb") as file:
        content = file.read()
    if not content.startswith(b"version https://git-lfs.github.com/spec/v1"):
        return ""
    size = re.search(rb"^size (\d+)", content, re.MULTILINE)
    of = f" to {int(size[1]):,} bytes" if size else ""
    return f"a Git LFS pointer{of}, not the file itself; get that with `git lfs pull` in its folder"


def file_states(paths: Iterable[Path]) -> list[list[int]]:
    """Return [size in bytes, time in ns] of each file, or [-1, -1] if it is gone. They change with its content."""
    states = []
    for path in paths:
        try:
            state = path.stat()
            states.append([state.st_size, state.st_mtime_ns])
        except OSError:  # it is gone, or cannot be looked at
            states.append([-1, -1])
    return states


def file_digest(path: Path) -> str:
    """Return a hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=DIGEST_SIZE)).hexdigest()


def digest_of(content: bytes) -> str:
    """Return what file_digest does of a file that holds `content`."""
    return hashlib.blake2b(content, digest_size=DIGEST_SIZE).hexdigest()


def settle(paths: Iterable[Path], example: Path) -> None:
    """Let files be on the disk, and let who may read `example`, which was written as ours are, read what libraries wrote.

    safetensors lets nobody but the owner read what it saves. Links are passed over: they are somebody else's files too.
    """
    allowed = example.stat().st_mode & 0o666
    for path in (path for path in paths if path.is_file() and not path.is_symlink()):
        state = path.stat()
        if state.st_nlink > 1:
            continue
        if allowed & ~state.st_mode:
            with suppress(OSError):  # of a disk that knows no permissions
                path.chmod(state.st_mode | allowed)
        sync_to_disk(path)


def sync_to_disk(path: Path) -> None:
    """Return when a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
