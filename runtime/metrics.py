"""metrics.jsonl: the numbers of a training, a line for each step that is logged."""

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from config.errors import UserError
from runtime.files import write_atomically
from runtime.full_disk import naming


def check_tracker(tracker: str) -> None:
    """Raise UserError where the tracker of machine.tracker is not installed: known before a training, not within it."""
    if tracker != "none" and not find_spec(tracker):
        raise UserError(f"machine.tracker: {tracker} is not installed; pip install {tracker}, or choose none")


class MetricsFile:
    """The one writer of `<folder>/metrics.jsonl`. The main process alone makes one."""

    def __init__(self, folder: Path, step: int = 0, by: str = "step"):
        """Go on after `step`: lines of later steps, written before the run was killed, are dropped. by: step or epoch."""
        self.path, self.by = folder / "metrics.jsonl", by
        kept = [line for line in read_metrics(folder) if _is_number(line.get(by)) and line[by] <= step]
        text = "".join(f"{json.dumps(line)}\n" for line in kept)
        write_atomically(self.path, lambda beside: beside.write_text(text, encoding="utf-8"))

    def write(self, step: int, numbers: Mapping[str, object], digits: int | None = 6) -> None:
        """Append the finite numbers of a step, to `digits` significant digits; what is no number is left out."""
        kept = {name: value for name, value in numbers.items() if _is_number(value) and name != self.by}
        kept = {name: _rounded(value, digits) for name, value in kept.items()}
        with naming(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({self.by: step} | kept) + "\n")


def read_metrics(folder: Path) -> list[dict]:
    """Return the lines of a folder's metrics.jsonl without damaged ones; [] if there is no such file."""
    path, found = folder / "metrics.jsonl", []
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        with suppress(ValueError, RecursionError):
            found.append(json.loads(line))
    return [line for line in found if isinstance(line, dict) and line and all(map(_is_number, line.values()))]


def _rounded(value: float, digits: int | None) -> float:
    return value if digits is None or isinstance(value, int) else float(f"{value:.{digits}g}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
