"""The images that a user names, one by one or in folders: what opens is one, whatever its name says."""

import os
from collections.abc import Iterator
from pathlib import Path

from emoset.images import ImageError, check_image

NOT_COUNTED = {"thumbs.db", "desktop.ini"}  # what desktops leave behind beside hidden files


def find_images(given: list[Path]) -> tuple[list[Path], dict[str, str]]:
    """Return the images among what is given, in order, and why each other file was left out: {path: reason}.

    A folder stands for all files below it, in order of their paths, but hidden files and folders. What is given itself
    counts, hidden or not.
    """
    images, left_out = [], {}
    for path in given:
        unreadable: list[OSError] = []
        for file in sorted(_files_below(path, unreadable)) if path.is_dir() else [path]:
            try:
                check_image(file)
                images.append(file)
            except ImageError as error:
                left_out[str(file)] = error.reason
        left_out |= {str(error.filename): f"cannot be read: {error.strerror}".lower() for error in unreadable}
    return images, left_out


def _files_below(folder: Path, unreadable: list[OSError]) -> Iterator[Path]:
    for place, folders, files in os.walk(folder, onerror=unreadable.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place, name) for name in files if not name.startswith(".") and name.lower() not in NOT_COUNTED)
