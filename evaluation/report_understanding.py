"""What the report shows of vision-language models, read from the run folder; what is not there gives nothing."""

from collections.abc import Callable, Sequence
from glob import escape
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from config.data_settings import Data
from config.taxonomy import Taxonomy
from evaluation.answers_by_emotion import right_by_emotion
from evaluation.answers_by_question import reliability
from evaluation.metric_labels import marked, row_name
from evaluation.peers import peers_of, with_peers
from evaluation.plots import lines
from evaluation.report_tables import (
    bars,
    by_metric,
    confusion_tables,
    differences_table,
    emotion_bars,
    figures_table,
)
from evaluation.run_files import RunFiles
from runtime.figures import Metric
from runtime.page import picture, thumbnail
from understanding import kinds, scoring
from understanding.kinds import multiple

HARD = 2  # hard images of an emotion
GAINS = "What the last model gains, on the same images"


def understanding_part(files: RunFiles, found: dict, data: Data, folder: Path | None) -> dict:
    """Return what the page shows of the models, by the names of the template.

    found: understanding.json. folder: evaluate.folder, whose images the questions are about; None: the data set's.
    """
    marks, metrics, taxonomy = found["about"].get("incomplete", {}), scoring.metrics(data.taxonomy), data.taxonomy
    rows, models = marked(found["figures"], marks), list(found["about"].get("models", {}))
    names = list(found["figures"]) or _answered(files)
    answers = {
        row: files.read(f"evaluation/answers-{row}.parquet", lambda file: answers_of(file, taxonomy), None) for row in names
    }
    answers = {row: table for row, table in answers.items() if table is not None}

    def figures(build: Callable[[], Any]) -> Any:
        return files.read("evaluation/understanding.json", lambda _: build(), [])

    return {
        "understanding": found,
        "answered": by_metric(rows),
        "understanding_bars": figures(lambda: bars(rows, metrics)),
        "understanding_by_emotion": figures(lambda: pictures_by_emotion(rows, taxonomy)),
        "understanding_table": figures(
            lambda: with_peers(figures_table(rows, metrics, "Understanding"), peers_of("understanding", taxonomy), metrics)
        ),
        "understanding_gains": figures(lambda: differences_table(found.get("paired", {}), metrics, GAINS)),
        "understanding_reliability": figures(lambda: reliability_pictures(answers, taxonomy)),
        "understanding_by_question": figures(lambda: tables_by_question(found.get("by", {}), taxonomy)),
        "understanding_confusions": [
            table
            for kind in kinds.KINDS
            for table in confusion_tables(
                files,
                {row: f"{row_name(row)}: {kind.NAME} questions" for row in names},
                kind.NAME,
                "true",
                _right(files, answers, kind, taxonomy),
                taxonomy.emotions,
            )
        ],
        "hard": files.read(
            f"evaluation/answers-{next(iter(models), '')}.parquet",
            lambda _: hard_images(files, answers, models, data, folder),
            [],
        ),
    }


def _answered(files: RunFiles) -> list[str]:
    """Return the rows that have answers, for where understanding.json cannot be read."""
    found = (path.stem.removeprefix("answers-") for path in sorted((files.run / "evaluation").glob("answers-*.parquet")))
    return [row for row in found if not row.startswith("generated-")]


def answers_of(file: Path, taxonomy: Taxonomy) -> pd.DataFrame:
    """Return the answers of a model; raises where the table lacks a column, or holds other emotions than the taxonomy."""
    table = pd.read_parquet(file, page_checksum_verification=True)
    columns = ["image_id", "kind", "emotion", "completion", *scoring.likelihood_columns(taxonomy.emotions)]
    if missing := [name for name in columns if name not in table]:
        raise ValueError(f"it lacks the column {', '.join(missing)}")
    if others := set(table["emotion"]) - set(taxonomy.emotions):
        raise ValueError(f"it holds the emotion {min(map(str, others))!r}")
    return table


