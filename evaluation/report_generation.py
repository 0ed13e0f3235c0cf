"""What the report shows of generated images, read from the run folder; what is not there gives nothing."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from config.taxonomy import Taxonomy
from evaluation.metric_labels import generation_metrics, marked, row_name
from evaluation.peers import peers_of, with_peers
from evaluation.photograph_curve import ROW
from evaluation.plans import CURVES
from evaluation.plots import lines
from evaluation.report_tables import (
    bars,
    by_metric,
    confusion_tables,
    curve,
    differences_table,
    emotion_bars,
    figures_table,
    fusion_pictures,
    image_strip,
)
from evaluation.run_files import RunFiles
from runtime.files import read_json

GAINS = "Paired differences, on the same contents from the same noise"
SHOWN = 8  # images of an emotion and a method


def generation_part(files: RunFiles, found: dict, contents: Sequence[str], taxonomy: Taxonomy) -> dict:
    """Return what the page shows of the generators, by the names of the template. found: generation.json."""
    rows, emotions, folder = found["figures"], taxonomy.emotions, "evaluation"
    metrics = generation_metrics(taxonomy, found["about"].get("content_judges"))
    marks, methods = found["about"].get("incomplete", {}), [row for row in rows if row != "transfer"]
    corrected = {row: each["corrected"] for row, each in rows.items()}
    published = {row: each["emogen"] for row, each in rows.items() if each["emogen"]}
    beside = marked({row: corrected[row] for row in methods}, marks)
    by_emotion = marked({row: rows[row].get("by_emotion", {}) for row in methods}, marks)

    def figures(build: Callable[[], list]) -> list:
        return files.read(f"{folder}/generation.json", lambda _: build(), [])

    return {
        "generation": found,
        "corrected": by_metric(beside),
        "sheets": contact_sheets(files, methods, emotions),
        "transfers": files.read(f"{folder}/images/transfer", lambda _: transfer_strips(files, contents, emotions), []),
        "photographs": files.read(f"{folder}/images/{ROW}", lambda _: photograph_strips(files, emotions), None),
        "fusions": files.read(f"{folder}/images/fusion", lambda _: fusion_strips(files), None),
        "curves": files.read(f"{folder}/curves.json", lambda file: curve_pictures(read_json(file), taxonomy), []),
        "generation_gains": figures(lambda: differences_table(found.get("paired", {}), metrics, GAINS)),
        "generation_bars": figures(lambda: bars(beside, metrics)),
        "generation_by_emotion": figures(lambda: accuracy_by_emotion(by_emotion, taxonomy)),
        "generation_tables": figures(
            lambda: [
                figures_table(marked(corrected, marks), metrics, "Corrected: as it should be measured"),
                with_peers(
                    figures_table(marked(published, marks), metrics, "emogen: as EmoGen's code measures, fault for fault"),
                    peers_of("generation", taxonomy),
                    metrics,
                ),
            ]
        ),
        "generation_confusions": confusion_tables(
            files,
            {row: row_name(row) for row in methods or _matrices(files)},
            "generation",
            "intended",
            {emotion: emotion for emotion in emotions},
            emotions,
        ),
    }


def _matrices(files: RunFiles) -> list[str]:
    """Return the rows that have a confusion matrix, for where generation.json cannot be read."""
    found = sorted((files.run / "evaluation").glob("confusion-generation-*.csv"))
    return [path.stem.removeprefix("confusion-generation-") for path in found]


def accuracy_by_emotion(rows: dict[str, dict], taxonomy: Taxonomy) -> list[dict]:
    """Return pictures of both accuracies of each row by emotion. rows: figures by row, emotion and name."""
    metrics = generation_metrics(taxonomy)
    return [
        picture
        for name in ("emotion_accuracy", "emotion_accuracy_two_way")
        for picture in emotion_bars({row: by_metric(found).get(name, {}) for row, found in rows.items()}, metrics[name])
    ]


def contact_sheets(files: RunFiles, rows: Sequence[str], emotions: tuple[str, ...]) -> dict[str, list[dict]]:
    """Return by emotion a sheet of the first images of each row; without an evaluation, of inference.py's images."""
    evaluated = files.run / "evaluation" / "images"
    rows = rows or sorted(each.name for each in evaluated.glob("[!.]*") if each.name not in CURVES)
    folders = {row_name(row): evaluated / row for row in rows}
    folders = {name: folder for name, folder in folders.items() if folder.is_dir()} or {"generated": files.run / "images"}
    sheets = {}
    for emotion in emotions:
        for name, folder in folders.items():
            opened = map(files.image, sorted((folder / emotion).glob("[!.]*.png"))[:SHOWN])
            if images := [image for image in opened if image]:
                alt = f"{len(images)} images of {emotion}: {name}"
                sheets.setdefault(emotion, []).append(image_strip(images, 4, alt, name))
    return sheets


