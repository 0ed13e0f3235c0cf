"""What several kinds of question compute of their answers."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import softmax

BINS = 10  # of the calibration error
LEAST = 1e-12  # probability, of which a logarithm is taken
NEWTON = 50  # steps at most


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


def fitted_temperature(probabilities: np.ndarray, true: np.ndarray) -> float:
    """Return the T for which probabilities (n, K) to the power of 1/T, scaled to sum to 1, fit best what was true (n, K).

    It minimises their mean -ln p of what was true (Guo et al. 2017) by Newton's steps in 1/T, where it is convex, between
    T = 0.05 and T = 20. Above 1 the model was too sure, below 1 not sure enough.
    """
    logs, sharpness = np.log(probabilities.clip(LEAST)), 1.0
    for _ in range(NEWTON):
        scaled = softmax(logs * sharpness, axis=1)
        mean = (scaled * logs).sum(1)
        slope = (mean - (true * logs).sum(1)).mean()
        curvature = ((scaled * logs**2).sum(1) - mean**2).mean()
        before, step = sharpness, slope / max(curvature, LEAST)
        sharpness = float(np.clip(sharpness - np.clip(step, -1.0, 1.0), 1 / 20, 20.0))
        if abs(sharpness - before) < 1e-6:  # also where it stays at a bound
            break
    return 1 / sharpness


def tempered(probabilities: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return probabilities (n, K) scaled by a temperature, each half of the rows by the one that fits the other half.

    So no row is scaled by a temperature that has seen its truth. true: (n, K), one 1 a row. A single row stays as it is.
    """
    odd = np.arange(len(probabilities)) % 2 == 1
    found = probabilities.copy()
    if len(found) > 1:
        for half in (odd, ~odd):
            temperature = fitted_temperature(probabilities[~half], true[~half])
            found[half] = softmax(np.log(probabilities[half].clip(LEAST)) / temperature, axis=1)
    return found


def is_measured(table: pd.DataFrame, columns: Sequence[str]) -> bool:
    """Return whether a table of answers holds a number in each row of these columns of likelihoods."""
    return set(columns) <= set(table.columns) and bool(table[list(columns)].notna().all(axis=None))
