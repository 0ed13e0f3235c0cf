"""A stage's folder, which all processes open together."""

import shutil
from pathlib import Path

from runtime.processes import start_process
from runtime.recipe import RECIPE, Recipe
from runtime.run_folder import log


def open_stage(folder: Path, recipe: Recipe) -> bool:
    """Make a stage's folder ready for its work, and tell whether the result is there already.

    What another recipe left there, or one that is damaged, is moved aside, to `<folder>.old`, in place of what was there
    before; the log says what has changed. Raises UserError where an earlier version of this project has written the folder.
    """
    state, path = start_process(), folder / RECIPE
    started, finished = recipe.is_started(path), recipe.is_finished(path)
    state.wait_for_everyone()  # all have looked before one writes
    if state.is_main_process and not started:
        if folder.is_dir() and any(folder.iterdir()):
            old = folder.with_name(f"{folder.name}.old")
            older = "; the one before that is removed" if old.exists() else ""
            changes = recipe.changes(path) if path.is_file() else f"{folder.name}/ has no recipe"
            log.info(f"{recipe.what}: {changes}. What was there is in {old.name}/{older}")
            shutil.rmtree(old, ignore_errors=True)
            folder.rename(old)
        folder.mkdir(parents=True, exist_ok=True)
        recipe.start(path)
    state.wait_for_everyone()
    return finished
