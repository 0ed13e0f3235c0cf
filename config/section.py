"""What sections of the settings are made of: their base class, and types that several of them use."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

ROOT = Path(__file__).resolve().parent.parent


def _relative_to_root(path: Path) -> str:
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def _from_root(path: Path) -> Path:
    if b"\0" in str(path).encode():  # which raises ValueError for a name that is no UTF-8
        raise ValueError("no path")
    return ROOT / os.path.expanduser(path)


ProjectPath = Annotated[
    Path,
    Field(strict=False),
    AfterValidator(_from_root),
    PlainSerializer(_relative_to_root, return_type=str),
]
ModelName = Annotated[str, Field(pattern=r"\S")]
# A list may be written a,b; what stands in it twice counts once.
SplitAtCommas = BeforeValidator(lambda value: value.split(",") if isinstance(value, str) else value)
Unique = AfterValidator(lambda values: list(dict.fromkeys(values)))


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True, validate_default=True)
