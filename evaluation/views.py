"""What the networks see in the images of a row, which the metrics are computed from."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from torch import Tensor

from evaluation.features import seen_by_all


@dataclass(frozen=True)
class Views:
    """What the networks see in `images` (columns image_id, emotion, path, content), by row.

    clip: features (N, D), not of unit length. objects, scenes: probabilities (N, labels), of `object_labels` and
    `scene_labels`. fid: features (N, D).
    """

    images: pd.DataFrame
    clip: Tensor
    objects: np.ndarray
    scenes: np.ndarray
    fid: Tensor
    object_labels: tuple[str, ...]
    scene_labels: tuple[str, ...]

    @property
    def emotions(self) -> np.ndarray:
        """The intended emotions (N,)."""
        return self.images["emotion"].to_numpy()

    @property
    def whole(self) -> np.ndarray:
        """Which (N,) images all networks have seen; an image that cannot be read is not among them."""
        return seen_by_all(self.clip, self.objects, self.scenes, self.fid)

    def of(self, rows: np.ndarray) -> "Views":
        """Return the views of some images alone. rows: (N,) whether each is among them."""
        parts = {name: getattr(self, name)[rows] for name in ("clip", "objects", "scenes", "fid")}
        return replace(self, images=self.images[rows].reset_index(drop=True), **parts)
