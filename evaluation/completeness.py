"""What keeps the figures of some images from standing beside others': emotions that are missing, rare or unknown.

A figure is a mean over the emotions that there are. So a row whose images lack one is marked wherever it is shown.
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path

import pandas as pd

UNEQUAL = 2  # times as many images of one emotion as of another, from which on the row is warned of


def mark(emotions: Iterable[str], names: tuple[str, ...], pairs: bool = True) -> str | None:
    """Return what marks a row whose images have these emotions, such as "7 of 8 emotions"; None where it needs no mark.

    pairs: whether figures compare two images of an emotion.
    """
    counts = pd.Series(list(emotions)).value_counts()
    there, paired = (sum(counts.get(name, 0) >= least for name in names) for least in (1, 2))
    marks = [f"{there} of {len(names)} emotions"] if there < len(names) else []
    marks += [f"pairs of {paired} of {len(names)} emotions"] if pairs and paired < there else []
    return ", ".join(marks) or None


def gaps(emotions: Iterable[str], names: tuple[str, ...], pairs: bool = True) -> list[str]:
    """Return in words what a row's images lack: emotions of `names`, pairs, or an equal number of each.

    emotions: of the images. pairs: whether figures compare two images of an emotion.
    """
    counts = pd.Series(list(emotions)).value_counts().reindex(list(names), fill_value=0)
    missing, single = ([*counts.index[counts == number]] for number in (0, 1))
    found, there = [], counts[counts > 0]
    if missing:
        found.append(
            f"no images of {', '.join(missing)}, so its means are over {len(there)} of {len(names)} emotions. Do not "
            "compare them with the means of others"
        )
    if single and pairs:
        found.append(f"one image of {', '.join(single)}, which makes no pair, so LPIPS and Sem-D leave the emotion out")
    if len(there) and there.max() > UNEQUAL * there.min():
        found.append(
            f"{there.min():,} images of {there.idxmin()} but {there.max():,} of {there.idxmax()}, which FID and KID weigh "
            "by their number"
        )
    return found


def unknown_folders(root: Path, names: tuple[str, ...]) -> list[str]:
    """Return in words which folders of images are not named like one of the emotions, and which one may be meant."""
    children = sorted(child.name for child in root.iterdir() if child.is_dir()) if root.is_dir() else []
    others = [child for child in children if child.lower() not in names and not child.startswith(".")]
    there = {child.lower() for child in children}
    return [f"{other}/ is no emotion{_meant(other, [name for name in names if name not in there])}" for other in others]


def by_warning(texts: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """Return the rows that each warning is about, given the warnings of each row."""
    warnings: dict[str, list[str]] = {}
    for row, each in texts.items():
        for text in each:
            warnings.setdefault(text, []).append(row)
    return warnings


def _meant(folder: str, missing: list[str]) -> str:
    """Return the question whether a folder is meant as one of the emotions that have none."""
    near = [name for name in missing if name.startswith(folder.lower()[:3])] or get_close_matches(folder.lower(), missing, 1)
    return f": did you mean {near[0]}?" if near else ", and was left out"
