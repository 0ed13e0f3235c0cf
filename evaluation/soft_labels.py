"""How well a model's distribution over the emotions meets the votes of several people.

s is how an image's votes are shared out over the emotions (it sums to 1), q what the model holds of them.
    expected accuracy   s of the likeliest emotion by q: how many of the voters agree with the model
    ceiling             the largest s: how many agree with the emotion that most voted for, which no answer exceeds
    accuracy            whether the likeliest emotion by q has most votes, or as many as another that has most
    cross-entropy       -Σ s ln max(q, FLOOR), in nats
    entropy             -Σ s ln s, in nats: the least cross-entropy that there can be
"""

import numpy as np
import pandas as pd

from config.taxonomy import Taxonomy
from emoset.votes import share_columns
from runtime.figures import Metric, Statistic, share
from understanding.proper_scores import FLOOR
from understanding.scoring import likelihood_columns


def soft_statistics(answers: pd.DataFrame, images: pd.DataFrame, emotions: tuple[str, ...]) -> dict[str, Statistic]:
    """Return the statistics of read answers with likelihoods, by the votes (votes.read_votes) about their images."""
    shares = images.set_index("image_id").loc[answers["image_id"], share_columns(emotions)].to_numpy(float)
    likely = answers[likelihood_columns(emotions)].to_numpy(float)
    chosen = shares[np.arange(len(shares)), likely.argmax(1)]
    most = shares.max(1)
    return {
        "soft_accuracy": share(chosen == most),
        "soft_expected_accuracy": share(chosen),
        "soft_ceiling": share(most),
        "soft_cross_entropy": share(cross_entropy(shares, likely)),
        "soft_entropy": share(cross_entropy(shares, shares)),
    }


def cross_entropy(shares: np.ndarray, likely: np.ndarray) -> np.ndarray:
    """Return -Σ s ln max(q, FLOOR) (n,), in nats, of shares s and probabilities q, each (n, K).

    >>> [round(float(each), 3) for each in cross_entropy(np.array([[0.5, 0.5], [1, 0]]), np.array([[0.9, 0.1], [0.9, 0.1]]))]
    [1.204, 0.105]
    """
    return -(shares * np.log(likely.clip(min=FLOOR))).sum(1)


def soft_metrics(taxonomy: Taxonomy) -> dict[str, Metric]:
    """Return what the figures are called, and what chance gives."""
    chance = 1 / len(taxonomy)
    return {
        "soft_accuracy": Metric("Votes, likeliest", "↑", "the likeliest emotion has the most votes", None),
        "soft_expected_accuracy": Metric("Votes, expected", "↑", "share of the voters who agree with the model", chance),
        "soft_ceiling": Metric("Votes, ceiling", "", "share of the voters who agree with the most of them"),
        "soft_cross_entropy": Metric("Votes, cross-entropy", "↓", "of the model's distribution, in nats"),
        "soft_entropy": Metric("Votes, entropy", "", "of the votes, in nats: the least cross-entropy that there can be"),
    }
