"""What the distribution over all answers to a question is worth, and how far it is from another one."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor

from config.taxonomy import Taxonomy
from config.understanding_settings import Answers, Rewards
from understanding import kinds
from understanding.proper_scores import WORST
from understanding.question import Question


@dataclass(frozen=True)
class Objective:
    """What a question's distribution of answers is worth. weights: of the kinds, by name."""

    taxonomy: Taxonomy
    answers: Answers
    rewards: Rewards
    weights: Mapping[str, float]

    def score(self, question: Question, log_p: Tensor) -> Tensor:
        """Return S of a question from the log-probabilities of its allowed answers (A,), which need not sum to 1."""
        kind = kinds.kind_named(question.kind)
        if self.rewards.scoring != "reward":
            return kind.score(question, log_p.log_softmax(0), self.rewards.scoring, self.taxonomy, self.answers)
        allowed = kind.allowed(question, self.taxonomy, self.answers)
        said = [kind.read(answer, question.options, self.taxonomy, self.answers) for answer in allowed]
        *earned, floor = (kind.reward(question, each, self.taxonomy, self.rewards, None) for each in (*said, None))
        p = log_p.exp()
        return p @ p.new_tensor(earned) + (1 - p.sum()) * floor

    def worst(self, question: Question) -> float:
        """Return the value of saying nothing that a question allows, whatever is true."""
        kind = kinds.kind_named(question.kind)
        if self.rewards.scoring == "reward":
            return self.weights[question.kind] * kind.reward(question, None, self.taxonomy, self.rewards, None)
        return self.weights[question.kind] * WORST[self.rewards.scoring]

    def value(self, question: Question, log_p: Tensor) -> Tensor:
        """Return the score with its kind's weight, and the weighted mass of all allowed answers."""
        return self.weights[question.kind] * self.score(question, log_p) + self.rewards.format * log_p.exp().sum()


def divergence(log_p: Tensor, start: Tensor) -> Tensor:
    """Return KL(q ‖ q_start) of two distributions over the same answers (A,), from log-probabilities that need not sum to 1.

    >>> divergence(torch.tensor([0.5, 0.5]).log(), torch.tensor([2.0, 2.0]).log()).item()
    0.0
    """
    log_q, log_start = log_p.log_softmax(0), start.to(log_p.device).log_softmax(0)
    return (log_q.exp() * (log_q - log_start)).sum()


class Tally:
    """Numbers by name, whose means over all processes are logged."""

    def __init__(self):
        self._seen: defaultdict[str, list[Tensor]] = defaultdict(list)

    def add(self, name: str, numbers: Iterable[Tensor]) -> None:
        """Keep some more numbers, each a tensor of no dimension."""
        self._seen[name] += [number.detach().float() for number in numbers]

    def means(self, names: Iterable[str], accelerator: Accelerator) -> dict[str, float]:
        """Return the mean of every name that has numbers on any process, and forget them. All processes call it together."""
        names, device = list(names), accelerator.device
        sums = [[sum(self._seen[name], torch.zeros((), device=device)), len(self._seen[name])] for name in names]
        sums = accelerator.reduce(torch.tensor(sums, device=device), "sum")
        self._seen.clear()
        return {name: (total / count).item() for name, (total, count) in zip(names, sums, strict=True) if count}
