"""Fits a layer on two processes, for test_fitting.py: the folder to work in is its argument."""

import sys
from pathlib import Path

import torch

from demo.making import fitting
from runtime.processes import start_process
from runtime.script import end_process_group


def fit(work: Path) -> dict[str, torch.Tensor]:
    """Return the weights of a layer after four steps of eight rows."""
    targets = torch.randn(16, 3, generator=torch.Generator().manual_seed(0))

    def loss_of(module, rows):
        wanted = targets[rows].to(fitting.DEVICE)
        return (module.weight @ wanted.T - wanted.roll(1, 1).T).square().mean()  # a part of it, as losses there do

    def layer() -> torch.nn.Module:
        return torch.nn.Linear(3, 3, bias=False)

    return fitting.fit(work, "layer", layer, loss_of, steps=4, batch=8, rate=0.1, images=16, seed=0).state_dict()


if __name__ == "__main__":
    work = Path(sys.argv[1])
    state = start_process()
    torch.save(fit(work), work / f"process {state.process_index} of {state.num_processes}.pt")
    end_process_group()
