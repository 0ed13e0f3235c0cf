"""How figures are written: JSON for the report, Markdown for people."""

import json
from pathlib import Path

import pandas as pd

from runtime.files import write_atomically
from runtime.run_folder import log
from config.settings import Settings
from evaluation.metric_labels import Metric
from evaluation.report_provenance import seconds_of


def write_json(path: Path, content: dict) -> None:
    """Write JSON, whole or not at all."""
    text = json.dumps(content, indent=1) + "\n"
    write_atomically(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def figures_table(rows: dict[str, dict], metrics: dict[str, Metric]) -> str:
    """Return a Markdown table with a column for each row of figures, and a line for each metric that one of them has."""
    table = pd.DataFrame(index=[metric.label for metric in metrics.values()], columns=list(rows), data="")
    for row, found in rows.items():
        for name in metrics.keys() & found.keys():
            table.loc[metrics[name].label, row] = "{value:.3g} ({low:.3g} to {high:.3g})".format(**found[name])
    return table[(table != "").any(axis=1)].to_markdown()


def write_metrics(settings: Settings, generated: dict | None, understood: dict | None, crossed: dict | None) -> None:
    """Write `<run>/report/metrics.json`, from what each of the halves that there are has found.

    generation: the corrected figures by row. understanding: by row. seconds: of each stage of the run folder, and of each
    part of the evaluation. images: those that each method made; without a generator, those that models were asked about.
    """
    parts = {"generation": generated, "understanding": understood, "cross": crossed}
    about = {name: part["about"] for name, part in parts.items() if part}
    images = {row: n for row, n in about["generation"]["n"].items() if row in generated["figures"]} if generated else {}
    images.pop("transfer", None)
    content = {
        "generation": {row: each["corrected"] for row, each in generated["figures"].items()} if generated else {},
        "understanding": understood["figures"] if understood else {},
        "seconds": seconds_of(settings.run, about),
        "images": max(images.values()) if generated else about["understanding"]["n"],
        "seed": settings.seed,
    }
    folder = settings.run / "report"
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "metrics.json", content)
    log.info(f"wrote {', '.join(f'evaluation/{name}.json' for name in about)} and report/metrics.json")
