"""What CLIP alone tells of emotions: zero-shot, and by a linear probe on its image features (Radford et al. 2021)."""

import numpy as np
import pandas as pd
from torch.nn.functional import normalize

from evaluation.features import FeatureCache, seen_by_all
from evaluation.judge import fit_probe, scaled
from evaluation.networks import clip_network, clip_texts
from understanding.scoring import choice_figures

PROMPT = "an image of {}"


def clip_figures(
    images: pd.DataFrame,
    train: pd.DataFrame | None,
    emotions: tuple[str, ...],
    name: str,
    cache: FeatureCache,
    seed: int,
) -> dict[str, dict]:
    """Return the figures of CLIP on the images (columns image_id, emotion, path), as scoring.figures does.

    train: the images that the probe is fitted on, the same columns; None: no probe. It chooses no hyperparameter by what it
    is measured on. name: as models.clip names it.
    """
    clip = clip_network(name)
    features = cache.features_of(clip, images, "CLIP features")
    texts = clip_texts(name, [PROMPT.format(emotion) for emotion in emotions])
    seen = seen_by_all(features)
    features, truth = features[seen], images["emotion"].to_numpy()[seen]
    said = np.array(emotions)[(normalize(features, dim=1) @ texts.T).argmax(1).numpy()]
    found = {"CLIP, zero-shot": choice_figures("multiple_forced", truth, said, seed)}
    if train is not None:
        said = fit_probe(clip, train, cache).predict(scaled(features))
        found["CLIP, linear probe"] = choice_figures("multiple_forced", truth, said, seed)
    return found
