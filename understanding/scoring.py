"""How good answers are: figures with their 95 % intervals, from kept answers alone, without the model."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from emoset.labels import EMOTIONS
from understanding.answers import extract_answer, read_binary, read_emotion, read_score

RESAMPLES = 1000
BINS = 10  # of the calibration error
LIKELIHOODS = [f"p_{emotion}" for emotion in EMOTIONS]


def read_answers(answers: pd.DataFrame, reasoning: bool, answer_by: str) -> pd.DataFrame:
    """Return the answers with what they say: columns kept_format, said_emotion, said_yes, said_score (None: nothing)."""
    texts = [extract_answer(completion, reasoning) for completion in answers["completion"]]
    rows = list(zip(answers["kind"], answers["options"], texts, strict=True))

    def read(kind: str, reader: Callable):
        return pd.Series(
            [reader(text, options) if text is not None and of == kind else None for of, options, text in rows],
            answers.index,
            dtype=object,
        )

    return answers.assign(
        kept_format=[text is not None for text in texts],
        said_emotion=read("multiple", lambda text, options: read_emotion(text, tuple(options), answer_by)),
        said_yes=read("binary", lambda text, _: read_binary(text)),
        said_score=read("misleading", lambda text, _: read_score(text)),
    )


def figures(answers: pd.DataFrame, seed: int = 0) -> dict[str, dict]:
    """Return every figure that read answers (read_answers) give, each {"value", "low", "high", "n"}.

    multiple_accuracy            share of multiple-choice answers that name the true emotion
    multiple_balanced_accuracy   its mean over the eight true emotions
    multiple_<emotion>           the same for the images of one emotion
    multiple_forced_accuracy     how often the true emotion is the most likely of the eight names
    multiple_forced_balanced_accuracy
    binary_balanced_accuracy     mean of the shares answered right where yes is right and where no is; no answer is wrong
    yes_rate                     share of yes among all binary answers
    misleading_auroc             chance that a true emotion's score is above a wrong one's; no score counts as 50
    misleading_mean_true, misleading_mean_wrong   mean scores, from 0 to 100, of those that gave one
    misleading_ece               expected calibration error of score / 100, in ten bins (Naeini et al. 2015)
    format_rate                  share of all answers that keep the format
    """
    found: dict[str, dict] = {"format_rate": _mean(answers["kept_format"], seed)}
    multiple = answers[answers["kind"] == "multiple"]
    if len(multiple):
        truth = multiple["emotion"].to_numpy()
        found |= choice_figures("multiple", truth, multiple["said_emotion"].fillna("none").to_numpy(), seed)
        for emotion in [emotion for emotion in EMOTIONS if (truth == emotion).any()]:
            own = multiple[truth == emotion]
            found[f"multiple_{emotion}"] = _mean(own["said_emotion"] == emotion, seed)
        if LIKELIHOODS[0] in multiple and multiple[LIKELIHOODS].notna().all(axis=None):
            likeliest = np.array(EMOTIONS)[multiple[LIKELIHOODS].to_numpy().argmax(1)]
            found |= choice_figures("multiple_forced", truth, likeliest, seed)
    binary = answers[answers["kind"] == "binary"]
    if len(binary):
        is_true = (binary["asked"] == binary["emotion"]).to_numpy()
        found["yes_rate"] = _mean([said is True for said in binary["said_yes"]], seed)
        if len(set(is_true)) == 2:
            right = (binary["said_yes"] == pd.Series(is_true, binary.index)).to_numpy()
            found["binary_balanced_accuracy"] = _interval(
                lambda rows: np.mean([right[rows][is_true[rows] == side].mean() for side in (True, False)]), is_true, seed
            )
    misleading = answers[answers["kind"] == "misleading"]
    if len(misleading):
        is_true = (misleading["asked"] == misleading["emotion"]).to_numpy()
        scores = misleading["said_score"].astype(float).to_numpy()
        filled = np.where(np.isnan(scores), 50.0, scores)
        if len(set(is_true)) == 2:
            found["misleading_auroc"] = _interval(lambda rows: auroc(is_true[rows], filled[rows]), is_true, seed)
        given = ~np.isnan(scores)
        for name, side in (("true", is_true), ("wrong", ~is_true)):
            if (given & side).any():
                found[f"misleading_mean_{name}"] = _mean(scores[given & side], seed)
        if given.any():
            said, truth = scores[given] / 100, is_true[given]
            found["misleading_ece"] = _interval(
                lambda rows: calibration_error(said[rows], truth[rows]), np.zeros(len(said)), seed
            )
    return found


def confusion(answers: pd.DataFrame) -> pd.DataFrame:
    """Return how often each true emotion (rows) was said to be each (columns; "none": no emotion was named)."""
    multiple = answers[answers["kind"] == "multiple"]
    table = pd.crosstab(multiple["emotion"], multiple["said_emotion"].fillna("none"))
    return table.reindex(index=list(EMOTIONS), columns=[*EMOTIONS, "none"], fill_value=0)


def auroc(truth: np.ndarray, scores: np.ndarray) -> float:
    """Return the chance that the score of a true one is above that of a false one, ties by half: Mann and Whitney's U."""
    true = int(truth.sum())
    return float((rankdata(scores)[truth].mean() - (true + 1) / 2) / (len(truth) - true))


def calibration_error(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean distance of stated probabilities from how often they came true, over ten equal bins by their size."""
    bins = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    gaps = [abs((probabilities[bins == each] - truth[bins == each]).sum()) for each in range(BINS)]
    return float(sum(gaps) / len(probabilities))


def choice_figures(name: str, truth: np.ndarray, said: np.ndarray, seed: int) -> dict[str, dict]:
    """Return the accuracy, and its mean over the true emotions."""
    right = truth == said
    return {
        f"{name}_accuracy": _mean(right, seed),
        f"{name}_balanced_accuracy": _interval(
            lambda rows: np.mean([right[rows][truth[rows] == emotion].mean() for emotion in np.unique(truth)]), truth, seed
        ),
    }


def _mean(values, seed: int) -> dict:
    values = np.asarray(values, dtype=float)
    return _interval(lambda rows: values[rows].mean(), np.zeros(len(values)), seed)


def _interval(statistic: Callable[[np.ndarray], float], strata: np.ndarray, seed: int) -> dict[str, float]:
    """Return a statistic of row numbers with its 95 % interval: percentile bootstrap, within each stratum (n,)."""
    rng = np.random.default_rng(seed)
    groups = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    drawn = [statistic(np.concatenate([rng.choice(group, len(group)) for group in groups])) for _ in range(RESAMPLES)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    value = statistic(np.arange(len(strata)))
    return {"value": float(value), "low": float(low), "high": float(high), "n": len(strata)}
