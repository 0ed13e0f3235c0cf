"""What the report shows of generated images, read from the run folder. What is not there is left out."""

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
from evaluation.report_cards import failures
from evaluation.report_parts import part, section
from evaluation.report_tables import (
    by_metric,
    confusion_tables,
    curve,
    differences_table,
    facts_of,
    figures_table,
    fusion_pictures,
    heat_map,
    image_strip,
    warned,
)
from evaluation.run_files import RunFiles
from runtime.files import read_json

FILE = "evaluation/generation.json"
SHOWN = 8  # images of an emotion and a method
EMPTY = Image.new("RGBA", (1, 1), (0, 0, 0, 0))  # in place of an image that is not there
CHOSEN = "These are the first images of each emotion by their number. Nobody selected them."
FAILED = "The judge is surest of these wrong ones. Either the image shows another emotion than intended, or the judge errs."
PAIRED = "A difference is between images of the same content from the same noise. Fixed: how many the first alone has right."


def generation_section(files: RunFiles, found: dict, contents: Sequence[str], taxonomy: Taxonomy) -> dict | None:
    """Return what the page shows of the generators. found: generation.json."""
    rows, emotions, about = found["figures"], taxonomy.emotions, found["about"]
    metrics = generation_metrics(taxonomy, about.get("content_judges"))
    marks, methods = about.get("incomplete", {}), [row for row in rows if row != "transfer"]
    corrected = marked({row: each["corrected"] for row, each in rows.items()}, marks)
    published = marked({row: each["emogen"] for row, each in rows.items() if each["emogen"]}, marks)
    curves = files.read("evaluation/curves.json", lambda file: curve_pictures(read_json(file), taxonomy), {})
    right, titles = {emotion: emotion for emotion in emotions}, {row: row_name(row) for row in methods or _matrices(files)}

    def figures(*build: Callable[[], dict | None]) -> list:
        return files.read(FILE, lambda _: [shown for each in build if (shown := each())], [])

    tables = figures(
        lambda: figures_table(corrected, metrics, "Corrected: as it should be measured"),
        lambda: with_peers(
            warned(
                figures_table(published, metrics, "emogen: as EmoGen's code measures, fault for fault"),
                about.get("not_emogen", {}),
                metrics,
            ),
            peers_of("generation", taxonomy),
            metrics,
        ),
    )
    gains = figures(lambda: differences_table(found.get("paired", {}), metrics, "Paired differences"))
    two_way = figures(lambda: accuracy_by_emotion(rows, marks, "emotion_accuracy_two_way", taxonomy))
    folder = "evaluation/images"
    parts = [
        part("What the figures are about", ("facts", facts_of(files, about, "images"))),
        part("What the generator gains over a prompt of the same contents", ("tables", gains), note=PAIRED),
        part("All figures of images, with n and 95 % interval", ("tables", tables)),
        part("Positive or negative, emotion by emotion", *[("heat_map", each) for each in two_way]),
        part(
            "Which emotion the judge sees in images of each",
            ("confusions", confusion_tables(files, titles, "generation", "intended", right, emotions)),
        ),
        part("Failures, by how sure the judge is", ("cards", failures(files, "ours", taxonomy)), note=FAILED),
        part("Images of each emotion", ("sheets", contact_sheets(files, methods, emotions)), note=CHOSEN),
        part(
            "An emotion on a content, by strength",
            ("strips", files.read(f"{folder}/transfer", lambda _: transfer_strips(files, contents, emotions), [])),
            ("plots", curves.get("strength", [])),
        ),
        part(
            "A new emotion in a photograph, by how much of it is replaced",
            ("strips", files.read(f"{folder}/{ROW}", lambda _: photograph_strips(files, emotions), [])),
            ("plots", curves.get(ROW, [])),
        ),
        part(
            "From one emotion to another",
            ("strips", files.read(f"{folder}/fusion", lambda _: fusion_strips(files), [])),
            ("plots", curves.get("fusion", [])),
        ),
    ]
    return section("generation", "Generated images", parts, about.get("warnings"))


def _matrices(files: RunFiles) -> list[str]:
    """Return the rows that have a confusion matrix, for where generation.json cannot be read."""
    found = sorted((files.run / "evaluation").glob("confusion-generation-*.csv"))
    return [path.stem.removeprefix("confusion-generation-") for path in found]


def accuracy_by_emotion(rows: dict, marks: dict[str, str], name: str, taxonomy: Taxonomy) -> dict | None:
    """Return a heat map of an accuracy by emotion and method. rows, marks: figures and incomplete of generation.json."""
    label = generation_metrics(taxonomy)[name].label
    found = {row: by_metric(each.get("by_emotion", {})).get(name, {}) for row, each in rows.items()}
    return heat_map({label: marked(found, marks)}, taxonomy.emotions, f"{label} of each emotion, by method")


