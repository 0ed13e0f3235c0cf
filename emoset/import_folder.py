"""Bring another data set into EmoSet's layout, at data.emoset, so that everything here can read it.

    python emoset/import_folder.py source.folder=path/to/photos data.emoset=data/photos
    python emoset/import_folder.py source.dataset=path/to/parquet data.emoset=data/parquet

source.folder is a folder with a subfolder of images for each class. Its images are linked. source.dataset is a data set of
the Hub, or a folder of Parquet files, with an image and a label column. Its images are written as they are encoded. Classes
are mapped to the emotions of data.taxonomy by source.classes. train, val and test splits are kept where the source has
them, and drawn by the seed where it does not. Run the same command again to resume, or to import what has changed.
"""

from runtime.script import read_settings, run

read_settings(__name__, __doc__, "source", "data", "machine")

import os
import shutil
from pathlib import Path

import pandas as pd

from config.errors import UserError
from config.section import ROOT
from config.settings import Settings
from emoset.class_folders import check_filled, digest_of, link_classes, list_classes
from emoset.dataset_rows import JOURNALS, NOT_STATED, Rows
from emoset.imported_layout import Imported, emotions_of, numbers_of, with_three_splits, write_layout
from emoset.model_card import IMPORTED
from runtime.built_folder import MARKER, building, check_ours, is_built, lock
from runtime.recipe import Recipe, read_recipe, settings_of
from runtime.run_folder import log, open_run_folder

VERSION = 1  # raise it when the same source becomes other files
HUB = "as it was when it was imported"


def main(settings: Settings) -> None:
    folder, source, target = open_run_folder(settings, "import"), settings.source, settings.data.emoset.resolve()
    if (source.folder is None) == (source.dataset is None):
        raise UserError("source: set source.folder to a folder of classes, or source.dataset to a data set, and not both")
    with lock(target):
        check_ours(target, IMPORTED)
        import_images = import_folder if source.folder else import_dataset
        import_images(settings, target, folder)


def import_folder(settings: Settings, target: Path, run_folder: Path) -> None:
    """Import `source.folder` to `target`."""
    data, root = settings.data, settings.source.folder.resolve()
    if target.is_relative_to(root) or root.is_relative_to(target):
        raise UserError(f"data.emoset: {target} and source.folder: {root} overlap; name a folder outside the source")
    classes, ignored = list_classes(root)
    of_class = emotions_of((each.name for each in classes), settings.source.classes, data.taxonomy.emotions)
    check_filled(classes, of_class)
    recipe = recipe_of(settings, root.name, NOT_STATED, digest_of(root, classes), {"data.link": data.link})
    if is_up_to_date(target, recipe):
        return
    if ignored:
        log.info(f"left out: {', '.join(ignored)}, for {root.name} has a folder for each split")
    with building(target, recipe) as work:
        images, problems, how = link_classes(root, classes, of_class, work, data.link, settings.machine.processes)
        finish(settings, work, images, problems, run_folder)
    log.info(f"the images are links ({how}); the licence is {NOT_STATED}")


def import_dataset(settings: Settings, target: Path, run_folder: Path) -> None:
    """Import `source.dataset` to `target`."""
    name, emotions = settings.source.dataset, settings.data.taxonomy.emotions
    places = [Path(os.path.expanduser(name)), ROOT / name]
    folder = next((place.resolve() for place in places if place.is_dir()), None)
    written = read_recipe(target / MARKER)
    if written and not folder:  # what is there is up to date, whatever the Hub has now
        recipe = recipe_of(settings, name, written["inputs"]["licence"], HUB)
        if recipe.is_finished(target / MARKER):
            is_up_to_date(target, recipe)
            return
    rows = Rows(settings.source, folder)
    recipe = recipe_of(settings, folder.name if folder else name, rows.licence, rows.digest or HUB)
    if is_up_to_date(target, recipe):
        return
    log.info(f"importing {recipe.inputs['source']}; its licence: {rows.licence}")
    if rows.left_out:
        log.info(f"left out: the splits {', '.join(rows.left_out)}")
    with building(target, recipe, resume=True) as work:
        images, problems = rows.write(work, emotions)
        finish(settings, work, images, problems, run_folder)
        shutil.rmtree(work / JOURNALS)


def recipe_of(settings: Settings, source: str, licence: str, files: str, linked: dict | None = None) -> Recipe:
    """Return what the imported data set is made from. source: its name. files: a hash of them. linked: the way to link."""
    values = {"seed": settings.seed} | settings_of("source", settings.source) | (linked or {})
    emotions = list(settings.data.taxonomy.emotions)
    return Recipe(
        IMPORTED,
        values,
        {"source": source, "licence": licence, "files": files, "emotions": emotions, "version": VERSION},
    )


def is_up_to_date(target: Path, recipe: Recipe) -> bool:
    """Tell whether `target` holds what `recipe` makes, and log what has changed where it does not."""
    if is_built(target, recipe):
        log.info(f"{IMPORTED}: nothing has changed; everything stays as it is")
        return True
    if read_recipe(target / MARKER):  # of one that is damaged, `building` tells
        log.info(f"{IMPORTED}: {recipe.changes(target / MARKER)}")
    return False


def finish(
    settings: Settings, work: Path, images: list[Imported], problems: list[tuple[str, str]], run_folder: Path
) -> None:
    """Share the images out over the splits, write EmoSet's lists, and say what was imported and what was left out."""
    pd.DataFrame(problems, columns=["image", "problem"]).to_csv(run_folder / "problems.csv", index=False)
    if problems:
        named = ", ".join(f"{place} ({reason})" for place, reason in problems[:5])
        more = ", ..." if len(problems) > 5 else ""
        log.info(f"{len(problems):,} images cannot be used and are left out (problems.csv): {named}{more}")
    emotions = settings.data.taxonomy.emotions
    splits = with_three_splits(images, settings.source.shares, emotions, settings.seed)
    write_layout(work, splits, emotions)
    log.info(f"{IMPORTED}: {numbers_of(splits, emotions)}")


if __name__ == "__main__":
    run(main)
