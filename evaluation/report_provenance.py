"""Where a run's figures come from: the settings, versions and times of the scripts that made it."""

import re
from pathlib import Path

import yaml

from config.loading import dump
from config.settings import Settings
from runtime.files import read_json

STAGES = ("draw", "balance", "training", "images", "understanding", "mining", "merge", "evaluation", "report")
TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")


def differences(run: Path, settings: Settings) -> dict | None:
    """Return a table of the settings that have changed since a stage ran with them; None where there is none."""
    now, rows = _flat(yaml.safe_load(dump(settings))), []
    for stage in STAGES:
        path = run / stage / "config.yaml"
        then = _flat(yaml.safe_load(path.read_text(encoding="utf-8"))) if path.is_file() else {}
        rows += [
            {"name": stage, "cells": [{"value": key}, {"value": value}, {"value": now.get(key, "no such key")}]}
            for key, value in then.items()
            if value != now.get(key) and key != "run"
        ]
    columns = ["key", "it ran with", "now"]
    return (
        {"caption": "Settings that have changed since a script ran with them", "columns": columns, "rows": rows}
        if rows
        else None
    )


def versions(run: Path) -> dict | None:
    """Return a table of versions, a column for the stages that ran with the same."""
    groups: dict[tuple, list[str]] = {}
    for stage in STAGES:
        about = read_json(run / stage / "environment.json")
        if about:
            flat = {name: value for name, value in about.items() if name != "packages"} | about["packages"]
            groups.setdefault(tuple(flat.items()), []).append(stage)
    if not groups:
        return None
    names = dict.fromkeys(name for group in groups for name, _ in group)
    rows = [{"name": name, "cells": [{"value": dict(group).get(name) or ""} for group in groups]} for name in names]
    return {"caption": "Versions, by stage", "columns": [", ".join(stages) for stages in groups.values()], "rows": rows}


def times(run: Path) -> dict | None:
    """Return a table of the first and the last line of each stage's log; there may be several runs between them."""
    rows = []
    for stage in STAGES:
        path = run / stage / "log.txt"
        found = TIME.findall(path.read_text(encoding="utf-8")) if path.is_file() else []
        if found:
            rows.append({"name": stage, "cells": [{"value": found[0]}, {"value": found[-1]}]})
    columns = ["first line of its log", "last line"]
    return {"caption": "When each stage was at work", "columns": columns, "rows": rows} if rows else None


def seconds_of(run: Path, evaluated: dict[str, dict]) -> dict[str, float]:
    """Return the wall seconds of each stage, over all its runs with the settings of the last, and of the evaluation's parts.

    evaluated: `about` by part of the evaluation, whose seconds are those of its last run.
    """
    stages = [stage for stage in STAGES if stage not in ("evaluation", "report")]  # still at work where this is asked
    counted = {stage: (read_json(run / stage / "seconds.json") or {"seconds": 0})["seconds"] for stage in stages}
    found = {stage: seconds for stage, seconds in counted.items() if seconds}  # 0: it was killed
    return found | {f"evaluation/{part}": about["seconds"] for part, about in evaluated.items()}


def seconds(run: Path, evaluated: dict[str, dict]) -> dict | None:
    """Return a table of what `seconds_of` finds."""
    rows = [{"name": name, "cells": [{"value": value}]} for name, value in seconds_of(run, evaluated).items()]
    caption = "Wall seconds: of a stage, all its runs with the same settings; of the evaluation's parts, the last run"
    return {"caption": caption, "columns": ["seconds"], "rows": rows} if rows else None


def _flat(settings: dict, prefix: str = "") -> dict[str, str]:
    found = {}
    for name, value in settings.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": str(value)}
    return found
