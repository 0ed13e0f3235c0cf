"""Every setting of the project, with its type, bounds, default and meaning.

`config.yaml` beside this file states the same defaults for people to edit; `loading.py` reads YAML and the command line
into these classes. Paths that are relative count from the project's root, so that a script does the same from any folder.
"""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

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
Kind = Literal["object", "scene", "facial_expression", "human_action"]
Split = Literal["train", "val", "test"]
# A list may be written a,b; what stands in it twice counts once.
SplitAtCommas = BeforeValidator(lambda value: value.split(",") if isinstance(value, str) else value)
Unique = AfterValidator(lambda values: list(dict.fromkeys(values)))


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True, validate_default=True)


class Data(Section):
    """EmoSet on disk and the attribute folders made from it."""

    emoset: ProjectPath = Path("data/EmoSet")
    """EmoSet's folder: the one that holds info.json, train.json, val.json, test.json, annotation/ and image/."""
    attribute_root: ProjectPath = Path("data/EmoSet-attributes")
    """Where the attribute folders are built, and rebuilt when something changes. A foreign folder is never touched."""
    cache: ProjectPath = Path("data/cache")
    """Where the index of all annotations is kept between runs."""
    kinds: Annotated[list[Kind], SplitAtCommas, Unique] = Field(["object", "scene"], min_length=1)
    """The kinds of attribute that get folders and take part in the balanced set."""
    link: Literal["auto", "hard", "symbolic", "copy"] = "auto"
    """How an image gets into its attribute folders; auto takes the first of hard, symbolic, copy that the disk allows."""
    problems_allowed: float = Field(0.01, ge=0, le=1)
    """The share of images with a problem above which a run ends instead of going on without them."""
    decode: bool = False
    """Decode every image completely while reading, rather than its header and last bytes."""
    near_duplicates: int | None = Field(None, ge=0, le=16)
    """List images of different splits whose 64-bit perceptual hashes differ in at most so many bits; null does not look."""
    workers: int | None = Field(None, ge=1, le=256)
    """Processes that read annotations and images; null takes one for each core."""


class Balance(Section):
    """The emotion-balanced training set that is drawn from EmoSet."""

    policy: Literal["tempered", "emogen"] = "tempered"
    """tempered: emotions equal, attributes flattened, repeats bounded. emogen: the published rule."""
    splits: Annotated[list[Split], SplitAtCommas, Unique] = Field(["train"], min_length=1)
    """The splits drawn from. Whatever is drawn from here must not be evaluated on."""
    temperature: float = Field(0.5, ge=0, le=1)
    """tempered: exponent on an attribute's image count; 1 leaves the long tail as it is, 0 makes attributes equal."""
    max_repeats: int = Field(4, ge=1, le=1000)
    """tempered: the most often that one image may be drawn."""
    images_per_emotion: int | None = Field(None, ge=1, le=10**7)
    """tempered: draws for each emotion; null: as many as the largest emotion has images, if max_repeats lets all follow."""


class Drawn(Section):
    """The small drawn EmoSet that stands in for the real one in the demo and the tests."""

    images: int = Field(4000, ge=80, le=99999)
    """How many images are drawn in all."""
    size: int = Field(64, ge=32, le=1024)
    """Width and height of an image, in pixels."""


class Settings(Section):
    """All settings."""

    seed: int = Field(0, ge=0, le=2**32 - 1)
    """Seed of everything that is random."""
    run: ProjectPath = Path("runs/full")
    """The run folder; each script writes into a folder of its own in it."""
    data: Data = Data()
    balance: Balance = Balance()
    drawn: Drawn = Drawn()

    @model_validator(mode="after")
    def _emogen_knows_two_kinds(self):
        others = set(self.data.kinds) - {"object", "scene"}
        if self.balance.policy == "emogen" and others:
            raise ValueError(
                f"balance.policy: emogen is defined for object and scene alone; take {', '.join(sorted(others))} "
                "out of data.kinds or choose tempered"
            )
        return self
