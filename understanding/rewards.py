"""The rewards of a completion: what its answer earns by its kind of question (understanding/kinds/), and what all share."""

from collections.abc import Callable
from types import ModuleType

import numpy as np

from config.taxonomy import Taxonomy
from config.understanding_settings import Answers, Questions, Rewards
from understanding import kinds
from understanding.answers import extract_answer
from understanding.question import Question


def kind_reward(
    question: Question,
    completion: str,
    taxonomy: Taxonomy,
    answers: Answers,
    rewards: Rewards,
    confusability: np.ndarray | None,
) -> float:
    """Return what a completion earns by its kind of question, before the kind's weight.

    confusability: (K, K), for the graded reward.
    """
    answer, kind = extract_answer(completion, answers.reasoning), kinds.kind_named(question.kind)
    said = None if answer is None else kind.read(answer, question.options, taxonomy, answers)
    return kind.reward(question, said, taxonomy, rewards, confusability)


def format_reward(completion: str, tokens: int, answers: Answers, rewards: Rewards) -> float:
    """Return 1 for a completion in the format that the questions ask for, else 0."""
    return float(extract_answer(completion, answers.reasoning) is not None)


def length_reward(completion: str, tokens: int, answers: Answers, rewards: Rewards) -> float:
    """Return 0 up to `rewards.length_limit` tokens, from there down to -1 at twice as many, and -1 beyond."""
    return -min(max(tokens / rewards.length_limit - 1, 0.0), 1.0)


# The rewards that all kinds of question share. The weight of each is a key of the section `rewards`.
SHARED = {"format": format_reward, "length": length_reward}


def reward_weights(questions: Questions, rewards: Rewards) -> dict[str, float]:
    """Return the weights of the rewards that are in use, by name: of the kinds that are asked, and of what all share.

    A shared reward without a weight is left out, but for the format, which is watched in every training.
    """
    shared = {name: getattr(rewards, name) for name in SHARED if getattr(rewards, name) or name == "format"}
    return kinds.weights(questions, rewards) | shared


def reward_functions(
    numbered: list[Question],
    taxonomy: Taxonomy,
    questions: Questions,
    answers: Answers,
    rewards: Rewards,
    confusability: np.ndarray | None,
) -> dict[str, Callable]:
    """Return TRL's reward functions, by the names and in the order of reward_weights.

    numbered: the questions, as their data set numbers them. confusability: (K, K), for the graded reward. The function of
    a kind gives None for questions of other kinds, and may log numbers beside its reward.
    """

    def of_kind(kind: ModuleType) -> Callable:
        def reward(completions, question, log_metric, **_):
            own = [place for place, number in enumerate(question) if numbered[number].kind == kind.NAME]
            earned: list[float | None] = [None] * len(question)
            for place in own:
                text = completions[place][0]["content"]
                earned[place] = kind_reward(numbered[question[place]], text, taxonomy, answers, rewards, confusability)
            numbers = kind.logged([numbered[question[place]] for place in own], [earned[place] for place in own], taxonomy)
            for name, value in numbers.items():
                log_metric(name, value)
            return earned

        return reward

    def of_all(shared: Callable) -> Callable:
        def reward(completions, completion_ids, **_):
            texts = [completion[0]["content"] for completion in completions]
            return [shared(text, len(ids), answers, rewards) for text, ids in zip(texts, completion_ids, strict=True)]

        return reward

    functions = {}
    for name in reward_weights(questions, rewards):
        functions[name] = of_all(SHARED[name]) if name in SHARED else of_kind(kinds.kind_named(name))
        functions[name].__name__ = name  # by which TRL logs it
    return functions
