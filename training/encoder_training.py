"""Trains the emotion encoder: cross-entropy over the emotions, best epoch by the val split, resumable by epoch.

After SIGTERM it is resumable by batch.

All that is random follows from (seed, epoch, position), so no random state is kept.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Dataset

from config.errors import UserError
from config.generation_settings import EmotionSpace
from runtime.metrics import MetricsFile
from runtime.recipe import Recipe, settings_of
from runtime.run_folder import log, progress
from runtime.sealed import is_sealed, seal
from runtime.seeds import derived_seed
from runtime.stopping import finishing_updates, stop, stop_is_asked
from runtime.tensors import read_state, write_state
from training.caches import read_batches
from training.emotion_encoder import EmotionEncoder, encode_images

RECIPE_FILE, CHECKPOINT = "encoder_recipe.json", "checkpoint.pt"
OF_GAUSSIANS = {"imported", "published", "covariance", "shrinkage"}  # settings that do not change the encoder


@dataclass
class Done:
    """How far a training has come.

    epochs: whole ones. steps, total: batches of the next one, and the sum of their losses. metrics: of each epoch. best: the
    weights of the epoch that is best on val.
    """

    epochs: int = 0
    steps: int = 0
    total: float = 0.0
    metrics: list[dict] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)

    def state_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


def fit_encoder(
    encoder: EmotionEncoder,
    index: pd.DataFrame,
    pixels: Dataset,
    emotions: Sequence[str],
    space: EmotionSpace,
    seed: int,
    loaders: int,
    folder: Path,
    accelerator: Accelerator,
    made_from: dict[str, Any],
) -> EmotionEncoder:
    """Train the encoder on the rows of `index` in the train split. Return that of the epoch which is best on val.

    pixels: by row of `index`. loaders: processes that load batches. folder: gets encoder/, metrics.jsonl, the recipe
    encoder_recipe.json, and checkpoint.pt after every epoch, from which the same command resumes to the same weights.
    made_from: the inputs of the recipe, by name; a checkpoint of another recipe is not resumed.
    Cross-entropy, plus contrastive_weight times the supervised contrastive loss over the batches of all processes.
    """
    labels = torch.tensor(index["emotion"].map(emotions.index).to_numpy())
    train, val = (np.flatnonzero(index["split"] == split) for split in ("train", "val"))
    for split, rows in {"train": train, "val": val}.items():
        if len(rows) < accelerator.num_processes:
            raise UserError(f"data.emoset: {len(rows)} images in the {split} split; the emotion encoder needs more")
    batch_size = min(space.batch_size, len(train) // accelerator.num_processes) * accelerator.num_processes
    steps = len(train) // batch_size  # in an epoch; what is left over is other images in each
    encoder.to(accelerator.device, memory_format=torch.channels_last)  # a quarter faster on CPUs
    model = _distributed(encoder, accelerator)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=space.learning_rate, weight_decay=space.weight_decay)
    scaler = torch.amp.GradScaler(accelerator.device.type, enabled=accelerator.scaler is not None)
    state = {"model": encoder, "optimizer": optimizer, "scaler": scaler, "done": (done := Done())}
    recipe = _recipe(space, seed, batch_size, made_from)
    _resume(folder, state, recipe, space.epochs, accelerator)
    curves = MetricsFile(folder, done.epochs, by="epoch") if accelerator.is_main_process else None

    for epoch in range(done.epochs, space.epochs):
        encoder.train()
        total = torch.tensor(done.total, device=accelerator.device)
        rows, flips = (
            part[: steps * batch_size].reshape(steps, accelerator.num_processes, -1)[:, accelerator.process_index]
            for part in _order(train, seed, epoch)
        )
        batches = read_batches(pixels, rows[done.steps :].tolist(), loaders)
        if accelerator.is_main_process:
            batches = progress(batches, f"emotion encoder, epoch {epoch + 1}", steps, done.steps, " batches")
        with finishing_updates():
            for step, batch in enumerate(batches, done.steps):
                torch.manual_seed(derived_seed(seed, "dropout", epoch, step, accelerator.process_index))
                for group in optimizer.param_groups:
                    group["lr"] = space.learning_rate * _schedule(epoch * steps + step, space.epochs * steps)
                images, target = batch["pixels"].to(accelerator.device), labels[rows[step]].to(accelerator.device)
                images = torch.where(flips[step].to(accelerator.device)[:, None, None, None], images.flip(-1), images)
                with accelerator.autocast():
                    vectors, logits = model(images)
                loss, contrastive = functional.cross_entropy(logits.float(), target), 0.0
                if space.contrastive_weight:
                    contrastive = _contrastive(vectors, target, accelerator, space.contrastive_temperature)
                    contrastive = space.contrastive_weight * contrastive
                # Each process has its own part of the contrastive loss's gradient, and averaging divides the sum of these.
                scaler.scale(loss + accelerator.num_processes * contrastive).backward()
                scaler.step(optimizer)
                scaler.update()
                optimizer.zero_grad()
                total += (loss + contrastive).detach()
                if stop_is_asked():
                    done.steps, done.total = step + 1, accelerator.reduce(total, "mean").item()
                    _save_and_stop(folder, state, steps, accelerator)

        encoder.eval()
        _, probabilities = encode_images(encoder, pixels, val, accelerator, flip=False, loaders=loaders)
        numbers = {
            "epoch": epoch + 1,
            "train_loss": accelerator.reduce(total / steps, "mean").item(),
            "val_loss": functional.nll_loss(probabilities.clamp(min=1e-12).log(), labels[val]).item(),
            "val_accuracy": (probabilities.argmax(1) == labels[val]).double().mean().item(),
            "val_images": len(val),
            "learning_rate": optimizer.param_groups[0]["lr"],
        }
        done.epochs, done.steps, done.total, done.metrics = epoch + 1, 0, 0.0, [*done.metrics, numbers]
        if best_epoch(done.metrics) is numbers:
            done.best = {name: weight.cpu().clone() for name, weight in encoder.state_dict().items()}
        if accelerator.is_main_process:
            curves.write(epoch + 1, numbers, digits=None)  # before the checkpoint, which resumes after lines that are there
            _save(folder, state, epoch + 1)
        accelerator.wait_for_everyone()
        log.info(
            f"emotion encoder: epoch {epoch + 1} of {space.epochs}, train loss {numbers['train_loss']:.3f}, val loss "
            f"{numbers['val_loss']:.3f}, val accuracy {numbers['val_accuracy']:.1%} of {len(val):,}"
        )
    if accelerator.is_main_process and done.best:
        encoder.load_state_dict(done.best)
        encoder.save_pretrained(folder / "encoder")
        seal(folder / "encoder")
        recipe.finish(folder / RECIPE_FILE)
        (folder / CHECKPOINT).unlink(missing_ok=True)  # nothing is left to resume
    accelerator.wait_for_everyone()
    return EmotionEncoder.from_pretrained(folder / "encoder").to(accelerator.device)


def supervised_contrastive(vectors: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Return the loss L_out of Khosla et al. 2020, equation 2, of vectors (B, d), normalised here, with labels (B,).

    The mean is over images whose label another image shares, or 0 where there are none.
    """
    normal = functional.normalize(vectors.float(), dim=1)
    itself = torch.eye(len(normal), dtype=torch.bool, device=normal.device)
    log_share = (normal @ normal.T / temperature).masked_fill(itself, -math.inf).log_softmax(1)
    positive = (labels[:, None] == labels) & ~itself
    positives = positive.sum(1)
    losses = -log_share.masked_fill(~positive, 0).sum(1) / positives.clamp(min=1)
    return losses.sum() / (positives > 0).sum().clamp(min=1)


