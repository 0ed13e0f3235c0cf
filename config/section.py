"""What sections of the settings are made of: their base class, and types that several of them use."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

ROOT = Path(__file__).resolve().parent.parent


def relative_to_root(path: Path) -> str:
    """Return a path as configs and logs show it: without the place where the project lies."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def from_root(path: Path) -> Path:
    """Return a path that counts from the project's folder. Raises ValueError for one that no file can have."""
    if b"\0" in str(path).encode():  # which raises ValueError for a name that is no UTF-8
        raise ValueError("no path")
    return ROOT / os.path.expanduser(path)


def _listed(value: Any) -> Any:
    """Return `a, b` as a list, without the blanks around its items and without empty ones."""
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list):
        return items
    stripped = [item.strip() if isinstance(item, str) else item for item in items]
    return [item for item in stripped if item != ""]


ProjectPath = Annotated[
    Path,
    Field(strict=False),
    BeforeValidator(lambda value: None if value == "" else value),  # which would be the project's folder
    AfterValidator(from_root),
    PlainSerializer(relative_to_root, return_type=str),
]
ModelName = Annotated[str, Field(pattern=r"\S")]
SplitAtCommas = BeforeValidator(_listed)  # a list may be written a,b
# Keys of a mapping may be written as YAML's numbers and words; null is an empty text.
NamesAsText = BeforeValidator(
    lambda value: {str(key): "" if of is None else of for key, of in value.items()} if isinstance(value, dict) else value
)
Unique = AfterValidator(lambda values: values and list(dict.fromkeys(values)))  # what stands in a list twice counts once
NoBoolean = BeforeValidator(lambda value: str(value) if isinstance(value, bool) else value)  # which is an int to Python
OneOrMore = BeforeValidator(lambda value: [value] if isinstance(value, str) else value)
Weight = Annotated[float, Field(gt=0, le=1000)]
Share = Annotated[float, Field(ge=0, le=1000)]
BatchSize = Annotated[int, Field(ge=1, le=65536)]
# As many as JSON holds exactly; not strict, for 0,1,2 is text.
Seed = Annotated[int, Field(ge=0, le=10**15, strict=False), NoBoolean]


class Section(BaseModel):
    """A section of the settings: unknown keys and wrong types are errors, and nothing changes it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True, validate_default=True)

    def contradictions(self) -> Iterator[str]:
        """Yield what values that are each allowed contradict, a line each that begins with a setting's key."""
        yield from ()

    def unread(self) -> set[str]:
        """Return the names of settings that nothing reads, as the others are set."""
        return set()

    @model_validator(mode="after")
    def _contradicts_nothing(self):
        if lines := list(self.contradictions()):
            raise ValueError("\n".join(lines))
        return self


class ByKind(Section):
    """A section with a number for each kind of question beside its own keys.

    A kind is a file in understanding/kinds/, and its number is a key of that name. config.yaml states each default. A kind
    that no YAML file names has the default in its own file.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Share] = Field(init=False)

    @property
    def by_kind(self) -> dict[str, float]:
        """The numbers that the settings state, by kind."""
        return dict(self.__pydantic_extra__)


def question_kinds() -> list[str]:
    """Return the names of the kinds of question: of the files in understanding/kinds/."""
    return sorted(path.stem for path in (ROOT / "understanding" / "kinds").glob("[!_]*.py"))
