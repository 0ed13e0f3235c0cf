"""Which images no figure is about, because they cannot be read or measured: how many, which, and why."""

from pathlib import Path

import pandas as pd

from emoset.images import ImageError
from emoset.selection import STRAY, readable, visible_files, why_left_out, why_unusable
from evaluation.features import measurable
from runtime.run_folder import log

NAMED = 100  # images that a result names

Skipped = dict[str, dict]  # {"n", "images": names with their reasons} by row


def skipped_of(row: str, images: pd.DataFrame) -> Skipped:
    """Return by the row the images (columns image_id, path) that are skipped, and log them; {} where there are none."""
    images = images.drop_duplicates("image_id")
    shown = zip(images["image_id"][:NAMED], images["path"][:NAMED], strict=True)
    return _told(row, len(images), [(name, _reason(path)) for name, path in shown])


def left_out_of_data(problems: pd.DataFrame) -> Skipped:
    """Return the images of the data set that reading it has left out. problems: as read_emoset returns them."""
    images = problems[problems["left_out"] == "image"]
    return _told("data set", len(images), list(zip(images["image_id"][:NAMED], images["problem"][:NAMED], strict=True)))


def left_out_of_folder(row: str, root: Path, images: pd.DataFrame, emotions: tuple[str, ...]) -> Skipped:
    """Return the images in the folders of emotions below `root` that are not among those of read_folder.

    Files that are no images, and are not called like one, are none that a figure lacks.
    """
    folders = [child for child in root.iterdir() if child.name.lower() in emotions and child.is_dir()]
    files = {path for folder in folders for path in visible_files(folder)}
    others = [path for path in sorted(files - set(images["path"])) if why_unusable(path) != STRAY]
    return _told(row, len(others), [(readable(path.relative_to(root)), _reason(path)) for path in others[:NAMED]])


def together(first: Skipped, second: Skipped) -> Skipped:
    """Return what both have, row by row."""
    found = first | second
    for row in first.keys() & second.keys():
        found[row] = {"n": first[row]["n"] + second[row]["n"], "images": first[row]["images"] + second[row]["images"]}
    return found


def _told(row: str, count: int, images: list[tuple[str, str]]) -> Skipped:
    named = [f"{name} ({reason})" for name, reason in images]
    if not count:
        return {}
    log.info(f"{row}: {count:,} images are skipped: {', '.join(named[:5])}{', ...' if count > 5 else ''}")
    return {row: {"n": count, "images": named}}


def _reason(path: Path) -> str:
    try:
        measurable(path)
    except ImageError as error:
        return error.reason
    return why_left_out(path) or "could not be read while it was measured"
