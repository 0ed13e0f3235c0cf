"""Fits a layer on two processes, for test_fitting.py: the folder to work in is its argument."""

import sys
from pathlib import Path

import torch

from demo.making import fitting
from runtime.processes import start_process
from runtime.script import end_process_group


class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.norm = torch.nn.Linear(3, 3, bias=False), torch.nn.BatchNorm1d(3, affine=False)


def fit(work: Path) -> dict[str, torch.Tensor]:
    """Return the weights of a layer after four steps of eight rows, and what its batch norm has counted."""
    targets = torch.randn(16, 3, generator=torch.Generator().manual_seed(0))

    def loss_of(module, rows):
        wanted = targets[rows].to(fitting.DEVICE)
        module.norm(wanted)
        return (module.linear(wanted) - wanted.roll(1, 1)).square().mean()  # of a part of it, as losses there are

    return fitting.fit(work, "layer", Layer, loss_of, steps=4, batch=8, rate=0.1, images=16, seed=0).state_dict()


if __name__ == "__main__":
    work = Path(sys.argv[1])
    state = start_process()
    torch.save(fit(work), work / f"process {state.process_index} of {state.num_processes}.pt")
    end_process_group()
