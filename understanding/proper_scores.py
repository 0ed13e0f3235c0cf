"""Scores the distribution over all answers to a question. Only the true distribution maximises a proper score.

p is the distribution over the allowed answers (it sums to 1), y the one-hot right answer, m = Σ p s / 100 the mean of scores
s from 0 to 100, t = 1 where the asked emotion is the image's, else 0.
    quadratic   1 - Σ (p - y)², which is 1 - 2 (p(yes) - t)² of yes and no; of scores 1 - 2 (m - t)²   (Brier 1950)
    log         ln p(right answer); of scores t ln m + (1 - t) ln(1 - m)                               (Good 1952)
Logarithms are those of at least FLOOR. Below it the gradient of a choice is still that of its logarithm.
"""

import math

from torch import Tensor

FLOOR = 1e-4
TINY = 1e-30  # of which float32 still holds the logarithm's gradient
WORST = {"quadratic": -1.0, "log": math.log(FLOOR)}  # what is surely wrong


def of_choice(probabilities: Tensor, right: int, scoring: str) -> Tensor:
    """Return the score of probabilities (A,) where the right answer is the one of that number. scoring: quadratic or log.

    >>> round(float(of_choice(torch.tensor([0.8, 0.2]), 0, "quadratic")), 4)
    0.92
    """
    if scoring == "log":
        exact = probabilities[right].clamp(min=TINY).log()
        return exact + (exact.clamp(min=WORST["log"]) - exact).detach()
    missed = probabilities.clone()
    missed[right] -= 1
    return 1 - missed.square().sum()


def of_number(probabilities: Tensor, scores: Tensor, is_true: bool, scoring: str) -> Tensor:
    """Return the score of probabilities (A,) of answers that are scores (A,) from 0 to 100. scoring: quadratic or log.

    >>> round(float(of_number(torch.tensor([0.5, 0.5]), torch.tensor([50.0, 100.0]), True, "quadratic")), 4)
    0.875
    """
    mean = probabilities @ scores / 100
    if scoring == "log":
        return (mean if is_true else 1 - mean).clamp(min=FLOOR).log()
    return 1 - 2 * (mean - int(is_true)) ** 2
