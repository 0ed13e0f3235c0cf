"""What the report shows of generated images, read from the run folder; what is not there gives nothing."""

from collections.abc import Sequence
from pathlib import Path

from config.taxonomy import Taxonomy
from evaluation.metric_labels import generation_metrics, row_name
from evaluation.plots import lines
from evaluation.report_tables import (
    bars,
    by_metric,
    confusion_tables,
    curve,
    emotion_bars,
    figures_table,
    fusion_pictures,
    image_strip,
)
from runtime.files import read_json

SHOWN = 8  # images of an emotion and a method


def generation_part(run: Path, found: dict, contents: Sequence[str], taxonomy: Taxonomy) -> dict:
    """Return what the page shows of the generators, by the names of the template. found: generation.json."""
    folder, rows, metrics = run / "evaluation", found["figures"], generation_metrics(taxonomy)
    corrected = {row: each["corrected"] for row, each in rows.items()}
    published = {row: each["emogen"] for row, each in rows.items() if each["emogen"]}
    methods = [row for row in rows if row != "transfer"]
    emotions = taxonomy.emotions
    return {
        "generation": found,
        "corrected": by_metric({row: corrected[row] for row in methods}),
        "warnings": found["about"].get("warnings", {}),
        "sheets": contact_sheets(run, methods, emotions),
        "transfers": transfer_strips(folder / "images" / "transfer", contents, emotions),
        "fusions": fusion_strips(folder / "images" / "fusion"),
        "curves": curve_pictures(read_json(folder / "curves.json") or {}, taxonomy),
        "generation_bars": bars({row: corrected[row] for row in methods}, metrics),
        "generation_by_emotion": accuracy_by_emotion({row: rows[row]["by_emotion"] for row in methods}, taxonomy),
        "generation_tables": [
            figures_table(corrected, metrics, "Corrected: as it should be measured"),
            figures_table(published, metrics, "emogen: as EmoGen's code measures, fault for fault"),
        ],
        "generation_confusions": confusion_tables(
            folder, methods, "generation", "intended", {emotion: emotion for emotion in emotions}
        ),
    }


def accuracy_by_emotion(rows: dict[str, dict], taxonomy: Taxonomy) -> list[dict]:
    """Return pictures of both accuracies of each row by emotion. rows: figures by row, emotion and name."""
    metrics = generation_metrics(taxonomy)
    return [
        picture
        for name in ("emotion_accuracy", "emotion_accuracy_two_way")
        for picture in emotion_bars({row: by_metric(found)[name] for row, found in rows.items()}, metrics[name])
    ]


def contact_sheets(run: Path, rows: Sequence[str], emotions: tuple[str, ...]) -> dict[str, list[dict]]:
    """Return by emotion a sheet of the first images of each row; of what inference.py made, where nothing was evaluated."""
    folders = {row_name(row): run / "evaluation" / "images" / row for row in rows}
    folders = {name: folder for name, folder in folders.items() if folder.is_dir()} or {"generated": run / "images"}
    sheets = {}
    for emotion in emotions:
        for name, folder in folders.items():
            if paths := sorted((folder / emotion).glob("[!.]*.png"))[:SHOWN]:
                alt = f"{len(paths)} images of {emotion}: {name}"
                sheets.setdefault(emotion, []).append(image_strip(paths, 4, alt, name))
    return sheets


def transfer_strips(folder: Path, contents: Sequence[str], emotions: tuple[str, ...]) -> list[dict]:
    """Return for each content that is there a table: a strip for each emotion, from strength 0 to 1."""
    tables = []
    for content in [each for each in contents if (folder / each).is_dir()]:
        strengths = sorted((each.name for each in (folder / content).iterdir()), key=float)
        rows = []
        for emotion in emotions:
            paths = [folder / content / strength / emotion / "00000.png" for strength in strengths]
            if all(path.is_file() for path in paths):
                alt = f"{emotion} on {content}, at strengths {', '.join(strengths)}"
                rows.append({"name": emotion, "strip": image_strip(paths, len(paths), alt)})
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
                rows.append({"name": f"{first} to {second}", "strip": image_strip(paths, len(paths), alt)})
    return {"caption": "Weight of the second emotion", "columns": weights, "rows": rows} if rows else None


def curve_pictures(curves: dict, taxonomy: Taxonomy) -> list[dict]:
    """Return pictures of curves.json: what the strength does, and for each pair of emotions what the weight does."""
    pictures, metrics = [], generation_metrics(taxonomy)
    strength = curves.get("strength", {})
    groups = {"Emotion on a content": ["emotion_accuracy", "content_accuracy"], "CLIP score of the content": ["clip_score"]}
    for caption, names in groups.items():
        series = {metrics[name].label: curve(strength, name) for name in names if curve(strength, name)}
        if series:
            pictures.append(lines(series, "strength", caption))
    return pictures + fusion_pictures(curves.get("fusion", {}), "the judge's probability")
