"""Misleading questions: to what extent does this image belong to awe? They are answered by a score from 0 to 100.

P(the asked emotion is true | asked emotion, phrasing) is 1/2 exactly. A score s, of an emotion that is (t = 1) or is not
(t = 0) the image's, earns

    quadratic   1 - 2 (s / 100 - t)^2       a proper score (Brier 1950), from -1 to 1; 50 earns 1/2
    reward      s / 100 where t = 1, else 1 - s / 100, as published, from 0 to 1; 50 earns 1/2

and an answer that is no score the worst that a score can earn, so that none is never better than some.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from random import Random

import numpy as np
import pandas as pd
from torch import Tensor

from config.taxonomy import Taxonomy
from config.understanding_settings import Answers, Questions, Rewards
from runtime.figures import Metric, Statistic, share
from understanding.answers import as_typed, boxed
from understanding.cases import half_true
from understanding.proper_scores import of_number
from understanding.question import Question
from understanding.statistics import auroc, calibration_error, is_measured

NAME = "misleading"
SHARE = 1.0
WEIGHT = 1.0
PHRASINGS = (
    "To what extent, from 0 to 100{steps}, do you think this image belongs to {asked}? Answer with a number.",
    "How strongly does this image evoke {asked}? Answer with a number from 0 (not at all) to 100 (certainly){steps}.",
    "Rate from 0 to 100{steps} how well {asked} describes this image. Answer with the number.",
    "How sure are you, from 0 to 100{steps}, that the emotion of this image is {asked}? Answer with a number.",
)
COLUMN = "said_score"
CURVES = {"misleading_auroc": "misleading AUROC", "misleading_expected_auroc": "expected score, AUROC"}
ALWAYS = ("0", "50", "100")
SURE = 95  # the most that a score of a true emotion is in supervised training
TRIED = range(0, 101, 5)  # scores that a blind policy chooses from
QUOTES, ENDS = "\"'$\\()[]{}~≈", ".,;!?\"'$\\)]}"  # what may stand around a number
APART = re.compile(r"(?<!\d)[*_`]|[*_`](?!\d)")  # what may stand between it and other words
PAUSE = re.compile(r"[-=]+>|→|(?<![\d<>])[:=]|(?<![<>])[:=](?!\d)|(?<=\w)\s+-\s")
SCALE = r"(?:between|from)?\s*\b0\s*(?:-|to|and)\s*100\b"
OF_HUNDRED = re.compile(
    r"(?<=\d)\s*(?:points?\s+)?\(?(?:%|percent\b|分|/\s*100(?:\.0+)?\b|(?:out\s+)?of\s+100\b)(?!\.\d)"
    rf"|(?:\bon\s+a\s+scale\s+(?:of\s+)?)?{SCALE}(?!\.\d)|\bout\s+of\s+100\b"
)
# No one score: a bound before the number, a denial just before it, or either of them after it.
BOUND = re.compile(
    r"\b(?:more|less|over|under|above|below|least|most|between|up|min|max|minimum|maximum)\b"
    r"|(?:\b(?:greater|higher|lower|fewer)\s+than|\b(?:beyond|exceed\w*|from)|[-+<>≤≥]=?)\s*$"
)
DENIED = re.compile(r"\b(?:not|neither|cannot)\b[^,.;(]*$|n't\b[^,.;(]*$")
BOUND_AFTER = re.compile(
    r"\W*(?:points?\s+)?(?:(?:or|and|if\s+not)\s+(?:more|less|greater|higher|lower|above|below|upwards?|up)\b(?!\s+likely)"
    r"|(?:max|min)(?:imum)?\b|upwards?\b|plus\b|at\s+(?:most|least)\b(?!\s+in))"
    r"|\s*(?!not\s+at\s+all)(?:(?:sure|certain|confident|likely|that|it|this|image|is|does)\s*)*(?:'s\s+|\b)(?:not|no)\b|n't\b"
    r"|.*\b(?:sure|certain|confident|likely)\s+(?:that\s+)?(?:it|this)(?:\s+image)?\s+(?:is|does)(?:n't|\s+not)\b",
    re.DOTALL,
)
NUMBER = re.compile(r"(?:[0-9]{1,3}(?:\.[0-9]{1,6})?|\.[0-9]{1,6})")


def cases(taxonomy: Taxonomy) -> int:
    """Return 2 K: each asked emotion, where it is true and where not."""
    return 2 * len(taxonomy)


def draw(
    rounds: int, taxonomy: Taxonomy, questions: Questions, confusability: np.ndarray | None, rng: Random
) -> Iterator[tuple[str, str]]:
    """Yield (asked, true) emotions."""
    return half_true(rounds, taxonomy.emotions, questions, confusability, rng)


def options(taxonomy: Taxonomy, rng: Random) -> tuple[str, ...]:
    """Return no options: the question names one emotion."""
    return ()


def text(phrasing: int, asked: str, options: tuple[str, ...], answers: Answers) -> str:
    """Return the question, which names the asked emotion and, above 1, the step of the scores."""
    steps = f" in steps of {answers.score_step}" if answers.score_step > 1 else ""
    return PHRASINGS[phrasing].format(asked=asked, steps=steps)


def truth(question: Question, taxonomy: Taxonomy) -> float:
    """Return 100 where the asked emotion is that of the image, else 0."""
    return 100.0 * question.is_true


def allowed(question: Question, taxonomy: Taxonomy, answers: Answers) -> tuple[str, ...]:
    """Return the scores from 0 to 100 in steps of `answers.score_step`."""
    return tuple(map(str, range(0, 101, answers.score_step)))


def right_answer(question: Question, taxonomy: Taxonomy, answers: Answers) -> str:
    """Return an allowed score that is sure, but not quite, if one is above 50: it earns nearly the most."""
    sure = SURE - SURE % answers.score_step
    sure = sure if sure > 50 else 100
    return str(sure if question.is_true else 100 - sure)


def read(answer: str, options: tuple[str, ...], taxonomy: Taxonomy, answers: Answers) -> float | None:
    """Return a score from 0 to 100, as "70", "70 %", "70/100 (70 %)", "About 70 out of 100." and, for 0.7, ".7" give it.

    None for anything else: "-5", "1e3", "101", "70 or 80", "at least 70".
    """
    answer = as_typed(answer)
    inside = boxed(answer)
    text = APART.sub(" ", (answer if inside is None else inside).casefold())
    text = PAUSE.sub(" , ", OF_HUNDRED.sub(" ", text))
    words = [word for word in text.split() if any(letter.isdigit() for letter in word)]
    said = {word.strip(QUOTES).rstrip(ENDS) for word in words}  # "70/100 (70 %)" says one number twice
    number = NUMBER.fullmatch(said.pop()) if len(said) == 1 else None
    if not number:
        return None
    before, after = text[: text.index(words[0])], text[text.index(words[0]) :]
    opened, _, after = after.partition(number[0])
    before += opened
    if BOUND.search(before) or DENIED.search(before) or BOUND_AFTER.match(after):
        return None
    return float(number[0]) if float(number[0]) <= 100 else None


def reward(
    question: Question, said: float | None, taxonomy: Taxonomy, rewards: Rewards, confusability: np.ndarray | None
) -> float:
    """Return what a score earns by `rewards.scoring`, quadratic or reward."""
    is_quadratic = rewards.scoring == "quadratic"
    if said is None:
        return -1.0 if is_quadratic else 0.0
    error = abs(said / 100 - question.is_true)
    return 1 - 2 * error**2 if is_quadratic else 1 - error


def score(question: Question, log_q: Tensor, scoring: str, taxonomy: Taxonomy, answers: Answers) -> Tensor:
    """Return the score (proper_scores.of_number) of the log-probabilities (A,) of the allowed answers."""
    scores = log_q.new_tensor([float(answer) for answer in allowed(question, taxonomy, answers)])
    return of_number(log_q.exp(), scores, question.is_true, scoring)


def likely_columns(taxonomy: Taxonomy) -> tuple[str, ...]:
    """Return what `likely` returns, by name."""
    return ("expected_score",)


def likely(question: Question, probabilities: Sequence[float], taxonomy: Taxonomy, answers: Answers) -> tuple[float, ...]:
    """Return (expected_score,): the mean of the allowed scores, by their probabilities (A,)."""
    allowed_scores = map(float, allowed(question, taxonomy, answers))
    return (sum(p * score for p, score in zip(probabilities, allowed_scores, strict=True)),)


def stated(table: pd.DataFrame, taxonomy: Taxonomy) -> tuple[np.ndarray, np.ndarray]:
    """Return the expected score (n,) as a share of 100, and whether the image is of the emotion that is asked about (n,)."""
    return table["expected_score"].to_numpy(float) / 100, (table["asked"] == table["emotion"]).to_numpy()


def chance(taxonomy: Taxonomy, rewards: Rewards, confusability: np.ndarray | None) -> float:
    """Return what always 50 earns, by either scoring."""
    return 1 / 2


def blind_answers(taxonomy: Taxonomy, answers: Answers) -> dict[str, Callable[[Question], str]]:
    """Return the policies that say one score."""
    return {str(score): lambda question, score=score: str(score) for score in TRIED}


def logged(questions: list[Question], rewards: list[float], taxonomy: Taxonomy) -> dict[str, float]:
    """Return nothing beside the mean reward."""
    return {}


def statistics(table: pd.DataFrame, taxonomy: Taxonomy) -> dict[str, Statistic]:
    """Return the statistics of scores.

    misleading_auroc             chance that a true emotion's score is above a wrong one's; no score counts as 50
    misleading_mean_true, misleading_mean_wrong   mean scores, from 0 to 100, of those that gave one
    misleading_ece               expected calibration error of score / 100, in ten bins (Naeini et al. 2015)
    misleading_expected_auroc, misleading_expected_ece   the same of expected scores, where likelihoods were measured
    """
    is_true = (table["asked"] == table["emotion"]).to_numpy()
    scores = table[COLUMN].astype(float).to_numpy()
    given, filled, one_group = ~np.isnan(scores), np.nan_to_num(scores, nan=50.0), np.zeros(len(table))
    found = {}
    if len(set(is_true)) == 2:
        found["misleading_auroc"] = Statistic(lambda rows: auroc(is_true[rows], filled[rows]), is_true)
    for name, side in (("true", is_true), ("wrong", ~is_true)):
        if (given & side).any():
            found[f"misleading_mean_{name}"] = share(scores, where=given & side)
    if given.any():

        def error_of(rows: np.ndarray) -> float:
            own = rows[given[rows]]
            return calibration_error(scores[own] / 100, is_true[own])

        found["misleading_ece"] = Statistic(error_of, one_group, counts=given, is_biased=True)
    if is_measured(table, likely_columns(taxonomy)):
        means, _ = stated(table, taxonomy)
        if len(set(is_true)) == 2:
            found["misleading_expected_auroc"] = Statistic(lambda rows: auroc(is_true[rows], means[rows]), is_true)
        expected = Statistic(lambda rows: calibration_error(means[rows], is_true[rows]), one_group, is_biased=True)
        found["misleading_expected_ece"] = expected
    return found


def metrics(taxonomy: Taxonomy) -> dict[str, Metric]:
    """Return what the figures are called, and what chance gives."""
    return {
        "misleading_auroc": Metric(
            "Misleading, AUROC", "↑", "how often a true emotion gets a higher score than a wrong one", 1 / 2
        ),
        "misleading_mean_true": Metric("Score of true", "↑", "mean score, of 100, of the true emotion"),
        "misleading_mean_wrong": Metric("Score of wrong", "↓", "mean score, of 100, of a wrong emotion"),
        "misleading_ece": Metric("Misleading, ECE", "↓", "mean gap between a score / 100 and how often it comes true"),
        "misleading_expected_auroc": Metric(
            "Expected score, AUROC",
            "↑",
            "how often a true emotion gets a higher mean score, by its probabilities, than a wrong one",
            1 / 2,
        ),
        "misleading_expected_ece": Metric(
            "Expected score, ECE", "↓", "mean gap between a mean score / 100 and how often it comes true"
        ),
    }
