"""Import EmoGen's published emotion space: eight Gaussians, and a linear emotion classifier of CLIP ViT-L/14 features.

python training/import_emogen.py emotion_space.published=path/to/EmoGen emotion_space.imported=data/emogen

The published folder holds <emotion>_mean_v2.pt and <emotion>_std_v2.pt (emo_space/ of https://github.com/JingyuanYY/EmoGen)
and clip_emotion_classifier.pth (its weights/Clip_emotion_classifier/*.pth); a clone of that repository will do. Written are
gaussians.safetensors (mean, factor: standard deviations), emotion_classifier.safetensors (weight, bias) and summary.json,
for training/main.py with the same emotion_space.imported.
"""

import sys

from config.errors import UserError
from runtime.run_folder import log, open_run_folder
from runtime.script import run
from config.settings import Settings


def main(settings: Settings) -> None:
    import json

    import torch
    from safetensors.torch import save

    from runtime.built_folder import building, is_built, lock
    from emoset.labels import EMOTIONS

    published, imported = settings.emotion_space.published, settings.emotion_space.imported
    if published is None or imported is None:
        raise UserError("set emotion_space.published, the folder to read, and emotion_space.imported, the folder to write")
    open_run_folder(settings, "import_emogen")

    # 1. Read. Both orders are that of info.json: the Gaussians by their names, the classifier by the published inference
    # code (emotion_list_8 in its training/inference.py).
    paths = [find(published, f"{emotion}_{part}_v2.pt") for part in ("mean", "std") for emotion in EMOTIONS]
    classifier_path = find(published, "clip_emotion_classifier.pth", "Clip_emotion_classifier/*.pth")
    vectors = [read(path, torch.Tensor) for path in paths]
    classifier = {name.removeprefix("fc."): tensor for name, tensor in read(classifier_path, dict).items()}
    dimension = vectors[0].numel()
    for path, vector in zip(paths, vectors, strict=True):
        if vector.shape != (dimension,) or not vector.isfinite().all():
            raise UserError(f"{path}: expected {dimension} numbers, found a tensor of shape {tuple(vector.shape)}")
    if classifier.keys() != {"weight", "bias"} or len(classifier["weight"]) != len(EMOTIONS):
        raise UserError(f"{classifier_path}: expected a linear layer to {len(EMOTIONS)} emotions, fc.weight and fc.bias")
    mean, factor = torch.stack(vectors[: len(EMOTIONS)]), torch.stack(vectors[len(EMOTIONS) :])
    if (factor <= 0).any():
        raise UserError(f"{published}: a standard deviation is not above 0")

    # 2. Write.
    digest = {path.name: sha256(path) for path in (*paths, classifier_path)}
    recipe = {"what": "imported emotion space", "version": 1, "files": digest}
    about = {"covariance": "diagonal", "emotions": ",".join(EMOTIONS)}
    features = classifier["weight"].shape[1]
    summary = {"source": "EmoGen, as published", "dimension": dimension, "classifier_features": features, "files": digest}
    with lock(imported):
        if is_built(imported, recipe):
            log.info(f"imported emotion space: nothing has changed, {imported.name}/ stays as it is")
            return
        with building(imported, recipe) as work:
            (work / "gaussians.safetensors").write_bytes(save({"mean": mean, "factor": factor}, about))
            (work / "emotion_classifier.safetensors").write_bytes(save(classifier))
            (work / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")

    # 3. Show which emotions lie close together.
    cosines = torch.nn.functional.normalize(mean, dim=1)
    cosines = (cosines @ cosines.T).triu(1)
    pairs = [(cosines[i, j].item(), f"{EMOTIONS[i]}-{EMOTIONS[j]}") for i in range(8) for j in range(i + 1, 8)]
    nearest = ", ".join(f"{names} {cosine:.2f}" for cosine, names in sorted(pairs, reverse=True)[:6])
    log.info(f"imported {len(EMOTIONS)} Gaussians of {dimension} dimensions and a classifier of {features} features")
    log.info(f"cosines between their means: {nearest}")


def find(folder, *patterns: str):
    """Return the first file below `folder` that matches a pattern; raises UserError where none does."""
    for pattern in patterns:
        for path in sorted(folder.rglob(pattern)):
            return path
    raise UserError(f"emotion_space.published: no {patterns[0]} below {folder}; name the folder of EmoGen's published files")


def read(path, kind: type):
    """Return the tensor, or the dictionary of tensors, in a .pt file, as float32; raises UserError for anything else."""
    import pickle

    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(content, kind):
            raise UserError(f"{path}: expected a {kind.__name__}, found a {type(content).__name__}")
        return {name: tensor.float() for name, tensor in content.items()} if kind is dict else content.float()
    except (pickle.UnpicklingError, RuntimeError, EOFError, AttributeError) as error:
        raise UserError(f"{path}: no file of tensors ({str(error).strip().splitlines()[0]})") from None


def sha256(path) -> str:
    from hashlib import file_digest

    with open(path, "rb") as file:
        return file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    run(main, __doc__)
