"""A step of GRPO on two processes, plain and shared, of an adapter and of whole weights, for test_shared_prefix.py."""

import os
import sys
from pathlib import Path

import torch
from accelerate.state import AcceleratorState
from tiny_trainers import make_trainer

from runtime.script import end_process_group


def main(folder: Path) -> None:
    own = folder / f"process_{os.environ['RANK']}"  # all four times: once distributed, the second process saves no model
    own.mkdir()
    for mode in ("plain", "shared"):
        (folder / mode).mkdir(exist_ok=True)
        for part in ("adapter", "whole"):
            weights, state = step(own, mode == "shared", part == "adapter")
            if os.environ["RANK"] == "0":
                (folder / mode / "processes.txt").write_text(f"{state.num_processes} {state.distributed_type.value}")
                torch.save(weights, folder / mode / f"{part}.pt")


def step(folder: Path, share: bool, lora: bool) -> tuple[dict[str, tuple[torch.Tensor, torch.Tensor]], AcceleratorState]:
    """Return the trained weights by name, before and after, and what the processes are."""
    options = {"optim": "sgd", "learning_rate": 1.0, "gradient_accumulation_steps": 2, "max_grad_norm": 0.0}
    trainer = make_trainer(folder, share, lora=lora, **options)
    before = {name: each.detach().clone() for name, each in trainer.model.named_parameters() if each.requires_grad}
    trainer.train()
    assert trainer.shares_prefix is share
    trainer.accelerator.wait_for_everyone()
    after = {name: (before[name], each.detach()) for name, each in trainer.model.named_parameters() if name in before}
    return after, trainer.accelerator.state


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    end_process_group()
