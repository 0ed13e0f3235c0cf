"""Taxonomies: which emotions there are, their order, which are positive, their colours. One YAML file each.

    awe: {side: positive, colour: "#2f7ed8"}
    fear: {side: negative, colour: "#5f3dc4"}
    opposites: {awe: fear}                        optional: the pairs that the evaluation mixes

The files in config/taxonomies/ are the only place where emotions are listed. `data.taxonomy` names one.
"""

import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from config.decimal_yaml import YAML_ERRORS, Loader
from config.errors import first_line
from config.section import from_root, relative_to_root

SIDES = ("positive", "negative")
DEFAULT = Path("config/taxonomies/emoset.yaml")
OPPOSITES = "opposites"  # the key of a taxonomy's file that is no emotion
NAME = re.compile(r"[a-z][a-z0-9_]*")  # names stand in prompts, in columns and in folders


class Emotion(BaseModel):
    """One emotion of a taxonomy."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    side: Literal["positive", "negative"]
    colour: str = Field(pattern=r"^#[0-9a-fA-F]{6}$")


class Taxonomy(BaseModel):
    """The emotions of a data set.

    path: the file that lists them. members: each emotion by its name, in their order, which is that of labels. opposites:
    pairs (positive, negative) that the evaluation mixes, in the order of the file.
    """

    model_config = ConfigDict(frozen=True)

    path: Path
    members: dict[str, Emotion]
    opposites: tuple[tuple[str, str], ...] = ()

    @cached_property
    def emotions(self) -> tuple[str, ...]:
        """The names in their order: label 0 is the first."""
        return tuple(self.members)

    @cached_property
    def colours(self) -> tuple[str, ...]:
        """The colour of each emotion, as #rrggbb."""
        return tuple(emotion.colour for emotion in self.members.values())

    @cached_property
    def sides(self) -> dict[str, tuple[str, ...]]:
        """The emotions of each side: {"positive": names, "negative": names}."""
        return {side: tuple(name for name, each in self.members.items() if each.side == side) for side in SIDES}

    def side_of(self, emotion: str) -> str:
        """Return positive or negative."""
        return self.members[emotion].side

    def __len__(self) -> int:
        return len(self.members)


def read_taxonomy(path: str | Path) -> Taxonomy:
    """Return the taxonomy in a file, whose relative path counts from the project's folder.

    Raises ValueError, with the reason, for a file that is none: fewer than two emotions, or none of one side, or opposites
    that are not a positive and a negative emotion.
    """
    path = from_root(Path(path))
    try:
        members = yaml.load(path.read_text(encoding="utf-8"), Loader)
    except OSError as error:
        raise ValueError(f"{relative_to_root(path)} cannot be read as a taxonomy: {error.strerror}") from None
    except YAML_ERRORS as error:
        raise ValueError(f"{relative_to_root(path)} is not valid YAML: {first_line(error)}") from None
    where = f"{relative_to_root(path)} is not a taxonomy"
    if not isinstance(members, dict):
        raise ValueError(f"{where}: expected a line `name: {{side: positive, colour: '#2f7ed8'}}` for each emotion")
    opposites = members.pop(OPPOSITES, None) or {}
    if not isinstance(opposites, dict) or not all(isinstance(name, str) for name in opposites.values()):
        raise ValueError(f"{where}: {OPPOSITES}: expected `{{awe: fear, ...}}`, a negative emotion for each positive one")
    if wrong := [name for name in members if not NAME.fullmatch(str(name)) or name == "none"]:
        raise ValueError(f"{where}: {wrong[0]!r} is no name; a name is of the letters a to z, digits and _, but not 'none'")
    try:
        taxonomy = Taxonomy(path=path, members=members, opposites=tuple(opposites.items()))
    except ValidationError as invalid:
        first = invalid.errors()[0]
        raise ValueError(f"{where}: {'.'.join(map(str, first['loc'][1:]))}: {first['msg']}") from None
    if len(taxonomy) < 2 or not all(taxonomy.sides.values()):
        raise ValueError(f"{where}: it needs an emotion of each side, positive and negative")
    for pair in taxonomy.opposites:
        if any(name not in taxonomy.sides[side] for name, side in zip(pair, SIDES, strict=True)):
            raise ValueError(f"{where}: {OPPOSITES}: {' and '.join(pair)} are not a positive and a negative emotion")
    return taxonomy


def _read(value: Any) -> Any:
    return read_taxonomy(value) if isinstance(value, str | Path) else value


# A setting: written as the file's path, read as what the file holds.
TaxonomyFile = Annotated[
    Taxonomy, BeforeValidator(_read), PlainSerializer(lambda taxonomy: relative_to_root(taxonomy.path), return_type=str)
]
