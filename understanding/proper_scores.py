"""Scores the distribution over all answers to a question. Only the true distribution maximises a proper score.

p is the distribution over the allowed answers (it sums to 1), y the one-hot right answer, m = Σ p s / 100 the mean of scores
s from 0 to 100, t = 1 where the asked emotion is the image's, else 0.
    quadratic   1 - Σ (p - y)², which is 1 - 2 (p(yes) - t)² of yes and no; of scores 1 - 2 (m - t)²   (Brier 1950)
    log         ln p(right answer); of scores t ln m + (1 - t) ln(1 - m)                               (Good 1952)
Logarithms are those of at least FLOOR. Below it the gradient of a choice is still that of its logarithm, however small p is.
"""

import math

import torch
from torch import Tensor

FLOOR = 1e-4
WORST = {"quadratic": -1.0, "log": math.log(FLOOR)}  # what is surely wrong


def of_choice(log_q: Tensor, right: int, scoring: str) -> Tensor:
    """Return the score of log-probabilities (A,), of which that at `right` is the right answer's. scoring: quadratic or log.

    >>> round(float(of_choice(torch.tensor([0.8, 0.2]).log(), 0, "quadratic")), 4)
    0.92
    """
    if scoring == "log":
        exact = log_q[right].clamp(min=torch.finfo(log_q.dtype).min)  # of 0 too
        return exact - exact.detach() + exact.detach().clamp(min=WORST["log"])
    missed = log_q.exp().clone()  # without which exp would lack its result for its gradient
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
