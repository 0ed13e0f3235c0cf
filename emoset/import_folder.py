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
from contextlib import nullcontext
from pathlib import Path

import pandas as pd

from config.errors import UserError
from config.section import ROOT
from config.settings import Settings
from emoset.class_folders import check_filled, digest_of, in_no_class, link_images, list_classes, usable
from emoset.dataset_card import dataset_card
from emoset.dataset_rows import JOURNALS, NOT_STATED, Rows
from emoset.imported_layout import Imported, emotions_of, numbers_of, with_three_splits, write_layout
from emoset.model_card import IMPORTED
from emoset.selection import log_left_out
from runtime.built_folder import MARKER, building, check_ours, is_built, lock
from runtime.checking import check_outside, check_room, check_writable, in_words, stops_here
from runtime.files import write_atomically
from runtime.links import room_of_links, working_method
from runtime.recipe import Recipe, read_recipe, settings_of
from runtime.run_folder import log, open_run_folder

VERSION = 1  # raise it when the same source becomes other files
HUB = "as it was when it was imported"


def main(settings: Settings) -> None:
    check_outside(settings.run, settings.data.emoset, "data.emoset")
    folder, source, target = open_run_folder(settings, "import"), settings.source, settings.data.emoset.resolve()
    if (source.folder is None) == (source.dataset is None):
        raise UserError("source: set source.folder to a folder of classes, or source.dataset to a data set, and not both")
    check_writable(target.parent, "data.emoset")
    with nullcontext() if settings.check else lock(target):
        check_ours(target, IMPORTED)
        import_images = import_folder if source.folder else import_dataset
        import_images(settings, target, folder)


def import_folder(settings: Settings, target: Path, run_folder: Path) -> None:
    """Import `source.folder` to `target`."""
    data, root = settings.data, settings.source.folder.resolve()
    _check_apart(target, root, "source.folder")
    classes = list_classes(root)
    of_class = emotions_of((each.name for each in classes), settings.source.classes, data.taxonomy.emotions)
    check_filled(classes, of_class)
    recipe = recipe_of(settings, root.name, NOT_STATED, digest_of(root, classes), {"data.link": data.link})
    if is_up_to_date(target, recipe):
        return
    if left_out := in_no_class(root):
        log.info(f"left out of {root.name}: {left_out}")
    images, problems = usable(root, classes, of_class, settings.machine.processes)
    splits = shared_out(settings, list(images), problems, run_folder)
    sources = [str(root / path) for path in images.values()]
    method = working_method(sources[0], target.parent, data.link)
    room = room_of_links(sources, method)
    check_room(target.parent, room, "the imported data set")
    if stops_here(settings, {"images": f"{len(images):,} as links ({method})", "disk": in_words(room)}):
        return
    with building(target, recipe) as work:
        how = link_images(root, images, work, data.link)
        write_layout(work, splits, data.taxonomy.emotions)
        card = dataset_card(recipe, settings.source.classes, splits, len(problems))
        (work / "README.md").write_text(card, encoding="utf-8")
    log.info(f"{IMPORTED}: {numbers_of(splits, data.taxonomy.emotions)}")
    log.info(f"the images are links ({how}); the licence is {NOT_STATED}")


def _check_apart(target: Path, source: Path, setting: str) -> None:
    if target.is_relative_to(source) or source.is_relative_to(target):
        raise UserError(f"data.emoset: {target} and {setting}: {source} overlap; name a folder outside the source")


def import_dataset(settings: Settings, target: Path, run_folder: Path) -> None:
    """Import `source.dataset` to `target`."""
    name, emotions = settings.source.dataset, settings.data.taxonomy.emotions
    places = [Path(os.path.expanduser(name)), ROOT / name]
    folder = next((place.resolve() for place in places if place.is_dir()), None)
    if folder:
        _check_apart(target, folder, "source.dataset")
    written = read_recipe(target / MARKER)
    if written and not folder:  # what is there is up to date, whatever the Hub has now
        recipe = recipe_of(settings, name, written["inputs"]["licence"], HUB)
        if recipe.is_finished(target / MARKER):
            is_up_to_date(target, recipe)
            return
    rows = Rows(settings.source, folder)
    rows.of_class(emotions)
    recipe = recipe_of(settings, folder.name if folder else name, rows.licence, rows.digest or HUB)
    if is_up_to_date(target, recipe):
        return
    log.info(f"importing {recipe.inputs['source']}; its licence: {rows.licence}")
    if rows.left_out:
        log.info(f"left out: the splits {', '.join(rows.left_out)}")
    count, size = rows.extent()
    check_room(target.parent, size, "the imported data set")
    unknown = "not stated by the data set"
    if stops_here(settings, {"images": f"{count:,}" if count else unknown, "disk": in_words(size) if size else unknown}):
        return
    with building(target, recipe, resume=True) as work:
        images, problems = rows.write(work, emotions)
        splits = shared_out(settings, images, problems, run_folder)
        write_layout(work, splits, emotions)
        card = dataset_card(recipe, settings.source.classes, splits, len(problems))
        (work / "README.md").write_text(card, encoding="utf-8")
        shutil.rmtree(work / JOURNALS)
    log.info(f"{IMPORTED}: {numbers_of(splits, emotions)}")


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
        log.info(f"{IMPORTED}: nothing has changed, so it is up to date")
        return True
    if read_recipe(target / MARKER):  # of one that is damaged, `building` tells
        log.info(f"{IMPORTED}: {recipe.changes(target / MARKER)}")
    return False


def shared_out(
    settings: Settings, images: list[Imported], problems: list[tuple[str, str]], run_folder: Path
) -> dict[str, list[Imported]]:
    """Return the images by split, after saying what was left out."""
    broken = log_left_out(problems, "" if settings.check else " (problems.csv)")
    if not settings.check:
        table = pd.DataFrame(broken, columns=["image", "problem"])
        write_atomically(run_folder / "problems.csv", lambda beside: table.to_csv(beside, index=False))
    return with_three_splits(images, settings.source.shares, settings.data.taxonomy.emotions, settings.seed)


if __name__ == "__main__":
    run(main)