def best_epoch(metrics: list[dict]) -> dict:
    """Return the epoch's metrics with the highest val accuracy, of equals that with the lowest val loss.

    Epochs without a finite val loss count nowhere. Raises UserError where none has one.
    """
    finite = [epoch for epoch in metrics if math.isfinite(epoch.get("val_loss", math.nan))]  # metrics.jsonl leaves it out
    if not finite:
        raise UserError(
            "emotion_space.learning_rate: the emotion encoder's val loss is no number after any epoch, so its training has "
            "diverged; set a lower one"
        )
    return max(finite, key=lambda epoch: (epoch["val_accuracy"], -epoch["val_loss"]))


def _distributed(encoder: EmotionEncoder, accelerator: Accelerator) -> nn.Module:
    if accelerator.num_processes == 1:
        return encoder
    # Not accelerator.prepare: with DeepSpeed that prepares one model, the mapper. Some backbones hold weights that no
    # image uses, DINOv2 its mask token.
    devices = [accelerator.device] if accelerator.device.type == "cuda" else None
    return DistributedDataParallel(encoder, devices, broadcast_buffers=False, find_unused_parameters=True)


def _contrastive(vectors: Tensor, target: Tensor, accelerator: Accelerator, temperature: float) -> Tensor:
    """Return the loss over all processes' vectors, of which only this one's have a gradient."""
    everyone = list(accelerator.gather(vectors.detach()).float().chunk(accelerator.num_processes))
    everyone[accelerator.process_index] = vectors.float()
    labels = accelerator.gather(target)
    return supervised_contrastive(torch.cat(everyone), labels, temperature)


