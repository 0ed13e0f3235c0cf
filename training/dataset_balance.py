"""Organise EmoSet into attribute folders and draw an emotion-balanced training set from it.

python training/dataset_balance.py data.emoset=path/to/EmoSet
python training/dataset_balance.py --config config/demo.yaml
"""

from runtime.script import read_settings, run

read_settings(__name__, __doc__, "data", "balance", "machine")

from config.errors import UserError
from config.settings import Settings
from emoset.attribute_folders import build_attribute_root, has_attributes, read_attribute_root
from emoset.balance import balance_recipe, balanced_set, read_balanced_set, write_balanced_set
from emoset.balance_report import attribute_shares, balance_table, plot_balance
from emoset.near_duplicates import near_duplicates
from emoset.reading import read_emoset
from runtime.files import write_atomically
from runtime.recipe import RECIPE
from runtime.run_folder import log, open_run_folder


def main(settings: Settings) -> None:
    data, balance = settings.data, settings.balance
    folder = open_run_folder(settings, "balance")

    # 1. Read every annotation and image header; what cannot be used is listed, not fatal.
    emoset = read_emoset(data, folder, settings.machine.processes)
    usable = len(emoset.index)
    log.info(f"EmoSet: {emoset.listed:,} images listed, {usable:,} usable, {len(emoset.problems):,} problems (problems.csv)")
    if data.near_duplicates is not None:
        pairs = near_duplicates(emoset.index, data.emoset, data.near_duplicates, settings.machine.processes)
        write_atomically(folder / "near_duplicates.csv", lambda beside: pairs.to_csv(beside, index=False))
        log.info(f"near-duplicates across splits: {len(pairs):,} pairs (near_duplicates.csv)")
    else:
        (folder / "near_duplicates.csv").unlink(missing_ok=True)

    # 2. One folder per attribute, holding links.
    links = "up to date"
    if has_attributes(emoset.index, data.kinds):
        links = build_attribute_root(emoset, data.emoset, data.attribute_root, data.kinds, data.link)
        folders = read_attribute_root(data.attribute_root).groupby("kind", sort=False)["images"]
        found = ", ".join(f"{len(images)} of {kind} with {images.sum():,} links" for kind, images in folders)
        log.info(f"attribute folders: {found} ({links})")
    else:
        log.info("attribute folders: none, for no image has an attribute of data.kinds; emotions alone are balanced")

    # 3. Draw the balanced set.
    if "test" in balance.splits or "val" in balance.splits:
        log.info(f"WARNING: the balanced set draws from {', '.join(balance.splits)}; do not evaluate on what it holds")
    path, picture = folder / "balanced.parquet", folder / "balance.png"
    recipe, made_from = balance_recipe(data, balance, settings.seed, emoset.fingerprint), folder / RECIPE
    if path.exists() and not made_from.exists():
        raise UserError(f"{path}: an earlier version of this project drew it; move it away, or name another run folder")
    rows = read_balanced_set(path) if recipe.is_finished(made_from) and picture.exists() else None
    unchanged = rows is not None
    if not unchanged and made_from.exists() and not recipe.is_started(made_from):
        log.info(f"balanced set: {recipe.changes(made_from)}")
    if not unchanged:
        rows = balanced_set(emoset.index, data, balance, settings.seed)

    # 4. Show what was done.
    table = balance_table(emoset.index, rows, data.taxonomy.emotions, balance.splits, data.kinds)
    title = f"{balance.policy} balance of {', '.join(balance.splits)}: {len(rows):,} draws"
    if not unchanged:
        shares = attribute_shares(emoset.index, rows, balance.splits, data.kinds)
        recipe.start(made_from)
        write_atomically(picture, lambda beside: plot_balance(table, shares, rows, title, beside))
        write_balanced_set(rows, path)
        recipe.finish(made_from)
    log.info(f"\n{title}\n{table.to_string(formatters=dict.fromkeys(table, '{:,}'.format))}\n")
    if unchanged and links == "up to date":
        log.info("nothing has changed; everything stays as it is")
    else:
        log.info(f"wrote {', '.join(file.name for file in (path, picture))} in {folder.name}/ of the run folder")


if __name__ == "__main__":
    run(main)
