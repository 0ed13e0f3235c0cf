"""Reads info.json and the split lists: what is broken in one row is listed, what is broken in all ends the run."""

import json
import os
from pathlib import Path

from config.errors import UserError, first_line
from emoset.annotation import as_path
from emoset.images import check_regular
from emoset.labels import KINDS, SPLITS, attribute_name

ROW = "[emotion, image id, image path, annotation path]"


def read_vocabulary(root: Path, emotions: tuple[str, ...]) -> dict[str, set[str]]:
    """Return {kind: attribute names} from info.json, after checking that it lists `emotions` in their order.

    A kind that info.json does not know has no names.
    """
    info = read_json_file(root / "info.json", dict)
    try:
        listed = tuple(sorted(info["emotion"]["label2idx"], key=info["emotion"]["label2idx"].get))
        known = {kind: info[kind]["label2idx"] if kind in info else () for kind in KINDS}
        vocabulary = {kind: {attribute_name(label) for label in labels} for kind, labels in known.items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{root / 'info.json'}: not in EmoSet's layout: {type(error).__name__} {error}") from None
    if listed != emotions:
        raise UserError(
            f"{root / 'info.json'}: its emotions are {', '.join(listed)}, and data.taxonomy lists {', '.join(emotions)};"
            " name the taxonomy of this data set: data.taxonomy=file.yaml"
        )
    return vocabulary


def read_splits(root: Path) -> tuple[list[tuple], list[tuple]]:
    """Return [(id, emotion, split, image path, annotation path)] of all splits, and the problems among them."""
    entries, problems, seen = [], [], {}
    for split in SPLITS:
        path = root / f"{split}.json"
        for number, row in enumerate(read_json_file(path, list)):
            if not (isinstance(row, list) and len(row) in (3, 4) and all(isinstance(cell, str) for cell in row)):
                problem = f"expected {ROW}, found {json.dumps(row)[:80]}"
                problems.append((f"{split}, entry {number}", path.name, problem, "image"))
                continue
            image, annotation = map(as_path, row[-2:])
            image_id = row[1] if len(row) == 4 else stem(image)
            entry = (image_id, row[0].lower(), split, image, annotation)
            before = seen.setdefault(image_id, entry)
            same = before if before is not entry else seen.setdefault(f"path {image}", entry)
            if same is entry:
                entries.append(entry)
            elif same[2] != split:
                raise UserError(f"{path}: {image_id} ({image}) is in {same[2]}.json too; an image must be in one split")
            elif same[3] == image:
                problems.append((image_id, path.name, f"listed twice in {path.name}", "nothing"))
            else:
                problems.append((image_id, image, f"its id is that of {same[3]}", "image"))
    if not entries:
        found = f"; {problems[0][0]}: {problems[0][2]}" if problems else ""
        raise UserError(f"{root}: train.json, val.json and test.json list no image{found}")
    return entries, problems


def stem(path: str) -> str:
    """Return a file's name without its folder and suffix."""
    return os.path.splitext(os.path.basename(path))[0]


def read_json_file(path: Path, kind: type):
    """Return the JSON in a file that a user gives. Raises UserError where it cannot be read or holds another kind."""
    try:
        check_regular(path)
        text = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON: {first_line(error)}") from None
    if not isinstance(content, kind):
        raise UserError(f"{path}: expected a JSON {kind.__name__}, found {type(content).__name__}")
    return content
