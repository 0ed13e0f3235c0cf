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
) -> torch.nn.Module:
    """Minimise `loss_of(module, rows)` with AdamW, warm-up and cosine decay; return the moving average of the weights.

    make: gives the module, its first weights drawn by `seed` alone, whatever was trained before.
    rows: the numbers of `batch` of `images` images, drawn anew for each step. Every CHECKPOINT_EVERY steps a checkpoint goes
    to `work`, from which the same call goes on. averaged: False returns the weights themselves. Several processes share
    each batch, and what compares its rows, such as a batch norm, sees a process's share alone. Raises UserError for a batch
    that they cannot share equally.
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
    optimizer, start = torch.optim.AdamW(module.parameters(), rate, weight_decay=0.01, fused=True), 0
    saved = work / f"{name}-{steps}.pt"
    if saved.exists():
        done = torch.load(saved, weights_only=True, map_location=next(module.parameters()).device)
        module.load_state_dict(done["module"])
        average.load_state_dict(done["average"])
        optimizer.load_state_dict(done["optimizer"])
        start = done["step"]
    mean = None
    for step in range(start, steps):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        torch.manual_seed(generator.initial_seed() + place * 1_000_000_007)  # each has noise of its own
        for group in optimizer.param_groups:
            group["lr"] = rate * min((step + 1) / 200, 0.5 + 0.5 * math.cos(math.pi * step / steps))
        loss = loss_of(module, torch.randint(images, (batch,), generator=generator)[place::count])
        loss.backward()
        if count > 1:
            average_gradients(module)
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.update_parameters(module)
        mean = loss.item() if mean is None else 0.98 * mean + 0.02 * loss.item()
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == steps:
            if count > 1:
                share_buffers(module, average)
            done = dict(module=module.state_dict(), average=average.state_dict(), optimizer=optimizer.state_dict())
            if is_first_process():
                write_state(saved, done | {"step": step + 1})
            log.info(f"{name}: step {step + 1:,} of {steps:,}, loss {mean:.4f}")
    return (average.module if averaged else module).eval().requires_grad_(False)


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
