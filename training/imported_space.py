"""Reading the emotion space that training/import_emogen.py wrote, used instead of an emotion space that is trained here."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from config.errors import UserError
from emoset.confusability import write_confusability
from runtime.files import read_json
from runtime.recipe import RECIPE
from training.emotion_statistics import EmotionStatistics, emotion_confidence


def read_imported(folder: Path, index: pd.DataFrame, emotions: Sequence[str], kinds: list[str]) -> EmotionStatistics:
    """Return the imported Gaussians of `emotions`, with no image's own vector: there is no encoder to make it.

    The emotion confidence of an attribute is then the share of each emotion among its training images.
    Raises UserError where `folder` holds no imported emotion space, or one of other emotions.
    """
    if not (folder / "gaussians.safetensors").exists():
        raise UserError(f"emotion_space.imported: no emotion space in {folder}; write it with training/import_emogen.py")
    with safe_open(folder / "gaussians.safetensors", "pt") as file:
        imported = tuple(file.metadata()["emotions"].split(","))
    if imported != tuple(emotions):
        raise UserError(
            f"emotion_space.imported: {folder} holds the emotions {', '.join(imported)}, and data.taxonomy lists "
            f"{', '.join(emotions)}; set emotion_space.imported=null to train an emotion space"
        )
    labels = torch.tensor(index["emotion"].map(emotions.index).to_numpy())
    return EmotionStatistics(
        vectors=None,
        ids=index["image_id"].tolist(),
        confidence=emotion_confidence(index, torch.eye(len(emotions))[labels], emotions, kinds),
        summary=read_json(folder / "summary.json"),
        **load_file(folder / "gaussians.safetensors"),
    )


def write_imported_confusability(folder: Path, mean: torch.Tensor, emotions: Sequence[str]) -> None:
    """Write `folder`/confusability.json, in proportion to the cosines of the Gaussians' means (K, dimension).

    They stand in for an encoder's mistakes, which nobody has seen. A cosine below 0.01 counts as 0.01, for any emotion may
    be taken for any other.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECIPE).unlink(missing_ok=True)  # a space trained here before is no longer whole
    normal = torch.nn.functional.normalize(mean, dim=1)
    matrix = (normal @ normal.T).clamp(min=0.01).fill_diagonal_(0)
    write_confusability(folder / "confusability.json", (matrix / matrix.sum(1, keepdim=True)).numpy(), emotions, "imported")


def read_imported_classifier(folder: Path, features: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weight (K, features) and bias (K,) of the imported emotion classifier.

    Raises UserError where it takes other features than those of models.clip.
    """
    classifier = load_file(folder / "emotion_classifier.safetensors")
    if classifier["weight"].shape[1] != features:
        raise UserError(
            f"models.clip: gives {features} features, the classifier in {folder} takes {classifier['weight'].shape[1]}"
        )
    return classifier["weight"], classifier["bias"]
