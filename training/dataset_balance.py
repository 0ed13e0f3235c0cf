"""Organise EmoSet into attribute folders and draw an emotion-balanced training set from it.

    python training/dataset_balance.py data.emoset=path/to/EmoSet
    python training/dataset_balance.py --config config/demo.yaml

`<run>/balance/` gets balanced.parquet, a picture of it, and problems.csv with the images that are left out.
`data.attribute_root` gets a folder of links to the images of each value of an attribute. Run it again, and only changed
parts are made again.
"""

from runtime.script import read_settings, run

read_settings(__name__, __doc__, "data", "balance", "machine")

from importlib.util import find_spec
from pathlib import Path

from config.data_settings import Data
from config.errors import UserError
from config.settings import Settings
from emoset.attribute_folders import (
    build_attribute_root,
    check_attribute_root,
    has_attributes,
    links_to_make,
    read_attribute_root,
)
from emoset.balance import balance_recipe, balanced_set, read_balanced_set, write_balanced_set
from emoset.balance_report import attribute_shares, balance_table, plot_balance
from emoset.images import is_whole
from emoset.near_duplicates import near_duplicates
from emoset.reading import EmoSet, check_root, read_emoset
from runtime.checking import check_outside, check_room, check_writable, in_words, stops_here
from runtime.files import write_atomically
from runtime.links import room_of_links, working_method
from runtime.recipe import RECIPE
from runtime.run_folder import log, open_run_folder


def main(settings: Settings) -> None:
    data, balance = settings.data, settings.balance
    check_outside(settings.run, data.attribute_root, "data.attribute_root")
    folder = open_run_folder(settings, "balance")
    path, picture, made_from = (folder / name for name in ("balanced.parquet", "balance.png", RECIPE))

    # 1. Check what can be known before the images are read.
    if path.exists() and not made_from.exists():
        raise UserError(f"{path}: an earlier version of this project drew it; move it away, or name another run folder")
    if data.near_duplicates is not None and not find_spec("imagehash"):
        raise UserError("data.near_duplicates: imagehash is not installed; pip install imagehash, or leave it out")
    check_writable(data.cache, "data.cache")
    check_writable(data.attribute_root.parent, "data.attribute_root")
    check_root(data.emoset)  # first, for a folder above it would overlap with the attribute root
    check_attribute_root(data.emoset, data.attribute_root)

    # 2. Read every annotation and image; what cannot be used is listed, not fatal.
    emoset = read_emoset(data, folder, settings.machine.processes, settings.check)
    usable, where = len(emoset.index), "" if settings.check else " (problems.csv)"
    log.info(f"EmoSet: {emoset.listed:,} images listed, {usable:,} usable, {len(emoset.problems):,} problems{where}")

    # 3. Draw the balanced set.
    if "test" in balance.splits or "val" in balance.splits:
        log.info(f"WARNING: the balanced set draws from {', '.join(balance.splits)}; do not evaluate on what it holds")
    recipe = balance_recipe(data, balance, settings.seed, emoset.fingerprint)
    rows = read_balanced_set(path) if recipe.is_finished(made_from) and is_whole(picture) else None
    unchanged = rows is not None
    if not unchanged and made_from.exists() and not recipe.is_started(made_from):
        log.info(f"balanced set: {recipe.changes(made_from)}")
    if not unchanged:
        rows = balanced_set(emoset.index, data, balance, settings.seed)
    links, room = room_for_links(emoset, data)
    takes = {"images": f"{usable:,}", "draws": f"{len(rows):,}", "links to make": links}
    if stops_here(settings, takes | {"disk": in_words(room)}):
        return

    # 4. One folder per attribute, holding links.
    list_near_duplicates(emoset, data, folder, settings.machine.processes)
    how = "up to date"
    if has_attributes(emoset.index, data.kinds):
        how = build_attribute_root(emoset, data.emoset, data.attribute_root, data.kinds, data.link)
        folders = read_attribute_root(data.attribute_root).groupby("kind", sort=False)["images"]
        found = ", ".join(f"{len(images)} of {kind} with {images.sum():,} links" for kind, images in folders)
        log.info(f"attribute folders: {found} ({how})")
    else:
        log.info("attribute folders: none, for no image has an attribute of data.kinds; emotions alone are balanced")

    # 5. Show what was done.
    table = balance_table(emoset.index, rows, data.taxonomy.emotions, balance.splits, data.kinds)
    title = f"{balance.policy} balance of {', '.join(balance.splits)}: {len(rows):,} draws"
    if not unchanged:
        shares = attribute_shares(emoset.index, rows, balance.splits, data.kinds)
        recipe.start(made_from)
        write_atomically(picture, lambda beside: plot_balance(table, shares, rows, title, beside))
        write_balanced_set(rows, path)
        recipe.finish(made_from)
    log.info(f"\n{title}\n{table.to_string(formatters=dict.fromkeys(table, '{:,}'.format))}\n")
    wrote = f"wrote {path.name}, {picture.name} in {folder.name}/ of the run folder"
    log.info("nothing has changed; everything is up to date" if unchanged and how == "up to date" else wrote)


def room_for_links(emoset: EmoSet, data: Data) -> tuple[str, int]:
    """Return in words how many links the attribute folders still take, of which kind, and about how many bytes these take.

    Raises UserError where the disk refuses the kind that data.link asks for, or has no room.
    """
    images = links_to_make(emoset, data.emoset, data.attribute_root, data.kinds, data.link)["image"]
    if images.empty:
        return "none", 0
    method = working_method(data.emoset / "info.json", data.attribute_root, data.link)
    room = room_of_links([str(data.emoset / image) for image in images], method)
    check_room(data.attribute_root, room, "the attribute root")
    return f"{len(images):,} ({method})", room


def list_near_duplicates(emoset: EmoSet, data: Data, folder: Path, processes: int | None) -> None:
    """Write near_duplicates.csv into `folder`, where it is asked for; else remove an old one."""
    path = folder / "near_duplicates.csv"
    if data.near_duplicates is None:
        path.unlink(missing_ok=True)
        return
    pairs = near_duplicates(emoset.index, data.emoset, data.near_duplicates, processes)
    write_atomically(path, lambda beside: pairs.to_csv(beside, index=False))
    log.info(f"near-duplicates across splits: {len(pairs):,} pairs ({path.name})")


if __name__ == "__main__":
    run(main)
