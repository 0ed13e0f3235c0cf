"""Import EmoGen's published emotion space: Gaussians of EmoSet's emotions, and a classifier of CLIP ViT-L/14 features.

python training/import_emogen.py emotion_space.published=path/to/EmoGen emotion_space.imported=data/emogen

The published folder holds <emotion>_mean_v2.pt and <emotion>_std_v2.pt (emo_space/ of https://github.com/JingyuanYY/EmoGen)
and clip_emotion_classifier.pth (its weights/Clip_emotion_classifier/*.pth). A clone of that repository will do. This script
writes gaussians.safetensors (mean, factor: standard deviations), emotion_classifier.safetensors (weight, bias) and
summary.json, for training/main.py with the same emotion_space.imported.
"""

from runtime.script import read_settings, run
from runtime.tensors import read_tensors, write_tensors

read_settings(__name__, __doc__, "emotion_space", "data")

from itertools import combinations
from pathlib import Path

import torch
from torch.nn.functional import normalize

from config.errors import UserError
from config.settings import Settings
from config.taxonomy import DEFAULT, read_taxonomy
from runtime.built_folder import building, is_built, lock
from runtime.files import write_json
from runtime.hub import sha256
from runtime.recipe import Recipe
from runtime.run_folder import log, open_run_folder


def main(settings: Settings) -> None:
    published, imported = settings.emotion_space.published, settings.emotion_space.imported
    if published is None or imported is None:
        raise UserError("set emotion_space.published, the folder to read, and emotion_space.imported, the folder to write")
    emotions = read_taxonomy(DEFAULT).emotions
    if settings.data.taxonomy.emotions != emotions:
        raise UserError(f"data.taxonomy: EmoGen's files are of EmoSet's emotions, {', '.join(emotions)}; use emoset.yaml")
    open_run_folder(settings, "import_emogen")

    # 1. Read.
    (mean, factor), gaussian_paths = read_gaussians(published, emotions)
    classifier, classifier_path = read_classifier(published, emotions)
    dimension, features = mean.shape[1], classifier["weight"].shape[1]

    # 2. Write.
    digests = {path.name: sha256(path) for path in (*gaussian_paths, classifier_path)}
    recipe = Recipe("imported emotion space", {}, {"version": 1, **digests})
    about = {"covariance": "diagonal", "emotions": ",".join(emotions)}
    summary = {"source": "EmoGen, as published", "dimension": dimension, "classifier_features": features, "files": digests}
    with lock(imported):
        if is_built(imported, recipe):
            log.info(f"imported emotion space: nothing has changed, {imported.name}/ stays as it is")
            return
        with building(imported, recipe) as work:
            write_tensors(work / "gaussians.safetensors", {"mean": mean, "factor": factor}, about)
            write_tensors(work / "emotion_classifier.safetensors", classifier)
            write_json(work / "summary.json", summary)

    # 3. Show which emotions lie close together.
    cosines = normalize(mean, dim=1) @ normalize(mean, dim=1).T
    pairs = [(cosines[i, j].item(), f"{emotions[i]}-{emotions[j]}") for i, j in combinations(range(len(emotions)), 2)]
    nearest = ", ".join(f"{names} {cosine:.2f}" for cosine, names in sorted(pairs, reverse=True)[:6])
    log.info(f"imported {len(emotions)} Gaussians of {dimension} dimensions and a classifier of {features} features")
    log.info(f"cosines between their means: {nearest}")


def read_gaussians(published: Path, emotions: tuple[str, ...]) -> tuple[tuple[torch.Tensor, torch.Tensor], list[Path]]:
    """Return means and standard deviations, each (K, dimension), and the files that hold them, found by emotions' names."""
    paths = [find(published, f"{emotion}_{part}_v2.pt") for part in ("mean", "std") for emotion in emotions]
    vectors = [read_tensors(path, torch.Tensor, "emotion_space.published").float() for path in paths]
    dimension = vectors[0].numel()
    for path, vector in zip(paths, vectors, strict=True):
        if vector.shape != (dimension,) or not vector.isfinite().all():
            raise UserError(f"{path}: expected {dimension} numbers, found a tensor of shape {tuple(vector.shape)}")
    mean, std = torch.stack(vectors[: len(emotions)]), torch.stack(vectors[len(emotions) :])
    if (std <= 0).any():
        raise UserError(f"{published}: a standard deviation is not above 0")
    return (mean, std), paths


def read_classifier(published: Path, emotions: tuple[str, ...]) -> tuple[dict[str, torch.Tensor], Path]:
    """Return weight (K, features) and bias (K,) of the classifier, and the file that holds them.

    Its rows are in the order of info.json, by the published inference code (emotion_list_8 in its training/inference.py).
    """
    path = find(published, "clip_emotion_classifier.pth", "Clip_emotion_classifier/*.pth")
    tensors = read_tensors(path, dict, "emotion_space.published")
    classifier = {name.removeprefix("fc."): tensor.float() for name, tensor in tensors.items()}
    if classifier.keys() != {"weight", "bias"} or len(classifier["weight"]) != len(emotions):
        raise UserError(f"{path}: expected a linear layer to {len(emotions)} emotions, fc.weight and fc.bias")
    return classifier, path


def find(folder: Path, *patterns: str) -> Path:
    """Return the first file below `folder` that matches a pattern; raises UserError where none does."""
    for pattern in patterns:
        for path in sorted(folder.rglob(pattern)):
            return path
    raise UserError(f"emotion_space.published: no {patterns[0]} below {folder}; name the folder of EmoGen's published files")


if __name__ == "__main__":
    run(main)
