"""Groups whose answers all earn the same: there is nothing to learn from them, and so their advantages are exactly 0.

TRL compares the deviation of rounded sums with 1e-8. A group of rewards of 1.2 has a deviation of 1.3e-7 in float32, so it
counts no dead group where most are, and gives their answers advantages of noise. Here rewards are added as decimals, as
the settings and the reward functions state them, and all of a group's sums are compared exactly.
"""

from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import torch
from torch import Tensor

from understanding.kinds import KINDS

Rows = Sequence[Sequence[float]]


def totals(rewards: Rows, weights: Sequence[float]) -> list[Decimal]:
    """Return the exact weighted sum of each row's rewards, both read as the shortest decimals that give their float32.

    NaN, of a reward that does not apply to a row, adds nothing.

    >>> totals([[0.1, 0.2], [0.3, float("nan")]], [1.0, 1.0])
    [Decimal('0.3'), Decimal('0.3')]
    """

    def decimal(value: float) -> Decimal:
        return Decimal(str(np.float32(value)))

    parts = [decimal(weight) for weight in weights]
    return [
        sum((part * decimal(value) for part, value in zip(parts, row, strict=True) if value == value), Decimal(0))
        for row in rewards
    ]


def dead_groups(rewards: Rows, weights: Sequence[float], group: int) -> list[bool]:
    """Return for each `group` rows one after another whether all of them earn exactly the same."""
    sums = totals(rewards, weights)
    return [len(set(sums[first : first + group])) == 1 for first in range(0, len(sums), group)]


def dead_shares(rewards: Rows, dead: Sequence[bool], names: Sequence[str]) -> dict[str, float]:
    """Return {"dead_groups": share of all groups} and "dead_groups/<kind>" of each kind of question that was asked.

    rewards: as for dead_groups, in columns called `names`. A kind's column is NaN but in the rows of its own questions.
    """
    group = len(rewards) // len(dead)
    found = {"dead_groups": sum(dead) / len(dead)}
    for kind in (kind.NAME for kind in KINDS if kind.NAME in names):
        firsts = [row[names.index(kind)] for row in rewards[::group]]
        own = [is_dead for first, is_dead in zip(firsts, dead, strict=True) if first == first]
        if own:
            found[f"dead_groups/{kind}"] = sum(own) / len(own)
    return found


class ExactDeadGroups:
    """Advantages of exactly 0 in dead groups, and their shares in the metrics, for a trainer of TRL.

    Name this class before the trainer in the list of bases. TRL's own figure, frac_reward_zero_std, becomes the exact one.
    """

    def _calculate_rewards(self, *args, **kwargs) -> Tensor:
        """Keep the rewards of all processes, (answers, functions), whose groups follow one another."""
        self._gathered = super()._calculate_rewards(*args, **kwargs)
        return self._gathered

    def _generate_and_score_completions(self, inputs: list[dict]) -> dict:
        batch, training = super()._generate_and_score_completions(inputs), self.model.training
        group, rewards = self.num_generations if training else self.num_generations_eval, self._gathered.tolist()
        dead = dead_groups(rewards, self.reward_weights.tolist(), group)
        metrics = self._metrics["train" if training else "eval"]
        for name, share in dead_shares(rewards, dead, self.reward_func_names).items():
            metrics[name].append(share)
        metrics["frac_reward_zero_std"][-1] = metrics["dead_groups"][-1]
        rows = torch.tensor(dead, device=batch["advantages"].device).repeat_interleave(group)
        own = rows[self.accelerator.process_index * len(inputs) :][: len(inputs)]
        batch["advantages"] = batch["advantages"].masked_fill(own, 0.0)
        return batch
