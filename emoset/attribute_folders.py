"""The attribute root: one folder per attribute, named with its number of images, holding links to them.

object/(13094) plant/<image_id>.jpg    scene/(2406) street/<image_id>.jpg
"""

import os
from pathlib import Path

import pandas as pd

from config.errors import UserError
from emoset.labels import KINDS, folder_name, parse_folder_name
from emoset.reading import EmoSet
from runtime.built_folder import building, check_ours, is_built, lock
from runtime.links import link_files
from runtime.recipe import Recipe

WHAT = "attribute root"


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


def check_attribute_root(root: Path, target: Path) -> None:
    """Raise UserError where `target` holds what this project did not build, or overlaps with the data set at `root`."""
    root, target = root.resolve(), target.resolve()
    if target.is_relative_to(root) or root.is_relative_to(target):
        raise UserError(f"data.attribute_root: {target} and data.emoset: {root} overlap; name a folder outside the data set")
    check_ours(target, WHAT)


def links_to_make(emoset: EmoSet, root: Path, target: Path, kinds: list[str], link: str) -> pd.DataFrame:
    """Return the memberships that build_attribute_root would link at `target`; no row where it is up to date."""
    root, target, images = root.resolve(), target.resolve(), memberships(emoset.index, kinds)
    return images.iloc[:0] if _is_up_to_date(target, _recipe(emoset, root, target, kinds, link), len(images)) else images


def build_attribute_root(emoset: EmoSet, root: Path, target: Path, kinds: list[str], link: str) -> str:
    """Build the attribute root at `target` from the EmoSet at `root`. Return how: up to date, or the links' kind.

    Raises UserError as check_attribute_root does.
    """
    check_attribute_root(root, target)
    root, target = root.resolve(), target.resolve()
    recipe = _recipe(emoset, root, target, kinds, link)
    with lock(target):
        images = memberships(emoset.index, kinds)
        if _is_up_to_date(target, recipe, len(images)):
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


def _recipe(emoset: EmoSet, root: Path, target: Path, kinds: list[str], link: str) -> Recipe:
    place = os.path.relpath(root.resolve(), target.resolve().parent)
    settings = {"data.kinds": kinds, "data.link": link}
    return Recipe(WHAT, settings, {"data set": emoset.fingerprint, "place of the data set": place})


def _is_up_to_date(root: Path, recipe: Recipe, links: int) -> bool:
    if not is_built(root, recipe):
        return False
    folders = read_attribute_root(root)
    return folders["images"].sum() == links and all(_is_whole(root / row.folder, row.images) for row in folders.itertuples())


def _is_whole(folder: Path, images: int) -> bool:
    """Tell whether a folder holds so many images, none of them empty and no link of them broken."""
    try:
        with os.scandir(folder) as entries:
            sizes = [entry.stat().st_size for entry in entries]
    except FileNotFoundError:
        return False
    return len(sizes) == images and all(sizes)


def _fill(work: Path, images: pd.DataFrame, root: Path, link: str) -> str:
    """Link all `images` into their folders below `work`. Return the methods used."""
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
