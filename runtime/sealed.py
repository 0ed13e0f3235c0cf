"""Folders with the digests of their files beside them, so that one that was cut off or damaged later is known."""

import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from runtime.files import DamagedError, file_digest, read_json, settle, write_json
from runtime.run_folder import log

SEAL = "files.json"


def seal(folder: Path, names: Sequence[str] | None = None) -> None:
    """End the writing of a folder: settle its files, and note what they are, by which is_sealed knows them.

    names: of the files that count; all by default.
    """
    files = [folder / name for name in names or ()] or sorted(path for path in folder.rglob("*") if path.is_file())
    write_json(folder / SEAL, {path.relative_to(folder).as_posix(): file_digest(path) for path in files})
    settle(files, folder / SEAL)


def is_sealed(folder: Path) -> bool:
    """Tell whether all files are in `folder` as `seal` found them: none is missing, cut off or damaged."""
    with suppress(DamagedError, OSError, AttributeError):
        noted = read_json(folder / SEAL)
        return noted is not None and all(file_digest(folder / name) == digest for name, digest in noted.items())
    return False


def newest_sealed(folders: Sequence[Path]) -> Path | None:
    """Return the last of some checkpoints, oldest first, that is whole; remove those after it, with a line for each.

    One without a seal, as an earlier version of this project has written it, may be whole: it is moved to set-aside-<name>.
    """
    for folder in reversed(folders):
        if is_sealed(folder):
            return folder
        if not (folder / SEAL).exists():
            aside = folder.with_name(f"set-aside-{folder.name}")
            log.info(f"{folder.name} has no {SEAL}, so nothing tells whether it is whole; it is moved to {aside.name}")
            shutil.rmtree(aside, ignore_errors=True)
            folder.rename(aside)
            continue
        log.info(f"{folder.name} is cut off or damaged, so it is removed. The run resumes from the one before, if any")
        shutil.rmtree(folder)
    return None
