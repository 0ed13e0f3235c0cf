"""What CLIP alone tells of emotions: zero-shot, and by a linear probe on its image features (Radford et al. 2021)."""

import numpy as np
import pandas as pd
import torch

from config.settings import Settings
from emoset.labels import EMOTIONS
from evaluation.features import features_of
from evaluation.judge import fit_probe, scaled
from evaluation.networks import clip_network, clip_texts
from understanding.scoring import choice_figures

PROMPT = "an image of {}"


def clip_figures(images: pd.DataFrame, train: pd.DataFrame | None, settings: Settings) -> dict[str, dict]:
    """Return the figures of CLIP on the images (columns image_id, emotion, path), of `models.clip`, as scoring.figures does.

    train: the images that the probe is fitted on, the same columns; None: no probe. It chooses no hyperparameter by what it
    is measured on.
    """
    clip = clip_network(settings)
    features = features_of(clip, images, settings, "CLIP features")
    texts = clip_texts(settings, [PROMPT.format(emotion) for emotion in EMOTIONS])
    truth = images["emotion"].to_numpy()
    said = np.array(EMOTIONS)[(torch.nn.functional.normalize(features, dim=1) @ texts.T).argmax(1).numpy()]
    found = {"CLIP, zero-shot": choice_figures("multiple_forced", truth, said, settings.seed)}
    if train is not None:
        said = fit_probe(clip, train, settings).predict(scaled(features))
        found["CLIP, linear probe"] = choice_figures("multiple_forced", truth, said, settings.seed)
    return found
