"""What the tests of the mapper's training share: their arguments, what a run left, and comparisons of two runs."""

import json
import re
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import training.main
from config.loading import load
from training import mapper_training

# One sheet of samples, after the last update.
SHEET = {"mapper__sample_every": 4, "mapper__samples": 1, "generate__steps": 1}


def arguments(settings: dict, **changed) -> list[str]:
    keys = {name.replace("__", ".", 1): value for name, value in changed.items()}
    return [f"{key}={value}" for key, value in (settings | keys).items()]


def train(*given: str) -> None:
    """Train as training/main.py does with these arguments."""
    training.main.main(load(list(given)))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "generator" / "mapper" / "diffusion_pytorch_model.safetensors")


def metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "training/mapper/metrics.jsonl").read_text().splitlines()]


@contextmanager
def killed_after_two_updates(monkeypatch):
    """Let a training be interrupted as it saves its third update, the last checkpoint being the second's."""

    def interrupted(*given, **named):
        if given[1] == 3:
            raise KeyboardInterrupt
        save(*given, **named)

    save = mapper_training.save_checkpoint
    with monkeypatch.context() as patch:
        patch.setattr(mapper_training, "save_checkpoint", interrupted)
        yield


def resumed_after(folder: Path) -> list[str]:
    """The updates after which the runs in a folder went on, as they logged it."""
    return re.findall(r"resumes after update (\d+) of", (folder / "training/log.txt").read_text())


def state_of_optimizer(folder: Path, step: int) -> dict:
    return torch.load(folder / f"training/mapper/checkpoints/step-{step:07d}/optimizer.pt", weights_only=True)


def gradients(folder: Path) -> list[torch.Tensor]:
    """The gradients of the first update: AdamW's first moment after it is a tenth of them."""
    return [10 * each["exp_avg"] for each in state_of_optimizer(folder, 1)["optimizer"]["state"].values()]


def assert_close(first: list, second: list, relative: float) -> None:
    assert len(first) == len(second) > 0
    for one, other in zip(first, second, strict=True):
        assert (one - other).norm() <= relative * one.norm()


def assert_same_losses(first: Path, second: Path, relative: float = 1e-4) -> None:
    one, other = metrics(first), metrics(second)
    assert len(one) == len(other) > 0
    for here, there in zip(one, other, strict=True):
        for term in ("loss", "diffusion", "attribute", "emotion", "alpha"):
            assert here[term] == pytest.approx(there[term], rel=relative, abs=2e-6), (here["step"], term)
