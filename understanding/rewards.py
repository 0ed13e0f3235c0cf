"""The rewards of a completion, as pure functions. What an answer earns, its kind of question says (understanding/kinds/)."""

import numpy as np

from config.taxonomy import Taxonomy
from config.understanding_settings import Answers, Questions, Rewards
from understanding import kinds
from understanding.answers import extract_answer
from understanding.question import Question


def rewards_of(
    question: Question,
    completion: str,
    taxonomy: Taxonomy,
    answers: Answers,
    rewards: Rewards,
    confusability: np.ndarray | None,
) -> dict[str, float | None]:
    """Return the rewards of one completion by name, before their weights: of every kind of question, and of the format.

    Those of the kinds that the question is not of are None. confusability: (K, K), for the graded reward.
    """
    answer, kind = extract_answer(completion, answers.reasoning), kinds.kind_named(question.kind)
    said = None if answer is None else kind.read(answer, question.options, taxonomy, answers)
    earned: dict[str, float | None] = {each.NAME: None for each in kinds.KINDS}
    earned[kind.NAME] = kind.reward(question, said, taxonomy, rewards, confusability)
    return earned | {"format": float(answer is not None)}


def length_reward(tokens: int, limit: int) -> float:
    """Return 0 up to `limit` tokens, from there down to -1 at twice as many, and -1 beyond."""
    return -min(max(tokens / limit - 1, 0.0), 1.0)


def reward_weights(questions: Questions, rewards: Rewards) -> dict[str, float]:
    """Return the weights of the rewards that are in use, by name: of the kinds that are asked, and of what all share."""
    own = kinds.weights(questions, rewards) | {"format": rewards.format}
    return own | ({"length": rewards.length} if rewards.length else {})
