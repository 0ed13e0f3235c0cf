"""What the frozen CLIP says of attribute names: their text features, and a classifier of emotions on text features."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from transformers import CLIPModel, CLIPTokenizer

from runtime.hub import fingerprint, load_model
from runtime.tensors import write_tensors
from training.conditioning import encode, pooled, tokenize


@dataclass(frozen=True)
class AttributeTexts:
    """features: (A, d) projected text features of `names`. projection: (d, width), from pooled states to features.

    key: a hash of the CLIP and the names.
    """

    names: list[str]
    features: torch.Tensor
    projection: torch.Tensor
    key: str


def attribute_texts(names: list[str], clip: str, cache: Path) -> AttributeTexts:
    """Return the text features of attribute names by the CLIP named `clip`, from `cache` if they are there."""
    model = load_model(CLIPModel, clip, "models.clip", dtype=torch.float32)
    key = blake2b(f"{fingerprint(model)} {names}".encode(), digest_size=8).hexdigest()
    path = cache / f"attribute-texts-{key}.safetensors"
    if not path.exists():
        tokenizer = load_model(CLIPTokenizer, clip, "models.clip")
        with torch.no_grad():
            prompts = tokenize(tokenizer, names, tokens=1)
            features = model.text_projection(pooled(encode(model.text_model, prompts), prompts))
        tensors = {"features": features, "projection": model.text_projection.weight.detach()}
        cache.mkdir(parents=True, exist_ok=True)
        write_tensors(path, tensors)
    return AttributeTexts(names, **load_file(path), key=key)


def fit_emotion_classifier(
    texts: AttributeTexts, confidence: pd.DataFrame, emotions: Sequence[str]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weight (K, d) and bias (K,) of a linear classifier of text features, for the emotion loss.

    It is softmax regression onto the emotion confidences of the attributes (soft targets, each attribute counted by the
    square root of its images), with a little weight decay: so it is fitted on texts, to be used on texts.
    """
    means = confidence.groupby("attribute")[[*emotions, "images"]].mean()
    known = [place for place, name in enumerate(texts.names) if name in means.index]  # has training images
    means, features = means.loc[[texts.names[place] for place in known]], texts.features[known]
    targets = torch.tensor(means[list(emotions)].to_numpy(), dtype=torch.float32)
    counts = torch.tensor(means["images"].to_numpy(), dtype=torch.float32).sqrt()
    scale = features.norm(dim=1).mean()
    weight = torch.zeros(len(emotions), features.shape[1], requires_grad=True)
    bias = torch.zeros(len(emotions), requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=300, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        each = F.cross_entropy(features / scale @ weight.T + bias, targets, reduction="none")
        value = (each * counts).sum() / counts.sum() + 1e-4 * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return (weight / scale).detach(), bias.detach()


def alpha_of(rows: pd.DataFrame, confidence: pd.DataFrame, emotions: Sequence[str], threshold: float) -> np.ndarray:
    """Return alpha (rows,), the confidence of each draw's emotion given its attribute; below `threshold` it counts as 0."""
    table = confidence.set_index(["kind", "attribute"])[list(emotions)].stack()
    alpha = table.reindex(pd.MultiIndex.from_frame(rows[["kind", "attribute", "emotion"]])).fillna(0.0).to_numpy()
    return np.where(alpha < threshold, 0.0, alpha)
