"""Class maps: which name of a taxonomy each class of another data set is asked about by. One YAML file each.

    name: Emotion6
    taxonomy: config/taxonomies/ekman6.yaml      the names that questions offer
    classes: {neutral: ""}                       "" leaves a class out; one that is called like a name needs no entry

The files are in config/class_maps/. `evaluate.class_map` names one.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from config.decimal_yaml import YAML_ERRORS, Loader
from config.errors import UserError, first_line
from config.section import NamesAsText, relative_to_root
from config.taxonomy import Taxonomy, TaxonomyFile
from emoset.labels import contradiction
from emoset.selection import SUFFIXES, log_left_out, usable_images, visible_files

SETTING = "evaluate.class_map"


class ClassMap(BaseModel):
    """The classes of a data set. name: of the data set. classes: the taxonomy's name of each; "" leaves it out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    taxonomy: TaxonomyFile
    classes: Annotated[dict[str, str], NamesAsText] = {}

    def emotion_of(self, name: str) -> str | None:
        """Return the taxonomy's name of a class, in upper or lower case: "" where it is left out, None for an unknown."""
        known = {emotion: emotion for emotion in self.taxonomy.emotions}
        return (known | {each.casefold(): emotion for each, emotion in self.classes.items()}).get(name.casefold())


@dataclass(frozen=True)
class Classified:
    """Images of another data set: a table (columns image_id, emotion, path), and of how many images the class is no name."""

    images: pd.DataFrame
    left_out: dict[str, int]


def read_class_map(path: Path) -> ClassMap:
    """Return the class map in a file. Raises UserError where it is none, or maps a class to no name of its taxonomy."""
    where = f"{SETTING}: {relative_to_root(path)}"
    try:
        found = ClassMap.model_validate(yaml.load(path.read_text(encoding="utf-8"), Loader))
    except OSError as error:
        raise UserError(f"{where}: cannot be read: {error.strerror}") from None
    except ValidationError as invalid:
        first = invalid.errors()[0]
        place, what = ".".join(map(str, first["loc"])) or "is no class map", first["msg"].removeprefix("Value error, ")
        raise UserError(f"{where}: {place}: {what}") from None
    except YAML_ERRORS as error:
        raise UserError(f"{where}: is not valid YAML: {first_line(error)}") from None
    if told := contradiction(found.classes):
        raise UserError(f"{where}: classes: {told}; leave one of them out")
    known = ("", *found.taxonomy.emotions)
    if wrong := [f"{name} to {emotion}" for name, emotion in found.classes.items() if emotion not in known]:
        names = ", ".join(found.taxonomy.emotions)
        raise UserError(f'{where}: classes: maps {", ".join(wrong)}, but its taxonomy lists {names}; "" leaves a class out')
    return found


def own_names(folder: Path, taxonomy: Taxonomy) -> ClassMap:
    """Return the map of a data set whose classes are called like the emotions of a taxonomy."""
    return ClassMap(name=folder.name, taxonomy=taxonomy)


def read_classes(root: Path, class_map: ClassMap) -> Classified:
    """Return the images below `root` by their class: the first folder, or of a file in `root` its name up to the last _.

    Every file that opens as an image counts, and the log names the others. An image's id is its path below `root`. Raises
    UserError where no image has a class that the map knows.
    """
    if not root.is_dir():
        raise UserError(f"evaluate.folder: no folder {root}")
    files = [(path, _class_of(path.relative_to(root))) for path in visible_files(root)]
    emotions = {name: class_map.emotion_of(name) for name in {name for _, name in files}}
    paths, broken = usable_images((path for path, name in files if emotions[name]), root)
    log_left_out(broken, f" of {root}")
    if not paths:
        raise UserError(
            f"evaluate.folder: {root} has no images of a class that {class_map.name} knows; it has {_listed(emotions)}. "
            f"{SETTING} maps classes to {', '.join(class_map.taxonomy.emotions)}"
        )
    rows = [(path.relative_to(root), path) for path in paths]
    rows = [(below.as_posix(), emotions[_class_of(below)], path) for below, path in rows]
    left_out = Counter(name for path, name in files if not emotions[name] and path.suffix.lower() in SUFFIXES)
    return Classified(pd.DataFrame(rows, columns=["image_id", "emotion", "path"]), dict(sorted(left_out.items())))


def _class_of(below: Path) -> str:
    """Return the class of an image, given its path below the folder of the data set."""
    return below.parts[0] if len(below.parts) > 1 else below.stem.rpartition("_")[0] or below.stem


def _listed(names: Iterable[str]) -> str:
    found = sorted(names)
    return ", ".join(found[:10]) + (", ..." if len(found) > 10 else "") or "no files"
