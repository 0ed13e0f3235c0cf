"""What the report shows of each part of a run, read from the run folder; what is not there gives nothing."""

import json
from pathlib import Path

import pandas as pd

from emoset.labels import EMOTIONS
from config.settings import Settings
from evaluation.metric_labels import CROSS, GENERATION, ROWS, UNDERSTANDING, Metric, interval, value
from evaluation.pictures import sheet, thumbnail
from evaluation.plots import interval_bars, lines

SHOWN = 8  # images of an emotion and a method
HARD = 2  # hard images of an emotion
OWN = {"ours", "after"}  # the rows that a run is about
# What is plotted of a training: title, then the label of each number in metrics.jsonl.
TRAININGS = {
    "training/emotion_space": {
        "Emotion space: loss": {"train_loss": "training", "val_loss": "val split"},
        "Emotion space: accuracy": {"val_accuracy": "val split"},
    },
    "training/mapper": {
        "Mapper: loss": {"loss": "all", "diffusion": "diffusion"},
        "Mapper: losses on text features": {"attribute": "attribute", "emotion": "emotion"},
    },
}
for _step, _name in {"warm_up": "Warm-up", "step_one": "Step I", "step_two": "Step II"}.items():
    TRAININGS[f"understanding/{_step}"] = {
        f"{_name}: loss": {"loss": "loss"},
        f"{_name}: rewards": {"reward": "all, weighted"}
        | {f"rewards/{each}/mean": each for each in ("binary", "multiple", "misleading", "format")},
        f"{_name}: KL divergence": {"kl": "from the model before it"},
        f"{_name}: entropy": {"entropy": "nats a token"},
        f"{_name}: groups without variance": {"frac_reward_zero_std": "share, whose answers earn alike"},
        f"{_name}: accuracy, positive emotions": {f"accuracy/{each}": each for each in EMOTIONS[:4]},
        f"{_name}: accuracy, negative emotions": {f"accuracy/{each}": each for each in EMOTIONS[4:]},
        f"{_name}: length of answers": {"completions/mean_length": "tokens"},
        f"{_name}: on the val split": {
            "val/multiple_accuracy": "eight-way",
            "val/multiple_forced_accuracy": "forced choice",
            "val/binary_balanced_accuracy": "binary",
            "val/misleading_auroc": "misleading AUROC",
            "val/format_rate": "format",
        },
    }


