"""Organise EmoSet into attribute folders and draw an emotion-balanced training set from it.

python training/dataset_balance.py data.emoset=path/to/EmoSet
python training/dataset_balance.py --config config/demo.yaml
"""

import sys

try:
    from config.script import log, open_run_folder, run, write_atomically
    from config.settings import Settings
except ModuleNotFoundError as missing:
    sys.exit(f"error: {missing.name} is not installed; in the project's folder: pip install -r requirements.txt -e .")


def main(settings: Settings) -> None:
    # Imported here, so that --help and an error in the config answer at once.
    import pandas as pd

    from emoset.attribute_folders import build_attribute_root, read_attribute_root
    from emoset.balance import balance_recipe, balanced_set, recipe_of, write_balanced_set
    from emoset.balance_report import attribute_shares, balance_table, plot_balance
    from emoset.near_duplicates import near_duplicates
    from emoset.reading import read_emoset

    data, balance = settings.data, settings.balance
    folder = open_run_folder(settings, "balance")

    # 1. Read every annotation and image header; what cannot be used is listed, not fatal.
    emoset = read_emoset(data, folder)
    usable = len(emoset.index)
    log.info(f"EmoSet: {emoset.listed:,} images listed, {usable:,} usable, {len(emoset.problems):,} problems (problems.csv)")
    if data.near_duplicates is not None:
        pairs = near_duplicates(emoset.index, data.emoset, data.near_duplicates, data.workers)
        pairs.to_csv(folder / "near_duplicates.csv", index=False)
        log.info(f"near-duplicates across splits: {len(pairs):,} pairs (near_duplicates.csv)")
    else:
        (folder / "near_duplicates.csv").unlink(missing_ok=True)

    # 2. One folder per attribute, holding links.
    how = build_attribute_root(emoset, data.emoset, data.attribute_root, data.kinds, data.link)
    folders = read_attribute_root(data.attribute_root).groupby("kind", sort=False)["images"]
    found = ", ".join(f"{len(images)} of {kind} with {images.sum():,} links" for kind, images in folders)
    log.info(f"attribute folders: {found} ({how})")

    # 3. Draw the balanced set.
    if "test" in balance.splits or "val" in balance.splits:
        log.info(f"WARNING: the balanced set draws from {', '.join(balance.splits)}; do not evaluate on what it holds")
    path, picture = folder / "balanced.parquet", folder / "balance.png"
    recipe = balance_recipe(settings, emoset.fingerprint)
    unchanged = recipe_of(path) == recipe and picture.exists()
    rows = pd.read_parquet(path) if unchanged else balanced_set(emoset.index, settings)

    # 4. Show what was done.
    table = balance_table(emoset.index, rows, balance.splits, data.kinds)
    title = f"{balance.policy} balance of {', '.join(balance.splits)}: {len(rows):,} draws"
    if not unchanged:
        shares = attribute_shares(emoset.index, rows, balance.splits, data.kinds)
        write_atomically(picture, lambda beside: plot_balance(table, shares, rows, title, beside))
        write_balanced_set(rows, path, recipe)
    log.info(f"\n{title}\n{table.to_string(formatters=dict.fromkeys(table, '{:,}'.format))}\n")
    if unchanged and how == "up to date":
        log.info("nothing has changed; everything stays as it is")
    else:
        log.info(f"wrote {', '.join(file.name for file in (path, picture))} in {folder.name}/ of the run folder")


if __name__ == "__main__":
    run(main, __doc__)
