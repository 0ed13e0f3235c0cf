"""Answers by what they should not depend on, and by how sure they are: phrasing, place of the right option, probability."""

from types import ModuleType

import numpy as np
import pandas as pd

from config.taxonomy import Taxonomy
from evaluation.answers_by_emotion import true_answers
from runtime.figures import figure_of, of_right
from understanding import kinds
from understanding.statistics import is_measured

BINS = 8  # of equally many answers


def by_phrasing(answers: pd.DataFrame, taxonomy: Taxonomy, seed: int) -> dict[str, dict[str, dict]]:
    """Return a kind's first figure that training plots, for each of its phrasings, of read answers (read_answers).

    {"<kind>": {"<phrasing>": figure}}. A phrasing that was asked too seldom for the figure is left out.
    """
    found = {}
    for kind in kinds.KINDS:
        name, own = next(iter(kind.CURVES)), answers[answers["kind"] == kind.NAME]
        each = {kind.PHRASINGS[number]: kind.statistics(rows, taxonomy) for number, rows in own.groupby("phrasing")}
        figures = {text: figure_of(statistics[name], seed) for text, statistics in each.items() if name in statistics}
        found |= {kind.NAME: figures} if figures else {}
    return found


def by_place(answers: pd.DataFrame, taxonomy: Taxonomy) -> dict[str, dict[str, dict]]:
    """Return the share of right answers by the place of the right option in the prompt, from 1: {"<kind>": {"1": figure}}.

    Of kinds that list options.
    """
    found = {}
    for kind in kinds.KINDS:
        own = answers[(answers["kind"] == kind.NAME) & (answers["options"].map(len) > 0)]
        if not len(own):
            continue
        true = true_answers(kind, own, taxonomy)
        places = [list(options).index(each) + 1 for options, each in zip(own["options"], true, strict=True)]
        right = pd.Series(own[kind.COLUMN].to_numpy() == np.array(true)).groupby(places)
        found[kind.NAME] = {str(place): of_right(rows.to_numpy(dtype=bool), np.zeros(len(rows))) for place, rows in right}
    return found


def reliability(answers: pd.DataFrame, kind: ModuleType, taxonomy: Taxonomy) -> list[tuple]:
    """Return points of a reliability diagram: (mean stated probability, share that came true, low, high).

    Each is of an eighth of the kind's answers, from the least probable to the most (Niculescu-Mizil & Caruana 2005).
    [] where probabilities were not measured.
    """
    own = answers[answers["kind"] == kind.NAME]
    if not len(own) or not is_measured(own, kind.likely_columns(taxonomy)):
        return []
    probabilities, came_true = kind.stated(own, taxonomy)
    bins = np.array_split(probabilities.argsort(kind="stable"), min(BINS, len(own)))
    figures = [(probabilities[rows].mean(), of_right(came_true[rows], np.zeros(len(rows)))) for rows in bins]
    return [(float(stated), each["value"], each["low"], each["high"]) for stated, each in figures]
