"""Work in batches whose results are kept: a file for each, in a folder named by the recipe that lies in it.

A file's name ends in a digest of its bytes, so that one that a power cut emptied or a disk damaged is known, and made again.
"""

from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

from runtime.files import write_atomically
from runtime.processes import shared_work, start_process
from runtime.recipe import RECIPE, Recipe
from runtime.run_folder import log, progress


def kept_batches(
    folder: Path, recipe: Recipe, count: int, suffix: str, make: Callable[[int], bytes], what: str
) -> list[Path]:
    """Return the files of `count` batches, after making those that are missing. All processes call it together.

    They lie in a folder below `folder` that is named by the recipe's key, so a killed run resumes, and other settings keep
    their own. make: returns what the file of a batch holds, by number. what: the text at the progress bar.
    """
    kept, is_main = folder / recipe.key, start_process().is_main_process
    there = _files(kept, suffix)
    with shared_work(range(count), lambda number: not _is_whole(there.get(number))) as (missing, own):
        if missing:
            kept.mkdir(parents=True, exist_ok=True)
        if missing and is_main:
            recipe.start(kept / RECIPE)
        for number in progress(own, what, len(own), unit=" batches") if is_main else own:
            content = make(number)
            path = kept / f"{number:06d}-{_digest(content)}{suffix}"
            write_atomically(path, lambda beside, content=content: beside.write_bytes(content))
    if missing and is_main:
        recipe.finish(kept / RECIPE)
    there = _files(kept, suffix)
    return [there[number] for number in range(count)]


def _files(kept: Path, suffix: str) -> dict[int, Path]:
    """Return the files of batches that are there, by number."""
    return {int(path.name.split("-")[0]): path for path in sorted(kept.glob(f"[0-9]*-*{suffix}"))}


def _is_whole(path: Path | None) -> bool:
    """Tell whether the file of a batch is there as it was written; remove one that is not."""
    if path is None:
        return False
    is_whole = path.stem.endswith(f"-{_digest(path.read_bytes())}")
    if not is_whole:
        log.info(f"{path.name}: is cut off or damaged; it is made again")
        path.unlink()
    return is_whole


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=8).hexdigest()