def _right(files: RunFiles, answers: dict[str, pd.DataFrame], kind: ModuleType, taxonomy: Taxonomy) -> dict[str, object]:
    """Return the right column of each emotion in a kind's confusion matrices, from the answers of the first row."""
    for row, table in answers.items():
        path = f"evaluation/answers-{row}.parquet"
        if found := files.read(path, lambda _, table=table: right_by_emotion(kind, table, taxonomy), {}):
            return found
    return {}


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


def reliability_pictures(answers: dict[str, pd.DataFrame], taxonomy: Taxonomy) -> list[dict]:
    """Return a reliability diagram for each kind of question, with a line for each row of answers that has probabilities."""
    pictures = []
    for kind in kinds.KINDS:
        found = {row_name(row): reliability(table, kind, taxonomy) for row, table in answers.items()}
        found = {name: points for name, points in found.items() if points}
        if found:
            even = {"as often as stated": [(0.0, 0.0), (1.0, 1.0)]}
            pictures.append(lines(found | even, "probability that the model states", f"{kind.NAME}: how often it is right"))
    return pictures


def tables_by_question(found: dict[str, dict], taxonomy: Taxonomy) -> list[dict]:
    """Return tables of a figure by phrasing, and of right answers by the place of the right option, for each kind.

    found: `by` of understanding.json, by row.
    """
    tables = []
    for kind in kinds.KINDS:
        for way, what in (("phrasing", kind.CURVES[next(iter(kind.CURVES))]), ("place", "right, by the option's place")):
            rows = {row: each[way].get(kind.NAME, {}) for row, each in found.items()}
            names = dict.fromkeys(name for figures in rows.values() for name in figures)
            metrics = {name: Metric(name, "", "") for name in names}
            tables.append(figures_table(rows, metrics, f"{kind.NAME}: {what}"))
    return [table for table in tables if table]


def hard_images(
    files: RunFiles, answers: dict[str, pd.DataFrame], models: Sequence[str], data: Data, folder: Path | None
) -> list[dict]:
    """Return, for each emotion, the images that the first model answers wrong and finds the true emotion least likely for.

    Each has the answers of the first of the models and of the last. Nothing where there is only one, or the answers of one
    are not there. answers: by row.
    """
    first, last = models[0], models[-1]
    if first == last or not {first, last} <= answers.keys():
        return []
    tables = [answers[row][answers[row]["kind"] == multiple.NAME].set_index("image_id") for row in (first, last)]
    found = []
    for emotion in data.taxonomy.emotions:
        wrong = tables[0][(tables[0]["emotion"] == emotion) & (tables[0][multiple.COLUMN] != emotion)]
        asked = wrong[wrong.index.isin(tables[1].index)]
        for image_id in asked.sort_values(f"p_{emotion}", kind="stable").index[:HARD]:
            said = [_said(each.loc[image_id], emotion, name) for name, each in zip((first, last), tables, strict=True)]
            shown = _image_of_question(files, image_id, emotion, data.emoset, folder)
            found.append({"emotion": emotion, "image_id": image_id, "picture": shown, "answers": said})
    return found


def _said(answer: pd.Series, emotion: str, model: str) -> dict:
    right, likelihood = bool(answer[multiple.COLUMN] == emotion), answer[f"p_{emotion}"]
    return {"model": model, "text": str(answer["completion"]), "right": right, "likelihood": float(likelihood)}


def _image_of_question(files: RunFiles, image_id: str, emotion: str, emoset: Path, folder: Path | None) -> dict | None:
    """Return the image of a question: of the data set, or of the folder that was evaluated instead."""
    found = [folder / image_id] if folder else sorted((emoset / "image" / emotion).glob(f"{escape(image_id)}.*"))
    path = next(iter(found), None)
    image = files.image(path) if path and path.is_file() else None
    return picture(thumbnail(image, 224), f"image {image_id}, whose emotion is {emotion}") if image else None
