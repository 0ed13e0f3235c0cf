"""The judge, who tells the emotion of generated images; and whether training has seen it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression

from config.errors import UserError
from config.settings import Settings
from runtime.hub import resolve_model, weights_digest
from emoset.labels import EMOTIONS
from evaluation.features import features_of
from evaluation.networks import classifier, clip_network, read_tensors
from training.import_emogen import sha256
from training.pipeline import GENERATOR

Judge = Callable[[pd.DataFrame, str], np.ndarray]  # images (column path), what to show at the bar -> probabilities (N, 8)
IMPORTED = "emotion_classifier.safetensors"
ORDER = [sorted(EMOTIONS).index(emotion) for emotion in EMOTIONS]  # scikit-learn sorts its classes


def load_judge(settings: Settings, train: pd.DataFrame) -> Judge:
    """Return the judge that evaluate.judge names; `train`, images with their emotions, is what a probe is fitted to.

    EmoGen's is a linear layer on CLIP's image features as projected, not of unit length. Raises UserError where the name is
    no classifier of the eight emotions, or its CLIP is not models.clip.
    """
    name, setting = settings.evaluate.judge, "evaluate.judge"
    if name is None:
        clip = clip_network(settings)
        probe = fit_probe(clip, train, settings)
        return lambda images, what: probe.predict_proba(scaled(features_of(clip, images, settings, what)))[:, ORDER]
    file = Path(resolve_model(name))
    imported = file / IMPORTED
    if _reads_clip(name):
        layer = load_file(imported) if imported.is_file() else read_tensors(file, setting)
        layer = {part.removeprefix("fc."): tensor.double() for part, tensor in layer.items()}
        if layer.keys() != {"weight", "bias"} or len(layer["weight"]) != len(EMOTIONS):
            raise UserError(f"{setting}: {name} is no linear layer to {len(EMOTIONS)} emotions")
        return _linear(layer, settings)
    network = classifier(name, setting)
    if set(network.names) != set(EMOTIONS):
        raise UserError(f"{setting}: {name} tells {', '.join(network.names[:8])}; it must tell the eight emotions")
    order = [network.names.index(emotion) for emotion in EMOTIONS]
    return lambda images, what: features_of(network, images, settings, what)[:, order].double().softmax(1).numpy()


def fit_probe(clip, train: pd.DataFrame, settings: Settings) -> LogisticRegression:
    """Return a linear probe of CLIP's image features (Radford et al. 2021), fitted to the emotions of `train`.

    The strength of its regularisation is scikit-learn's, on features of unit length times ten: nothing was tuned.
    """
    features = features_of(clip, train, settings, "CLIP of training images")
    return LogisticRegression(max_iter=1000).fit(scaled(features), train["emotion"])


def check_judge(settings: Settings, generator: Path) -> str | None:
    """Return a warning where a generator's training saw the CLIP that the judge reads, or nobody tells what it saw.

    Raises UserError where it was trained with the judge itself, unless evaluate.force_judge lets it: it would be praised for
    what it was told to do.
    """
    name = settings.evaluate.judge
    about = next((file for file in (generator / GENERATOR, generator / "model_index.json") if file.is_file()), None)
    if not about:  # another method's images
        return None
    seen = json.loads(about.read_text(encoding="utf-8")).get("trained_with")
    if seen is None:
        return "its folder does not tell what it was trained with; was the judge among that?"
    own = judge_digests(name) if name else set()
    for network in (network for network, digest in seen.items() if digest in own):
        if settings.evaluate.force_judge:
            return f"the judge is {network}, with which it was trained: it is praised for what it was told to do"
        raise UserError(
            f"evaluate.judge: {name} is {network}, with which {generator.name}/ was trained; take a judge that training "
            "has not seen, or evaluate.force_judge=true"
        )
    if _reads_clip(name) and weights_digest(settings.models.clip) in seen.values():
        return "the judge reads models.clip, which training saw too: it is not wholly apart (docs/metrics.md, The judge)"
    return None


def judge_digests(name: str) -> set[str]:
    """Return the digests by which a judge may be known among networks that training saw."""
    file = Path(resolve_model(name))
    if file.is_file():
        return {sha256(file)}
    summary = file / "summary.json"
    if (file / IMPORTED).is_file() and summary.is_file():
        return set(json.loads(summary.read_text(encoding="utf-8")).get("files", {}).values())
    return {weights_digest(name)}


def scaled(features: torch.Tensor) -> np.ndarray:
    """Return CLIP's features (N, D) as a probe takes them: of length ten."""
    return torch.nn.functional.normalize(features, dim=1).numpy() * 10


def _reads_clip(judge: str | None) -> bool:
    """Return whether a judge is a linear layer, or a probe, on the features of models.clip."""
    file = None if judge is None else Path(resolve_model(judge))
    return file is None or file.is_file() or (file / IMPORTED).is_file()


def _linear(layer: dict[str, torch.Tensor], settings: Settings) -> Judge:
    clip, takes = clip_network(settings), layer["weight"].shape[1]

    def judge(images, what):
        features = features_of(clip, images, settings, what).double()
        if features.shape[1] != takes:
            raise UserError(f"evaluate.judge: takes {takes} features, models.clip gives {features.shape[1]}")
        return (features @ layer["weight"].T + layer["bias"]).softmax(1).numpy()

    return judge
