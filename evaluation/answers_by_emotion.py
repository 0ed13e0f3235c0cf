"""Answers by the true emotion of the image, for every kind of question that asks about the image alone.

Such a question names no emotion, so the emotion of the image tells the right answer: right ones are counted for each
emotion, and so are the others.
"""

from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pandas as pd

from config.taxonomy import Taxonomy
from runtime.figures import of_share
from understanding import kinds
from understanding.question import Question


def accuracy_by_emotion(answers: pd.DataFrame, taxonomy: Taxonomy, seed: int) -> dict[str, dict]:
    """Return the share of right answers (scoring.read_answers) for each emotion that there is, `<kind>_<emotion>`."""
    found = {}
    for kind, own in _about_images_alone(answers):
        shown, true = own["emotion"].to_numpy(), true_answers(kind, taxonomy)
        right = np.array([said == true[emotion] for said, emotion in zip(own[kind.COLUMN], shown, strict=True)])
        for emotion in [emotion for emotion in taxonomy.emotions if (shown == emotion).any()]:
            found[f"{kind.NAME}_{emotion}"] = of_share(right[shown == emotion], seed)
    return found


def confusions(answers: pd.DataFrame, taxonomy: Taxonomy) -> dict[str, pd.DataFrame]:
    """Return by kind how often images of each emotion (rows) got each answer (columns; "none": none of them)."""
    found = {}
    for kind, own in _about_images_alone(answers):
        columns = [*dict.fromkeys(true_answers(kind, taxonomy).values()), "none"]
        counts = pd.crosstab(own["emotion"], own[kind.COLUMN].fillna("none"))
        found[kind.NAME] = counts.reindex(index=list(taxonomy.emotions), columns=columns, fill_value=0)
    return found


def true_answers(kind: ModuleType, taxonomy: Taxonomy) -> dict[str, object]:
    """Return the right answer of a kind that asks about the image alone, as the kind reads it, by the image's emotion."""
    return {
        emotion: kind.truth(Question(kind.NAME, "", emotion, None, (), 0, ""), taxonomy) for emotion in taxonomy.emotions
    }


def _about_images_alone(answers: pd.DataFrame) -> Iterator[tuple[ModuleType, pd.DataFrame]]:
    """Yield the kinds whose questions name no emotion, with their answers."""
    for kind in kinds.KINDS:
        own = answers[answers["kind"] == kind.NAME]
        if len(own) and own["asked"].isna().all():
            yield kind, own
