"""Import EmoGen's published emotion space, and its image encoder and emotion confidences where they are there.

    python training/import_emogen.py emotion_space.published=path/to/EmoGen emotion_space.imported=data/emogen

A clone of https://github.com/JingyuanYY/EmoGen will do as the published folder, after `git lfs pull`. It holds

    <emotion>_mean_v2.pt, <emotion>_std_v2.pt         the Gaussians (emo_space/)
    clip_emotion_classifier.pth                       of CLIP ViT-L/14 features (weights/Clip_emotion_classifier/*.pth)
    image_encoder/*.pth                               optional: the ResNet-50 that makes emotion vectors (in weights/)
    emotion_confidence_<kind>.csv                     optional: alpha, with the columns attribute and the emotions

This script writes gaussians.safetensors (mean, factor: standard deviations), emotion_classifier.safetensors (weight, bias),
encoder/, emotion_confidence.csv and summary.json, for training/main.py with the same emotion_space.imported. Without the
image encoder, training draws an image's vector from its emotion's Gaussian. Without the confidences, alpha follows from the
encoder or, without one, from the labels.
"""

from runtime.script import read_settings, run
from runtime.tensors import are_whole, read_state_dict, read_tensors, write_tensors

read_settings(__name__, __doc__, "emotion_space", "data")

from itertools import combinations
from pathlib import Path

import pandas as pd
import torch
from torch.nn.functional import normalize

from config.errors import UserError
from config.settings import Settings
from config.taxonomy import DEFAULT, read_taxonomy
from emoset.labels import KINDS, attribute_name
from runtime.built_folder import building, check_ours, is_built, lock
from runtime.checking import check_room, in_words, stops_here
from runtime.files import lfs_pointer, write_atomically, write_json
from runtime.hub import sha256
from runtime.recipe import Recipe
from runtime.run_folder import log, open_run_folder
from training.emotion_encoder import EmotionEncoder
from training.imported_space import CLASSIFIER, CONFIDENCE, WHAT
from training.published_encoder import read_encoder


def main(settings: Settings) -> None:
    published, imported = settings.emotion_space.published, settings.emotion_space.imported
    if published is None or imported is None:
        raise UserError("set emotion_space.published, the folder to read, and emotion_space.imported, the folder to write")
    emotions = read_taxonomy(DEFAULT).emotions
    if settings.data.taxonomy.emotions != emotions:
        raise UserError(f"data.taxonomy: EmoGen's files are of EmoSet's emotions, {', '.join(emotions)}; use emoset.yaml")
    open_run_folder(settings, "import_emogen")
    check_ours(imported, WHAT)

    # 1. Read.
    (mean, factor), gaussian_paths = read_gaussians(published, emotions)
    classifier, classifier_path = read_classifier(published, emotions)
    encoder, encoder_paths = read_image_encoder(published, len(emotions), mean.shape[1])
    confidence, confidence_paths = read_confidence(published, emotions)
    dimension, features = mean.shape[1], classifier["weight"].shape[1]
    optional = {"an image encoder": encoder_paths, "emotion confidences": confidence_paths}
    there = [what for what, paths in optional.items() if paths]
    paths = [*gaussian_paths, classifier_path, *encoder_paths, *confidence_paths]
    size = sum(path.stat().st_size for path in paths)
    check_room(imported, size, "the imported emotion space")
    if stops_here(settings, {"files read": f"{len(paths)}, with {' and '.join(there) or 'neither of the optional parts'}",
                             "disk": in_words(size)}):  # fmt: skip
        return

    # 2. Write.
    digests = {path.name: sha256(path) for path in paths}
    recipe = Recipe(WHAT, {}, {"version": 2 if there else 1, **digests})
    about = {"covariance": "diagonal", "emotions": ",".join(emotions)}
    summary = {"source": "EmoGen, as published", "dimension": dimension, "classifier_features": features, "files": digests}
    with lock(imported):
        if is_built(imported, recipe) and are_whole(imported, "gaussians.safetensors", CLASSIFIER):
            log.info(f"imported emotion space: nothing has changed, {imported.name}/ is up to date")
            return
        with building(imported, recipe) as work:
            write_tensors(work / "gaussians.safetensors", {"mean": mean, "factor": factor}, about)
            write_tensors(work / CLASSIFIER, classifier)
            if encoder:
                encoder.save_pretrained(work / "encoder")
            if confidence is not None:
                write_atomically(work / CONFIDENCE, lambda beside: confidence.to_csv(beside, index=False))
            write_json(work / "summary.json", summary)

    # 3. Show which emotions lie close together.
    cosines = normalize(mean, dim=1) @ normalize(mean, dim=1).T
    pairs = [(cosines[i, j].item(), f"{emotions[i]}-{emotions[j]}") for i, j in combinations(range(len(emotions)), 2)]
    nearest = ", ".join(f"{names} {cosine:.2f}" for cosine, names in sorted(pairs, reverse=True)[:6])
    more = "".join(f", {what}" for what in there)
    log.info(f"imported {len(emotions)} Gaussians of {dimension} dimensions and a classifier of {features} features{more}")
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
    tensors = read_state_dict(path, "emotion_space.published")
    classifier = {name.removeprefix("fc."): tensor.float() for name, tensor in tensors.items()}
    if classifier.keys() != {"weight", "bias"} or len(classifier["weight"]) != len(emotions):
        raise UserError(f"{path}: expected a linear layer to {len(emotions)} emotions, fc.weight and fc.bias")
    return classifier, path


