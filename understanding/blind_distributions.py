"""Distributions over answers that look at no image, by the score that exact training maximises (objective.py).

Each puts probabilities on the answers that a question allows. A proper score is highest, on average, for the frequencies of
the right answers, so the best blind distribution has those of prompts that read alike. The best one that is the same for
every question is the even one: of yes and no it gives 1/2 each, of scores a mean of 50.
"""

from collections import defaultdict
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from understanding import kinds
from understanding.objective import Objective
from understanding.question import Question

ROUNDING = 1e-9  # of scores in double precision: many a policy earns the same as the even one, exactly
Distribution = Callable[[Question], Tensor | None]  # -> probabilities (A,) of the allowed answers; None: of no such answer


def distribution_table(trying: list[Question], policies: dict[str, Distribution], objective: Objective) -> pd.DataFrame:
    """Return the mean score of every blind distribution on the questions `trying`, a row for each policy and kind.

    Columns: policy, kind, reward, n, chance, tolerance. chance: what the even distribution scores. tolerance: three standard
    errors of the difference, in pairs.
    """
    rows, by_chance = [], [score(objective, question, even(question, objective)) for question in trying]
    for name, policy in policies.items():
        found = defaultdict(list)
        for question, chance in zip(trying, by_chance, strict=True):
            if (given := policy(question)) is not None:
                found[question.kind].append((score(objective, question, given), chance))
        for kind in (kind.NAME for kind in kinds.KINDS if kind.NAME in found):
            own, chance = np.array(found[kind]).T
            tolerance = 3 * np.std(own - chance) / np.sqrt(len(own)) + ROUNDING
            rows.append((name, kind, own.mean(), len(own), chance.mean(), tolerance))
    return pd.DataFrame(rows, columns=["policy", "kind", "reward", "n", "chance", "tolerance"])


def score(objective: Objective, question: Question, probabilities: Tensor) -> float:
    """Return S of a distribution (A,) over the allowed answers, which sums to 1."""
    return objective.score(question, probabilities.log()).item()


def even(question: Question, objective: Objective) -> Tensor:
    """Return all answers that the question allows, equally likely."""
    count = len(_allowed(question, objective))
    return torch.full((count,), 1 / count, dtype=torch.float64)


def halves(question: Question, objective: Objective) -> Tensor:
    """Return the first and the last of the allowed answers, half each: of scores 0 and 100."""
    count = len(_allowed(question, objective))
    return (one_hot(0, count) + one_hot(count - 1, count)) / 2


def always(policy: Callable[[Question], str], objective: Objective) -> Distribution:
    """Return the distribution that is sure of what a policy answers, and None where that is not allowed."""

    def sure(question: Question) -> Tensor | None:
        answer, allowed = policy(question), _allowed(question, objective)
        return one_hot(allowed.index(answer), len(allowed)) if answer in allowed else None

    return sure


def best_distribution(
    questions: list[Question], objective: Objective, seen: Callable[[Question], tuple[str, ...]]
) -> Distribution:
    """Return the distribution that scored most in `questions` with what is seen of the question, and nothing else is.

    It has the frequencies of the right answers, or of the places of the right options, whichever scored more. Of the linear
    score `reward` the likeliest one alone scores most.
    """
    groups, best = defaultdict(list), {}
    for question in questions:
        groups[seen(question)].append(question)
    for what, group in groups.items():
        fitted = [_frequencies(group, objective, order) for order in (_by_answer, _by_place) if order(group[0], objective)]
        means = [np.mean([score(objective, question, each(question)) for question in group]) for each in fitted]
        best[what] = fitted[int(np.argmax(means))]
    return lambda question: best.get(seen(question), lambda other: even(other, objective))(question)


def _frequencies(group: list[Question], objective: Objective, order: Callable) -> Distribution:
    """Return the distribution that gives answers, in some order, the frequencies with which they are right in a group."""
    places = [order(question, objective)[_right(question, objective)] for question in group]
    count = len(order(group[0], objective))
    shares = torch.bincount(torch.tensor(places), minlength=count).double() / len(group)
    if objective.rewards.scoring == "reward":
        shares = one_hot(int(shares.argmax()), count)
    return lambda question: shares[order(question, objective)]


def _by_answer(question: Question, objective: Objective) -> list[int]:
    return list(range(len(_allowed(question, objective))))


def _by_place(question: Question, objective: Objective) -> list[int]:
    """Return the place in the prompt of what each allowed answer says; of no answer where the prompt lists no options."""
    return [question.options.index(said) for said in _said(question, objective)] if question.options else []


def _right(question: Question, objective: Objective) -> int:
    """Return which of the allowed answers is the truth: of scores 0 or 100."""
    return _said(question, objective).index(kinds.kind_named(question.kind).truth(question, objective.taxonomy))


def _said(question: Question, objective: Objective) -> list:
    read, form = kinds.kind_named(question.kind).read, (question.options, objective.taxonomy, objective.answers)
    return [read(answer, *form) for answer in _allowed(question, objective)]


def _allowed(question: Question, objective: Objective) -> tuple[str, ...]:
    return kinds.kind_named(question.kind).allowed(question, objective.taxonomy, objective.answers)


def one_hot(place: int, count: int) -> Tensor:
    """Return (count,) zeros with a one at a place."""
    return torch.eye(count, dtype=torch.float64)[place]
