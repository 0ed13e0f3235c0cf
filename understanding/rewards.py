"""The rewards, as pure functions of a question and a completion; None where a reward does not apply.

Right answers to binary and multiple-choice questions earn 1, others 0. A misleading question's score s, of an emotion that
is (t = 1) or is not (t = 0) the image's, earns

    brier       1 - 2 (s / 100 - t)^2       a proper score (Brier 1950), from -1 to 1; 50 earns 1/2
    published   s / 100 where t = 1, else 1 - s / 100, from 0 to 1; 50 earns 1/2

and an answer that is no score the worst that a score can earn, so that none is never better than some.
"""

import numpy as np

from config.understanding_settings import Rewards
from emoset.labels import EMOTIONS
from understanding.answers import extract_answer, read_binary, read_emotion, read_score
from understanding.questions import Question


def binary_reward(question: Question, answer: str | None) -> float | None:
    """Return 1 for the right one of yes and no, else 0."""
    if question.kind != "binary":
        return None
    said = None if answer is None else read_binary(answer)
    return float(said is not None and said == question.is_true)


def multiple_reward(
    question: Question, answer: str | None, answer_by: str, confusability: np.ndarray | None = None
) -> float | None:
    """Return 1 for the true emotion, else 0.

    With `confusability` (8, 8) a wrong emotion earns half of how easily the true one is taken for it, of the easiest.
    """
    if question.kind != "multiple":
        return None
    said = None if answer is None else read_emotion(answer, question.options, answer_by)
    if said is None or said == question.emotion or confusability is None:
        return float(said is not None and said == question.emotion)
    row = confusability[EMOTIONS.index(question.emotion)]
    return float(0.5 * row[EMOTIONS.index(said)] / row.max())


def misleading_reward(question: Question, answer: str | None, scoring: str) -> float | None:
    """Return what a score earns by `scoring`, brier or published."""
    if question.kind != "misleading":
        return None
    score = None if answer is None else read_score(answer)
    if score is None:
        return -1.0 if scoring == "brier" else 0.0
    error = abs(score / 100 - question.is_true)
    return 1 - 2 * error**2 if scoring == "brier" else 1 - error


def length_reward(tokens: int, limit: int) -> float:
    """Return 0 up to `limit` tokens, from there down to -1 at twice as many, and -1 beyond."""
    return -min(max(tokens / limit - 1, 0.0), 1.0)


def rewards_of(
    question: Question, completion: str, reasoning: bool, answer_by: str, settings: Rewards, confusability: np.ndarray | None
) -> dict[str, float | None]:
    """Return the rewards binary, multiple, misleading and format of one completion, before their weights."""
    answer = extract_answer(completion, reasoning)
    return {
        "binary": binary_reward(question, answer),
        "multiple": multiple_reward(question, answer, answer_by, confusability if settings.graded else None),
        "misleading": misleading_reward(question, answer, settings.scoring),
        "format": float(answer is not None),
    }
