"""What several parts of the report share: tables of figures, heat maps, confusion matrices, strips of images."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
from PIL import Image

from evaluation.metric_labels import difference, interval, pair_name, row_name, value
from evaluation.plots import lines
from evaluation.run_files import RunFiles
from runtime.contact_sheet import strip
from runtime.figures import Metric
from runtime.page import picture


def figures_table(rows: Mapping[str, dict], metrics: Mapping[str, Metric], caption: str) -> dict | None:
    """Return a table (the macro `table`) with a line for each metric that a row has; None: there is none."""
    return table_of({row_name(row): found for row, found in rows.items()}, metrics, caption, _figure_cell)


def warned(table: dict | None, warnings: Mapping[str, str], metrics: Mapping[str, Metric]) -> dict | None:
    """Return a table of figures with a warning in each cell of the metrics that have one. warnings: by metric."""
    if not table:
        return None
    told = {_label(metrics[name]): text for name, text in warnings.items() if name in metrics}
    rows = [
        row | {"cells": [cell | {"warning": told[row["name"]]} if cell["value"] else cell for cell in row["cells"]]}
        if row["name"] in told
        else row
        for row in table["rows"]
    ]
    return table | {"rows": rows}


def differences_table(pairs: Mapping[str, dict], metrics: Mapping[str, Metric], caption: str) -> dict | None:
    """Return such a table of paired differences (runtime.figures.paired) by pair and metric."""
    return table_of({pair_name(pair): found for pair, found in pairs.items()}, metrics, caption, _difference_cell)


def facts_of(files: RunFiles, about: Mapping, what: str) -> dict[str, str]:
    """Return what the figures of a part of the evaluation are about, by name. what: what `n` counts."""
    if not about:
        return {}
    n = about["n"] if isinstance(about["n"], dict) else {what: about["n"]}
    counted = {row_name(name): f"{count:,}" for name, count in n.items()}
    facts = counted if what in counted else {what: ", ".join(f"{name} {count}" for name, count in counted.items())}
    if "reference" in about:
        reference = (
            f"corrected {about['reference']:,} training images, emogen {about['published_reference']:,} of all splits"
        )
        facts["compared with"] = reference
    facts |= {"split": about["split"], "seed": str(about["seed"])}
    models = {name.replace("_", " "): model for name, model in about["models"].items()}
    return facts | {name: files.named(model) if model else "linear probe of CLIP" for name, model in models.items()}


def by_metric(rows: dict[str, dict]) -> dict[str, dict]:
    """Return figures by metric and row, given those by row and metric."""
    found: dict[str, dict] = {}
    for row, figures in rows.items():
        for name, figure in figures.items():
            found.setdefault(name, {})[row] = figure
    return found


def heat_map(groups: Mapping[str, Mapping[str, dict]], emotions: Sequence[str], caption: str) -> dict | None:
    """Return a table of a share for each emotion (a line) and row (a column), and how dark each cell is.

    groups: figures by group of columns, row and emotion; None: there is none.
    """
    groups = {group: {row_name(row): own for row, own in rows.items() if own} for group, rows in groups.items()}
    groups = {group: rows for group, rows in groups.items() if rows}
    columns = [own for rows in groups.values() for own in rows.values()]
    cells = {emotion: [_shaded(own.get(emotion)) for own in columns] for emotion in emotions}
    return {"caption": caption, "groups": groups, "rows": cells} if columns else None


def _shaded(figure: dict | None) -> dict:
    if figure is None:
        return {"value": "", "note": "", "share": 0.0}
    return {
        "value": f"{figure['value']:.2f}",
        "note": f"{figure['low']:.2f}-{figure['high']:.2f}",
        "share": figure["value"],
    }


def curve(by_place: dict[str, dict], name: str) -> list[tuple]:
    """Return the points (x, value, low, high) of one figure, given figures by x, as text, and name."""
    found = {float(place): figures[name] for place, figures in by_place.items() if name in figures}
    return [(place, each["value"], each["low"], each["high"]) for place, each in sorted(found.items())]


def fusion_pictures(pairs: dict, what: str) -> list[dict]:
    """Return a picture for each pair of emotions: a probability of both by the weight of the second."""
    return [
        lines({emotion: curve(weights, emotion) for emotion in pair.split("-")}, "weight of the second", f"{pair}: {what}")
        for pair, weights in pairs.items()
    ]


def confusion_tables(
    files: RunFiles, rows: Mapping[str, str], what: str, corner: str, right: Mapping[str, object], emotions: Sequence[str]
) -> list[dict]:
    """Return a table for each confusion matrix: counts, and by their share of the row how dark each cell is.

    rows: the names of the tables by row. what: stands in the names of the files, confusion-<what>-<row>.csv. right: the
    right column of each emotion, where there is one.
    """

    def table(file: Path, name: str) -> dict:
        counts = pd.read_csv(file, index_col=0)
        shares = counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
        cells = {
            true: [
                {"count": int(count), "share": float(share), "right": said == str(right.get(true))}
                for said, count, share in zip(counts.columns, counts.loc[true], shares.loc[true], strict=True)
            ]
            for true in counts.index
        }
        if list(cells) != list(emotions):
            raise ValueError("its rows are not the emotions of data.taxonomy")
        return {"caption": name, "corner": corner, "columns": list(counts.columns), "rows": cells}

    found = (
        files.read(f"evaluation/confusion-{what}-{row}.csv", lambda file, name=name: table(file, name), None)
        for row, name in rows.items()
    )
    return [each for each in found if each]


def image_strip(images: Sequence[Image.Image], columns: int, alt: str, caption: str = "") -> dict:
    """Return images in rows of `columns`, each cut to a square, as a page shows them."""
    return picture(strip(images, columns), alt, caption)


def table_of(
    columns: Mapping[str, dict], metrics: Mapping[str, Metric], caption: str, cell: Callable[[dict | None], dict]
) -> dict | None:
    """Return a table (the macro `table`) of columns of figures by metric; None: there is none. cell: shows a figure."""
    metrics = {name: metric for name, metric in metrics.items() if any(name in found for found in columns.values())}
    rows = [
        {
            "name": _label(metric),
            "note": metric.meaning,
            "cells": [cell(found.get(name)) for found in columns.values()],
        }
        for name, metric in metrics.items()
    ]
    return {"caption": caption, "columns": list(columns), "rows": rows} if rows else None


def _label(metric: Metric) -> str:
    return f"{metric.label} {metric.better}".strip()


def _difference_cell(figure: dict | None) -> dict:
    if figure is None:
        return {"value": ""}
    counts = "" if figure["fixed"] is None else f"{figure['fixed']} fixed, {figure['broken']} broken, "
    p = "p < 0.001" if figure["p"] < 0.001 else f"p {figure['p']:.3f}"
    return {"value": difference(figure), "note": f"{counts}{p}, n {figure['n']:,}"}


def _figure_cell(figure: dict | None) -> dict:
    if figure is None:
        return {"value": ""}
    return {"value": value(figure), "note": f"{interval(figure)}, n {figure['n']:,}"}
