"""Folders that are built whole: in a folder beside, then renamed into place, with their recipe in them."""

import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from filelock import FileLock, Timeout

from config.errors import UserError
from runtime.files import LEFT_BEHIND, DamagedError, read_json, settle
from runtime.full_disk import naming
from runtime.recipe import Recipe, read_recipe
from runtime.run_folder import is_first_process, log

MARKER = ".recipe.json"
FILES = ".files"  # the paths of all files that were built, each ended by a zero byte
OLD_MARKER = ".built.json"  # of earlier versions of this project


@contextmanager
def lock(folder: Path, wait: bool = True) -> Iterator[None]:
    """Keep a second process from building `folder` at the same time. A killed process holds nothing back.

    The second process waits; or, without `wait`, it gets a UserError.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(_beside(folder, "lock"))
    try:
        held.acquire(timeout=None if wait else 0)
    except Timeout:
        raise UserError(f"{folder}: another process is at work there; wait for it or choose another folder") from None
    try:
        yield
    finally:
        held.release()


def alone_in(folder: Path, check: bool = False) -> AbstractContextManager:
    """Keep other runs out of a stage's folder: of the processes of this one, the first holds its lock.

    check: settings.check, with which nothing is written and nobody kept out.
    """
    return lock(folder, wait=False) if is_first_process() and not check else nullcontext()


def check_ours(folder: Path, what: str) -> None:
    """Raise UserError unless `folder` is missing, empty, or a `what` that this project has built, or has begun to.

    A marker that is empty, cut off or damaged is one of unfinished work.
    """
    written = read_recipe(folder / MARKER)
    if written and written["what"] != what:
        raise UserError(f"{folder} was built by this project, but is no {what}; name another folder")
    if written or is_damaged(folder):
        return
    if (folder / OLD_MARKER).is_file():
        raise UserError(f"{folder} was built by an earlier version of this project; remove it, or name another folder")
    # A kill while the marker is written leaves a file beside it whose name ends as the marker's does.
    is_foreign = folder.is_dir() and any(not child.name.endswith(MARKER) for child in folder.iterdir())
    if folder.is_symlink() or folder.is_file() or is_foreign:
        raise UserError(f"{folder} exists and was not built by this project, so it is left alone; name another folder")


def is_damaged(folder: Path) -> bool:
    """Tell whether `folder` has a marker of ours, and one that cannot be read."""
    try:
        old = read_json(folder / OLD_MARKER)
    except DamagedError:
        old = None
    has_marker = (folder / MARKER).is_file() or (folder / OLD_MARKER).is_file()
    return has_marker and old is None and read_recipe(folder / MARKER) is None


def is_built(folder: Path, recipe: Recipe) -> bool:
    """Tell whether `folder` stands as built by `recipe`. Raises UserError as check_ours does."""
    check_ours(folder, recipe.what)
    return recipe.is_finished(folder / MARKER)


@contextmanager
def building(folder: Path, recipe: Recipe, resume: bool = False) -> Iterator[Path]:
    """Yield an empty folder beside `folder`; when the block ends well, it takes the place of `folder`.

    If the process is killed at any moment, the old folder or none stands, and the next call removes what is left beside it.
    Files that somebody has put into the old folder move to `<folder>.kept`.
    resume: a block that ends badly leaves its folder, and the next call by the same recipe yields it as it is.
    """
    beside, old = _beside(folder, "new"), _beside(folder, "old")
    for place in (folder, beside, old):
        if place is not old or not old.is_symlink():  # of a link, which `folder` was, nothing but itself is removed
            check_ours(place, recipe.what)
    if is_damaged(folder):
        log.info(f"{folder.name}/: its marker is cut off or damaged; what is there counts as unfinished and is made again")
    resumed = resume and recipe.is_started(beside / MARKER)
    if not resumed:
        _remove(beside)
    _put_back(old, folder)  # a kill between the two renames below
    _discard(old, folder)
    if not resumed:
        beside.mkdir(parents=True)
    recipe.start(beside / MARKER)
    try:
        with naming(folder, beside):
            yield beside
            (beside / FILES).write_bytes(b"".join(sorted(os.fsencode(path) + b"\0" for path in _files(beside))))
            settle(beside.rglob("*"), beside / MARKER)
        recipe.finish(beside / MARKER)
        if folder.exists():
            folder.rename(old)
        beside.rename(folder)
    finally:
        _put_back(old, folder)
        if not resume:
            _remove(beside)
        _discard(old, folder)


def remove_built(folder: Path, what: str) -> None:
    """Remove a `what` that this project has built, if it is there. Raises UserError as check_ours does."""
    check_ours(folder, what)
    _discard(folder, folder)


def _files(folder: Path) -> Iterator[Path]:
    """Yield all that is no folder, by its path from `folder`: links too, wherever they lead."""
    for place, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        yield from (Path(place, name).relative_to(folder) for name in files + links)


def _discard(built: Path, folder: Path) -> None:
    """Remove a folder of ours; move what was not built in it to `folder`.kept, or to .kept-2 where that is taken."""
    if not built.is_symlink() and (built / FILES).is_file():
        _keep_others(built, folder)
    _remove(built)


def _keep_others(built: Path, folder: Path) -> None:
    known = {*(built / FILES).read_bytes().split(b"\0"), *map(os.fsencode, (FILES, MARKER, OLD_MARKER))}
    others = [path for path in _files(built) if os.fsencode(path) not in known and path.name.lower() not in LEFT_BEHIND]
    if not others:
        return
    kept, number = folder.with_name(f"{folder.name}.kept"), 1
    while kept.exists():
        number += 1
        kept = folder.with_name(f"{folder.name}.kept-{number}")
    for path in others:
        (kept / path).parent.mkdir(parents=True, exist_ok=True)
        (built / path).rename(kept / path)
    more = f" and {len(others) - 1:,} more" if others[1:] else ""
    log.info(f"{folder.name}/ is built again; {others[0]}{more} in it were yours, and are in {kept.name}/ now")


def _put_back(old: Path, folder: Path) -> None:
    if old.exists() and not folder.exists():
        old.rename(folder)


def _remove(folder: Path) -> None:
    """Remove a folder of ours, its marker last: killed meanwhile, it is still known as ours.

    Of a link to such a folder, remove the link alone.
    """
    if folder.is_symlink():
        folder.unlink()
    if not folder.exists():
        return
    for child in folder.iterdir():
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        elif child.name not in (MARKER, OLD_MARKER):
            child.unlink()
    for marker in (OLD_MARKER, MARKER):
        (folder / marker).unlink(missing_ok=True)
    folder.rmdir()


def _beside(folder: Path, suffix: str) -> Path:
    return folder.with_name(f".{folder.name}.{suffix}")
