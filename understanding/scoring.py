"""How good answers are: figures with their 95 % intervals, from kept answers alone, without the model."""

from collections.abc import Iterator

import pandas as pd

from config.taxonomy import Taxonomy
from config.understanding_settings import Answers
from runtime.figures import Metric, Statistic, figure_of, paired, share
from understanding import kinds
from understanding.answers import extract_answer
from understanding.kinds.multiple import choice_statistics as choice_statistics
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


def statistics(table: pd.DataFrame, taxonomy: Taxonomy) -> Iterator[tuple[pd.DataFrame, dict[str, Statistic]]]:
    """Yield parts of a table of read answers (read_answers), and the statistics of their rows.

    format_rate is the share of all answers that keep the format; the others are those of the kinds, each of its own rows.
    """
    yield table, {"format_rate": share(table["kept_format"])}
    for kind in kinds.KINDS:
        own = table[table["kind"] == kind.NAME]
        if len(own):
            yield own, kind.statistics(own, taxonomy)


def figures(table: pd.DataFrame, taxonomy: Taxonomy, seed: int = 0) -> dict[str, dict]:
    """Return every figure that read answers (read_answers) give, each {"value", "low", "high", "n"}."""
    return {
        name: figure_of(each, seed, own["image_id"].to_numpy())
        for own, found in statistics(table, taxonomy)
        for name, each in found.items()
    }


def differences(first: pd.DataFrame, second: pd.DataFrame, taxonomy: Taxonomy, seed: int = 0) -> dict[str, dict]:
    """Return every figure of read answers less that of others to the same questions, as runtime.figures.paired gives them.

    Images that one of them lacks are left out. Raises ValueError where the questions differ.
    """
    both = set(first["image_id"]) & set(second["image_id"])
    one, other = (table[table["image_id"].isin(both)].reset_index(drop=True) for table in (first, second))
    asked = ["kind", "image_id", "asked", "phrasing"]
    if not one[asked].equals(other[asked]):
        raise ValueError("the answers are to other questions")
    parts = zip(statistics(one, taxonomy), statistics(other, taxonomy), strict=True)
    return {
        name: each
        for (own, here), (_, there) in parts
        for name, each in paired(here, there, own["image_id"].to_numpy(), own["emotion"].to_numpy(), seed).items()
    }


def metrics(taxonomy: Taxonomy) -> dict[str, Metric]:
    """Return what the figures are called, of all kinds, which way is better, and what chance gives."""
    found = {name: metric for kind in kinds.KINDS for name, metric in kind.metrics(taxonomy).items()}
    return found | {"format_rate": Metric("Format", "↑", "answers that keep the format")}


def curves() -> dict[str, str]:
    """Return the figures of the val split that are plotted and logged while a model trains: {figure: label}."""
    return {name: label for kind in kinds.KINDS for name, label in kind.CURVES.items()} | {"format_rate": "format"}
