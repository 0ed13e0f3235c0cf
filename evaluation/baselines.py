"""What CLIP alone tells of emotions: zero-shot, and by a linear probe on its image features (Radford et al. 2021)."""

import numpy as np
import pandas as pd
from torch.nn.functional import normalize

from config.errors import UserError
from evaluation.features import FeatureCache, seen_by_all
from evaluation.judge import check_probe, fit_probe, scaled
from evaluation.networks import clip_network, clip_texts
from runtime.figures import Statistic, paired
from runtime.run_folder import log
from understanding.kinds import multiple
from understanding.scoring import choice_statistics, likelihood_columns

PROMPT = "an image of {}"
PROBE = "CLIP, linear probe"


def clip_answers(
    images: pd.DataFrame,
    train: pd.DataFrame | None,
    emotions: tuple[str, ...],
    name: str,
    cache: FeatureCache,
) -> dict[str, pd.DataFrame]:
    """Return what CLIP says of the images (columns image_id, emotion, path): by row image_id, emotion and said.

    train: the images that the probe is fitted on, the same columns; None: no probe. It chooses no hyperparameter by what it
    is measured on. name: as models.clip names it. Images that cannot be read are left out.
    """
    clip = clip_network(name)
    features = cache.features_of(clip, images, "CLIP features")
    texts = clip_texts(name, [PROMPT.format(emotion) for emotion in emotions])
    seen = seen_by_all(features)
    features, about = features[seen], images[["image_id", "emotion"]][seen].reset_index(drop=True)
    said = np.array(emotions)[(normalize(features, dim=1) @ texts.T).argmax(1).numpy()]
    found = {"CLIP, zero-shot": about.assign(said=said)}
    if train is not None:
        found[PROBE] = about.assign(said=fit_probe(clip, train, cache).predict(scaled(features)))
    return found


def probe_images(index: pd.DataFrame) -> pd.DataFrame | None:
    """Return the training split of a data set's index; None, and the log says why, where no probe can be fitted to it."""
    train = index[index["split"] == "train"].reset_index(drop=True)
    try:
        check_probe(train)
    except UserError as reason:
        log.info(f"no linear probe: {reason}")
        return None
    return train


def choices(table: pd.DataFrame) -> dict[str, Statistic]:
    """Return the statistics of what is said of images (columns emotion, said), as forced choice has them."""
    return choice_statistics("multiple_forced", table["emotion"].to_numpy(), table["said"].to_numpy())


def differences_from(clip: pd.DataFrame, answers: pd.DataFrame, emotions: tuple[str, ...], seed: int) -> dict[str, dict]:
    """Return what read answers get right more than CLIP by forced choice, about the images that both have."""
    own = answers[answers["kind"] == multiple.NAME].drop_duplicates("image_id")
    likeliest = own[likelihood_columns(emotions)].to_numpy().argmax(1)
    said = own[["image_id"]].assign(model=np.array(emotions)[likeliest])
    both = clip.merge(said, on="image_id")
    first, second = choices(both.drop(columns="said").rename(columns={"model": "said"})), choices(both)
    return paired(first, second, both["image_id"].to_numpy(), both["emotion"].to_numpy(), seed)
