"""The training loop of the demo's models."""

import math
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate.utils import broadcast, reduce

from config.errors import UserError
from demo.making.small_models import Loss
from runtime.processes import start_process
from runtime.run_folder import is_first_process, log
from runtime.tensors import write_state

CHECKPOINT_EVERY = 250  # steps
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def fit(
    work: Path,
    name: str,
    make: Callable[[], torch.nn.Module],
    loss_of: Loss,
    steps: int,
    batch: int,
    rate: float,
    images: int,
    seed: int,
    averaged: bool = True,
    rate_of_matrices: float | None = None,
) -> torch.nn.Module:
    """Minimise `loss_of(module, rows)` with warm-up and cosine decay; return the moving average of the weights.

    make: gives the module, its first weights drawn by `seed` alone, whatever was trained before.
    rows: the numbers of `batch` of `images` images, drawn anew for each step. Every CHECKPOINT_EVERY steps a checkpoint goes
    to `work`, from which the same call goes on. averaged: False returns the weights themselves. AdamW trains them at `rate`
    or, where rate_of_matrices is given, Muon at that one the matrices among them (optimizers_of). Several processes share
    each batch, and what compares its rows, such as a batch norm, sees a process's share alone. Raises UserError for a batch
    that they cannot share equally, and for a checkpoint of another version.
    """
    state = start_process()
    place, count = state.process_index, state.num_processes
    if batch % count:
        raise UserError(f"{name}: {count} processes cannot share a batch of {batch} equally; start another number of them")
    torch.manual_seed(seed)
    module = make().to(DEVICE)
    average = torch.optim.swa_utils.AveragedModel(
        module, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998), use_buffers=True
    )
    optimizers, start = optimizers_of(module, rate, rate_of_matrices), 0
    rates = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    saved = work / f"{name}-{steps}.pt"
    if saved.exists():
        done = torch.load(saved, weights_only=True, map_location=next(module.parameters()).device)
        if "optimizers" not in done:
            raise UserError(f"{saved}: was written by an earlier version of this project; remove it, or name another run")
        module.load_state_dict(done["module"])
        average.load_state_dict(done["average"])
        for optimizer, its_state in zip(optimizers, done["optimizers"], strict=True):
            optimizer.load_state_dict(its_state)
        start = done["step"]
    mean = None
    for step in range(start, steps):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        torch.manual_seed(generator.initial_seed() + place * 1_000_000_007)  # each has noise of its own
        for optimizer, highest in zip(optimizers, rates, strict=True):
            optimizer.param_groups[0]["lr"] = highest * min((step + 1) / 200, 0.5 + 0.5 * math.cos(math.pi * step / steps))
        loss = loss_of(module, torch.randint(images, (batch,), generator=generator)[place::count])
        loss.backward()
        if count > 1:
            average_gradients(module)
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        module.zero_grad()
        average.update_parameters(module)
        mean = loss.item() if mean is None else 0.98 * mean + 0.02 * loss.item()
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == steps:
            if count > 1:
                share_buffers(module, average)
            done = dict(module=module.state_dict(), average=average.state_dict())
            done["optimizers"] = [optimizer.state_dict() for optimizer in optimizers]
            if is_first_process():
                write_state(saved, done | {"step": step + 1})
            log.info(f"{name}: step {step + 1:,} of {steps:,}, loss {mean:.4f}")
    return (average.module if averaged else module).eval().requires_grad_(False)


class MuonOfMatrices(torch.optim.Muon):
    """Muon, which takes nothing but matrices, of the weights of linear layers and of convolutions.

    The steps change views of the weights. Raises RuntimeError for a convolution whose memory is not in channels_last: a row
    of its matrix, all that makes one channel, is no view.
    """

    def __init__(self, weights: list[torch.nn.Parameter], rate: float):
        self.weights = weights
        matrices = [weight.data if weight.ndim == 2 else weight.data.permute(0, 2, 3, 1) for weight in weights]
        super().__init__([torch.nn.Parameter(matrix.view(len(matrix), -1)) for matrix in matrices], rate, weight_decay=0.01)

    def step(self) -> None:
        for weight, matrix in zip(self.weights, self.param_groups[0]["params"], strict=True):
            gradient = weight.grad
            if gradient is not None:
                gradient = (gradient if gradient.ndim == 2 else gradient.permute(0, 2, 3, 1)).reshape(matrix.shape)
            matrix.grad = gradient
        super().step()


def optimizers_of(module: torch.nn.Module, rate: float, rate_of_matrices: float | None) -> list[torch.optim.Optimizer]:
    """Return AdamW for all weights or, with `rate_of_matrices`, Muon (Jordan et al. 2024) for the matrices among them.

    The last layer, with a few rows, stays with AdamW.
    """
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    matrices = [weight for weight in weights if rate_of_matrices and weight.ndim in (2, 4) and len(weight) > 8]
    rest = [weight for weight in weights if not any(weight is matrix for matrix in matrices)]
    optimizers = [torch.optim.AdamW(rest, rate, weight_decay=0.01, fused=True)]
    return [*optimizers, MuonOfMatrices(matrices, rate_of_matrices)] if matrices else optimizers


def share_buffers(*modules: torch.nn.Module) -> None:
    """Set what modules have counted, such as a batch norm's means, to what the first process has."""
    for module in modules:
        for buffer in module.buffers():
            buffer.copy_(broadcast(buffer))


def average_gradients(module: torch.nn.Module) -> None:
    """Set the gradients of a module to their mean over all processes. Losses call parts of a module, so DDP cannot do it."""
    gradients = [weight.grad for weight in module.parameters() if weight.grad is not None]
    means = reduce(torch.cat([gradient.flatten() for gradient in gradients]), "mean")
    for gradient, mean in zip(gradients, means.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(mean.view(gradient.shape))
