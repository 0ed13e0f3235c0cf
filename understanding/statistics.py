"""What several kinds of question compute of their answers."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

BINS = 10  # of the calibration error


def auroc(truth: np.ndarray, scores: np.ndarray) -> float:
    """Return the chance that the score of a true one is above that of a false one, ties by half: Mann and Whitney's U."""
    of_true, of_false = scores[truth], np.sort(scores[~truth])
    below, not_above = (np.searchsorted(of_false, of_true, side) for side in ("left", "right"))
    return float((below + not_above).mean() / 2 / len(of_false))


def calibration_error(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean distance of stated probabilities from how often they came true, over ten equal bins by their size."""
    bins = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, probabilities - truth, BINS)
    return float(np.abs(gaps).sum() / len(probabilities))


def is_measured(table: pd.DataFrame, columns: Sequence[str]) -> bool:
    """Return whether a table of answers holds a number in each row of these columns of likelihoods."""
    return set(columns) <= set(table.columns) and bool(table[list(columns)].notna().all(axis=None))
