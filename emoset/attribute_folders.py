"""The attribute root: one folder per attribute, named with its number of images, holding links to them.

object/(13094) plant/<image_id>.jpg    scene/(2406) street/<image_id>.jpg
"""

import errno
import os
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from config.errors import UserError
from emoset.labels import KINDS, folder_name, parse_folder_name
from emoset.reading import EmoSet
from runtime.built_folder import building, is_built, lock
from runtime.recipe import Recipe
from runtime.run_folder import progress

CHUNK = 1000  # images linked by a thread at a time


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
        if images.empty:
            raise UserError(f"data.kinds: no image has an attribute of the kinds {', '.join(kinds)}")
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

    methods = list(_LINK) if link == "auto" else [link]

    def link_some(start: int) -> Counter:
        return Counter(_link(source, destination, methods) for source, destination in pairs[start : start + CHUNK])

    used = Counter()
    with ThreadPoolExecutor() as pool, progress(None, "linking", len(pairs)) as bar:
        for done in pool.map(link_some, range(0, len(pairs), CHUNK)):
            used += done
            bar.update(done.total())
    return ", ".join(f"{count:,} {method}" for method, count in used.most_common()) if len(used) > 1 else next(iter(used))


def _hard(source: str, destination: str) -> None:
    # With a src_dir_fd (an absolute source leaves its value unused) Python links what a symbolic link leads to. Without, it
    # links the link itself, and a relative one would lead nowhere from there.
    os.link(source, destination, src_dir_fd=0)


def _symbolic(source: str, destination: str) -> None:
    os.symlink(os.path.relpath(source, os.path.dirname(destination)), destination)


_LINK = {"hard": _hard, "symbolic": _symbolic, "copy": shutil.copyfile}
# What a disk answers that has no such links, or none to there.
_NOT_HERE = {errno.EXDEV, errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}


def _link(source: str, destination: str, methods: list[str]) -> str:
    """Link one image by the first method that the disk allows, and return its name."""
    for method in methods:
        try:
            _LINK[method](source, destination)
            return method
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
            reason = error.strerror
    raise UserError(f"data.link: {method} does not work from {source} to {destination}: {reason}; auto takes what does")
