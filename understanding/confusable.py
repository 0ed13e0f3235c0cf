"""Where the questions' confusability comes from."""

import numpy as np

from config.errors import UserError
from config.settings import Settings
from emoset.confusability import read_confusability


def confusability_of(settings: Settings) -> np.ndarray | None:
    """Return the (8, 8) matrix of `questions.confusability`, or of the run folder's emotion space; None if none is needed.

    Raises UserError where it is needed and not there.
    """
    if not settings.questions.confusable_share and not settings.rewards.graded:
        return None
    path = settings.questions.confusability or settings.run / "training" / "emotion_space" / "confusability.json"
    if not path.exists():
        raise UserError(
            f"{path} is not there; training/main.py makes it; or name another one as questions.confusability, or set"
            " questions.confusable_share=0"
        )
    return read_confusability(path)
