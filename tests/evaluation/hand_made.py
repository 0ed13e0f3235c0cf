"""Short ways to write what metrics take and give, for tests by hand."""

import numpy as np

from config.taxonomy import DEFAULT, read_taxonomy

EMOTIONS = read_taxonomy(DEFAULT).emotions


def one_hot(*emotions: str) -> np.ndarray:
    """Return probabilities (n, K) that are sure of each of the emotions."""
    return np.eye(len(EMOTIONS))[[EMOTIONS.index(emotion) for emotion in emotions]]


def values(figures: dict[str, dict]) -> dict[str, float]:
    """Return the values of figures by name."""
    return {name: each["value"] for name, each in figures.items()}
