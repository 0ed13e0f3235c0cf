"""What the frozen CLIP says of attribute names: their text features, and a classifier of emotions on text features."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer

from config.errors import UserError, first_line
from emoset.labels import attribute_name
from runtime.files import lfs_pointer
from runtime.hub import fingerprint, load_model
from runtime.recipe import digest
from runtime.tensors import read_whole, write_tensors
from training.conditioning import encode, pooled, tokenize

# Texts of which the two text encoders must say the same, whatever precision their weights were stored in.
COMPARED = ["a photo of a cat", "an old house in the rain", "two people dance on the beach at night", "tree"]
FARTHEST = 0.05  # apart, in shares of a state's norm: weights in bfloat16 make up to 0.01, one layer fewer 0.3 and more


@dataclass(frozen=True)
class AttributeTexts:
    """features: (A, d) projected text features of `names`. projection: (d, width), from pooled states to features.

    key: a hash of the CLIP and the names.
    """

    names: list[str]
    features: torch.Tensor
    projection: torch.Tensor
    key: str

    def only(self, names: Sequence[str]) -> "AttributeTexts":
        """Return those of `names` alone, which are among its own."""
        rows = [self.names.index(name) for name in names]
        return AttributeTexts(list(names), self.features[rows], self.projection, digest([self.key, list(names)]))


def attribute_texts(names: list[str], clip: str, cache: Path) -> AttributeTexts:
    """Return the text features of attribute names by the CLIP named `clip`, from `cache` if they are there, whole."""
    model = load_model(CLIPModel, clip, "models.clip", dtype=torch.float32)
    key = blake2b(f"{fingerprint(model)} {names}".encode(), digest_size=8).hexdigest()
    path = cache / f"attribute-texts-{key}.safetensors"
    tensors = read_whole(path)
    if tensors is None:
        tokenizer = load_tokenizer(clip, "models.clip", model.config.text_config)
        with torch.no_grad():
            prompts = tokenize(tokenizer, names, tokens=1)
            features = model.text_projection(pooled(encode(model.text_model, prompts), prompts))
        tensors = {"features": features, "projection": model.text_projection.weight.detach()}
        cache.mkdir(parents=True, exist_ok=True)
        write_tensors(path, tensors)
    return AttributeTexts(names, **tensors, key=key)


def read_attribute_list(path: Path, known: Collection[str]) -> list[str]:
    """Return the attributes that the file of mapper.attributes lists, in their one spelling.

    known: the attributes of the data set. Raises UserError where there is no such list, and for what is not among `known`.
    """
    setting = f"mapper.attributes: {path}"
    if told := lfs_pointer(path):
        raise UserError(f"{setting} is {told}")
    try:
        text = path.read_text(encoding="utf-8-sig")
        names = json.loads(text) if text.lstrip().startswith(("[", "{")) else text.splitlines()
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{setting} cannot be read as a text or a JSON list ({first_line(error)})") from None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{setting} is JSON, but no list of names")
    names = list(dict.fromkeys(attribute_name(name) for name in names if name.strip()))
    if not names:
        raise UserError(f"{setting} lists no attribute; use null for all")
    if unknown := [name for name in names if name not in known]:
        some = ", ".join(map(repr, unknown[:5])) + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
        near = get_close_matches(unknown[0], known, 1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise UserError(f"{setting} lists {some}{hint}, which info.json does not list among the attributes of data.kinds")
    return names


@torch.no_grad()
def check_clip(clip: str, own: CLIPTextModel, tokenizer: CLIPTokenizer) -> None:
    """Raise UserError unless models.clip is the whole CLIP that Stable Diffusion's text encoder came from.

    Else the attribute and the emotion loss would compare states of the one with texts of the other. So the two must say the
    same of a few texts, each by its own tokenizer. own, tokenizer: Stable Diffusion's.
    """
    whole = load_model(CLIPModel, clip, "models.clip", dtype=torch.float32)
    what, (theirs, ours) = "", (model.config for model in (whole.text_model, own))
    if theirs.hidden_size != ours.hidden_size:
        what = f"its text tower is {theirs.hidden_size} wide, Stable Diffusion's {ours.hidden_size}"
    elif theirs.num_hidden_layers != ours.num_hidden_layers:
        what = f"its text tower has {theirs.num_hidden_layers} layers, Stable Diffusion's {ours.num_hidden_layers}"
    else:
        states, theirs = [], load_tokenizer(clip, "models.clip", theirs)
        for model, words in ((whole.text_model, theirs), (own, tokenizer)):
            prompts = tokenize(words, COMPARED, tokens=1)
            short = prompts.cut(int(prompts.end.max()) + 1)  # what follows changes nothing, and takes seconds
            with torch.no_grad():
                states.append(pooled(encode(model, short), short))
        apart = ((states[0] - states[1]).norm(dim=1) / states[1].norm(dim=1)).max().item()
        if not apart <= FARTHEST:
            what = f"of {COMPARED[0]!r} and the like the two say what lies {apart:.0%} apart, by weights or by tokenizer"
    if what:
        raise UserError(
            f"models.clip: {clip!r} is not the CLIP that Stable Diffusion's text encoder came from ({what}); name that one, "
            "or set mapper.attribute_weight=0 and mapper.emotion_weight=0, which train without one"
        )


def load_tokenizer(name: str, setting: str, text_config) -> CLIPTokenizer:
    """Return a tokenizer. Raises UserError where it does not fit the text encoder of `text_config`."""
    tokenizer = load_model(CLIPTokenizer, name, setting)
    check_words(tokenizer, name, setting, text_config)
    return tokenizer


def check_words(tokenizer: CLIPTokenizer, name: str, setting: str, text_config) -> None:
    """Raise UserError where a tokenizer does not fit the text encoder of `text_config`."""
    words, length = text_config.vocab_size, text_config.max_position_embeddings
    if len(tokenizer) > words or not 3 <= tokenizer.model_max_length <= length:
        raise UserError(
            f"{setting}: the tokenizer of {name!r} has {len(tokenizer):,} words and texts of up to "
            f"{tokenizer.model_max_length} tokens, its text encoder {words:,} and {length}"
        )


def fit_emotion_classifier(
    texts: AttributeTexts, confidence: pd.DataFrame, emotions: Sequence[str]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weight (K, d) and bias (K,) of a linear classifier of text features, for the emotion loss.

    It is a softmax regression on the attributes' text features, with a little weight decay, since the loss uses it on texts.
    Its targets are the attributes' emotion confidences. An attribute counts by the square root of its images.
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
    if confidence.empty:
        return np.zeros(len(rows))
    table = confidence.set_index(["kind", "attribute"])[list(emotions)].stack()
    alpha = table.reindex(pd.MultiIndex.from_frame(rows[["kind", "attribute", "emotion"]])).fillna(0.0).to_numpy()
    return np.where(alpha < threshold, 0.0, alpha)
