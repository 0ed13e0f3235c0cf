"""Checkpoints of the mapper's training: written beside, renamed when whole, and found again by the same command.

No random state is kept: all that is random follows from (seed, epoch, position), and the learning rate from the step.
"""

import re
import shutil
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from config.errors import UserError
from runtime.files import read_json, write_json
from runtime.full_disk import naming
from runtime.processes import of_first
from runtime.sealed import newest_sealed, seal
from runtime.tensors import read_state, write_state, write_tensors
from training.accelerator import is_deepspeed

_NAME = re.compile(r"step-(\d+)")


def save_checkpoint(
    folder: Path, step: int, kept: int, accelerator: Accelerator, trained, optimizer, average, others: dict
) -> None:
    """Write `folder/step-<step>`, on all processes, then remove all but the newest `kept`.

    others: what load_checkpoint gives back with the step; JSON holds it.
    With DeepSpeed it is DeepSpeed's own checkpoint of the weights that are trained. It holds pickles, the one exception to
    the rule that none are loaded, in our own run folder.
    """
    beside, final = folder / f".step-{step}", folder / f"step-{step:07d}"
    if accelerator.is_main_process:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
    accelerator.wait_for_everyone()
    with naming(final, beside):
        if is_deepspeed(accelerator):
            trained.save_checkpoint(str(beside), "deepspeed", exclude_frozen_parameters=True)
        elif accelerator.is_main_process:
            scaler = accelerator.scaler.state_dict() if accelerator.scaler else {}
            weights = accelerator.unwrap_model(trained).trained_weights()
            write_tensors(beside / "weights.safetensors", {name: weight.detach() for name, weight in weights.items()})
            write_state(beside / "optimizer.pt", {"optimizer": optimizer.state_dict(), "scaler": scaler})
        if accelerator.is_main_process and average:
            write_tensors(beside / "average.safetensors", average)
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            write_json(beside / "state.json", {"step": step} | others)
            seal(beside)
    if accelerator.is_main_process:
        shutil.rmtree(final, ignore_errors=True)
        beside.rename(final)
        for old in checkpoints(folder)[:-kept]:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()


def load_checkpoint(folder: Path, accelerator: Accelerator, trained, optimizer, average) -> dict | None:
    """Load the newest checkpoint that is whole into all of these, on all processes. Return its state, or None."""
    newest = of_first(lambda: newest_sealed(checkpoints(folder)))
    if newest is None:
        return None
    if is_deepspeed(accelerator):
        if trained.load_checkpoint(str(newest), "deepspeed", load_module_strict=False)[0] is None:
            raise UserError(f"{newest}: cannot be loaded; remove it to resume from the one before")
    else:
        weights = accelerator.unwrap_model(trained).trained_weights()
        saved = load_file(newest / "weights.safetensors")
        assert saved.keys() == weights.keys(), f"{newest} holds other weights than are trained"
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(saved[name])
        state = read_state(newest / "optimizer.pt")
        optimizer.load_state_dict(state["optimizer"])
        if accelerator.scaler:
            accelerator.scaler.load_state_dict(state["scaler"])
    if average:
        for name, value in load_file(newest / "average.safetensors").items():
            average[name].copy_(value)
    return read_json(newest / "state.json")


def checkpoints(folder: Path) -> list[Path]:
    """Return the whole checkpoints in `folder`, oldest first."""
    return sorted(path for path in folder.glob("step-*") if _NAME.fullmatch(path.name))
