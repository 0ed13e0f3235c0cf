"""The files of a run that a report shows. What cannot be read costs what it would show, and is named, with what makes it."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError

from config.errors import first_line
from config.section import ROOT
from emoset.images import ImageError, load_image

Shown = TypeVar("Shown")
COMMANDS = {  # what makes the folders of a run, by how their paths begin
    "draw": "python demo/draw.py",
    "balance": "python training/dataset_balance.py",
    "training": "accelerate launch training/main.py",
    "generator": "accelerate launch training/main.py",
    "images": "python training/inference.py",
    "understanding": "accelerate launch understanding.py",
    "mining": "python understanding/mining.py",
    "merge": "python understanding/merge.py",
    "evaluation": "python evaluation/evaluate.py",
    "loop": "accelerate launch loop/main.py",
    "other_data": "python evaluation/evaluate.py evaluate.folder=... evaluate.class_map=...",
    "benchmark": "python evaluation/benchmark_file.py evaluate.benchmark=... evaluate.folder=...",
    "report": "python evaluation/report.py",
}


class Result(BaseModel):
    """What is checked of a JSON file before the page shows it; other keys may stand beside these."""

    model_config = ConfigDict(strict=True)


class Figure(Result):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int


class Skipped(Result):
    """Images that could not be measured."""

    n: int
    images: list[str]


class About(Result):
    """What the figures of a part of the evaluation are about. What has a default is not in every part."""

    n: int | dict[str, int]
    split: str
    seed: int
    seconds: float
    models: dict[str, str | None]
    reference: int = 0
    published_reference: int = 0
    warnings: dict[str, list[str]] = {}
    incomplete: dict[str, str] = {}
    skipped: dict[str, Skipped] = {}
    not_emogen: dict[str, str] = {}


class Method(Result):
    """The figures of a method's images, in both columns, and by emotion."""

    corrected: dict[str, Figure]
    emogen: dict[str, Figure]
    by_emotion: dict[str, dict[str, Figure]] = {}


class Generation(Result):
    """generation.json."""

    about: About
    figures: dict[str, Method]
    paired: dict[str, dict[str, Figure]] = {}


class Understanding(Result):
    """understanding.json."""

    about: About
    figures: dict[str, dict[str, Figure]]
    paired: dict[str, dict[str, Figure]] = {}


class Cross(Result):
    """cross.json. The figures of transfer are by strength, those of fusion by pair and weight."""

    about: About
    figures: dict[str, dict[str, Figure] | dict[str, dict[str, Figure]] | dict[str, dict[str, dict[str, Figure]]]]


PARTS = {"generation": Generation, "understanding": Understanding, "cross": Cross}


@dataclass
class RunFiles:
    """The files of the run folder `run`. unreadable: why, by the path below it, of those that could not be read."""

    run: Path
    unreadable: dict[str, str] = field(default_factory=dict)

    def read(self, path: str, show: Callable[[Path], Shown], otherwise: Shown) -> Shown:
        """Return what `show` makes of the file at `path` below the run folder; `otherwise` where there is none.

        So it is where `show` raises, whatever that is: a damaged file makes readers and tables stumble anywhere.
        """
        file = self.run / path
        try:
            if not file.exists():
                return otherwise
            if file.is_file() and not file.stat().st_size:
                raise ValueError("it is empty")
            return show(file)
        except Exception as error:
            kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
            self.note(path, f"{kind}{first_line(error)}"[:200])
            return otherwise

    def results(self) -> dict[str, dict]:
        """Return what the parts of the evaluation have found, by part: {"about", "figures"}, empty where there is none."""
        return {
            part: self.read(
                f"evaluation/{part}.json", lambda file, kind=kind: checked(file, kind), dict(about={}, figures={})
            )
            for part, kind in PARTS.items()
        }

    def image(self, file: Path) -> Image.Image | None:
        """Return an image of the run, or of its data; None where it cannot be read."""
        try:
            return load_image(file)
        except ImageError as error:
            inside = file.is_relative_to(self.run)
            self.note(file.relative_to(self.run).as_posix() if inside else str(file), error.reason)
            return None

    def named(self, path: str | Path) -> str:
        """Return a path as the page shows it: below the run folder, or below the project's."""
        return str(path).removeprefix(f"{self.run}/").removeprefix(f"{ROOT}/")

    def note(self, path: str, reason: str) -> None:
        """Note that a file could not be read, or not all of it."""
        self.unreadable.setdefault(path, reason)

    def repairs(self) -> dict[tuple[str, str], list[str]]:
        """Return what could not be read, by the command that makes it again and what must be done before."""
        found: dict[tuple[str, str], list[str]] = {}
        for path, reason in self.unreadable.items():
            found.setdefault(_repair(path), []).append(f"{path} ({reason})")
        return found


def _repair(path: str) -> tuple[str, str]:
    """Return the command that makes a file of a run again, and what must be done before: what is up to date is not made."""
    stage, *inner = Path(path).parts
    before = ""
    if Path(path).is_absolute():
        before = "It is no file of this run: repair it, or get it again."
    elif stage in ("training", "understanding") and len(inner) > 1:
        before = f"Move {stage}/{inner[0]}/ away first, or the training counts as up to date."
    elif stage != "evaluation":
        before = "Remove the file first."
    return COMMANDS.get(stage, ""), before


def checked(file: Path, kind: type[Result]) -> dict:
    """Return a JSON file's content; raises where it is not of the kind, as what an earlier version has written."""
    content = json.loads(file.read_text(encoding="utf-8"))
    try:
        kind.model_validate(content)
    except ValidationError as wrong:
        place, what = wrong.errors()[0]["loc"], wrong.errors()[0]["msg"]
        raise ValueError(f"{'.'.join(map(str, place))}: {what}") from None
    return content
