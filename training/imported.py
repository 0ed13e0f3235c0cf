"""Reading the emotion space that training/import_emogen.py wrote, in place of one that was trained here."""

import json
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file

from config.errors import UserError
from emoset.confusability import write_confusability
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


def write_imported_confusability(folder: Path, mean: torch.Tensor) -> None:
    """Write `folder`/confusability.json, in proportion to the cosines of the Gaussians' means (8, dimension).

    They stand in for an encoder's mistakes, which nobody has seen. One below 0.01 counts as that: nothing is impossible.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.json").unlink(missing_ok=True)  # a space trained here before is no longer whole
    normal = torch.nn.functional.normalize(mean, dim=1)
    matrix = (normal @ normal.T).clamp(min=0.01).fill_diagonal_(0)
    write_confusability(folder / "confusability.json", (matrix / matrix.sum(1, keepdim=True)).numpy(), "imported")


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
