"""Reads one image's annotation file."""

import json
import os
from pathlib import Path

from config.errors import first_line
from emoset.images import check_regular
from emoset.labels import KINDS, attribute_name


def check_entry(image_id: str, emotion: str, emotions: tuple[str, ...]) -> None:
    """Raise ValueError, with the reason, for an id that no file can have or an emotion that is none of `emotions`."""
    image_id.encode()  # an id that is no text raises ValueError here, too
    if os.path.basename(image_id) != image_id or image_id in ("", ".", "..") or "\0" in image_id:
        raise ValueError(f"its id {image_id!r} is no file name")
    if emotion not in emotions:
        raise ValueError(f"the split list calls it {emotion!r}, which data.taxonomy does not list")


def read_annotation(root: Path, path: str, image_id: str, emotion: str) -> dict:
    """Return the annotation of `image_id`, at `path` below the data set's `root`.

    Raises ValueError with the reason where it cannot be read, is about another image, or names another emotion.
    """
    place = inside(root, path)
    try:
        check_regular(place)
        with open(place, "rb", buffering=0) as file:
            content = file.readall()
    except FileNotFoundError:
        raise ValueError("no annotation") from None
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}".lower()) from None
    try:
        annotation = json.loads(content)
    except RecursionError:
        raise ValueError("not valid JSON: nested too deep") from None
    except ValueError as error:
        raise ValueError(f"not valid JSON: {first_line(error)}") from None
    if not isinstance(annotation, dict):
        raise ValueError(f"expected a JSON object, found {type(annotation).__name__}")
    if annotation.get("image_id", image_id) != image_id:
        raise ValueError(f"is about another image, {annotation['image_id']!r}")
    if str(annotation.get("emotion", emotion)).lower() != emotion:
        raise ValueError(f"says {annotation['emotion']!r}, the split list {emotion!r}")
    return annotation


def read_attributes(annotation: dict, vocabulary: dict[str, set[str]]) -> tuple[dict, list[str]]:
    """Return the attributes that `annotation` rightly holds, and what is wrong with the others."""
    attributes, problems = {}, []
    for name in ("brightness", "colorfulness"):
        value = annotation.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
            attributes[name] = float(value)
        elif value is not None:
            problems.append(f"{name} is {value!r}, expected 0 to 1")
    for kind in KINDS:
        value = annotation.get(kind)
        labels = value if isinstance(value, list) else [] if value is None else [value]
        if kind != "object" and len(labels) > 1:
            problems.append(f"{kind} is {value!r}, expected one label")
            continue
        known = []
        for label in labels:
            attribute = attribute_name(label) if isinstance(label, str) else None
            if attribute not in vocabulary[kind]:
                problems.append(f"{kind} {label!r} is not in info.json")
            elif attribute not in known:
                known.append(attribute)
        if known:
            attributes[kind] = known if kind == "object" else known[0]
    return attributes, problems


def as_path(text: str) -> str:
    """Return a path of a split list with slashes alone, those of Windows too, and without `.` and `..` where it can."""
    path = text.replace("\\", "/")
    return os.path.normpath(path) if "./" in path or "//" in path else path


def inside(root: Path, path: str) -> str:
    """Return `path`, as as_path gives it, below `root`; ValueError where it leaves it or is no text."""
    path.encode()  # a name that is no UTF-8 raises ValueError here
    if "\0" in path:
        raise ValueError("its path holds a NUL character")
    if path.startswith(("image/", "annotation/")):
        return f"{root}/{path}"
    how = "it begins with neither"
    if path.startswith("/"):
        how = "it is absolute"
    elif path[1:2] == ":":
        how = f"it begins with the drive {path[:2]}"
    elif path.startswith(".."):
        how = "it leaves the data set by .."
    raise ValueError(f"its path leads out of image/ and annotation/: {how}")
