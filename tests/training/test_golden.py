"""The mapper's first losses, as the code before the redesign computed them (tests/golden/mapper.json)."""

import pytest
import torch
from mapper_runs import metrics
from recorded import recorded

TERMS = ("loss", "diffusion", "attribute", "emotion", "alpha", "learning_rate")


def test_the_mappers_first_losses(run):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = run("golden", **{"mapper.max_train_steps": 3})
    torch.set_num_threads(threads)
    losses = [{name: line[name] for name in TERMS} for line in metrics(folder)]
    golden = recorded("mapper.json", losses)
    assert len(losses) == len(golden) == 3
    for line, expected in zip(losses, golden, strict=True):
        assert line == pytest.approx(expected, rel=5e-3)  # the encoder's training magnifies how a processor rounds
