"""A folder with a subfolder of images for each class, as a source of an imported data set."""

import hashlib
import json
import os
from pathlib import Path
from typing import NamedTuple

from config.errors import UserError
from emoset.imported_layout import Imported, mapping_of, split_of
from emoset.selection import is_hidden, readable, visible_files, why_unusable
from runtime.files import LEFT_BEHIND
from runtime.links import link_files
from runtime.run_folder import progress
from runtime.workers import worker_pool

LONGEST = 200  # bytes of an id, which becomes a file's name
LONGEST_SUFFIX = 20  # bytes; longer ones are text behind a dot, and are left out of the file's name


class ClassFolder(NamedTuple):
    """One class's files. split: the source's own; train where it has none. files: paths below `root`, in order."""

    split: str
    name: str
    files: list[str]


def list_classes(root: Path) -> list[ClassFolder]:
    """Return the folders of classes below `root`, each in a split where `root` has split folders.

    Raises UserError where there is no such folder, or no class in it, or a class without images.
    """
    if not root.is_dir():
        raise UserError(f"source.folder: no folder {root}")
    splits = _splits(root)
    names = list(splits.values())
    if twice := [split for split in names if names.count(split) > 1]:
        folders = ", ".join(child for child, split in splits.items() if split == twice[0])
        raise UserError(f"source.folder: {root} has more than one {twice[0]} split: {folders}")
    classes = [
        ClassFolder(split, name, [os.path.relpath(path, root) for path in visible_files(root / above / name)])
        for above, split in splits.items()
        for name in _folders(root / above)
    ]
    if not classes:
        found = _first(sorted(os.listdir(root))) or "nothing"
        raise UserError(f"source.folder: {root} has no folders of classes, one subfolder of images for each; found {found}")
    if unreadable := [readable(each.name) for each in classes if readable(each.name) != each.name]:
        raise UserError(f"source.folder: the name of the folder {unreadable[0]} is not UTF-8; rename it")
    return classes


def in_no_class(root: Path) -> str:
    """Say how many files and folders below `root` are in no class, why, and which; an empty text where there are none."""
    splits, loose, hidden, beside = _splits(root), [], [], []
    for above in dict.fromkeys(["", *splits]):
        for child in sorted((root / above).iterdir()):
            name = readable(child.relative_to(root))
            if child.name.lower() in LEFT_BEHIND:
                continue
            if not child.is_dir():
                loose += [] if is_hidden(child.name) else [name]
            elif child.name[0] in "_.":
                hidden.append(name)
            elif not above and "" not in splits and child.name not in splits:
                beside.append(name)
    told = {
        "files in no class folder": loose,
        "folders whose names begin with _ or .": hidden,
        "folders beside those of the splits": beside,
    }
    return "; ".join(f"{len(names):,} {what} ({_first(names)})" for what, names in told.items() if names)


def check_filled(classes: list[ClassFolder], of_class: dict[str, str]) -> None:
    """Raise UserError where a class that is taken has no images."""
    if empty := [each.name for each in classes if not each.files and of_class[each.name]]:
        leave_out = mapping_of(empty[0], "")
        raise UserError(f"source.folder: {empty[0]} has no images, such as a.jpg; remove it, or leave it out: {leave_out}")


def digest_of(root: Path, classes: list[ClassFolder]) -> str:
    """Return a hash of the paths, sizes and times of all files."""
    listing = []
    for path in (path for each in classes for path in each.files):
        stat = os.stat(root / path) if os.path.exists(root / path) else None
        listing.append([os.fsencode(path).hex(), stat and stat.st_size, stat and stat.st_mtime_ns])
    return hashlib.blake2b(json.dumps(sorted(listing)).encode(), digest_size=8).hexdigest()


def usable(
    root: Path, classes: list[ClassFolder], of_class: dict[str, str], processes: int | None
) -> tuple[dict[Imported, str], list[tuple[str, str]]]:
    """Return the images that can be used, with their paths below `root`, and (path, reason) of all other files.

    of_class: the emotion of each class; empty where the class is left out.
    """
    listed = [(each, path) for each in classes if of_class[each.name] for path in each.files]
    with worker_pool(processes) as pool:
        reasons = pool.map(why_unusable, [root / path for _, path in listed], chunksize=100)
        reasons = list(progress(reasons, "checking images", len(listed)))
    images, problems, taken = {}, [], set()
    for (folder, path), reason in zip(listed, reasons, strict=True):
        if reason:
            problems.append((_text(path), reason))
            continue
        emotion, image_id = of_class[folder.name], _image_id(path, taken)
        image = f"image/{emotion}/{image_id}{_suffix(path)}"
        images[Imported(image_id, emotion, folder.split, image, _text(path))] = path
    return images, problems


def link_images(root: Path, images: dict[Imported, str], work: Path, link: str) -> str:
    """Link images to where they stand in `work`. Return the methods used."""
    for emotion in {image.emotion for image in images}:
        (work / "image" / emotion).mkdir(parents=True)
    return link_files([(str(root / path), str(work / image.image)) for image, path in images.items()], link)


def _splits(root: Path) -> dict[str, str]:
    """Return the split of each folder that holds folders of classes: {"": "train"} where `root` itself does."""
    splits = {child: split for child in _folders(root) if (split := split_of(child))}
    return splits if "train" in splits.values() else {"": "train"}  # else a class may well be called test


def _folders(root: Path) -> list[str]:
    return sorted(
        child.name for child in root.iterdir() if child.name[0] != "_" and not is_hidden(child.name) and child.is_dir()
    )


def _first(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _image_id(path: str, taken: set[str]) -> str:
    """Return an id for the image at `path`, its path with _ for /, that none in `taken` has; add it there."""
    image_id = plain = _text(os.path.splitext(path)[0].replace(os.sep, "_"))
    if len(image_id.encode()) > LONGEST:
        image_id = plain = hashlib.blake2b(image_id.encode(), digest_size=16).hexdigest()
    number = 1
    while image_id.casefold() in taken:
        number += 1
        image_id = f"{plain}_{number}"
    taken.add(image_id.casefold())
    return image_id


def _suffix(path: str) -> str:
    suffix = _text(os.path.splitext(path)[1].lower())
    return suffix if len(suffix.encode()) <= LONGEST_SUFFIX else ""


def _text(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace").replace("\\", "%")
