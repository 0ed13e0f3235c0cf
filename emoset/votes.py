"""Soft labels: how the votes of several people about an image are shared out over the emotions.

    image,joy,fear,neutral
    joy/0001.jpg,7,2,1

The first column holds the image's path below the data set's folder, or its whole path. Each other one holds the votes of a
class, or their share. An image has one line. The class map (emoset/class_map.py) says which name a class has. The separator
is found by itself, and quotes around names fall away, so you can name tables that others have published as they are.
"""

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd

from config.errors import UserError, first_line
from emoset.class_map import ClassMap
from emoset.selection import log_left_out, usable_images
from runtime.run_folder import log

SETTING = "evaluate.votes"
QUOTES = " '\"\t"


@dataclass(frozen=True)
class Voted:
    """Images with votes: a table (columns image_id, emotion, path and share_<emotion>), and what of the votes has no place.

    emotion: the one with most votes; of equally many the first of the taxonomy. left_out: how many votes, or shares of one,
    each class that maps to nothing has. unlisted: columns that are no class.
    """

    images: pd.DataFrame
    left_out: dict[str, float]
    unlisted: list[str]


def share_columns(emotions: Sequence[str]) -> list[str]:
    """Return the columns that hold each emotion's share of the votes."""
    return [f"share_{emotion}" for emotion in emotions]


def read_votes(file: Path, root: Path, class_map: ClassMap) -> Voted:
    """Return the images below `root` that a table of votes lists, by their paths below it, or by whole ones.

    Images outside `root`, those that cannot be decoded, and those without a vote for one of the taxonomy's names, are left
    out; the log says so. Raises UserError for what is no such table, for votes that are no numbers from 0 on, for an image
    with two lines, and where no image is left.
    """
    table = _read_table(file)
    of_column = {name: class_map.emotion_of(name) for name in table.columns[1:]}
    emotions = class_map.taxonomy.emotions
    if not any(of_column.values()):
        raise UserError(
            f"{SETTING}: {file} has no column of {', '.join(emotions)}; it has {', '.join(table.columns)}. "
            "evaluate.class_map says which column is which"
        )
    votes = _numbers(table, [name for name, emotion in of_column.items() if emotion is not None], file)
    counted = np.stack([votes[[name for name in votes if of_column[name] == each]].sum(axis=1) for each in emotions], 1)
    names = table.iloc[:, 0]
    ids = names.map(lambda name: _path_below(root, name))
    _check_listed_once(ids[ids != ""], file)
    without = counted.sum(1) == 0
    if without.any():
        log.info(f"{SETTING}: {without.sum():,} images have no vote for any of {', '.join(emotions)}, and are left out")
    names, ids, counted = names[~without], ids[~without], counted[~without]
    paths, broken = usable_images((root / name for name in ids if name), root)
    log_left_out([*broken, *((name, "outside the folder") for name in names[ids == ""])], f" of {root}")
    usable = ids.isin({path.relative_to(root).as_posix() for path in paths}).to_numpy()
    if not usable.any():
        raise UserError(f"{SETTING}: none of the {len(ids):,} images that {file} lists lies in evaluate.folder: {root}")
    ids, counted = ids[usable].reset_index(drop=True), counted[usable]
    images = pd.DataFrame({"image_id": ids, "emotion": np.array(emotions)[counted.argmax(1)]})
    images["path"] = [root / name for name in ids]
    images[share_columns(emotions)] = counted / counted.sum(1, keepdims=True)
    left_out = {name: float(votes[name].sum()) for name, emotion in of_column.items() if emotion == ""}
    return Voted(images, left_out, [name for name, emotion in of_column.items() if emotion is None])


def _check_listed_once(ids: pd.Series, file: Path) -> None:
    """Raise UserError where two lines, which are the index of `ids`, are about one image."""
    again = ids.duplicated()
    if again.any():
        line = again.idxmax()
        raise UserError(
            f"{SETTING}: {file}, lines {(ids == ids[line]).idxmax()} and {line}: both are about {ids[line]}; give each "
            "image one line, with the votes of all people added up"
        )


def _path_below(root: Path, name: str) -> str:
    """Return the path below `root` of an image, given that path, such as ./joy/1.jpg, or its whole path; "" outside."""
    path = Path(os.path.normpath(root / name))
    for place in (Path(os.path.normpath(root)), root.resolve()):
        if path != place and path.is_relative_to(place):
            return path.relative_to(place).as_posix()
    return ""


def _read_table(file: Path) -> pd.DataFrame:
    """Return the table as text, without blank lines and quotes around cells. Its index numbers the lines of the file."""
    needs = f"{SETTING}: {file} needs a column of images, one of votes for each class, and lines of images"
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            head = text.readline()
            if not head.strip():
                raise UserError(f"{needs}; begin it with a line such as image,joy,fear")
            if not any(mark in head for mark in ",;\t| "):  # the sniffer would take a letter for one
                raise UserError(f"{needs}; it begins with {head.strip()!r}, a single column")
            lines = csv.reader(chain([head], text), delimiter=csv.Sniffer().sniff(head).delimiter, strict=True)
            (_, names), *rows = [(lines.line_num, [cell.strip(QUOTES) for cell in row]) for row in lines]
    except FileNotFoundError:
        raise UserError(f"{SETTING}: no file {file}") from None
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{SETTING}: {file} cannot be read as a table of votes: {first_line(error)}") from None
    names = names[: max((place for place, name in enumerate(names, 1) if name), default=0)]  # a separator may end every line
    rows = {line: row for line, row in rows if any(row)}
    if len(names) < 2 or not rows:
        raise UserError(needs)
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"{SETTING}: {file} has two columns called {twice[0]!r}; rename or remove one")
    for line, row in rows.items():
        if any(row[len(names) :]):
            raise UserError(f"{SETTING}: {file}, line {line}: has more than the {len(names)} columns of the first line")
    filled = [[*row, *[""] * len(names)][: len(names)] for row in rows.values()]
    return pd.DataFrame(filled, index=list(rows), columns=names)


def _numbers(table: pd.DataFrame, names: list[str], file: Path) -> pd.DataFrame:
    """Return the columns of classes as numbers. Raises UserError, naming the first line that holds another thing."""
    votes = table[names].apply(pd.to_numeric, errors="coerce")
    wrong = ~(votes >= 0) | np.isinf(votes)
    if wrong.any(axis=None):
        line = wrong.any(axis=1).idxmax()
        name = wrong.columns[wrong.loc[line]][0]
        given = table.loc[line, name] or "nothing"
        raise UserError(f"{SETTING}: {file}, line {line}: {name}: {given} is no number of votes; give 0 or more")
    return votes