def _order(rows: np.ndarray, seed: int, epoch: int) -> tuple[np.ndarray, Tensor]:
    """Return the rows in this epoch's order, and for each place whether its image is flipped."""
    generator = torch.Generator().manual_seed(derived_seed(seed, "order", epoch))
    order = torch.randperm(len(rows), generator=generator).numpy()
    return rows[order], torch.rand(len(rows), generator=generator) < 0.5


def _schedule(step: int, steps: int) -> float:
    """Return the share of the peak learning rate: linear over the first twentieth of the steps, then cosine to 0."""
    warmup = max(1, steps // 20)
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _recipe(space: EmotionSpace, seed: int, batch_size: int, made_from: dict[str, Any]) -> Recipe:
    settings = {"seed": seed} | settings_of("emotion_space", space, OF_GAUSSIANS | {"batch_size"})
    return Recipe("emotion encoder", settings | {"batch of all processes": batch_size}, made_from)


def _save(folder: Path, state: dict, epochs: int) -> None:
    write_state(folder / CHECKPOINT, {name: part.state_dict() for name, part in state.items()} | {"epochs": epochs})


def _save_and_stop(folder: Path, state: dict, steps: int, accelerator: Accelerator) -> NoReturn:
    """End all processes after a batch of an epoch that has so many steps."""
    done = state["done"]
    if accelerator.is_main_process:
        _save(folder, state, done.epochs)
    accelerator.wait_for_everyone()
    stop(f"the encoder's checkpoint was saved after batch {done.steps:,} of {steps:,} in epoch {done.epochs + 1}")


def _resume(folder: Path, state: dict, recipe: Recipe, epochs: int, accelerator: Accelerator) -> None:
    """Load the checkpoint into `state`, or begin by removing that of another recipe. epochs: how many there are in all."""
    path, checkpoint, done = folder / RECIPE_FILE, folder / CHECKPOINT, state["done"]
    started, finished = recipe.is_started(path), recipe.is_finished(path)
    if finished and is_sealed(folder / "encoder"):
        done.epochs = epochs
    elif started and (content := read_state(checkpoint)):
        for name, part in state.items():
            part.load_state_dict(content[name])
    accelerator.wait_for_everyone()  # all have looked before one writes
    begins = not done.epochs and not done.steps
    if accelerator.is_main_process and begins:
        if path.is_file() and not started:
            log.info(f"emotion encoder: {recipe.changes(path)}")
        elif finished or checkpoint.is_file():
            log.info("emotion encoder: its file is cut off or damaged, so it is trained again")
        checkpoint.unlink(missing_ok=True)  # first: no checkpoint of another recipe ever lies beside this one
        recipe.start(path)
    accelerator.wait_for_everyone()
    if not begins:
        log.info(f"emotion encoder: {done.epochs} of {epochs} epochs are done")
