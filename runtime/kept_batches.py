"""Work in batches whose results are kept: a file for each, in a folder named by the recipe that lies in it."""

from collections.abc import Callable
from pathlib import Path

from runtime.files import write_atomically
from runtime.processes import shared_work, start_process
from runtime.recipe import RECIPE, Recipe
from runtime.run_folder import progress


def kept_batches(
    folder: Path, recipe: Recipe, count: int, suffix: str, write: Callable[[int, Path], None], what: str
) -> list[Path]:
    """Return the files of `count` batches, after making those that are missing. All processes call it together.

    They lie in a folder below `folder` that is named by the recipe's key, so a killed run resumes, and other settings keep
    their own. write: makes the file of a batch by number. what: the text at the progress bar.
    """
    kept, is_main = folder / recipe.key, start_process().is_main_process
    files = [kept / f"{number:06d}{suffix}" for number in range(count)]
    with shared_work(range(count), lambda number: not files[number].exists()) as (missing, own):
        if missing:
            kept.mkdir(parents=True, exist_ok=True)
        if missing and is_main:
            recipe.start(kept / RECIPE)
        for number in progress(own, what, len(own), unit=" batches") if is_main else own:
            write_atomically(files[number], lambda beside, number=number: write(number, beside))
    if missing and is_main:
        recipe.finish(kept / RECIPE)
    return files
