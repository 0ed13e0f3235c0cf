"""What the report shows of vision-language models, read from the run folder. What is not there is left out."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import pandas as pd

from config.data_settings import Data
from config.taxonomy import Taxonomy
from evaluation.answers_by_emotion import right_by_emotion
from evaluation.answers_by_question import reliability
from evaluation.metric_labels import marked, row_name
from evaluation.peers import Peer, peers_of, with_peers
from evaluation.plots import lines
from evaluation.report_cards import answer_cards, hard_cards
from evaluation.report_parts import part, section
from evaluation.report_tables import (
    confusion_tables,
    differences_table,
    facts_of,
    figures_table,
    heat_map,
)
from evaluation.run_files import RunFiles
from runtime.figures import Metric
from understanding import kinds, scoring
from understanding.kinds import multiple

FILE = "evaluation/understanding.json"
PAIRED = "A difference is between answers about the same images. Fixed: how many the last model alone has right."
TRUSTED = "Where probabilities can be trusted, lines lie on the even one: of answers stated at 0.8, 80 in 100 are right."
THOUGHT = "A model that reasons writes one thought, greedily. Its probabilities are those of the answers after this thought."
CHOSEN = "Up to four of each, drawn at random by the seed of the run."
HARD = (
    "The images of each emotion that the first model answers wrong and finds the true emotion least likely for. Its mistakes"
    " select them, so they flatter the last model."
)


def understanding_section(files: RunFiles, found: dict, data: Data, folder: Path | None, seed: int) -> dict | None:
    """Return what the page shows of the models.

    found: understanding.json. folder: evaluate.folder, whose images the questions are about; None: the data set's.
    """
    about, taxonomy = found["about"], data.taxonomy
    rows, models = marked(found["figures"], about.get("incomplete", {})), list(about.get("models", {}))
    reasons = any(row.endswith("_alone") for row in found["figures"])  # rows that stand beside those with a thought
    metrics, names = shown_metrics(found["figures"], taxonomy), list(found["figures"]) or _answered(files)
    answers = {
        row: files.read(f"evaluation/answers-{row}.parquet", lambda file: answers_of(file, taxonomy), None) for row in names
    }
    answers = {row: table for row, table in answers.items() if table is not None}

    def figures(*build: Callable[[], dict | None]) -> list:
        return files.read(FILE, lambda _: [shown for each in build if (shown := each())], [])

    def cards(build: Callable[..., list], *last) -> list:
        path = f"evaluation/answers-{next(iter(models), '')}.parquet"
        return files.read(path, lambda _: build(files, answers, models, data, folder, *last), [])

    peers = {name: _as_shown(peer, metrics) for name, peer in peers_of("understanding", taxonomy).items()}
    gains = figures(lambda: differences_table(found.get("paired", {}), metrics, "Paired differences"))
    by_emotion = figures(
        *(lambda kind=kind: accuracy_by_emotion(rows, kind, taxonomy) for kind in kinds.KINDS if kind is not multiple)
    )
    parts = [
        part("What the figures are about", ("facts", facts_of(files, about, "images")), note=THOUGHT if reasons else ""),
        part("What the last model gains on the same images", ("tables", gains), note=PAIRED),
        part(
            "All figures of answers, with n and 95 % interval",
            ("tables", figures(lambda: with_peers(figures_table(rows, metrics, "Understanding"), peers, metrics))),
        ),
        part("Other questions, emotion by emotion", *[("heat_map", each) for each in by_emotion]),
        part(
            "How far its probabilities can be trusted",
            ("plots", files.read(FILE, lambda _: reliability_pictures(answers, taxonomy), [])),
            note=TRUSTED,
        ),
        part(
            "By phrasing of the question, and by place of the right option",
            ("tables", files.read(FILE, lambda _: tables_by_question(found.get("by", {}), taxonomy), [])),
            note="A model should give the same answer to every phrasing and every order of the options.",
        ),
        part("What the models say of images of each emotion", ("confusions", _confusions(files, answers, names, taxonomy))),
        part("Answers: right, wrong, fixed, broken", ("cards", cards(answer_cards, seed)), note=CHOSEN),
        part("Hard images, before and after", ("cards", cards(hard_cards)), note=HARD),
    ]
    return section("understanding", "Understanding", parts, about.get("warnings"))


def shown_metrics(rows: Mapping[str, dict], taxonomy: Taxonomy) -> dict[str, Metric]:
    """Return the metrics of answers; one of generated words is left out where forced choice has the same in every row."""
    metrics = scoring.metrics(taxonomy)
    for name in [name for name in metrics if name.startswith(f"{multiple.NAME}_")]:
        forced = _forced(name)
        said = {row: figures[name] for row, figures in rows.items() if name in figures}
        if forced in metrics and said and all(rows[row].get(forced) == each for row, each in said.items()):
            own = metrics.pop(name)
            label = metrics[forced].label.replace("Forced choice", f"{own.label.partition(',')[0]} and forced choice")
            metrics[forced] = metrics[forced]._replace(label=label)
    return metrics


def _forced(name: str) -> str:
    """Return the figure of forced choice that one of generated words has beside it."""
    return name.replace(multiple.NAME, f"{multiple.NAME}_forced", 1)


def _as_shown(peer: Peer, metrics: Mapping[str, Metric]) -> Peer:
    """Return a peer whose figures of generated words stand where they are shown together with those of forced choice."""
    names = {name: name if name in metrics else _forced(name) for name in peer.figures}
    n = {names[name]: each for name, each in peer.n.items()} if isinstance(peer.n, dict) else peer.n
    return peer.model_copy(update={"figures": {names[name]: each for name, each in peer.figures.items()}, "n": n})


def _confusions(files: RunFiles, answers: dict, names: list[str], taxonomy: Taxonomy) -> list[dict]:
    """Return the confusion matrices of each kind of question and row."""
    return [
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
    ]


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


def headline_metrics(rows: Mapping[str, dict], taxonomy: Taxonomy) -> dict[str, Metric]:
    """Return the metrics that the verdict tells: what a kind's training plots, balanced where it can be.

    rows: figures of answers, of which shown_metrics leaves out repetitions.
    """
    metrics, found = shown_metrics(rows, taxonomy), {}
    for plotted in (name for kind in kinds.KINDS for name in kind.CURVES):
        balanced = plotted.replace("_accuracy", "_balanced_accuracy")
        name = balanced if balanced in scoring.metrics(taxonomy) else plotted
        found |= {name: metrics[name]} if name in metrics else {}
    return found


def accuracy_by_emotion(rows: Mapping[str, dict], kind: ModuleType, taxonomy: Taxonomy) -> dict | None:
    """Return a heat map of the right answers to a kind of question by emotion and row; None where there are no figures."""
    label = next(iter(kind.metrics(taxonomy).values())).label.removesuffix(", balanced")
    found = of_each_emotion(rows, kind, taxonomy)
    return heat_map({label: found}, taxonomy.emotions, f"{label}: right answers about each emotion")


def of_each_emotion(rows: Mapping[str, dict], kind: ModuleType, taxonomy: Taxonomy) -> dict[str, dict]:
    """Return the shares of right answers to a kind of question by row and emotion, those that there are."""
    return {
        row: {each: figures[f"{kind.NAME}_{each}"] for each in taxonomy.emotions if f"{kind.NAME}_{each}" in figures}
        for row, figures in rows.items()
    }


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
