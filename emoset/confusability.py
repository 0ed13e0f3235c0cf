"""Which emotions are taken for which: confusability.json, written by the emotion space, by mining or by hand.

    {"emotions": [names, in the order of rows and columns], "source": "emotion_space", "rows": "true emotion",
     "values": [[0, 0.5, ...], ...]}

values[i][j] is how easily an image of emotion i is taken for emotion j, among the ways in which it is mistaken: the
diagonal is 0 and a row sums to 1. An emotion that is never mistaken has an even row.
"""

from pathlib import Path

import numpy as np

from config.errors import UserError
from emoset.split_lists import read_json_file
from runtime.files import write_json

ROWS = "true emotion"


def confusability(probabilities: np.ndarray, labels: np.ndarray, emotions: tuple[str, ...]) -> np.ndarray:
    """Return the (K, K) matrix of a classifier: mean probabilities (N, K) of the wrong emotions by true label (N,).

    Raises UserError where an emotion has no image.
    """
    missing = [emotion for label, emotion in enumerate(emotions) if not (labels == label).any()]
    if missing:
        raise UserError(f"no image of {', '.join(missing)} to see what it is taken for; the split needs every emotion")
    means = np.stack([probabilities[labels == label].mean(0) for label in range(len(emotions))]).astype(float)
    return _normalised(means)


def write_confusability(path: Path, matrix: np.ndarray, emotions: tuple[str, ...], source: str) -> None:
    """Write a matrix (K, K) in the order of `emotions`; source: what it was measured with."""
    write_json(path, {"emotions": emotions, "source": source, "rows": ROWS, "values": np.round(matrix, 6).tolist()})


def read_confusability(path: Path, emotions: tuple[str, ...]) -> np.ndarray:
    """Return the (K, K) matrix of a file in the order of `emotions`, its rows scaled to sum to 1.

    Raises UserError, naming the file, for anything but the K emotions with K rows of K numbers, none negative, zero on the
    diagonal, and in each row one above zero.
    """
    content = read_json_file(path, dict)
    try:
        listed, values = content["emotions"], np.array(content["values"], dtype=float)
        order = [listed.index(emotion) for emotion in emotions]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path}: expected JSON with emotions ({', '.join(emotions)}) and values, {len(emotions)} x {len(emotions)} "
            f"numbers: {error}"
        ) from None
    size = len(emotions)
    wrong = ""
    if len(listed) != size:
        wrong = f"there are {len(listed)} emotions, expected {size}"
    elif content.get("rows", ROWS) != ROWS:
        wrong = f"rows are {content['rows']!r}, expected {ROWS!r}"
    elif values.shape != (size, size):
        wrong = f"values have the shape {values.shape}, expected {(size, size)}"
    elif not (np.isfinite(values) & (values >= 0)).all():
        wrong = "a value is negative or no number"
    elif values.diagonal().any():
        wrong = "the diagonal is not 0; an emotion is not taken for itself"
    elif not values.any(1).all():
        wrong = "a row is all zeros; say what its emotion is taken for"
    if wrong:
        raise UserError(f"{path}: {wrong}")
    return _normalised(values[np.ix_(order, order)])


def _normalised(matrix: np.ndarray) -> np.ndarray:
    others = 1 - np.eye(len(matrix))
    matrix = matrix * others
    matrix = np.where(matrix.any(1, keepdims=True), matrix, others)  # of an emotion never mistaken, all are as likely
    return matrix / matrix.sum(1, keepdims=True)
