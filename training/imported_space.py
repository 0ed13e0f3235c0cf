"""Reading the emotion space that training/import_emogen.py wrote, used instead of an emotion space that is trained here."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch.utils.data import Dataset

from config.errors import UserError, first_line
from emoset.confusability import write_confusability
from runtime.files import read_json
from runtime.hub import fingerprint
from runtime.recipe import RECIPE, digest
from runtime.run_folder import log
from runtime.tensors import read_whole, write_tensors
from training.emotion_encoder import EmotionEncoder, encode_images
from training.emotion_statistics import EmotionStatistics, emotion_confidence

WHAT = "imported emotion space"  # as its recipe calls it
CONFIDENCE, CLASSIFIER = "emotion_confidence.csv", "emotion_classifier.safetensors"


def check_imported(folder: Path, emotions: Sequence[str]) -> tuple[int, EmotionEncoder | None]:
    """Return the vectors' dimension and the image encoder, None where there is none.

    Raises UserError where `folder` holds no imported emotion space, one of other emotions, or one that is not whole.
    """
    file = folder / "gaussians.safetensors"
    if not file.exists():
        raise UserError(f"emotion_space.imported: no emotion space in {folder}; write it with training/import_emogen.py")
    try:
        with safe_open(file, "pt") as gaussians:
            imported = tuple(gaussians.metadata()["emotions"].split(","))
            dimension = gaussians.get_slice("mean").get_shape()[1]
        with safe_open(folder / CLASSIFIER, "pt") as classifier:
            is_whole = classifier.get_slice("weight").get_shape()[0] == len(imported) and (folder / "summary.json").is_file()
    except (OSError, KeyError, TypeError, SafetensorError) as error:
        is_whole, reason = False, first_line(error)
    else:
        reason = "a file is missing"
    if not is_whole:
        raise UserError(
            f"emotion_space.imported: {folder} is not whole ({reason}); remove it, and run training/import_emogen.py"
        )
    if imported != tuple(emotions):
        raise UserError(
            f"emotion_space.imported: {folder} holds the emotions {', '.join(imported)}, and data.taxonomy lists "
            f"{', '.join(emotions)}; set emotion_space.imported=null to train an emotion space"
        )
    return dimension, EmotionEncoder.from_pretrained(folder / "encoder") if (folder / "encoder").is_dir() else None


def read_imported(
    folder: Path,
    index: pd.DataFrame,
    emotions: Sequence[str],
    kinds: list[str],
    encoded: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> EmotionStatistics:
    """Return the imported Gaussians of `emotions`.

    encoded: what the imported encoder gives: vectors (N, 2, dimension) of each image of `index` and its mirror image, and
    probabilities (N, K). None if no encoder was imported. Then no image has a vector of its own.
    The emotion confidence of an attribute is the imported one. If none was imported, it is the mean of the probabilities
    over the attribute's training images. Without probabilities it is the share of each emotion among these images.
    """
    if (folder / CONFIDENCE).is_file():
        confidence = pd.read_csv(folder / CONFIDENCE, keep_default_na=False).assign(images=1)
        confidence = confidence[confidence["kind"].isin(kinds)]
    else:
        labels = torch.tensor(index["emotion"].map(emotions.index).to_numpy())
        probabilities = encoded[1] if encoded else torch.eye(len(emotions))[labels]
        confidence = emotion_confidence(index, probabilities, emotions, kinds)
    return EmotionStatistics(
        vectors=encoded[0] if encoded else None,
        ids=index["image_id"].tolist(),
        confidence=confidence,
        summary=read_json(folder / "summary.json"),
        **load_file(folder / "gaussians.safetensors"),
    )


def encode_imported(
    encoder: EmotionEncoder,
    index: pd.DataFrame,
    pixels: Dataset,
    folder: Path,
    accelerator: Accelerator,
    loaders: int,
    data_fingerprint: str,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what the imported encoder says of the images, as read_imported takes it; from `folder` where that is there.

    All processes call it together.
    """
    images = digest(index[["image_id", "image"]].values.tolist())
    key = digest([fingerprint(encoder), data_fingerprint, images, accelerator.mixed_precision])
    path, rows = folder / f"imported-vectors-{key}.safetensors", np.arange(len(index))
    kept = read_whole(path)
    accelerator.wait_for_everyone()  # all have looked before one writes
    if kept is None:
        log.info(f"emotion space: encoding {len(index):,} images and their flips by the imported encoder")
        encoder.to(accelerator.device)
        vectors, probabilities = encode_images(encoder, pixels, rows, accelerator, flip=False, loaders=loaders)
        flipped, _ = encode_images(encoder, pixels, rows, accelerator, flip=True, loaders=loaders)
        kept = {"vectors": torch.stack([vectors, flipped], 1), "probabilities": probabilities}
        if accelerator.is_main_process:
            folder.mkdir(parents=True, exist_ok=True)
            write_tensors(path, {name: tensor.contiguous() for name, tensor in kept.items()})
        accelerator.wait_for_everyone()
    return kept["vectors"], kept["probabilities"]


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
    classifier = load_file(folder / CLASSIFIER)
    if classifier["weight"].shape[1] != features:
        raise UserError(
            f"models.clip: gives {features} features, the classifier in {folder} takes {classifier['weight'].shape[1]}"
        )
    return classifier["weight"], classifier["bias"]
