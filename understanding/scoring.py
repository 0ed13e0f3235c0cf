"""How good answers are: figures with their 95 % intervals, from kept answers alone, without the model."""

import pandas as pd

from config.taxonomy import Taxonomy
from config.understanding_settings import Answers
from runtime.figures import Metric, of_share
from understanding import kinds
from understanding.answers import extract_answer
from understanding.kinds.multiple import choice_figures as choice_figures
from understanding.kinds.multiple import likelihood_columns as likelihood_columns


def read_answers(table: pd.DataFrame, taxonomy: Taxonomy, answers: Answers) -> pd.DataFrame:
    """Return the answers (answer_all) with what they say: kept_format, and a column for each kind of question.

    A kind's column, such as said_emotion, is None for questions of other kinds and where an answer says nothing.
    """
    texts = [extract_answer(completion, answers.reasoning) for completion in table["completion"]]
    rows = list(zip(table["kind"], table["options"], texts, strict=True))
    said = {
        kind.COLUMN: pd.Series(
            [
                kind.read(text, tuple(options), taxonomy, answers) if text is not None and name == kind.NAME else None
                for name, options, text in rows
            ],
            table.index,
            dtype=object,
        )
        for kind in kinds.KINDS
    }
    return table.assign(kept_format=[text is not None for text in texts], **said)


def figures(table: pd.DataFrame, taxonomy: Taxonomy, seed: int = 0) -> dict[str, dict]:
    """Return every figure that read answers (read_answers) give, each {"value", "low", "high", "n"}.

    format_rate is the share of all answers that keep the format; the other figures are those of the kinds.
    """
    found: dict[str, dict] = {"format_rate": of_share(table["kept_format"], seed)}
    for kind in kinds.KINDS:
        own = table[table["kind"] == kind.NAME]
        if len(own):
            found |= kind.figures(own, taxonomy, seed)
    return found


def metrics(taxonomy: Taxonomy) -> dict[str, Metric]:
    """Return what the figures are called, of all kinds, which way is better, and what chance gives."""
    found = {name: metric for kind in kinds.KINDS for name, metric in kind.metrics(taxonomy).items()}
    return found | {"format_rate": Metric("Format", "↑", "answers that keep the format")}


def curves() -> dict[str, str]:
    """Return the figures of the val split that are plotted and logged while a model trains: {figure: label}."""
    return {name: label for kind in kinds.KINDS for name, label in kind.CURVES.items()} | {"format_rate": "format"}
