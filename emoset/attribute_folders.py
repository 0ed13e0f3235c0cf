"""The attribute root: one folder per attribute, named with its number of images, holding links to them.

object/(13094) plant/<image_id>.jpg    scene/(2406) street/<image_id>.jpg
"""

import os
from pathlib import Path

import pandas as pd

from config.errors import UserError
from emoset.labels import KINDS, folder_name, parse_folder_name
from emoset.reading import EmoSet
from runtime.built_folder import building, is_built, lock
from runtime.links import link_files
from runtime.recipe import Recipe


def memberships(index: pd.DataFrame, kinds: list[str]) -> pd.DataFrame:
    """Return a row per image and attribute that it carries: the index's columns but the kinds', `kind` and `attribute`."""
    others = index.drop(columns=list(KINDS))
    if not kinds:
        return others.iloc[:0].assign(kind="", attribute="")
    parts = [others.assign(kind=kind, attribute=index[kind]).explode("attribute") for kind in kinds]
    return pd.concat(parts, ignore_index=True).dropna(subset="attribute")


def has_attributes(index: pd.DataFrame, kinds: list[str]) -> bool:
    """Tell whether any image of the index has an attribute of one of `kinds`."""
    return bool(kinds) and bool(index[kinds].notna().any(axis=None))


def build_attribute_root(emoset: EmoSet, root: Path, target: Path, kinds: list[str], link: str) -> str:
    """Build the attribute root at `target` from the EmoSet at `root`; return how: up to date, or the links' kind.

    Raises UserError where `target` holds what this project did not build, or overlaps with the data set.
    """
    root, target = root.resolve(), target.resolve()
    if target.is_relative_to(root) or root.is_relative_to(target):
        raise UserError(f"data.attribute_root: {target} and data.emoset: {root} overlap; name a folder outside the data set")
    place = os.path.relpath(root, target.parent)
    settings = {"data.kinds": kinds, "data.link": link}
    recipe = Recipe("attribute root", settings, {"data set": emoset.fingerprint, "place of the data set": place})
    with lock(target):
        images = memberships(emoset.index, kinds)
        if is_built(target, recipe) and _is_whole(target, len(images)):
            return "up to date"
        if absent := [kind for kind in kinds if not has_attributes(emoset.index, [kind])]:
            raise UserError(
                f"data.kinds: no image has an attribute of the kinds {', '.join(absent)}; take these out of data.kinds"
            )
        with building(target, recipe) as work:
            return _fill(work, images, root, link)


def read_attribute_root(root: Path) -> pd.DataFrame:
    """Return a row per attribute folder: kind, attribute, images (by its name), folder (relative to `root`).

    Reads folders as this project names them and as published, `(13094)Plant`; passes over all others.
    """
    rows = []
    for kind in KINDS:
        for folder in sorted((root / kind).glob("(*)*")):
            parsed = parse_folder_name(folder.name)
            if parsed and folder.is_dir():
                rows.append((kind, *parsed, f"{kind}/{folder.name}"))
    return pd.DataFrame(rows, columns=["kind", "attribute", "images", "folder"])


def _is_whole(root: Path, links: int) -> bool:
    folders = read_attribute_root(root)
    return folders["images"].sum() == links and all(
        len(os.listdir(root / row.folder)) == row.images for row in folders.itertuples()
    )


def _fill(work: Path, images: pd.DataFrame, root: Path, link: str) -> str:
    """Link all `images` into their folders below `work`; return the methods used."""
    counts = images.groupby(["kind", "attribute"], sort=False).size()
    folders = {}
    for (kind, attribute), count in counts.items():
        folders[kind, attribute] = folder = f"{work}/{kind}/{folder_name(attribute, count)}"
        os.makedirs(folder)
    columns = [images[name].tolist() for name in ("kind", "attribute", "image_id", "image")]
    pairs = [
        (f"{root}/{image}", f"{folders[kind, attribute]}/{image_id}{os.path.splitext(image)[1]}")
        for kind, attribute, image_id, image in zip(*columns, strict=True)
    ]
    return link_files(pairs, link)
