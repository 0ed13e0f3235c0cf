"""The stage `emotion space`: an encoder, one Gaussian per emotion, the emotion confidence of attributes, confusability."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import Dataset

from config.data_settings import Data
from config.errors import UserError
from config.generation_settings import EmotionSpace
from config.settings import Settings
from config.taxonomy import Taxonomy
from emoset.attribute_folders import has_attributes, memberships
from emoset.confusability import confusability, write_confusability
from runtime.files import read_json, write_atomically, write_json
from runtime.hub import fingerprint
from runtime.metrics import read_metrics
from runtime.recipe import RECIPE, Recipe, digest, read_recipe, settings_of
from runtime.run_folder import log
from runtime.sealed import is_sealed, seal
from runtime.tensors import write_tensors
from training.emotion_encoder import encode_images, new_encoder
from training.encoder_training import best_epoch, fit_encoder

STAGE_VERSION = 1  # raise it when the encoder is trained, or its statistics are computed, differently
WRITTEN = ("vectors.safetensors", "gaussians.safetensors", "emotion_confidence.csv", "emotion_space.png")
WRITTEN += ("summary.json", "confusability.json")
POINTS = 4000  # of a plot
JITTER = 1e-6  # of the mean variance, so that a covariance of few images has a Cholesky factor


@dataclass(frozen=True)
class EmotionStatistics:
    """What the stage leaves behind.

    vectors: (N, 2, dimension) float32, emotion vectors of each image and of its flip. ids: their N image ids.
    mean, factor: of the Gaussians, as `emotion_gaussians` gives them. confidence: as `emotion_confidence` does.
    summary: val_accuracy, val_images, best_epoch, epochs, seed and counts.
    """

    vectors: Tensor
    ids: list[str]
    mean: Tensor
    factor: Tensor
    confidence: pd.DataFrame
    summary: dict


def build_emotion_space(
    settings: Settings,
    index: pd.DataFrame,
    pixels: Dataset,
    folder: Path,
    accelerator: Accelerator,
    data_fingerprint: str,
    trains: bool = True,
) -> EmotionStatistics:
    """Train the emotion encoder and write its results into `folder`. If they are up to date, read them instead.

    trains: if not, results that are not up to date raise UserError, and the precision of their training may be any.
    index: images with their split. The encoder learns from train, and val chooses the epoch and gives the confusability.
    pixels: by row of `index`. Writes encoder/, metrics.jsonl, vectors.safetensors, gaussians.safetensors,
    emotion_confidence.csv, confusability.json, emotion_space.png, summary.json, and recipes of the encoder and of the stage.
    """
    space, emotions, loaders = settings.emotion_space, settings.data.taxonomy.emotions, settings.machine.loaders
    encoder = new_encoder(settings.models.backbone, space, len(emotions), settings.seed)
    path, precision = folder / RECIPE, accelerator.mixed_precision  # in which the encoder is trained, and encodes
    written = None if trains else read_recipe(path)
    made_from = {
        "version": STAGE_VERSION,
        "data set": data_fingerprint,
        "images": digest(index[["image_id", "emotion", "split", "image"]].values.tolist()),
        "backbone": fingerprint(encoder),
        "precision": written["inputs"].get("precision") if written else precision,
    }
    own = {"seed": settings.seed, "data.kinds": settings.data.kinds}
    recipe = Recipe("emotion space", own | settings_of("emotion_space", space, {"imported", "published"}), made_from)
    finished = recipe.is_finished(path) and is_sealed(folder)
    accelerator.wait_for_everyone()  # all have looked before one writes
    if finished:
        statistics = _read(folder, index)
        log.info(f"emotion space: up to date, {_accuracy(statistics.summary)}")
        return statistics
    if not trains:
        raise UserError(f"{folder}: {_wrong(recipe, path)}; run training/main.py again with these settings, then the loop")

    if accelerator.is_main_process:
        if path.is_file() and not recipe.is_started(path):
            log.info(f"emotion space: {recipe.changes(path)}")
        elif recipe.is_finished(path):
            log.info("emotion space: a file is missing, cut off or damaged, so it is made again")
        folder.mkdir(parents=True, exist_ok=True)
        recipe.start(path)
    accelerator.wait_for_everyone()
    encoder = fit_encoder(encoder, index, pixels, emotions, space, settings.seed, loaders, folder, accelerator, made_from)
    log.info(f"emotion space: encoding {len(index):,} images and their flips")
    rows = np.arange(len(index))
    vectors, probabilities = encode_images(encoder, pixels, rows, accelerator, flip=False, loaders=loaders)
    flipped, _ = encode_images(encoder, pixels, rows, accelerator, flip=True, loaders=loaders)
    if accelerator.is_main_process:
        about = {"seed": settings.seed, "backbone": settings.models.backbone}
        _write(folder, space, settings.data, index, torch.stack([vectors, flipped], 1), probabilities, about)
        recipe.finish(path)
    accelerator.wait_for_everyone()
    statistics = _read(folder, index)
    log.info(f"emotion space: {_accuracy(statistics.summary)}; see {folder.name}/emotion_space.png")
    return statistics


def _wrong(recipe: Recipe, path: Path) -> str:
    """Return in words why what lies beside the recipe in `path` is not the result of this one."""
    if read_recipe(path) is None:
        return "is not there"
    return "is not finished" if recipe.is_started(path) else f"was made otherwise ({recipe.changes(path)})"


def emotion_gaussians(
    vectors: Tensor, labels: Tensor, emotions: Sequence[str], covariance: str, shrinkage: float
) -> tuple[Tensor, Tensor]:
    """Return mean (K, d) and factor of one Gaussian per emotion, of vectors (N, d) with labels (N,), float32.

    diagonal: factor (K, d) holds standard deviations, as EmoGen's. full: factor (K, d, d) holds the lower Cholesky factors
    of (1 - shrinkage) * covariance + shrinkage * its diagonal. Raises UserError for an emotion with fewer than two images.
    """
    few = [emotion for label, emotion in enumerate(emotions) if (labels == label).sum() < 2]
    if few:
        raise UserError(f"train split: fewer than two images of {', '.join(few)}; a Gaussian needs more: check data.emoset")
    means, factors = [], []
    for label in range(len(emotions)):
        own = vectors[labels == label].double()
        means.append(own.mean(0))
        if covariance == "diagonal":
            factors.append(own.std(0))
            continue
        matrix = own.T.cov()
        variances = matrix.diagonal()
        jitter = JITTER * variances.mean() + torch.finfo(torch.float32).tiny
        shrunk = (1 - shrinkage) * matrix + torch.diag(shrinkage * variances + jitter)
        factors.append(torch.linalg.cholesky(shrunk))
    return torch.stack(means).float(), torch.stack(factors).float()


def emotion_confidence(
    index: pd.DataFrame, probabilities: Tensor, emotions: Sequence[str], kinds: list[str]
) -> pd.DataFrame:
    """Return EmoGen's alpha: for each attribute the mean probabilities of the train images that carry it.

    A row per attribute: kind, attribute, images, then the K emotions, which sum to 1; no rows where no image has an
    attribute of `kinds`. probabilities: (N, K), by row of `index`.
    """
    rows = index.assign(**dict(zip(emotions, probabilities.double().numpy().T, strict=True)))
    train = rows[rows["split"] == "train"]
    if not has_attributes(train, kinds):
        return pd.DataFrame(columns=["kind", "attribute", "images", *emotions])
    groups = memberships(train, kinds).groupby(["kind", "attribute"], sort=True)
    table = groups[list(emotions)].mean()
    table.insert(0, "images", groups.size())
    return table.reset_index()


def plot_emotion_space(
    vectors: Tensor, labels: Tensor, mean: Tensor, factor: Tensor, taxonomy: Taxonomy, path: Path
) -> None:
    """Draw vectors (N, d) by emotion, and the Gaussians with ellipses of one standard deviation, on the vectors' two
    principal components, into a PNG at `path`."""
    shown = np.random.default_rng(0).permutation(len(vectors))[:POINTS]  # mixed, so that no emotion covers another
    points, labels = vectors[shown].double().numpy(), labels[shown].numpy()
    centre = points.mean(0)
    _, spread, directions = np.linalg.svd(points - centre, full_matrices=False)
    shares = spread[:2] ** 2 / (spread**2).sum()
    plane = directions[:2].T  # (d, 2)
    places, means = (points - centre) @ plane, (mean.double().numpy() - centre) @ plane
    factor = factor.double().numpy()

    figure = Figure(figsize=(10, 7.5), layout="constrained")
    axes = figure.subplots()
    axes.scatter(*places.T, s=11, c=np.array(taxonomy.colours)[labels], alpha=0.55, linewidths=0)
    for label, (emotion, colour) in enumerate(zip(taxonomy.emotions, taxonomy.colours, strict=True)):
        flat = plane.T @ (factor[label] if factor.ndim == 3 else np.diag(factor[label]))
        values, axis = np.linalg.eigh(flat @ flat.T)
        angle = np.degrees(np.arctan2(axis[1, 1], axis[0, 1]))
        width, height = 2 * np.sqrt(values[::-1].clip(min=0))
        axes.add_patch(Ellipse(means[label], width, height, angle=angle, fill=False, edgecolor=colour, lw=2, zorder=3))
        axes.scatter(*means[label], s=130, color=colour, edgecolors="white", linewidths=1.5, zorder=4, label=emotion)
    axes.set_title("Emotion vectors of training images; each emotion's mean and one standard deviation", loc="left")
    axes.set_xlabel(f"first principal component ({shares[0]:.0%} of the variance)")
    axes.set_ylabel(f"second principal component ({shares[1]:.0%})")
    axes.set_aspect("equal", "datalim")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False, fontsize=11)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _write(
    folder: Path,
    space: EmotionSpace,
    data: Data,
    index: pd.DataFrame,
    vectors: Tensor,
    probabilities: Tensor,
    about: dict,
) -> None:
    """Write what follows from vectors (N, 2, dimension) and probabilities (N, K). about: goes into summary.json too."""
    taxonomy = data.taxonomy
    emotions = taxonomy.emotions
    labels = torch.tensor(index["emotion"].map(emotions.index).to_numpy())
    train, val = (torch.tensor((index["split"] == split).to_numpy()) for split in ("train", "val"))
    points = vectors[train, 0], labels[train]
    mean, factor = emotion_gaussians(*points, emotions, space.covariance, space.shrinkage)
    confidence = emotion_confidence(index, probabilities, emotions, data.kinds)
    matrix = confusability(probabilities[val].double().numpy(), labels[val].numpy(), emotions)
    best = best_epoch(read_metrics(folder) or [{"epoch": None, "val_accuracy": 0, "val_loss": 0}])  # of a damaged file
    summary = {
        "val_accuracy": (probabilities[val].argmax(1) == labels[val]).double().mean().item(),
        "val_images": int(val.sum()),
        "train_images": int(train.sum()),
        "best_epoch": best["epoch"],
        "epochs": space.epochs,
        **about,
        "dimension": space.dimension,
        "covariance": space.covariance,
    }
    write_tensors(folder / "vectors.safetensors", {"vectors": vectors.contiguous()})
    named = {"covariance": space.covariance, "emotions": ",".join(emotions)}
    write_tensors(folder / "gaussians.safetensors", {"mean": mean, "factor": factor}, named)
    for name, write in {
        "emotion_confidence.csv": lambda path: confidence.to_csv(path, index=False, float_format="%.6g"),
        "emotion_space.png": lambda path: plot_emotion_space(*points, mean, factor, taxonomy, path),
    }.items():
        write_atomically(folder / name, write)
    write_json(folder / "summary.json", summary)
    write_confusability(folder / "confusability.json", matrix, emotions, "emotion_space")
    seal(folder, WRITTEN)


def _read(folder: Path, index: pd.DataFrame) -> EmotionStatistics:
    gaussians = load_file(folder / "gaussians.safetensors")
    with safe_open(folder / "vectors.safetensors", "pt") as file:
        vectors = file.get_tensor("vectors")
    return EmotionStatistics(
        vectors=vectors,
        ids=index["image_id"].tolist(),
        mean=gaussians["mean"],
        factor=gaussians["factor"],
        confidence=pd.read_csv(folder / "emotion_confidence.csv", keep_default_na=False),
        summary=read_json(folder / "summary.json"),
    )


def _accuracy(summary: dict) -> str:
    return f"val accuracy {summary['val_accuracy']:.1%} of {summary['val_images']:,}, epoch {summary['best_epoch']}"
