"""What the report shows of vision-language models, read from the run folder; what is not there gives nothing."""

from collections.abc import Iterable, Sequence
from glob import escape
from pathlib import Path
from types import ModuleType

import pandas as pd

from config.data_settings import Data
from config.taxonomy import Taxonomy
from emoset.images import load_image
from evaluation.answers_by_emotion import right_by_emotion
from evaluation.report_tables import bars, by_metric, confusion_tables, emotion_bars, figures_table
from runtime.page import picture, thumbnail
from understanding import kinds, scoring
from understanding.kinds import multiple

HARD = 2  # hard images of an emotion


def understanding_part(run: Path, found: dict, data: Data, folder: Path | None) -> dict:
    """Return what the page shows of the models, by the names of the template.

    found: understanding.json. folder: evaluate.folder, whose images the questions are about; None: the data set's.
    """
    rows, metrics, evaluated = found["figures"], scoring.metrics(data.taxonomy), run / "evaluation"
    return {
        "understanding": found,
        "answered": by_metric(rows),
        "understanding_bars": bars(rows, metrics),
        "understanding_by_emotion": pictures_by_emotion(rows, data.taxonomy),
        "understanding_table": figures_table(rows, metrics, "Understanding"),
        "understanding_confusions": [
            table | {"caption": f"{table['caption']}: {kind.NAME} questions"}
            for kind in kinds.KINDS
            for table in confusion_tables(evaluated, rows, kind.NAME, "true", _right(evaluated, rows, kind, data.taxonomy))
        ],
        "hard": hard_images(evaluated, list(found["about"].get("models", {})), data, folder),
    }


def _right(evaluated: Path, rows: Iterable[str], kind: ModuleType, taxonomy: Taxonomy) -> dict[str, object]:
    """Return the right column of each emotion in a kind's confusion matrices, from the answers of the first row."""
    files = [path for row in rows if (path := evaluated / f"answers-{row}.parquet").is_file()]
    return right_by_emotion(kind, pd.read_parquet(files[0]), taxonomy) if files else {}


def headline_metrics(taxonomy: Taxonomy) -> dict[str, str]:
    """Return the labels of the figures that the summary shows: what a kind's training plots, balanced where it can be."""
    metrics, found = scoring.metrics(taxonomy), {}
    for plotted in (name for kind in kinds.KINDS for name in kind.CURVES):
        balanced = plotted.replace("_accuracy", "_balanced_accuracy")
        name = balanced if balanced in metrics else plotted
        found[name] = metrics[name].label
    return found


def pictures_by_emotion(rows: dict[str, dict], taxonomy: Taxonomy) -> list[dict]:
    """Return pictures of the accuracy of each row by emotion, for each kind of question that has such figures."""
    pictures = []
    for kind in kinds.KINDS:
        found = {
            row: {each: figures[f"{kind.NAME}_{each}"] for each in taxonomy.emotions if f"{kind.NAME}_{each}" in figures}
            for row, figures in rows.items()
        }
        if any(found.values()):
            metric = next(iter(kind.metrics(taxonomy).values()))
            pictures += emotion_bars(found, metric._replace(label=metric.label.removesuffix(", balanced")))
    return pictures


def hard_images(evaluated: Path, models: Sequence[str], data: Data, folder: Path | None) -> list[dict]:
    """Return, for each emotion, the images that the first model answers wrong and finds the true emotion least likely for.

    Each has the answers of the first of the models and of the last. Nothing where there is only one.
    """
    first, last = next(iter(models), None), next(reversed(models), None)
    files = [evaluated / f"answers-{row}.parquet" for row in (first, last)]
    if first == last or not all(path.is_file() for path in files):
        return []
    tables = map(pd.read_parquet, files)
    answers = [table[table["kind"] == multiple.NAME].set_index("image_id") for table in tables]
    found = []
    for emotion in data.taxonomy.emotions:
        wrong = answers[0][(answers[0]["emotion"] == emotion) & (answers[0][multiple.COLUMN] != emotion)]
        for image_id in wrong.sort_values(f"p_{emotion}", kind="stable").index[:HARD]:
            said = [_said(each.loc[image_id], emotion, name) for name, each in zip((first, last), answers, strict=True)]
            shown = _image_of_question(image_id, emotion, data.emoset, folder)
            found.append({"emotion": emotion, "image_id": image_id, "picture": shown, "answers": said})
    return found


def _said(answer: pd.Series, emotion: str, model: str) -> dict:
    right = answer[multiple.COLUMN] == emotion
    return {"model": model, "text": answer["completion"], "right": right, "likelihood": answer[f"p_{emotion}"]}


def _image_of_question(image_id: str, emotion: str, emoset: Path, folder: Path | None) -> dict | None:
    """Return the image of a question: of the data set, or of the folder that was evaluated instead."""
    found = [folder / image_id] if folder else sorted((emoset / "image" / emotion).glob(f"{escape(image_id)}.*"))
    path = next(iter(found), None)
    if path is None or not path.is_file():
        return None
    return picture(thumbnail(load_image(path), 224), f"image {image_id}, whose emotion is {emotion}")
