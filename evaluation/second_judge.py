"""A second judge of generated images, of another family than the first: a linear probe of what another network sees."""

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression

from evaluation.judge import probe_of, reads_clip, scaled
from evaluation.views import Views

NAMES = {"clip": "linear probe of models.clip", "fid": "linear probe of evaluate.fid_network"}


@dataclass(frozen=True)
class SecondJudge:
    """Says an emotion by a probe of one of the networks whose features Views hold. reads: "clip" or "fid"."""

    reads: str
    probe: LogisticRegression

    @property
    def name(self) -> str:
        """What the judge is, in words."""
        return NAMES[self.reads]

    def says(self, seen: Views) -> np.ndarray:
        """Return (n,) the emotion that it sees in each image."""
        return self.probe.predict(scaled(getattr(seen, self.reads)))


def second_judge(first: str | None, training: Views) -> SecondJudge:
    """Return the judge that does not read what `first` reads, as evaluate.judge names that: CLIP, or the network of FID.

    training: what the networks see in the real images that it is fitted to.
    """
    reads = "fid" if reads_clip(first) else "clip"
    return SecondJudge(reads, probe_of(getattr(training, reads), training.emotions))
