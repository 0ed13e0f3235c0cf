"""Chooses the images that are measured: those in a folder for each emotion, as of another data set, equally many of each."""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pandas as pd

from config.errors import UserError
from emoset.images import EMPTY, NO_IMAGE, ImageError, check_image
from runtime.files import LEFT_BEHIND
from runtime.run_folder import log, progress

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
STRAY = "no image, and not called one"
LINKED = "a linked folder, which is not followed; link its files, or copy them"
NOT_UTF8 = "its name is not UTF-8; rename it"


def is_hidden(name: str) -> bool:
    """Tell whether a file or folder of this name is none of the user's, such as .DS_Store and Thumbs.db."""
    return name.startswith(".") or name.lower() in LEFT_BEHIND


def visible_files(root: Path) -> list[Path]:
    """Return all below `root` that is no folder and not hidden, whatever its suffix says, in order.

    A linked folder is among them, for it is not followed: it might lead round in a circle.
    """
    found = []
    for above, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not is_hidden(name)]
        linked = [name for name in folders if os.path.islink(os.path.join(above, name))]
        found += [Path(above, name) for name in [*names, *linked] if not is_hidden(name)]
    return sorted(found)


def why_unusable(path: Path) -> str:
    """Return why an image cannot be used; an empty text where it can."""
    if os.path.isdir(path):
        return LINKED
    try:
        check_image(path)
    except ImageError as error:
        is_stray = error.reason in (NO_IMAGE, EMPTY) and path.suffix.lower() not in SUFFIXES
        return STRAY if is_stray else error.reason
    return ""


def readable(path: str | Path) -> str:
    r"""Return a path as text. A byte of it that is no UTF-8, which no log or table can hold, becomes \xe9."""
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def why_left_out(path: Path) -> str:
    """Return why an image cannot be used by its own name, which goes into tables; an empty text where it can."""
    reason = why_unusable(path)
    return reason if reason or readable(path) == str(path) else NOT_UTF8


def usable_images(paths: Iterable[Path], root: Path) -> tuple[list[Path], list[tuple[str, str]]]:
    """Return the images among `paths` that can be used, and (readable path below `root`, reason) of all others."""
    paths = list(paths)
    with ThreadPoolExecutor() as pool:  # decoders work beside each other in threads
        reasons = list(progress(pool.map(why_left_out, paths), "checking images", len(paths)))
    left_out = [(path, reason) for path, reason in zip(paths, reasons, strict=True) if reason]
    usable = [path for path, reason in zip(paths, reasons, strict=True) if not reason]
    return usable, [(readable(path.relative_to(root).as_posix()), reason) for path, reason in left_out]


def log_left_out(left_out: list[tuple[str, str]], what: str = "") -> list[tuple[str, str]]:
    """Say which files, (name, reason), were left out. Return those of them that are images, or are called like one."""
    strays = [name for name, reason in left_out if reason == STRAY]
    images = [(name, reason) for name, reason in left_out if reason != STRAY]
    if images:
        named = ", ".join(f"{name} ({reason})" for name, reason in images[:5])
        more = ", ..." if len(images) > 5 else ""
        log.info(f"{len(images):,} images cannot be used and are left out{what}: {named}{more}")
    if strays:
        more = ", ..." if len(strays) > 5 else ""
        log.info(f"{len(strays):,} files are no images and are left out: {', '.join(strays[:5])}{more}")
    return images


def read_folder(root: Path, emotions: tuple[str, ...], setting: str = "evaluate.folder") -> pd.DataFrame:
    """Return the images of the subfolders that are named like an emotion: image_id, emotion, path.

    What can be decoded counts, whatever its suffix says; the log tells what was left out. An image's id is its path below
    `root`. Raises UserError, naming `setting`, where there are no such subfolders or no images in them.
    """
    if not root.is_dir():
        raise UserError(f"{setting}: no folder {root}")
    children = sorted(child for child in root.iterdir() if child.name.lower() in emotions and child.is_dir())
    paths, left_out = usable_images((path for child in children for path in visible_files(child)), root)
    rows = [(path.relative_to(root), path) for path in paths]
    rows = [(below.as_posix(), below.parts[0].lower(), path) for below, path in rows]
    log_left_out(left_out, f" of {root}")
    if not rows:
        raise UserError(f"{setting}: {root} has no images in subfolders named {', '.join(emotions)}")
    return pd.DataFrame(rows, columns=["image_id", "emotion", "path"])


def equal_emotions(images: pd.DataFrame, count: int | None, seed: int) -> pd.DataFrame:
    """Return `count` of the images, equally many of each emotion as far as there are, or all for None; in their order."""
    if count is None or count >= len(images):
        return images
    taken, left = [], count
    groups = sorted(images.groupby("emotion").groups.items(), key=lambda group: (len(group[1]), group[0]))
    for number, (emotion, rows) in enumerate(groups):
        share = min(len(rows), left // (len(groups) - number))
        taken += Random(f"{seed} {emotion}").sample(sorted(rows), share)
        left -= share
    return images.loc[sorted(taken)]
