"""Groups whose answers all earn the same: counted exactly, by kind of question, and with advantages of exactly 0."""

from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch

from understanding.dead_groups import ExactDeadGroups, dead_groups

NAN = float("nan")


@pytest.mark.parametrize(
    ("rows", "weights", "is_dead"),
    [
        ([[1.0, 1.0]] * 8, [1.0, 0.2], True),  # 1.2 each, whose float32 deviation is 1.3e-7
        ([[0.1, 0.2], [0.3, NAN], [0.3, 0.0], [0.2, 0.1]], [1.0, 1.0], True),
        ([[0.1, 0.7], [0.8, 0.0], [0.5, 0.3], [0.2, 0.6]], [1.0, 1.0], True),
        ([[1.0, 0.0], [0.0, 1.0]], [0.3, 0.3], True),  # mixed sums by the weights
        ([[1.0, 0.0], [0.0, 3.0]], [0.3, 0.1], True),
        ([[1.2], [1.2], [1.2], [1.2000002]], [1.0], False),  # the next number of float32
        ([[1.0, 1.0]] * 7 + [[1.0, 0.9999999]], [1.0, 0.2], False),  # the last alone
        ([[1.0, NAN]] * 3 + [[0.0, NAN]], [1.0, 0.2], False),
        ([[0.0], [-0.0]], [1.0], True),
        ([[1.0], [0.0]], [0.0], True),  # a reward that weighs nothing
    ],
)
def test_a_group_is_dead_where_all_of_its_sums_are_equal(rows, weights, is_dead):
    rows, weights = torch.tensor(rows).tolist(), torch.tensor(weights).tolist()
    assert dead_groups(rows, weights, len(rows)) == [is_dead]
    other = [[5.0, 0.0][: len(weights)], [7.0, 0.0][: len(weights)]] * (len(rows) // 2)
    assert dead_groups(other + rows, [1.0, *weights[1:]], len(rows))[0] is False


@pytest.mark.parametrize("process", [0, 1])
def test_each_process_has_the_shares_of_all_and_its_own_advantages(process):
    """Four groups of two answers, two on each process, to a binary, a multiple, a binary and a binary question."""
    rewards = torch.tensor([[1.0, NAN], [1.0, NAN], [NAN, 1.0], [NAN, 0.0], [1.0, NAN], [0.0, NAN], [0.0, NAN], [0.0, NAN]])
    own = [None] * 4

    class Base:
        model, num_generations, num_generations_eval = SimpleNamespace(training=True), 2, 3
        reward_weights, reward_func_names = torch.tensor([1.2, 1.0]), ["binary", "multiple"]
        accelerator = SimpleNamespace(process_index=process)

        def __init__(self):
            self._metrics = {"train": defaultdict(list, {"frac_reward_zero_std": [0.0]})}

        def _calculate_rewards(self, inputs):
            return rewards

        def _generate_and_score_completions(self, inputs):
            self._calculate_rewards(inputs)
            return {"advantages": torch.full((4,), 1e-7)}

    trainer = type("Trainer", (ExactDeadGroups, Base), {})()
    batch = trainer._generate_and_score_completions(own)
    assert batch["advantages"].tolist() == pytest.approx([[0, 0, 1e-7, 1e-7], [1e-7, 1e-7, 0, 0]][process])
    assert (batch["advantages"] == 0).sum() == 2
    expected = {
        "dead_groups": 1 / 2,
        "dead_groups/binary": 2 / 3,
        "dead_groups/multiple": 0.0,
        "frac_reward_zero_std": 1 / 2,
    }
    assert {name: values for name, (values,) in trainer._metrics["train"].items()} == pytest.approx(expected)


def test_a_training_logs_them_and_learns_nothing_from_them(trainer, monkeypatch):
    made, rows = trainer  # four binary questions of one text, four answers each
    yes, no = (made.processing_class.tokenizer(word, add_special_tokens=False).input_ids for word in ("yes", "no"))
    end = made.processing_class.tokenizer.eos_token_id
    said = [[*yes, end]] * 15 + [[*no, end]]
    monkeypatch.setattr(type(made), "_generate_single_turn", lambda *_, **__: (said, None))
    batch = made._generate_and_score_completions(rows)
    assert batch["advantages"][:12].tolist() == [0.0] * 12, "exactly"
    assert batch["advantages"][12:].abs().min() > 0.2
    logged = {name: values[-1] for name, values in made._metrics["train"].items() if "dead" in name}
    assert logged == {"dead_groups": 0.75, "dead_groups/binary": 0.75}