def read_image_encoder(published: Path, emotions: int, dimension: int) -> tuple[EmotionEncoder | None, list[Path]]:
    """Return the image encoder and the file that holds it; none where there is no such file.

    Raises UserError where it is another network, or makes vectors of another `dimension` than the Gaussians have.
    """
    paths = [path for suffix in (".pth", ".pt") for path in sorted(published.rglob(f"image_encoder/*{suffix}"))]
    paths += [path for pattern in ("image_encoder*.pt*", "2023-08-22-best.pth") for path in sorted(published.rglob(pattern))]
    if not paths:
        return None, []
    if told := lfs_pointer(paths[0]):
        raise UserError(f"emotion_space.published: {paths[0]} is {told}, or remove it to import what is there without it")
    encoder = read_encoder(paths[0], emotions, "emotion_space.published")
    if encoder.sizes["dimension"] != dimension:
        raise UserError(
            f"emotion_space.published: {paths[0].name} makes vectors of {encoder.sizes['dimension']} dimensions, and the "
            f"Gaussians have {dimension}"
        )
    return encoder, paths[:1]


def read_confidence(published: Path, emotions: tuple[str, ...]) -> tuple[pd.DataFrame | None, list[Path]]:
    """Return alpha, a row for each attribute with its kind and the emotions, and the files; none where there are none."""
    tables, paths = [], []
    for kind in KINDS:
        for path in sorted(published.rglob(f"emotion_confidence_{kind}.csv"))[:1]:
            if told := lfs_pointer(path):
                raise UserError(f"emotion_space.published: {path} is {told}")
            try:
                table = pd.read_csv(path, keep_default_na=False, dtype={"attribute": str})
                table = table[["attribute", *emotions]].astype(dict.fromkeys(emotions, float))
            except (ValueError, KeyError) as error:
                reason = " ".join(str(error).split())[:200]
                raise UserError(f"{path}: expected a CSV with attribute and {', '.join(emotions)} ({reason})") from None
            values = table[list(emotions)].to_numpy()
            if table.empty or not ((values >= 0) & (values <= 1)).all() or abs(values.sum(1) - 1).max() > 0.01:
                raise UserError(
                    f"{path}: an attribute's confidences are shares of the emotions, and here they do not sum to 1"
                )
            table["attribute"] = table["attribute"].map(attribute_name)
            tables.append(table.drop_duplicates("attribute").assign(kind=kind)[["kind", "attribute", *emotions]])
            paths.append(path)
    return (pd.concat(tables) if tables else None), paths


def find(folder: Path, *patterns: str) -> Path:
    """Return the first file below `folder` that matches a pattern. Raises UserError where none does."""
    if not folder.is_dir():
        raise UserError(f"emotion_space.published: there is no folder {folder}; name the folder of EmoGen's published files")
    for pattern in patterns:
        for path in sorted(folder.rglob(pattern)):
            return path
    raise UserError(f"emotion_space.published: no {patterns[0]} below {folder}; name the folder of EmoGen's published files")


if __name__ == "__main__":
    run(main)