def read_json(path: Path) -> dict | None:
    """Return a JSON file's content; None where there is no such file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def row_name(row: str) -> str:
    """Return a row as people read it."""
    return ROWS.get(row, row)


def figures_table(rows: dict[str, dict], metrics: dict[str, Metric], caption: str) -> dict | None:
    """Return a table (the template's macro `table`) with a line for each metric that a row has; None: there is none."""
    metrics = {name: metric for name, metric in metrics.items() if any(name in found for found in rows.values())}
    lines = [
        {
            "name": f"{metric.label} {metric.better}".strip(),
            "note": metric.meaning,
            "cells": [_figure_cell(found.get(name)) for found in rows.values()],
        }
        for name, metric in metrics.items()
    ]
    return {"caption": caption, "columns": [row_name(row) for row in rows], "rows": lines} if lines else None


def by_metric(rows: dict[str, dict]) -> dict[str, dict]:
    """Return figures by metric and row, given those by row and metric."""
    found: dict[str, dict] = {}
    for row, figures in rows.items():
        for name, figure in figures.items():
            found.setdefault(name, {})[row] = figure
    return found


def bars(rows: dict[str, dict], metrics: dict[str, Metric]) -> list[dict]:
    """Return a picture for each metric: a bar for each row that has it."""
    pictures = []
    for name, metric in metrics.items():
        found = {row_name(row): figures[name] for row, figures in rows.items() if name in figures}
        if found:
            own = next((row for row in rows if row in OWN), "")
            caption = f"{metric.label} {metric.better}".strip()
            pictures.append(interval_bars(found, metric.chance, own, caption))
    return pictures


def emotion_bars(rows: dict[str, dict], metric: Metric) -> list[dict]:
    """Return a picture for each row of its figures by emotion."""
    return [
        interval_bars(figures, metric.chance, "", f"{metric.label}: {row_name(row)}")
        for row, figures in rows.items()
        if figures
    ]


def generation_by_emotion(rows: dict[str, dict]) -> list[dict]:
    """Return pictures of the accuracies of each row by emotion, eight-way and then two-way."""
    return [
        picture
        for name in ("emotion_accuracy", "emotion_accuracy_two_way")
        for picture in emotion_bars({row: by_metric(found)[name] for row, found in rows.items()}, GENERATION[name])
    ]


def understanding_by_emotion(rows: dict[str, dict]) -> list[dict]:
    """Return pictures of the eight-way accuracy of each row by emotion."""
    found = {
        row: {each: figures[f"multiple_{each}"] for each in EMOTIONS if f"multiple_{each}" in figures}
        for row, figures in rows.items()
    }
    return emotion_bars(found, UNDERSTANDING["multiple_accuracy"])


def contact_sheets(run: Path, rows: list[str]) -> dict[str, list[dict]]:
    """Return by emotion a sheet of the first images of each row; of what inference.py made, where nothing was evaluated."""
    folders = {row_name(row): run / "evaluation" / "images" / row for row in rows}
    folders = {name: folder for name, folder in folders.items() if folder.is_dir()} or {"made": run / "images"}
    sheets = {}
    for emotion in EMOTIONS:
        for name, folder in folders.items():
            if paths := sorted((folder / emotion).glob("[!.]*.png"))[:SHOWN]:
                alt = f"{len(paths)} images of {emotion}: {name}"
                sheets.setdefault(emotion, []).append(sheet(paths, 4, alt, name))
    return sheets


def transfer_strips(folder: Path, contents: list[str]) -> list[dict]:
    """Return for each content that is there a table: a strip for each emotion, from strength 0 to 1."""
    tables = []
    for content in [each for each in contents if (folder / each).is_dir()]:
        strengths = sorted((each.name for each in (folder / content).iterdir()), key=float)
        rows = []
        for emotion in EMOTIONS:
            paths = [folder / content / strength / emotion / "00000.png" for strength in strengths]
            if all(path.is_file() for path in paths):
                alt = f"{emotion} on {content}, at strengths {', '.join(strengths)}"
                rows.append({"name": emotion, "strip": sheet(paths, len(paths), alt)})
        if rows:
            tables.append({"caption": f"A photo of a … {content}", "columns": strengths, "rows": rows})
    return tables


def fusion_strips(folder: Path) -> dict | None:
    """Return a table: a strip for each pair of emotions, by the weight of the second."""
    rows, weights = [], []
    for pair in sorted(folder.iterdir()) if folder.is_dir() else []:
        weights = sorted((each.name for each in pair.iterdir()), key=float)
        first, _, second = pair.name.partition("-")
        for name in ("00000.png", "00001.png"):
            paths = [pair / weight / name for weight in weights]
            if all(path.is_file() for path in paths):
                alt = f"from {first} to {second}, at weights {', '.join(weights)} of {second}"
                rows.append({"name": f"{first} to {second}", "strip": sheet(paths, len(paths), alt)})
    return {"caption": "Weight of the second emotion", "columns": weights, "rows": rows} if rows else None


def curve_pictures(curves: dict) -> list[dict]:
    """Return pictures of curves.json: what the strength does, and for each pair of emotions what the weight does."""
    pictures = []
    strength = curves.get("strength", {})
    groups = {"Emotion on a content": ["emotion_accuracy", "content_accuracy"], "CLIP score of the content": ["clip_score"]}
    for caption, names in groups.items():
        series = {GENERATION[name].label: _points(strength, name) for name in names if _points(strength, name)}
        if series:
            pictures.append(lines(series, "strength", caption))
    return pictures + fusion_pictures(curves.get("fusion", {}), "the judge's probability")


def fusion_pictures(pairs: dict, what: str) -> list[dict]:
    """Return a picture for each pair of emotions: a probability of both by the weight of the second."""
    return [
        lines({emotion: _points(weights, emotion) for emotion in pair.split("-")}, "weight of the second", f"{pair}: {what}")
        for pair, weights in pairs.items()
    ]


def confusion_tables(folder: Path, rows: list[str], prefix: str, corner: str) -> list[dict]:
    """Return a table for each confusion matrix: counts, and by their share of the row how dark each cell is."""
    tables = []
    for row in rows:
        path = folder / f"{prefix}{row}.csv"
        if not path.is_file():
            continue
        counts = pd.read_csv(path, index_col=0)
        shares = counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
        cells = {
            true: [
                {"count": count, "share": share, "right": said == true}
                for said, count, share in zip(counts.columns, counts.loc[true], shares.loc[true], strict=True)
            ]
            for true in counts.index
        }
        tables.append({"caption": row_name(row), "corner": corner, "columns": list(counts.columns), "rows": cells})
    return tables


def training_curves(run: Path) -> list[dict]:
    """Return pictures of the numbers that trainings have written."""
    pictures = []
    for folder, plots in TRAININGS.items():
        path = run / folder / "metrics.jsonl"
        written = (
            [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")] if path.is_file() else []
        )
        by = "step" if written and "step" in written[0] else "epoch"
        for title, names in plots.items():
            series = {
                label: [(line[by], line[name]) for line in written if line.get(name) is not None]
                for name, label in names.items()
            }
            if series := {label: points for label, points in series.items() if points}:
                pictures.append(lines(series, {"step": "update", "epoch": "epoch"}[by], title))
    return pictures


def training_samples(run: Path) -> dict | None:
    """Return the last grid of samples that the mapper's training drew."""
    grids = sorted((run / "training" / "mapper" / "samples").glob("[!.]*.png"))
    if not grids:
        return None
    step = int(grids[-1].stem)
    alt = f"samples of each of the eight emotions after {step:,} updates, a row for each"
    return thumbnail(grids[-1], alt, 900) | {"caption": f"Samples after {step:,} updates"}


def hard_images(run: Path, models: dict[str, str], settings: Settings) -> list[dict]:
    """Return, for each emotion, the images that the first model answers wrong and finds the true emotion least likely for.

    Each with the answers of the first model and of the last. Nothing where there is only one.
    """
    first, last = next(iter(models), None), next(reversed(models), None)
    files = [run / "evaluation" / f"answers-{row}.parquet" for row in (first, last)]
    if first == last or not all(path.is_file() for path in files):
        return []
    answers = [pd.read_parquet(path).query("kind == 'multiple'").set_index("image_id") for path in files]
    found = []
    for emotion in EMOTIONS:
        wrong = answers[0][(answers[0]["emotion"] == emotion) & (answers[0]["said_emotion"] != emotion)]
        for image_id in wrong.sort_values(f"p_{emotion}", kind="stable").index[:HARD]:
            said = [_said(each.loc[image_id], emotion, name) for name, each in zip((first, last), answers, strict=True)]
            picture = _question_picture(image_id, emotion, settings)
            found.append({"emotion": emotion, "image_id": image_id, "picture": picture, "answers": said})
    return found


def mining_table(run: Path, settings: Settings) -> dict | None:
    """Return a table of the reference model's errors by emotion: how many, how hard, and what was said instead."""
    path = run / "mining" / "errors.parquet"
    if not path.is_file():
        return None
    errors, bounds = pd.read_parquet(path), settings.mining
    rows = []
    for emotion, own in errors.groupby("emotion"):
        others = own[[each for each in EMOTIONS if each != emotion]].mean().nlargest(2)
        instead = ", ".join(f"{name} {share:.0%}" for name, share in others.items() if share)
        hard = own["error"].between(bounds.lowest, bounds.highest).sum()
        cells = [f"{len(own):,}", f"{own['error'].mean():.1%}", f"{hard:,}", instead or "nothing"]
        rows.append({"name": emotion, "cells": [{"value": cell} for cell in cells]})
    hard = f"hard: {bounds.lowest:g} to {bounds.highest:g} wrong"
    columns = ["images asked about", "answers wrong", hard, "named instead"]
    return {"caption": "Mining: errors of the reference model on training images", "columns": columns, "rows": rows}


def cross_tables(figures: dict) -> list[dict]:
    """Return tables of what the understanding model says of generated images: by method, by strength, and by mix."""
    plain = {row: found for row, found in figures.items() if row not in ("transfer", "fusion")}
    strengths = {f"strength {strength}": found for strength, found in figures.get("transfer", {}).items()}
    mixes = {
        pair: {f"weight {weight}": found["judge"] for weight, found in weights.items()}
        for pair, weights in figures.get("fusion", {}).items()
    }
    by_pair = {pair: CROSS["judge"]._replace(label=pair) for pair in mixes}
    tables = [
        figures_table(plain, CROSS, "The understanding model, asked about generated images"),
        figures_table(strengths, CROSS, "The same, of an emotion on a content"),
        figures_table(
            by_metric(mixes), by_pair, "Of mixes of two emotions, by the weight of the second: says what the judge says"
        ),
    ]
    return [table for table in tables if table]


def _figure_cell(figure: dict | None) -> dict:
    if figure is None:
        return {"value": ""}
    return {"value": value(figure), "note": f"{interval(figure)}, n {figure['n']:,}"}


def _points(by_place: dict[str, dict], name: str) -> list[tuple]:
    found = {float(place): figures[name] for place, figures in by_place.items() if name in figures}
    return [(place, each["value"], each["low"], each["high"]) for place, each in sorted(found.items())]


def _said(answer: pd.Series, emotion: str, model: str) -> dict:
    right = answer["said_emotion"] == emotion
    return {"model": model, "text": answer["completion"], "right": right, "likelihood": answer[f"p_{emotion}"]}


def _question_picture(image_id: str, emotion: str, settings: Settings) -> dict | None:
    """Return an image that was asked about: of EmoSet, or of the folder that was evaluated instead."""
    folder = settings.evaluate.folder
    path = folder / image_id if folder else settings.data.emoset / "image" / emotion / f"{image_id}.jpg"
    return thumbnail(path, f"image {image_id}, whose emotion is {emotion}") if path.is_file() else None
