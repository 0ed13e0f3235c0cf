"""Binary questions: does this image belong to awe? They are answered by yes or no.

P(yes is right | asked emotion, phrasing) is 1/2 exactly.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from random import Random

import numpy as np
import pandas as pd
from torch import Tensor

from config.taxonomy import Taxonomy
from config.understanding_settings import Answers, Questions, Rewards
from runtime.figures import Metric, Statistic, balanced_share, share
from understanding.answers import CERTAIN, bare
from understanding.cases import half_true
from understanding.proper_scores import of_choice
from understanding.question import Question
from understanding.statistics import auroc, is_measured

NAME = "binary"
SHARE = 1.0
WEIGHT = 1.0
PHRASINGS = (
    "Does this image belong to {asked} or not? Answer yes or no.",
    "Is {asked} the emotion that this image evokes? Answer yes or no.",
    "Would most viewers feel {asked} when they see this image? Answer yes or no.",
    "Someone says that this image shows {asked}. Is that right? Answer yes or no.",
)
COLUMN = "said_yes"
CURVES = {"binary_balanced_accuracy": "binary", "binary_auroc": "binary AUROC"}
WORDS = {"yes": True, "no": False}
LEAD = re.compile(
    r"(?:(?:(?:very|most)\s+)?(?:definitely|certainly|absolutely|clearly|surely|of course|likely|probably)\W+)?"
)
# "No idea" is no no.
SAID = re.compile(
    r"(?<![\w-])(?:yes(?![\w-])|no(?=\s*(?:[^\w\s-]|-\s|$)"
    r"|\s+(?:it|this|that|the|they|i|most|viewers|because|since|as|not|\d+)\b))"
)
# What follows a yes may take it back, up to the first comma or "and", and so it says nothing: "Yes, I don't think so".
CLAUSE = re.compile(r"yes[^\w.;(]*(.*?)(?:[.;,(!]|\b(?:and|but|because|since|as|although|though|which)\b|$)", re.DOTALL)
TAKEN_BACK = re.compile(r"\b(?:not|no|never|cannot|hardly|wrong|incorrect|false)\b|n't\b")
ALWAYS = tuple(WORDS)


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
    """Return the question, which names the asked emotion."""
    return PHRASINGS[phrasing].format(asked=asked)


def truth(question: Question, taxonomy: Taxonomy) -> bool:
    """Return whether the asked emotion is that of the image."""
    return question.is_true


def allowed(question: Question, taxonomy: Taxonomy, answers: Answers) -> tuple[str, ...]:
    """Return yes and no."""
    return tuple(WORDS)


def right_answer(question: Question, taxonomy: Taxonomy, answers: Answers) -> str:
    """Return the true one of yes and no."""
    return "yes" if truth(question, taxonomy) else "no"


def read(answer: str, options: tuple[str, ...], taxonomy: Taxonomy, answers: Answers) -> bool | None:
    """Return True for yes, False for no, as "Yes it does." gives it, None for anything else: "yes and no", "no idea"."""
    text = CERTAIN.sub(" ", bare(answer))
    text = text[LEAD.match(text).end() :]
    first, said = SAID.match(text), set(SAID.findall(text))
    if not first or len(said) > 1:
        return None
    clause = CLAUSE.match(text)
    return None if clause and TAKEN_BACK.search(clause[1]) else WORDS[first[0]]


def reward(
    question: Question, said: bool | None, taxonomy: Taxonomy, rewards: Rewards, confusability: np.ndarray | None
) -> float:
    """Return 1 for the right one of yes and no, else 0."""
    return float(said is not None and said == truth(question, taxonomy))


def score(question: Question, log_q: Tensor, scoring: str, taxonomy: Taxonomy, answers: Answers) -> Tensor:
    """Return the score (proper_scores.of_choice) of the log-probabilities (A,) of the allowed answers."""
    right = allowed(question, taxonomy, answers).index(right_answer(question, taxonomy, answers))
    return of_choice(log_q, right, scoring)


def likely_columns(taxonomy: Taxonomy) -> tuple[str, ...]:
    """Return what `likely` returns, by name."""
    return ("p_yes",)


def likely(question: Question, probabilities: Sequence[float], taxonomy: Taxonomy, answers: Answers) -> tuple[float, ...]:
    """Return (p_yes,) from the probabilities (A,) of the allowed answers."""
    return (probabilities[allowed(question, taxonomy, answers).index("yes")],)


def stated(table: pd.DataFrame, taxonomy: Taxonomy) -> tuple[np.ndarray, np.ndarray]:
    """Return p(yes) (n,) and whether yes is right (n,)."""
    return table["p_yes"].to_numpy(float), (table["asked"] == table["emotion"]).to_numpy()


def chance(taxonomy: Taxonomy, rewards: Rewards, confusability: np.ndarray | None) -> float:
    """Return what a coin earns."""
    return 1 / 2


def blind_answers(taxonomy: Taxonomy, answers: Answers) -> dict[str, Callable[[Question], str]]:
    """Return the policies that say yes and no."""
    return {word: lambda question, word=word: word for word in WORDS}


def logged(questions: list[Question], rewards: list[float], taxonomy: Taxonomy) -> dict[str, float]:
    """Return nothing: the mean reward is the accuracy."""
    return {}


def statistics(table: pd.DataFrame, taxonomy: Taxonomy) -> dict[str, Statistic]:
    """Return the statistics of binary answers.

    binary_balanced_accuracy     mean of the shares answered right where yes is right and where no is; no answer is wrong
    yes_rate                     share of yes among all answers
    binary_auroc                 chance that yes is likelier where it is right than where it is wrong, where measured
    binary_brier                 mean squared distance of p(yes) from 1 where yes is right and from 0 where it is not
    """
    is_true = (table["asked"] == table["emotion"]).to_numpy()
    found = {"yes_rate": share([said is True for said in table[COLUMN]], is_rate=True)}
    if len(set(is_true)) == 2:
        right = (table[COLUMN] == pd.Series(is_true, table.index)).to_numpy()
        found["binary_balanced_accuracy"] = balanced_share(right, is_true)
        if is_measured(table, likely_columns(taxonomy)):
            p_yes = stated(table, taxonomy)[0]
            found["binary_auroc"] = Statistic(lambda rows: auroc(is_true[rows], p_yes[rows]), is_true)
            found["binary_brier"] = share((p_yes - is_true) ** 2)
    return found


def metrics(taxonomy: Taxonomy) -> dict[str, Metric]:
    """Return what the figures are called, and what chance gives."""
    return {
        "binary_balanced_accuracy": Metric(
            "Binary, balanced", "↑", "share of right answers, where yes and no are right equally often", 1 / 2
        ),
        "binary_auroc": Metric(
            "Binary, AUROC", "↑", "how often yes is likelier for an emotion that is true than for one that is not", 1 / 2
        ),
        "binary_brier": Metric("Binary, Brier", "↓", "mean squared error of p(yes); always one half earns this", 1 / 4),
        "yes_rate": Metric("Says yes", "", "share of yes among binary answers; half of them are right", 1 / 2),
    }
