"""What the report shows of trainings: curves of what they wrote into metrics.jsonl, samples, and mined images."""

import json
from pathlib import Path

import pandas as pd

from config.taxonomy import Taxonomy
from config.understanding_settings import Mining
from evaluation.plots import lines
from evaluation.report_parts import part, section
from evaluation.run_files import RunFiles
from runtime.page import picture, thumbnail
from understanding import kinds, scoring
from understanding.hard_images import is_hard
from understanding.rewards import SHARED

STEPS = {"warm_up": "Warm-up", "step_one": "Step I", "step_two": "Step II"}
GENERATOR = {
    "training/emotion_space": {
        "Emotion space: loss": {"train_loss": "training", "val_loss": "val split"},
        "Emotion space: accuracy": {"val_accuracy": "val split"},
    },
    "training/mapper": {
        "Mapper: loss": {"loss": "all", "diffusion": "diffusion"},
        "Mapper: losses on text features": {"attribute": "attribute", "emotion": "emotion"},
    },
}


def training_section(files: RunFiles, mining: Mining, taxonomy: Taxonomy) -> dict | None:
    """Return what the page shows of trainings: a part for each that has written numbers, samples, and mined images."""
    errors = files.read("mining/errors.parquet", lambda file: mining_table(file, mining, taxonomy.emotions), None)
    parts = [part(name, ("plots", plots)) for name, plots in training_curves(files, taxonomy).items()]
    parts += [
        part("Samples of the generator while it trained", ("picture", training_samples(files, len(taxonomy)))),
        part("Hard training images, as mining found them", ("tables", [errors] if errors else [])),
    ]
    return section("training", "Training", parts)


def plotted(taxonomy: Taxonomy) -> dict[str, dict[str, dict[str, str]]]:
    """Return what is plotted of each training's folder: title, then the label of each number in metrics.jsonl."""
    rewards = [*(kind.NAME for kind in kinds.KINDS), *SHARED]
    plots = dict(GENERATOR)
    for step, name in STEPS.items():
        plots[f"understanding/{step}"] = {
            f"{name}: loss": {"loss": "loss"},
            f"{name}: rewards": {"reward": "all, weighted"} | {f"rewards/{each}/mean": each for each in rewards},
            f"{name}: scores of the distributions of answers": {f"score/{kind.NAME}": kind.NAME for kind in kinds.KINDS},
            f"{name}: probability of all answers that are allowed": {"allowed": "their sum"},
            f"{name}: score lost by the variance between thoughts": {
                f"variance/{kind.NAME}": kind.NAME for kind in kinds.KINDS
            },
            f"{name}: thoughts": {
                "unreadable_thoughts": "share that no answer can follow",
                "alike_thoughts": "share of groups that are all alike",
            },
            f"{name}: KL divergence": {"kl": "from the model before it"},
            f"{name}: entropy": {"entropy": "nats a token"},
            f"{name}: groups whose answers earn the same": {"dead_groups": "all"}
            | {f"dead_groups/{kind.NAME}": kind.NAME for kind in kinds.KINDS},
            **{
                f"{name}: accuracy, {side} emotions": {f"accuracy/{each}": each for each in emotions}
                for side, emotions in taxonomy.sides.items()
            },
            f"{name}: length of answers": {"completions/mean_length": "tokens"},
            f"{name}: on the val split": {f"val/{figure}": label for figure, label in scoring.curves().items()},
        }
    return plots


def training_curves(files: RunFiles, taxonomy: Taxonomy) -> dict[str, list[dict]]:
    """Return pictures of the numbers that trainings have written, by training."""
    pictures = {}
    for folder, plots in plotted(taxonomy).items():
        path = f"{folder}/metrics.jsonl"

        def draw(file: Path, plots=plots, path=path) -> list[dict]:
            written, is_cut = _lines_of(file)
            if is_cut:  # by a kill, or later
                files.note(path, "its last line is cut off; the curves end before it")
            return _pictures(written, plots)

        pictures[next(iter(plots)).partition(":")[0]] = files.read(path, draw, [])
    return pictures


def _pictures(written: list[dict], plots: dict[str, dict[str, str]]) -> list[dict]:
    pictures, by = [], "step" if written and "step" in written[0] else "epoch"
    for title, names in plots.items():
        series = {
            label: [(line[by], line[name]) for line in written if line.get(name) is not None]
            for name, label in names.items()
        }
        if series := {label: points for label, points in series.items() if points}:
            pictures.append(lines(series, {"step": "update", "epoch": "epoch"}[by], title))
    return pictures


def _lines_of(file: Path) -> tuple[list[dict], bool]:
    """Return the lines of a metrics.jsonl, and whether the last one is cut off and left out."""
    *whole, last = file.read_text(encoding="utf-8").split("\n")
    written = [json.loads(line) for line in whole]
    if not all(isinstance(line, dict) and line.keys() & {"step", "epoch"} for line in written):
        raise ValueError("a line tells no step or epoch")
    return written, bool(last)


def training_samples(files: RunFiles, emotions: int) -> dict | None:
    """Return the last grid of samples that the mapper's training drew. emotions: how many rows it has."""
    grids = (files.run / "training" / "mapper" / "samples").glob("[!.]*.png")
    for grid in sorted((grid for grid in grids if grid.stem.isdecimal()), reverse=True):
        if image := files.image(grid):
            step = int(grid.stem)
            alt = f"samples of each of the {emotions} emotions after {step:,} updates, a row for each"
            return picture(thumbnail(image, 900), alt, f"Samples after {step:,} updates")
    return None


def mining_table(file: Path, mining: Mining, emotions: tuple[str, ...]) -> dict:
    """Return a table of the reference model's errors by emotion: how large, how many hard, what was likely instead."""
    errors, rows = pd.read_parquet(file, page_checksum_verification=True), []
    if others := set(errors["emotion"]) - set(emotions):
        raise ValueError(f"it holds the emotion {min(map(str, others))!r}")
    for emotion, own in errors.groupby("emotion"):
        others = own[[each for each in emotions if each != emotion]].mean().nlargest(2)
        instead = ", ".join(f"{name} {share:.0%}" for name, share in others.items() if share)
        hard = is_hard(own, mining).sum()
        cells = [f"{len(own):,}", f"{own['error'].mean():.3f}", f"{hard:,}", instead or "nothing"]
        rows.append({"name": emotion, "cells": [{"value": cell} for cell in cells]})
    hard = f"hard: above {mining.lowest:.0%} of them, up to {mining.highest:.0%}"
    columns = ["images", "mean error", hard, "taken for"]
    return {"caption": "Mining: errors of the reference model on training images", "columns": columns, "rows": rows}
