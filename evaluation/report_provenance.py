"""Where a run's figures come from: the settings, versions and times of its scripts."""

import json
import re
from collections.abc import Mapping
from math import inf
from pathlib import Path

import yaml

from config.loading import dump
from config.settings import Settings
from evaluation.metric_labels import row_name
from evaluation.report_parts import part, section
from evaluation.run_files import RunFiles

STAGES = ("draw", "balance", "training", "images", "understanding", "mining", "merge", "evaluation", "report")
NAMED = 20  # skipped images that the page names
TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")


def run_section(files: RunFiles, results: Mapping[str, dict], settings: Settings) -> dict:
    """Return what the page shows of where its figures come from. results: by part of the evaluation."""
    changed, evaluated = (
        differences(files, settings),
        {part: each["about"] for part, each in results.items() if each["about"]},
    )
    count = f"{len(changed['rows'])} settings have changed since a script ran with them" if changed else ""
    timed = [table for table in (seconds(files, evaluated), times(files)) if table]
    parts = [
        part(count, ("tables", [changed] if changed else [])),
        part("All settings of this report", ("text", dump(settings))),
        part("Images that were skipped", ("tables", [found] if (found := skipped(results)) else [])),
        part("Versions", ("tables", [found] if (found := versions(files)) else [])),
        part("Seconds and times", ("tables", timed)),
    ]
    return section("run", "The run", parts)


def differences(files: RunFiles, settings: Settings) -> dict | None:
    """Return a table of the settings that have changed since a stage ran with them; None where there is none."""
    now, rows = _flat(yaml.safe_load(dump(settings))), []
    for stage in STAGES:
        then = files.read(f"{stage}/config.yaml", lambda file: _flat(yaml.safe_load(file.read_text(encoding="utf-8"))), {})
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


def versions(files: RunFiles) -> dict | None:
    """Return a table of versions, a column for the stages that ran with the same."""
    groups: dict[tuple, list[str]] = {}
    for stage in STAGES:
        if about := files.read(f"{stage}/environment.json", _environment, {}):
            groups.setdefault(tuple(about.items()), []).append(stage)
    if not groups:
        return None
    names = dict.fromkeys(name for group in groups for name, _ in group)
    rows = [{"name": name, "cells": [{"value": dict(group).get(name) or ""} for group in groups]} for name in names]
    return {"caption": "Versions, by stage", "columns": [", ".join(stages) for stages in groups.values()], "rows": rows}


def times(files: RunFiles) -> dict | None:
    """Return a table of the first and the last line of each stage's log; there may be several runs between them."""
    rows = []
    for stage in (stage for stage in STAGES if stage != "report"):  # whose own log has only begun
        found = files.read(f"{stage}/log.txt", lambda file: TIME.findall(file.read_text(encoding="utf-8")), [])
        if found:
            rows.append({"name": stage, "cells": [{"value": found[0]}, {"value": found[-1]}]})
    columns = ["first line of its log", "last line"]
    return {"caption": "When each stage was at work", "columns": columns, "rows": rows} if rows else None


def seconds_of(files: RunFiles, evaluated: dict[str, dict]) -> dict[str, float]:
    """Return the wall seconds of each stage, over all its runs with the settings of the last, and of the evaluation's parts.

    evaluated: `about` by part of the evaluation, whose seconds are those of its last run.
    """
    stages = [stage for stage in STAGES if stage not in ("evaluation", "report")]  # which have not ended yet
    counted = {stage: files.read(f"{stage}/seconds.json", _seconds, 0) for stage in stages}
    found = {stage: seconds for stage, seconds in counted.items() if seconds}  # 0: it was killed
    return found | {f"evaluation/{part}": about["seconds"] for part, about in evaluated.items()}


def seconds(files: RunFiles, evaluated: dict[str, dict]) -> dict | None:
    """Return a table of what `seconds_of` finds."""
    rows = [{"name": name, "cells": [{"value": value}]} for name, value in seconds_of(files, evaluated).items()]
    caption = "Wall seconds: of a stage, all its runs with the same settings; of the evaluation's parts, the last run"
    return {"caption": caption, "columns": ["seconds"], "rows": rows} if rows else None


def skipped(results: dict[str, dict]) -> dict | None:
    """Return a table of the images that no figure is about, because they could not be measured. results: by part."""
    rows = [
        {"name": f"{part}: {row_name(row)}", "cells": [{"value": f"{found['n']:,}"}, {"value": _some(found)}]}
        for part, result in results.items()
        for row, found in result["about"].get("skipped", {}).items()
    ]
    caption = "Images that could not be measured; the figures and their n are without them"
    return {"caption": caption, "columns": ["images", "which, and why"], "rows": rows} if rows else None


def _some(found: dict) -> str:
    names, more = found["images"][:NAMED], found["n"] - len(found["images"][:NAMED])
    return "; ".join(names) + (f"; and {more:,} more" if more > 0 else "")


def _environment(file: Path) -> dict[str, str | int | None]:
    about = json.loads(file.read_text(encoding="utf-8"))
    flat = {name: value for name, value in about.items() if name != "packages"} | about["packages"]
    hash(tuple(flat.values()))  # raises for what no version is
    return flat


def _seconds(file: Path) -> float:
    counted = json.loads(file.read_text(encoding="utf-8"))["seconds"]
    if not isinstance(counted, int | float) or not 0 <= counted < inf:
        raise ValueError(f"its seconds are {counted!r}")
    return counted


def _flat(settings: dict, prefix: str = "") -> dict[str, str]:
    found = {}
    for name, value in settings.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": str(value)}
    return found