def contact_sheets(files: RunFiles, rows: Sequence[str], emotions: tuple[str, ...]) -> dict[str, list[dict]]:
    """Return by emotion a sheet of the first images of each row; without an evaluation, of inference.py's images."""
    sheets = {}
    for emotion in emotions:
        for row, folder in image_folders(files, rows).items():
            opened = map(files.image, sorted((folder / emotion).glob("[!.]*.png"))[:SHOWN])
            if images := [image for image in opened if image]:
                alt = f"{len(images)} images of {emotion}: {row_name(row)}"
                sheets.setdefault(emotion, []).append(image_strip(images, 4, alt, row_name(row)))
    return sheets


def image_folders(files: RunFiles, rows: Sequence[str]) -> dict[str, Path]:
    """Return the folder of each row's images by row; without an evaluation, that of inference.py's images."""
    evaluated = files.run / "evaluation" / "images"
    rows = rows or sorted(each.name for each in evaluated.glob("[!.]*") if each.name not in CURVES)
    folders = {row: evaluated / row for row in rows}
    return {row: folder for row, folder in folders.items() if folder.is_dir()} or {"generated": files.run / "images"}


def first_images(files: RunFiles, rows: Sequence[str], emotions: tuple[str, ...], marks: dict[str, str]) -> list[dict]:
    """Return one table of strips, or none: for each emotion the first image of each row that has images."""
    folders = {row: folder for row, folder in marked(image_folders(files, rows), marks).items() if folder.is_dir()}
    found = []
    for emotion in emotions:
        paths = [next(iter(sorted((folder / emotion).glob("[!.]*.png"))), None) for folder in folders.values()]
        images = [files.image(path) if path else None for path in paths]
        if any(images):
            alt = f"{emotion}: the first image of {', '.join(map(row_name, folders))}"
            found.append({"name": emotion, "strip": image_strip([image or EMPTY for image in images], len(images), alt)})
    return (
        [{"caption": "Images of each emotion, by method", "columns": list(map(row_name, folders)), "rows": found}]
        if found
        else []
    )


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


def photograph_strips(files: RunFiles, emotions: tuple[str, ...]) -> list[dict]:
    """Return one table, or none: a strip for each emotion, from a photograph, at 0, to where all of it is replaced."""
    folder = files.run / "evaluation" / "images" / ROW
    strengths, rows = _places(folder), []
    for emotion in emotions:
        paths = [folder / strength / emotion / "00000.png" for strength in strengths]
        alt = f"{emotion} in a photograph, at image strengths {', '.join(strengths)}"
        rows += [{"name": emotion, "strip": strip} for strip in _strip(files, paths, alt)]
    return [{"caption": "How much of the photograph is replaced", "columns": strengths, "rows": rows}] if rows else []


def fusion_strips(files: RunFiles) -> list[dict]:
    """Return one table, or none: a strip for each pair of emotions, by the weight of the second."""
    rows, weights, folder = [], [], files.run / "evaluation" / "images" / "fusion"
    for pair in sorted(each for each in folder.iterdir() if each.is_dir()):
        weights = _places(pair)
        first, _, second = pair.name.partition("-")
        for name in ("00000.png", "00001.png"):
            alt = f"from {first} to {second}, at weights {', '.join(weights)} of {second}"
            strips = _strip(files, [pair / weight / name for weight in weights], alt)
            rows += [{"name": f"{first} to {second}", "strip": strip} for strip in strips]
    return [{"caption": "Weight of the second emotion", "columns": weights, "rows": rows}] if rows else []


def _places(folder: Path) -> list[str]:
    """Return the strengths or weights that have a folder, in their order."""
    names = [each.name for each in folder.iterdir() if each.is_dir() and re.fullmatch(r"\d+(\.\d+)?", each.name)]
    return sorted(names, key=float)


def _strip(files: RunFiles, paths: list[Path], alt: str) -> list[dict]:
    """Return the strip of images, if all are there; an empty place stands for one that cannot be read."""
    if not paths or not all(path.is_file() for path in paths):
        return []
    images = [files.image(path) for path in paths]
    shown = [image or EMPTY for image in images]
    return [image_strip(shown, len(shown), alt)] if any(images) else []


def curve_pictures(curves: dict, taxonomy: Taxonomy) -> dict[str, list[dict]]:
    """Return pictures of curves.json: of strength, of photographs, and for each pair of emotions of the weight."""
    metrics = generation_metrics(taxonomy)
    shares = ["emotion_accuracy", "content_accuracy", "joint_accuracy"]
    plotted = {
        "strength": ("strength", {"Emotion on a content": shares, "CLIP score of the content": ["clip_score"]}),
        ROW: ("image strength", {"A new emotion in a photograph": shares, "LPIPS to the photograph": ["lpips"]}),
    }
    pictures = {}
    for place, (x_label, captions) in plotted.items():
        for caption, names in captions.items():
            points = {metrics[name].label: curve(curves.get(place, {}), name) for name in names}
            if series := {label: each for label, each in points.items() if each}:
                pictures.setdefault(place, []).append(lines(series, x_label, caption))
    return pictures | {"fusion": fusion_pictures(curves.get("fusion", {}), "the judge's probability")}
