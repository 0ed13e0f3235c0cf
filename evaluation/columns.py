"""The two columns of a method's figures: as it should be measured, and as EmoGen's code measures, fault for fault."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from emoset.labels import EMOTIONS
from config.settings import Settings
from emoset.images import load_image
from evaluation import metrics
from evaluation.features import Network
from runtime.figures import of_pairs
from evaluation.perceptual import lpips_distances


@dataclass(frozen=True)
class Views:
    """What the networks see in `images` (columns image_id, emotion, path), by row.

    clip: features (N, D), not of unit length. objects, scenes: probabilities (N, labels), the former of `object_labels`.
    fid: features (N, D).
    """

    images: pd.DataFrame
    clip: Tensor
    objects: np.ndarray
    scenes: np.ndarray
    fid: Tensor
    object_labels: tuple[str, ...]

    @property
    def emotions(self) -> np.ndarray:
        """The intended emotions (N,)."""
        return self.images["emotion"].to_numpy()


def corrected_column(
    made: Views, training: Views, memorable: Tensor, judged: np.ndarray, settings: Settings
) -> dict[str, dict]:
    """Return the figures of images made, as they should be.

    training: real images. memorable: CLIP's features (N, D) of all training images. judged: (n, 8), by row of `made`.
    """
    emotions, seed = made.emotions, settings.seed
    pairs = metrics.pairs_within(emotions, settings.evaluate.pairs, seed)
    return {
        **metrics.emotion_figures(judged, emotions, seed),
        **metrics.fid_figures(training.fid, made.fid, seed),
        "kid": metrics.kid_figure(training.fid, made.fid, seed),
        "lpips": of_pairs(pairs, lpips_distances(made.images, pairs, settings), emotions, seed),
        "semantic_clarity": metrics.clarity_figure(made.objects, made.scenes, emotions, seed),
        "semantic_diversity": of_pairs(pairs, metrics.mean_squares(made.clip, pairs), emotions, seed),
        **metrics.attribute_figures(
            metrics.attributes_shown(made.objects, made.scenes),
            emotions,
            metrics.attributes_shown(training.objects, training.scenes),
            training.emotions,
            seed,
        ),
        "nearest_training_distance": metrics.nearest_figure(made.clip, memorable, emotions, seed),
    }


def published_column(
    made: Views, squeezed: tuple[Tensor, Tensor], black_clip: Network, judged: np.ndarray, settings: Settings
) -> dict[str, dict]:
    """Return the figures of images made, as EmoGen's code has them.

    squeezed: features (N, D) of all real images, and of those made, squeezed to squares. black_clip: CLIP as used there.
    """
    emotions, seed = made.emotions, settings.seed
    pairs = metrics.published_pairs(emotions, seed)
    shown, rows = np.unique(pairs, return_inverse=True)
    with torch.no_grad():
        features = black_clip.run([load_image(made.images["path"].iloc[row]) for row in shown]).cpu()
    return {
        **metrics.emotion_figures(judged, emotions, seed, pooled=True),
        **metrics.fid_figures(*squeezed, seed),
        "lpips": metrics.published_pair_figure(lpips_distances(made.images, pairs, settings, published=True), seed),
        "semantic_clarity": metrics.clarity_figure(made.objects, made.scenes, emotions, seed, pooled=True),
        "semantic_diversity": metrics.published_pair_figure(metrics.mean_squares(features, rows.reshape(pairs.shape)), seed),
    }


def by_emotion(judged: np.ndarray, emotions: np.ndarray, seed: int) -> dict[str, dict[str, dict]]:
    """Return the accuracies for each emotion, eight-way and two-way. judged: the judge's probabilities (n, 8)."""
    found = {name: emotions == name for name in EMOTIONS if (emotions == name).any()}
    return {name: metrics.emotion_figures(judged[rows], emotions[rows], seed) for name, rows in found.items()}


def confusion(judged: np.ndarray, emotions: np.ndarray) -> pd.DataFrame:
    """Return how often the images of each intended emotion (rows) were judged to be each (columns)."""
    said = np.array(EMOTIONS)[judged.argmax(1)]
    table = pd.crosstab(pd.Series(emotions, name="intended"), pd.Series(said, name="judged"))
    return table.reindex(index=list(EMOTIONS), columns=list(EMOTIONS), fill_value=0)
