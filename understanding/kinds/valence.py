"""Valence questions: is the feeling that this image evokes positive or negative? They are answered by one of these words.

P(positive | phrasing) is 1/2 exactly, however many emotions either side has, and two of the four phrasings name either
word first. Which emotions are positive, the taxonomy says.
"""

from collections.abc import Callable, Iterator, Sequence
from random import Random

import numpy as np
import pandas as pd
from torch import Tensor

from config.taxonomy import SIDES, Taxonomy
from config.understanding_settings import Answers, Questions, Rewards
from runtime.figures import Metric, Statistic, balanced_share, share
from understanding.answers import the_one
from understanding.proper_scores import of_choice
from understanding.question import Question
from understanding.statistics import auroc, is_measured

NAME = "valence"
SHARE = 0.0
WEIGHT = 1.0
PHRASINGS = (
    "Is the feeling that this image evokes positive or negative? Answer positive or negative.",
    "Is the emotion of this image negative or positive? Answer negative or positive.",
    "Would most viewers feel something positive or something negative when they see this image? Answer with that word.",
    "Does this image make its viewers feel negative or positive? Answer with one of the two words.",
)
COLUMN = "said_valence"
CURVES = {"valence_balanced_accuracy": "valence", "valence_auroc": "valence AUROC"}
ALWAYS = SIDES


def cases(taxonomy: Taxonomy) -> int:
    """Return twice the number of emotions on the larger side: each of these emotions, and as many of the other side."""
    return 2 * max(map(len, taxonomy.sides.values()))


def draw(
    rounds: int, taxonomy: Taxonomy, questions: Questions, confusability: np.ndarray | None, rng: Random
) -> Iterator[tuple[None, str]]:
    """Yield (None, true emotion): as many of either side, spread evenly over the emotions of a side."""
    each = rounds * cases(taxonomy) // 2
    for emotions in taxonomy.sides.values():
        whole, rest = divmod(each, len(emotions))
        for emotion in [*emotions * whole, *rng.sample(emotions, rest)]:
            yield None, emotion


def options(taxonomy: Taxonomy, rng: Random) -> tuple[str, ...]:
    """Return no options: the phrasings themselves name both words."""
    return ()


def text(phrasing: int, asked: None, options: tuple[str, ...], answers: Answers) -> str:
    """Return the question."""
    return PHRASINGS[phrasing]


def truth(question: Question, taxonomy: Taxonomy) -> str:
    """Return the side of the true emotion, positive or negative."""
    return taxonomy.side_of(question.emotion)


def allowed(question: Question, taxonomy: Taxonomy, answers: Answers) -> tuple[str, ...]:
    """Return positive and negative."""
    return SIDES


def right_answer(question: Question, taxonomy: Taxonomy, answers: Answers) -> str:
    """Return the true one of positive and negative."""
    return truth(question, taxonomy)


def read(answer: str, options: tuple[str, ...], taxonomy: Taxonomy, answers: Answers) -> str | None:
    """Return positive or negative, None for anything else, both words among them."""
    return the_one(answer, SIDES)


def reward(
    question: Question, said: str | None, taxonomy: Taxonomy, rewards: Rewards, confusability: np.ndarray | None
) -> float:
    """Return 1 for the right one of positive and negative, else 0."""
    return float(said == truth(question, taxonomy))


def score(question: Question, log_q: Tensor, scoring: str, taxonomy: Taxonomy, answers: Answers) -> Tensor:
    """Return the score (proper_scores.of_choice) of the log-probabilities (A,) of the allowed answers."""
    right = allowed(question, taxonomy, answers).index(right_answer(question, taxonomy, answers))
    return of_choice(log_q, right, scoring)


def likely_columns(taxonomy: Taxonomy) -> tuple[str, ...]:
    """Return what `likely` returns, by name."""
    return ("p_positive",)


def likely(question: Question, probabilities: Sequence[float], taxonomy: Taxonomy, answers: Answers) -> tuple[float, ...]:
    """Return (p_positive,) from the probabilities (A,) of the allowed answers."""
    return (probabilities[allowed(question, taxonomy, answers).index("positive")],)


def stated(table: pd.DataFrame, taxonomy: Taxonomy) -> tuple[np.ndarray, np.ndarray]:
    """Return p(positive) (n,) and whether the image is positive (n,)."""
    return table["p_positive"].to_numpy(float), (table["emotion"].map(taxonomy.side_of) == "positive").to_numpy()


def chance(taxonomy: Taxonomy, rewards: Rewards, confusability: np.ndarray | None) -> float:
    """Return what a coin earns."""
    return 1 / 2


def blind_answers(taxonomy: Taxonomy, answers: Answers) -> dict[str, Callable[[Question], str]]:
    """Return the policies that say positive and negative."""
    return {word: lambda question, word=word: word for word in SIDES}


def logged(questions: list[Question], rewards: list[float], taxonomy: Taxonomy) -> dict[str, float]:
    """Return nothing: the mean reward is the accuracy."""
    return {}


def statistics(table: pd.DataFrame, taxonomy: Taxonomy) -> dict[str, Statistic]:
    """Return the statistics of valence answers.

    valence_balanced_accuracy    mean of the shares answered right of positive and of negative images; no answer is wrong
    positive_rate                share of positive among all answers
    valence_auroc                chance that positive is likelier where it is right than where it is wrong, where measured
    """
    true = table["emotion"].map(taxonomy.side_of).to_numpy()
    found = {"positive_rate": share([said == "positive" for said in table[COLUMN]], is_rate=True)}
    if len(set(true)) == 2:
        right = (table[COLUMN] == pd.Series(true, table.index)).to_numpy()
        found["valence_balanced_accuracy"] = balanced_share(right, true)
        if is_measured(table, likely_columns(taxonomy)):
            likely_positive, is_positive = stated(table, taxonomy)
            found["valence_auroc"] = Statistic(lambda rows: auroc(is_positive[rows], likely_positive[rows]), is_positive)
    return found


def metrics(taxonomy: Taxonomy) -> dict[str, Metric]:
    """Return what the figures are called, and what chance gives."""
    rate = "share of positive among valence answers; half of the images are"
    return {
        "valence_balanced_accuracy": Metric(
            "Valence, balanced", "↑", "share of right answers, positive and negative counted alike", 1 / 2
        ),
        "valence_auroc": Metric(
            "Valence, AUROC", "↑", "how often positive is likelier for a positive image than for a negative one", 1 / 2
        ),
        "positive_rate": Metric("Says positive", "", rate, 1 / 2),
    }
