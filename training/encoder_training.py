"""Trains the emotion encoder: cross-entropy over the emotions, best epoch by the val split, resumable by epoch.

All that is random follows from (seed, epoch, position), so no random state is kept.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
from runtime.metrics import MetricsFile, read_metrics
from runtime.recipe import Recipe, settings_of
from runtime.run_folder import log, progress
from runtime.seeds import derived_seed
from runtime.tensors import write_state
from training.caches import read_batches
from training.emotion_encoder import EmotionEncoder, encode_images

RECIPE_FILE, CHECKPOINT = "encoder_recipe.json", "checkpoint.pt"
OF_GAUSSIANS = {"imported", "published", "covariance", "shrinkage"}  # settings that do not change the encoder


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
    """Train the encoder on the rows of `index` in the train split; return that of the epoch which is best on val.

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
    state = {"model": encoder, "optimizer": optimizer, "scaler": scaler}
    recipe = _recipe(space, seed, batch_size, made_from)
    first = _resume(folder, state, recipe, space.epochs, accelerator)
    metrics = read_metrics(folder)[:first]
    curves = MetricsFile(folder, first, by="epoch") if accelerator.is_main_process else None

    for epoch in range(first, space.epochs):
        encoder.train()
        total = 0.0
        rows, flips = (
            part[: steps * batch_size].reshape(steps, accelerator.num_processes, -1)[:, accelerator.process_index]
            for part in _order(train, seed, epoch)
        )
        batches = read_batches(pixels, rows.tolist(), loaders)
        if accelerator.is_main_process:
            batches = progress(batches, f"emotion encoder, epoch {epoch + 1}", steps, unit=" batches")
        for step, batch in enumerate(batches):
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
        metrics.append(numbers)
        if accelerator.is_main_process:
            if best_epoch(metrics) is numbers:
                encoder.save_pretrained(folder / "encoder")
            curves.write(epoch + 1, numbers, digits=None)  # before the checkpoint, which resumes after lines that are there
            _save(folder, state, epoch + 1)
        accelerator.wait_for_everyone()
        log.info(
            f"emotion encoder: epoch {epoch + 1} of {space.epochs}, train loss {numbers['train_loss']:.3f}, val loss "
            f"{numbers['val_loss']:.3f}, val accuracy {numbers['val_accuracy']:.1%} of {len(val):,}"
        )
    if accelerator.is_main_process:
        recipe.finish(folder / RECIPE_FILE)
        (folder / CHECKPOINT).unlink(missing_ok=True)  # nothing is left to resume
    accelerator.wait_for_everyone()
    return EmotionEncoder.from_pretrained(folder / "encoder").to(accelerator.device)


def supervised_contrastive(vectors: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Return the loss L_out of Khosla et al. 2020, equation 2, of vectors (B, d), normalised here, with labels (B,).

    The mean is over images whose label another image shares; 0 where there are none.
    """
    normal = functional.normalize(vectors.float(), dim=1)
    itself = torch.eye(len(normal), dtype=torch.bool, device=normal.device)
    log_share = (normal @ normal.T / temperature).masked_fill(itself, -math.inf).log_softmax(1)
    positive = (labels[:, None] == labels) & ~itself
    positives = positive.sum(1)
    losses = -log_share.masked_fill(~positive, 0).sum(1) / positives.clamp(min=1)
    return losses.sum() / (positives > 0).sum().clamp(min=1)


def best_epoch(metrics: list[dict]) -> dict:
    """Return the epoch's metrics with the highest val accuracy, of equals that with the lowest val loss."""
    return max(metrics, key=lambda epoch: (epoch["val_accuracy"], -epoch["val_loss"]))


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


def _resume(folder: Path, state: dict, recipe: Recipe, epochs: int, accelerator: Accelerator) -> int:
    """Load the checkpoint into `state`, or begin by removing that of another recipe; return how many epochs are done.

    epochs: how many there are in all.
    """
    path, checkpoint = folder / RECIPE_FILE, folder / CHECKPOINT
    is_whole = (folder / "encoder" / "model.safetensors").is_file()
    started, finished = recipe.is_started(path), recipe.is_finished(path) and is_whole
    resumed = started and not finished and is_whole and checkpoint.is_file()
    done = epochs if finished else 0
    if resumed:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
        for name, part in state.items():
            part.load_state_dict(content[name])
        done = content["epochs"]
    accelerator.wait_for_everyone()  # all have looked before one writes
    if accelerator.is_main_process and not done:
        if path.is_file() and not started:
            log.info(f"emotion encoder: {recipe.changes(path)}")
        checkpoint.unlink(missing_ok=True)  # first: no checkpoint of another recipe ever lies beside this one
        recipe.start(path)
    accelerator.wait_for_everyone()
    if done:
        log.info(f"emotion encoder: {done} of {epochs} epochs are done")
    return done
