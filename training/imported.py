"""Reading the emotion space that training/import_emogen.py wrote, in place of one that was trained here."""

import json
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file

from config.loading import UserError
from emoset.labels import EMOTIONS
from training.emotion_statistics import EmotionStatistics, emotion_confidence


def read_imported(folder: Path, index: pd.DataFrame, kinds: list[str]) -> EmotionStatistics:
    """Return the imported Gaussians, with no image's own vector: there is no encoder to make it.

    The emotion confidence of an attribute is then the share of each emotion among its training images.
    Raises UserError where `folder` holds no imported emotion space.
    """
    if not (folder / "gaussians.safetensors").exists():
        raise UserError(f"emotion_space.imported: no emotion space in {folder}; write it with training/import_emogen.py")
    labels = torch.tensor(index["emotion"].map(EMOTIONS.index).to_numpy())
    return EmotionStatistics(
        vectors=None,
        ids=index["image_id"].tolist(),
        confidence=emotion_confidence(index, torch.eye(len(EMOTIONS))[labels], kinds),
        summary=json.loads((folder / "summary.json").read_text(encoding="utf-8")),
        **load_file(folder / "gaussians.safetensors"),
    )


def read_imported_classifier(folder: Path, features: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weight (8, features) and bias (8,) of the imported emotion classifier.

    Raises UserError where it takes other features than those of models.clip.
    """
    classifier = load_file(folder / "emotion_classifier.safetensors")
    if classifier["weight"].shape[1] != features:
        raise UserError(
            f"models.clip: gives {features} features, the classifier in {folder} takes {classifier['weight'].shape[1]}"
        )
    return classifier["weight"], classifier["bias"]