def transfer_strips(files: RunFiles, contents: Sequence[str], emotions: tuple[str, ...]) -> list[dict]:
    """Return for each content that is there a table: a strip for each emotion, from strength 0 to 1."""
    tables, folder = [], files.run / "evaluation" / "images" / "transfer"
    for content in [each for each in contents if (folder / each).is_dir()]:
        strengths = _places(folder / content)
        rows = []
        for emotion in emotions:
            paths = [folder / content / strength / emotion / "00000.png" for strength in strengths]
            alt = f"{emotion} on {content}, at strengths {', '.join(strengths)}"
            rows += [{"name": emotion, "strip": strip} for strip in _strip(files, paths, alt)]
        if rows:
            tables.append({"caption": f"A photo of a … {content}", "columns": strengths, "rows": rows})
    return tables


def photograph_strips(files: RunFiles, emotions: tuple[str, ...]) -> dict | None:
    """Return a table: a strip for each emotion, from a photograph, at 0, to what is made where all of it is replaced."""
    folder = files.run / "evaluation" / "images" / ROW
    strengths, rows = _places(folder), []
    for emotion in emotions:
        paths = [folder / strength / emotion / "00000.png" for strength in strengths]
        alt = f"{emotion} in a photograph, at image strengths {', '.join(strengths)}"
        rows += [{"name": emotion, "strip": strip} for strip in _strip(files, paths, alt)]
    return {"caption": "How much of the photograph is replaced", "columns": strengths, "rows": rows} if rows else None


def fusion_strips(files: RunFiles) -> dict | None:
    """Return a table: a strip for each pair of emotions, by the weight of the second."""
    rows, weights, folder = [], [], files.run / "evaluation" / "images" / "fusion"
    for pair in sorted(each for each in folder.iterdir() if each.is_dir()):
        weights = _places(pair)
        first, _, second = pair.name.partition("-")
        for name in ("00000.png", "00001.png"):
            alt = f"from {first} to {second}, at weights {', '.join(weights)} of {second}"
            strips = _strip(files, [pair / weight / name for weight in weights], alt)
            rows += [{"name": f"{first} to {second}", "strip": strip} for strip in strips]
    return {"caption": "Weight of the second emotion", "columns": weights, "rows": rows} if rows else None


def _places(folder: Path) -> list[str]:
    """Return the strengths or weights that have a folder, in their order."""
    names = [each.name for each in folder.iterdir() if each.is_dir() and re.fullmatch(r"\d+(\.\d+)?", each.name)]
    return sorted(names, key=float)


def _strip(files: RunFiles, paths: list[Path], alt: str) -> list[dict]:
    """Return the strip of images, if all are there; an empty place stands for one that cannot be read."""
    if not paths or not all(path.is_file() for path in paths):
        return []
    images = [files.image(path) for path in paths]
    shown = [image or Image.new("RGBA", (1, 1), (0, 0, 0, 0)) for image in images]
    return [image_strip(shown, len(shown), alt)] if any(images) else []


def curve_pictures(curves: dict, taxonomy: Taxonomy) -> list[dict]:
    """Return pictures of curves.json: of strength, of photographs, and for each pair of emotions of the weight."""
    pictures, metrics = [], generation_metrics(taxonomy)
    strength, photographs = curves.get("strength", {}), curves.get(ROW, {})
    shares = ["emotion_accuracy", "content_accuracy", "joint_accuracy"]
    plotted = {
        "Emotion on a content": (strength, "strength", shares),
        "CLIP score of the content": (strength, "strength", ["clip_score"]),
        "A new emotion in a photograph": (photographs, "image strength", shares),
        "LPIPS to the photograph": (photographs, "image strength", ["lpips"]),
    }
    for caption, (figures, x_label, names) in plotted.items():
        series = {metrics[name].label: curve(figures, name) for name in names if curve(figures, name)}
        if series:
            pictures.append(lines(series, x_label, caption))
    return pictures + fusion_pictures(curves.get("fusion", {}), "the judge's probability")
