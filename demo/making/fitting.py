"""The training loop of the demo's models."""

import math
from collections.abc import Callable
from pathlib import Path

import torch

from demo.making.small_models import Loss
from runtime.run_folder import log
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
    to `work`, from which the same call goes on. averaged: False returns the weights themselves.
    """
    torch.manual_seed(seed)
    module = make().to(DEVICE)
    average = torch.optim.swa_utils.AveragedModel(
        module, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998), use_buffers=True
    )
    optimizer, start = torch.optim.AdamW(module.parameters(), rate, weight_decay=0.01, fused=True), 0
    saved = work / f"{name}-{steps}.pt"
    if saved.exists():
        state = torch.load(saved, weights_only=True, map_location=next(module.parameters()).device)
        module.load_state_dict(state["module"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    mean = None
    for step in range(start, steps):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        torch.manual_seed(generator.initial_seed())
        for group in optimizer.param_groups:
            group["lr"] = rate * min((step + 1) / 200, 0.5 + 0.5 * math.cos(math.pi * step / steps))
        loss = loss_of(module, torch.randint(images, (batch,), generator=generator))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.update_parameters(module)
        mean = loss.item() if mean is None else 0.98 * mean + 0.02 * loss.item()
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == steps:
            state = dict(module=module.state_dict(), average=average.state_dict(), optimizer=optimizer.state_dict())
            write_state(saved, state | {"step": step + 1})
            log.info(f"{name}: step {step + 1:,} of {steps:,}, loss {mean:.4f}")
    return (average.module if averaged else module).eval().requires_grad_(False)
