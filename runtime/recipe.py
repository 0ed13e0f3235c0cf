"""Recipes: what a result was made from, in one format beside every result, and which of it has changed since.

    {"format": 1, "what": "mapper", "finished": true,
     "settings": {"mapper.learning_rate": 0.002, ...},     as the config names them
     "inputs": {"balanced set": "5b1c...", ...}}           hashes and versions of everything else

A result is up to date where a finished recipe beside it says the same. A stage that works for long writes its recipe before
it begins, unfinished, so that the same command knows its own half-done work again.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

from config.errors import UserError
from config.section import Section
from runtime.files import write_json

RECIPE = "recipe.json"  # in a stage's folder
FORMAT = 1
PARTS = {"what": str, "finished": bool, "settings": dict, "inputs": dict}  # and of which kind each is
LONGEST = 60  # characters of a value in a log


@dataclass(frozen=True)
class Recipe:
    """What a result is made from.

    what: the thing made, as logs call it. settings: values by dotted key, those that change the result alone. inputs:
    hashes and versions of everything else that it depends on, by names that people understand.
    """

    what: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, Any]

    @cached_property
    def content(self) -> dict:
        """The recipe as JSON gives it back."""
        content = {"format": FORMAT, "what": self.what, "settings": dict(self.settings), "inputs": dict(self.inputs)}
        return json.loads(json.dumps(content))

    @cached_property
    def key(self) -> str:
        """A hash of the recipe, for results that lie in a folder of that name."""
        return digest(self.content)

    def is_started(self, path: Path) -> bool:
        """Tell whether the file `path` says that this recipe's result is being made, or is there."""
        written = read_recipe(path)
        return written is not None and self._differences(written) == ({}, [])

    def is_finished(self, path: Path) -> bool:
        """Tell whether the file `path` says that this recipe's result is there."""
        written = read_recipe(path)
        return written is not None and written["finished"] and self._differences(written) == ({}, [])

    def start(self, path: Path) -> None:
        """Write into `path` that the result is being made."""
        write_json(path, self.content | {"finished": False})

    def finish(self, path: Path) -> None:
        """Write into `path` that the result is there."""
        write_json(path, self.content | {"finished": True})

    def changes(self, path: Path) -> str:
        """Return in words what differs from the recipe in `path`, which is another one or the same.

        `mapper.learning_rate 0.001 → 0.002; the data are the same`
        """
        written = read_recipe(path)
        if written is None and path.is_file():
            return f"{path.name} is cut off or damaged, so what is there counts as unfinished"
        changed, inputs = self._differences(written or {"what": "", "settings": {}, "inputs": {}})
        keys = ", ".join(f"{key} {_shown(old)} → {_shown(new)}" for key, (old, new) in changed.items())
        others = f"changed: {', '.join(inputs)}" if inputs else "the data are the same"
        return f"{keys}; {others}" if keys else others

    def _differences(self, written: dict) -> tuple[dict[str, tuple], list[str]]:
        """Return (old, new) by key of the settings that differ, and the names of the inputs that do."""
        old, new = written["settings"], self.content["settings"]
        keys = [key for key in {**old, **new} if old.get(key, ABSENT) != new.get(key, ABSENT)]
        old_inputs, new_inputs = ({"kind of result": each["what"]} | each["inputs"] for each in (written, self.content))
        names = [n for n in {**old_inputs, **new_inputs} if old_inputs.get(n, ABSENT) != new_inputs.get(n, ABSENT)]
        return {key: (old.get(key, ABSENT), new.get(key, ABSENT)) for key in keys}, names


ABSENT = "absent"


def read_recipe(path: Path) -> dict | None:
    """Return what a recipe's file holds, or None if the file is missing, empty, cut off or damaged.

    The result beside a recipe that is None counts as unfinished. Raises UserError for a file that another version of this
    project wrote, since nobody can tell whether the result beside it is up to date.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return None
    if isinstance(content, dict) and content.get("format") != FORMAT:
        raise UserError(
            f"{path}: was written by another version of this project, and nothing resumes from it; "
            f"move {path.parent.name}/ away, or name another folder"
        )
    is_whole = isinstance(content, dict) and all(isinstance(content.get(name), kind) for name, kind in PARTS.items())
    return content if is_whole else None


def settings_of(name: str, section: Section, leave_out: set[str] | None = None) -> dict[str, Any]:
    """Return the settings of a section by dotted key, without those that change no result.

    Those that nothing reads (Section.unread) stand there with their defaults, whatever their values are.
    """
    defaults = {key: type(section).model_fields[key].default for key in section.unread()}
    values = section.model_copy(update=defaults).model_dump(mode="json", exclude=leave_out)
    return {f"{name}.{key}": value for key, value in values.items()}


def digest(content: Any) -> str:
    """Return a hash of what JSON can write."""
    return blake2b(json.dumps(content).encode(), digest_size=8).hexdigest()


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
