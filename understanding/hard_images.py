"""Which of the images that were mined Step II takes."""

import numpy as np
import pandas as pd

from config.errors import UserError
from config.taxonomy import Taxonomy
from config.understanding_settings import Mining
from runtime.run_folder import log


def ranks(errors: pd.DataFrame) -> pd.Series:
    """Return the share of the images of its emotion that an image's error is at least as large as, above 0 and up to 1.

    Of images with equal errors no two have the same rank. Their order is drawn, the same each time.
    """
    shuffled = errors.sample(frac=1, random_state=0)
    return shuffled.groupby("emotion")["error"].rank(method="first", pct=True).reindex(errors.index)


def is_hard(errors: pd.DataFrame, mining: Mining) -> pd.Series:
    """Return whether each image is hard: it ranks above `mining.lowest` in its emotion, and not above `mining.highest`."""
    return ranks(errors).between(mining.lowest, mining.highest, inclusive="right")


def has_hard(count: int, mining: Mining) -> bool:
    """Tell whether of so many images of an emotion any can be hard."""
    shares = np.arange(1, count + 1) / max(count, 1)
    return bool(((shares > mining.lowest) & (shares <= mining.highest)).any())


def check_hard(images: pd.DataFrame, mining: Mining) -> None:
    """Raise UserError where the images to mine (column emotion) are too few of an emotion for any to be hard."""
    counts = images["emotion"].value_counts()
    if few := [f"{emotion} ({count})" for emotion, count in counts.items() if not has_hard(count, mining)]:
        raise UserError(
            f"mining: too few images of {', '.join(few)} for any to rank from {mining.lowest:g} to {mining.highest:g} by its"
            " error; lower mining.lowest, raise mining.highest, or set grpo.steps_two=0"
        )


def hard_images(errors: pd.DataFrame, taxonomy: Taxonomy, mining: Mining, seed: int) -> pd.DataFrame:
    """Return the images of Step II (columns image_id, emotion): the hard ones, and easier ones as a share of all.

    errors: as understanding.mining.mine gives them. Step II's questions are equally many of each emotion by themselves.
    Raises UserError where an emotion has no hard image.
    """
    hard = errors[is_hard(errors, mining)]
    counts = hard["emotion"].value_counts().reindex(list(taxonomy.emotions), fill_value=0)
    if not counts.min():
        none = ", ".join(counts.index[counts == 0])
        raise UserError(
            f"mining: no image of {none} ranks from {mining.lowest:g} to {mining.highest:g} by its error; lower"
            " mining.lowest, ask about more images (mining.images), or set grpo.steps_two=0"
        )
    easy = round(len(hard) * mining.easy_share / (1 - mining.easy_share))
    others = errors[ranks(errors) <= mining.lowest]
    easier = others.sample(min(easy, len(others)), random_state=seed)
    log.info(f"{len(hard):,} hard images, whose mean error is {hard['error'].mean():.3f}, and {len(easier):,} easier ones")
    return pd.concat([hard, easier])[["image_id", "emotion"]].reset_index(drop=True)
