"""The rewards of a completion: what its answer earns by its kind of question (understanding/kinds/), and what all share."""

from collections.abc import Callable

import numpy as np

from config.taxonomy import Taxonomy
from config.understanding_settings import Answers, Questions, Rewards
from understanding import kinds
from understanding.answers import extract_answer
from understanding.question import Question

SHARED = ("format", "length")  # the rewards that all kinds of question share


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


def reward_functions(
    numbered: list[Question],
    taxonomy: Taxonomy,
    questions: Questions,
    answers: Answers,
    rewards: Rewards,
    confusability: np.ndarray | None,
) -> dict[str, Callable]:
    """Return TRL's reward functions, by the names and in the order of reward_weights.

    numbered: the questions, as their data set numbers them. confusability: (K, K), for the graded reward. A kind may log
    numbers beside its reward.
    """

    def earned(name: str, completions: list, numbers: list[int]) -> list[float | None]:
        return [
            rewards_of(numbered[number], completion[0]["content"], taxonomy, answers, rewards, confusability)[name]
            for completion, number in zip(completions, numbers, strict=True)
        ]

    def of_kind(kind):
        def reward(completions, question, log_metric, **_):
            found = earned(kind.NAME, completions, question)
            own = [place for place, each in enumerate(found) if each is not None]
            numbers = kind.logged([numbered[question[place]] for place in own], [found[place] for place in own], taxonomy)
            for name, value in numbers.items():
                log_metric(name, value)
            return found

        return reward

    def of_format(completions, question, **_):
        return earned("format", completions, question)

    def of_length(completion_ids, **_):
        return [length_reward(len(ids), rewards.length_limit) for ids in completion_ids]

    functions, shared = {}, dict(zip(SHARED, (of_format, of_length), strict=True))
    for name in reward_weights(questions, rewards):
        functions[name] = shared[name] if name in shared else of_kind(kinds.kind_named(name))
        functions[name].__name__ = name  # by which TRL logs it
    return functions
