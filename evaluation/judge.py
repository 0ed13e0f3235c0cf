"""The judge, who tells the emotion of generated images; and whether training has seen it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression

from config.errors import UserError, first_line
from config.evaluation_settings import Evaluate
from evaluation.features import FeatureCache, Network, seen_by_all, width_of
from evaluation.networks import classifier, clip_network
from runtime.files import read_json
from runtime.hub import network_digest, resolve_model, sha256
from runtime.tensors import read_state_dict
from training.generator_parts import GENERATOR, read_about

IMPORTED = "emotion_classifier.safetensors"


@dataclass(frozen=True)
class Judge:
    """Tells the emotion of images by what a network sees in them.

    read: probabilities (N, K) from the network's features (N, D). cache: keeps the features of images that are judged.
    """

    network: Network
    read: Callable[[torch.Tensor], np.ndarray]
    cache: FeatureCache

    def __call__(self, images: pd.DataFrame, what: str) -> np.ndarray:
        """Return the probabilities (N, K) of images (columns image_id, path); NaN where one cannot be read.

        what: the text at the progress bar.
        """
        return self.read(self.cache.features_of(self.network, images, what))


def load_judge(
    name: str | None,
    clip: str,
    train: pd.DataFrame | None,
    emotions: tuple[str, ...],
    cache: FeatureCache,
    setting: str = "evaluate.judge",
) -> Judge:
    """Return the judge that `setting` names; `train`, images with their emotions, is what a probe alone is fitted to.

    EmoGen's is a linear layer on CLIP's image features as projected, not of unit length. clip: as models.clip names it.
    Raises UserError where the name is no classifier of the K emotions, its CLIP is not models.clip, or `train` too little.
    """
    if name is None:
        return _probe(clip_network(clip), train, emotions, cache)
    file = Path(resolve_model(name))
    imported = file / IMPORTED
    if reads_clip(name):
        try:
            layer = load_file(imported) if imported.is_file() else read_state_dict(file, setting)
            layer = {part.removeprefix("fc."): tensor.double() for part, tensor in layer.items()}
        except (OSError, SafetensorError) as error:
            raise UserError(f"{setting}: {name} is no file of tensors ({first_line(error)})") from None
        if layer.keys() != {"weight", "bias"} or layer["weight"].ndim != 2 or len(layer["weight"]) != len(emotions):
            raise UserError(f"{setting}: {name} is no linear layer to {len(emotions)} emotions")
        return _linear(layer, clip_network(clip), cache, setting)
    network = classifier(name, setting)
    if set(network.names) != set(emotions):
        labels = ", ".join(network.names[: len(emotions)])
        instead = ", or null for a probe of models.clip" if setting == "evaluate.judge" else ""
        raise UserError(
            f"{setting}: {name} knows {labels}; it must know {', '.join(emotions)}; name a classifier of these{instead}"
        )
    order = [network.names.index(emotion) for emotion in emotions]
    return Judge(network, lambda logits: logits[:, order].double().softmax(1).numpy(), cache)


def fit_probe(clip: Network, train: pd.DataFrame, cache: FeatureCache) -> LogisticRegression:
    """Return a linear probe of CLIP's image features (Radford et al. 2021), fitted to the emotions of `train`.

    The strength of its regularisation is scikit-learn's, on features of unit length times ten: nothing was tuned.
    Raises UserError as check_probe does.
    """
    check_probe(train)
    features = cache.features_of(clip, train, "CLIP of training images")
    seen = seen_by_all(features)
    return probe_of(features[seen], train["emotion"][seen])


def check_probe(train: pd.DataFrame) -> None:
    """Raise UserError where training images (column emotion) are of fewer than two emotions, which no probe tells apart."""
    if len(emotions := sorted(set(train["emotion"]))) < 2:
        raise UserError(
            f"data.emoset: the split train has usable images of {''.join(emotions) or 'no emotion'}, and a linear probe"
            " needs two emotions; see problems.csv"
        )


def probe_of(features: torch.Tensor, emotions: Sequence[str]) -> LogisticRegression:
    """Return a linear probe of features (N, D), fitted to the emotions (N,)."""
    return LogisticRegression(max_iter=1000).fit(scaled(features), emotions)


def check_judge(evaluate: Evaluate, clip: str, generator: Path) -> str | None:
    """Return a warning where a generator's training saw the CLIP that the judge reads, or its folder does not say.

    clip: as models.clip names it. Raises UserError where it was trained with the judge itself, unless evaluate.force_judge
    lets it: its training rewarded what the judge would now praise.
    """
    name = evaluate.judge
    about = next((file for file in (generator / GENERATOR, generator / "model_index.json") if file.is_file()), None)
    if not about:  # another method's images
        return None
    seen = read_about(about).get("trained_with")
    if seen is None:
        return "its folder does not say what it was trained with, so the judge may be among that"
    own = judge_digests(name) if name else set()
    for network in (network for network, digest in seen.items() if digest in own):
        if evaluate.force_judge:
            return f"the judge is {network}, with which it was trained, so its accuracy flatters it"
        raise UserError(
            f"evaluate.judge: {name} is {network}, with which {generator.name}/ was trained; take a judge that training "
            "has not seen, or evaluate.force_judge=true"
        )
    if reads_clip(name) and network_digest(clip) in seen.values():
        return "the judge reads models.clip, which training saw too: it is not wholly apart (docs/metrics.md, The judge)"
    return None


def check_file(name: str, setting: str) -> None:
    """Raise UserError where a judge is a file, and one without tensors."""
    if (file := Path(resolve_model(name))).is_file():
        read_state_dict(file, setting)


def judge_digests(name: str) -> set[str]:
    """Return the digests by which a judge may be known among networks that training saw."""
    file = Path(resolve_model(name))
    if file.is_file():
        return {sha256(file)}
    summary = file / "summary.json"
    if (file / IMPORTED).is_file() and summary.is_file():
        return set(read_json(summary).get("files", {}).values())
    return {network_digest(name)}


def scaled(features: torch.Tensor) -> np.ndarray:
    """Return features (N, D) as a probe takes them: of length ten."""
    return torch.nn.functional.normalize(features, dim=1).numpy() * 10


def reads_clip(judge: str | None) -> bool:
    """Return whether a judge is a linear layer, or a probe, on the features of models.clip."""
    file = None if judge is None else Path(resolve_model(judge))
    return file is None or file.is_file() or (file / IMPORTED).is_file()


def _probe(clip: Network, train: pd.DataFrame, emotions: tuple[str, ...], cache: FeatureCache) -> Judge:
    probe = fit_probe(clip, train, cache)
    columns = [emotions.index(emotion) for emotion in probe.classes_]  # which scikit-learn sorts

    def read(features):
        seen = seen_by_all(features)
        probabilities = np.zeros((len(features), len(emotions)))  # an emotion without training images has none
        probabilities[~seen] = np.nan
        probabilities[np.ix_(seen, columns)] = probe.predict_proba(scaled(features[seen]))
        return probabilities

    return Judge(clip, read, cache)


def _linear(layer: dict[str, torch.Tensor], clip: Network, cache: FeatureCache, setting: str) -> Judge:
    takes, gives = layer["weight"].shape[1], width_of(clip)
    if takes != gives:
        raise UserError(f"{setting}: takes {takes} features, models.clip gives {gives}")

    return Judge(clip, lambda seen: (seen.double() @ layer["weight"].T + layer["bias"]).softmax(1).numpy(), cache)
