"""Links to files: hard, symbolic, or copies where the disk allows no links."""

import errno
import os
import shutil
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from config.errors import UserError
from runtime.run_folder import progress

CHUNK = 1000  # files linked by a thread at a time
NAME, INODE = 64, 256  # bytes that a file's name takes in its folder, and that a symbolic link takes beside, about


def link_files(pairs: Sequence[tuple[str, str]], method: str) -> str:
    """Link each (source, destination) of `pairs`, and return in words which kinds of link they became.

    method: hard, symbolic or copy; auto takes the first of the three that the disk allows. The folders must be there.
    Raises UserError, naming data.link, where the disk refuses the method.
    """
    methods = list(_LINK) if method == "auto" else [method]

    def link_some(start: int) -> Counter:
        return Counter(_link(source, destination, methods) for source, destination in pairs[start : start + CHUNK])

    used = Counter()
    with ThreadPoolExecutor() as pool, progress(None, "linking", len(pairs)) as bar:
        for done in pool.map(link_some, range(0, len(pairs), CHUNK)):
            used += done
            bar.update(done.total())
    return ", ".join(f"{count:,} {kind}" for kind, count in used.most_common()) if len(used) > 1 else next(iter(used))


def working_method(source: str | Path, folder: Path, method: str) -> str:
    """Return which of the methods `method` (as of link_files) links `source` into `folder`, which may be still to be made.

    Raises UserError, naming data.link, where the disk refuses it.
    """
    place = next(place for place in (folder, *folder.parents) if place.is_dir())
    probe = place / f".{uuid.uuid4().hex}.link"
    try:
        return _link(str(source), str(probe), list(_LINK) if method == "auto" else [method])
    finally:
        probe.unlink(missing_ok=True)


def room_of_links(sources: Iterable[str], method: str) -> int:
    """Return about how many bytes links to `sources` take: their names, an inode for a symbolic one, all of a copy."""
    sources = list(sources)
    each = NAME + INODE if method == "symbolic" else NAME
    return each * len(sources) + (sum(map(os.path.getsize, sources)) if method == "copy" else 0)


def _hard(source: str, destination: str) -> None:
    # With a src_dir_fd (an absolute source leaves its value unused) Python links what a symbolic link leads to. Without, it
    # links the link itself, and a relative one would lead nowhere from there.
    os.link(source, destination, src_dir_fd=0)


def _symbolic(source: str, destination: str) -> None:
    os.symlink(os.path.relpath(source, os.path.dirname(destination)), destination)


_LINK = {"hard": _hard, "symbolic": _symbolic, "copy": shutil.copyfile}
# What a disk answers that has no such links, or none to there.
_NOT_HERE = {errno.EXDEV, errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}


def _link(source: str, destination: str, methods: list[str]) -> str:
    """Link one file by the first method that the disk allows, and return its name."""
    for method in methods:
        try:
            _LINK[method](source, destination)
            return method
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
            reason = error.strerror
    raise UserError(f"data.link: {method} does not work from {source} to {destination}: {reason}; auto takes what does")
