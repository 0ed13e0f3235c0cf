"""Which images are measured: those in a folder for each emotion, as of another data set; equally many of each."""

from pathlib import Path
from random import Random

import pandas as pd

from config.errors import UserError
from emoset.images import ImageError, check_image
from runtime.run_folder import log

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}


def read_folder(root: Path, emotions: tuple[str, ...], setting: str = "evaluate.folder") -> pd.DataFrame:
    """Return the images of the subfolders that are named like an emotion: image_id, emotion, path.

    The log names broken ones, which are left out.

    An image's id is its path below `root`. Raises UserError, naming `setting`, where there are no such subfolders or no
    images in them.
    """
    if not root.is_dir():
        raise UserError(f"{setting}: no folder {root}")
    rows, broken = [], []
    for child in sorted(child for child in root.iterdir() if child.name.lower() in emotions and child.is_dir()):
        for path in sorted(path for path in child.rglob("*") if path.suffix.lower() in SUFFIXES):
            try:
                check_image(path)
            except ImageError as error:
                broken.append(f"{path.relative_to(root)} ({error.reason})")
                continue
            rows.append((path.relative_to(root).as_posix(), child.name.lower(), path))
    if broken:
        log.info(f"{len(broken):,} images cannot be used: {', '.join(broken[:5])}{', ...' if len(broken) > 5 else ''}")
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
