"""Answers by the true emotion of the image, for every kind of question that asks about the image alone.

Such a question names no emotion, so the emotion of the image tells the right answer: right ones are counted for each
emotion, and so are the others.
"""

from collections.abc import Container, Iterator
from dataclasses import fields
from types import ModuleType

import numpy as np
import pandas as pd

from config.taxonomy import Taxonomy
from runtime.figures import of_share
from understanding import kinds
from understanding.question import Question


def accuracy_by_emotion(answers: pd.DataFrame, taxonomy: Taxonomy, seed: int, known: Container[str] = ()) -> dict[str, dict]:
    """Return the share of right answers (scoring.read_answers) for each emotion that there is, `<kind>_<emotion>`.

    known: the names that need no figure, because a kind has given it.
    """
    found = {}
    for kind, own in _about_images_alone(answers):
        shown, true = own["emotion"].to_numpy(), true_answers(kind, own, taxonomy)
        right = np.array([said == each for said, each in zip(own[kind.COLUMN], true, strict=True)])
        for emotion in taxonomy.emotions:
            name, here = f"{kind.NAME}_{emotion}", shown == emotion
            if here.any() and name not in known:
                found[name] = of_share(right[here], seed)
    return found


def confusions(answers: pd.DataFrame, taxonomy: Taxonomy) -> dict[str, pd.DataFrame]:
    """Return by kind how often images of each emotion (rows) got each answer (columns; "none": nothing that can be read).

    The columns are the answers that were right, in the order of the emotions, then others that were given.
    """
    found = {}
    for kind, own in _about_images_alone(answers):
        order = own["emotion"].map(taxonomy.emotions.index).to_numpy().argsort(kind="stable")
        true = true_answers(kind, own, taxonomy)
        said = own[kind.COLUMN].fillna("none")
        columns = [*dict.fromkeys([*(true[place] for place in order), *said[said != "none"]]), "none"]
        counts = pd.crosstab(own["emotion"], said)
        found[kind.NAME] = counts.reindex(index=list(taxonomy.emotions), columns=columns, fill_value=0)
    return found


def true_answers(kind: ModuleType, answers: pd.DataFrame, taxonomy: Taxonomy) -> list:
    """Return the right answer to the question of each row, as the kind reads it."""
    names = [field.name for field in fields(Question) if field.name != "prompt"]
    rows = answers[names].to_dict("records")
    return [kind.truth(Question(**row | {"options": tuple(row["options"]), "prompt": ""}), taxonomy) for row in rows]


def right_by_emotion(kind: ModuleType, answers: pd.DataFrame, taxonomy: Taxonomy) -> dict[str, object]:
    """Return the right answer to a kind's questions by the image's emotion, where it is the same for all of them."""
    own = answers[answers["kind"] == kind.NAME]
    found: dict[str, list] = {}
    for emotion, each in zip(own["emotion"], true_answers(kind, own, taxonomy), strict=True):
        found.setdefault(emotion, []).append(each)
    return {emotion: true[0] for emotion, true in found.items() if len(set(true)) == 1}


def _about_images_alone(answers: pd.DataFrame) -> Iterator[tuple[ModuleType, pd.DataFrame]]:
    """Yield the kinds whose questions name no emotion, with their answers."""
    for kind in kinds.KINDS:
        own = answers[answers["kind"] == kind.NAME]
        if len(own) and own["asked"].isna().all():
            yield kind, own
