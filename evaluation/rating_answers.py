"""Read what people answered on the rating page: preferences, agreement, and how they agree with our judge.

    python evaluation/rating_answers.py rating.answers=ratings/

rating.answers names the files that raters have downloaded from a page of `<run>/rating/`, or folders of such files. The key
of the page, which lies beside it, tells what they saw. Raters who miss too many catch trials (rating.caught) do not
count, and the log names them.

    preference     share of the answers that prefer the first row; no difference counts half
    accuracy       share of the answers that name the intended emotion, by row
    agreement      share of pairs of raters who answer a trial alike, and Krippendorff's alpha (nominal)
    with judge     share of the answers that are the judge's

Intervals are of 95 %, by resampling trials with all answers to them, within emotions. `<run>/rating/ratings-<id>.json` holds
the figures.
"""

from runtime.script import read_settings, run

read_settings(__name__, __doc__, "rating")

from codecs import BOM_UTF8
from pathlib import Path

import numpy as np
import pandas as pd
from nltk.metrics.agreement import AnnotationTask
from pydantic import Field, ValidationError

from config.errors import UserError
from config.settings import Settings
from evaluation.metric_labels import markdown_table
from evaluation.run_files import Result
from runtime.checking import stops_here
from runtime.figures import Metric, Statistic, figure, figure_of, resamples
from runtime.files import read_json, write_json
from runtime.run_folder import log, open_run_folder

CHOICES = ("left", "right", "same")  # of a pair
METRICS = {
    "preference": Metric("Prefers the first", "", "share of the answers; no difference counts half", 1 / 2),
    "same": Metric("No difference", "", "share of the answers"),
    "accuracy": Metric("Names the intended emotion", "↑", "share of the answers"),
    "agreement": Metric("Raters agree", "", "share of pairs of raters who answer a trial alike"),
    "alpha": Metric("Krippendorff's alpha", "", "agreement above chance: 1 is perfect, 0 is chance"),
    "judge": Metric("Agree with the judge", "", "share of the answers that are the judge's"),
}


class Answer(Result):
    """What a rater has answered to a trial, after how many milliseconds."""

    trial: str
    answer: str
    ms: float


class Sent(Result):
    """The file that a page gives a rater to send."""

    page: str = Field(pattern=r"^\w{1,64}$")
    rater: str = Field(min_length=1)
    answers: list[Answer]


def main(settings: Settings) -> None:
    folder, rating = open_run_folder(settings, "rating"), settings.rating
    page, answers = read_answers(rating.answers)
    key = read_json(folder / f"key-{page}.json")
    if key is None:
        raise UserError(
            f"rating.answers: are of the page {page}, and {folder} has no key-{page}.json; name its run: run=..."
        )
    check_answers(answers, key)
    kept, missed = without_careless(answers, key, rating.caught)
    raters = {"raters": f"{kept['rater'].nunique()}, and {len(missed)} who missed catch trials", "answers": f"{len(kept):,}"}
    if stops_here(settings, raters):
        return
    for rater, share in missed.items():
        log.info(f"{rater} got {share:.0%} of the catch trials right and does not count (rating.caught={rating.caught:g})")
    if kept.empty:
        raise UserError(
            "rating.answers: no rater has answered and got enough catch trials right; lower rating.caught, or ask others"
        )
    found = ratings(kept, key, settings.seed)
    about = {"kind": key["kind"], "rows": key["rows"], "raters": sorted(kept["rater"].unique()), "answers": len(kept)}
    about |= {"trials": int(kept["trial"].nunique()), "missed": missed, "seed": settings.seed}
    write_json(folder / f"ratings-{page}.json", {"about": about, "figures": found})
    log.info(f"{about['answers']:,} answers of {len(about['raters'])} raters to {about['trials']} trials of {key['kind']}")
    if key["kind"] == "pair":
        log.info(f"the first is {key['rows'][0]}, the second {key['rows'][1]}")
    log.info(f"\n{markdown_table(found, METRICS)}\n\nvalue (low to high, 95 %)")


def read_answers(paths: list[Path]) -> tuple[str, pd.DataFrame]:
    """Return the id of the page, and all answers: rater, trial, answer, where (in words).

    Of several files of a rater the one with most answers counts. Raises UserError for a file that is none, and for files of
    different pages.
    """
    files = [file for path in paths for file in (sorted(path.glob("*.json")) if path.is_dir() else [path])]
    if not files:
        raise UserError("rating.answers: names no file; rating.answers=ratings/ or ratings/a.json,ratings/b.json")
    by_rater: dict[str, list[dict]] = {}
    pages: dict[str, Path] = {}
    for file in files:
        sent = read_file(file)
        rows = [
            {"rater": sent.rater, "trial": each.trial, "answer": each.answer, "where": f"{file}, answer {number}"}
            for number, each in enumerate(sent.answers, 1)
        ]
        pages.setdefault(sent.page, file)
        if sent.rater in by_rater:
            log.info(f"{sent.rater} has sent several files; the one with most answers counts")
        by_rater[sent.rater] = max(by_rater.get(sent.rater, []), rows, key=len)
    if len(pages) > 1:
        raise UserError(
            f"rating.answers: {' and '.join(map(str, pages.values()))} are of different pages; read each by itself"
        )
    return next(iter(pages)), pd.DataFrame(
        [row for rows in by_rater.values() for row in rows], columns=["rater", "trial", "answer", "where"]
    )


def read_file(file: Path) -> Sent:
    """Return what a rater has sent. Raises UserError for another file, and where a trial is answered twice."""
    try:
        sent = Sent.model_validate_json(file.read_bytes().removeprefix(BOM_UTF8))
    except OSError as error:
        raise UserError(f"rating.answers: {file} cannot be read: {error.strerror}") from None
    except ValidationError as wrong:
        error = wrong.errors()[0]
        place = " ".join(str(part + 1) if isinstance(part, int) else part for part in error["loc"])
        raise UserError(
            f"rating.answers: {file} is no file of answers that the page gives ({place or 'JSON'}: {error['msg']}); leave "
            "it out"
        ) from None
    first: dict[str, int] = {}
    for number, each in enumerate(sent.answers, 1):
        if (earlier := first.setdefault(each.trial, number)) != number:
            raise UserError(
                f"rating.answers: {file}, answer {number} is to the trial {each.trial!r}, as answer {earlier} is; remove one"
            )
    return sent


def check_answers(answers: pd.DataFrame, key: dict) -> None:
    """Raise UserError for an answer to a trial that the page does not have, and for one that the page does not offer."""
    offered = CHOICES if key["kind"] == "pair" else key["emotions"]
    for each in answers.itertuples():
        if each.trial not in key["trials"]:
            raise UserError(
                f"rating.answers: {each.where} is to the trial {each.trial!r}, which the page {key['page']} does not have; "
                "leave that file out"
            )
        if each.answer not in offered:
            raise UserError(f"rating.answers: {each.where} is {each.answer!r}; the page offers {', '.join(offered)}")


def without_careless(answers: pd.DataFrame, key: dict, least: float) -> tuple[pd.DataFrame, dict[str, float]]:
    """Return the answers to real trials of raters who got at least that share of their catch trials right; and the others.

    Who has not answered any catch trial counts.
    """
    right = answers["trial"].map({trial: about["catch"] for trial, about in key["trials"].items()})
    is_catch = right.notna()
    shares = (answers["answer"] == right)[is_catch].groupby(answers["rater"][is_catch]).mean()
    missed = {str(rater): float(share) for rater, share in shares.items() if share < least}
    return answers[~is_catch & ~answers["rater"].isin(missed)].reset_index(drop=True), missed


def ratings(answers: pd.DataFrame, key: dict, seed: int) -> dict[str, dict[str, dict]]:
    """Return the figures of answers to real trials (without_careless): of all, and for pair by emotion, else by row."""
    trials, first = key["trials"], key["rows"][0]
    answers = answers.assign(emotion=answers["trial"].map({name: each["emotion"] for name, each in trials.items()}))
    if key["kind"] == "pair":
        values = [
            0.5 if said == "same" else float(trials[trial]["rows"][said == "right"] == first)
            for trial, said in zip(answers["trial"], answers["answer"], strict=True)
        ]
        answers = answers.assign(preference=values, same=(answers["answer"] == "same").astype(float))
        parts = {"all": answers} | dict(list(answers.groupby("emotion")))
    else:
        answers = answers.assign(accuracy=(answers["answer"] == answers["emotion"]).astype(float))
        row_of = answers["trial"].map({name: each["rows"][0] for name, each in trials.items() if each["rows"]})
        parts = {"all": answers} | dict(list(answers.groupby(row_of)))
    answers_of_judge = judge_answers(key)
    return {name: _figures(own, answers_of_judge, seed) for name, own in parts.items()}


def judge_answers(key: dict) -> dict[str, str]:
    """Return what the judge would answer in each real trial: the likeliest emotion, or the likelier side; {}: no judge."""
    judged, found = key["judged"], {}
    for name, each in key["trials"].items():
        if judged and each["images"]:
            if key["kind"] == "pair":
                left, right = (judged[image][each["emotion"]] for image in each["images"])
                found[name] = "left" if left > right else "right"
            else:
                likely = judged[each["images"][0]]
                found[name] = max(likely, key=likely.get)
    return found


def _figures(answers: pd.DataFrame, judge: dict[str, str], seed: int) -> dict[str, dict]:
    """Return the figures of some answers: resampled are trials, within their emotions, with all answers to them."""
    by_trial = answers.groupby("trial", sort=True)
    groups = by_trial["emotion"].first().to_numpy()
    counts = pd.crosstab(answers["trial"], answers["answer"]).sort_index().to_numpy()  # (trials, answers)
    found = {}
    for name in [name for name in ("preference", "same", "accuracy") if name in answers]:
        found[name] = _share(by_trial[name].sum().to_numpy(), by_trial[name].count().to_numpy(), groups)
    alike, pairs = (counts * (counts - 1)).sum(1) / 2, counts.sum(1) * (counts.sum(1) - 1) / 2
    if pairs.any():
        found["agreement"] = _share(alike[pairs > 0], pairs[pairs > 0], groups[pairs > 0])
    told = answers[answers["trial"].isin(judge) & (answers["answer"] != "same")]
    if len(told):
        agrees = (told["answer"] == told["trial"].map(judge)).groupby(told["trial"], sort=True)
        own = told.groupby("trial", sort=True)["emotion"].first().to_numpy()
        found["judge"] = _share(agrees.sum().to_numpy(), agrees.count().to_numpy(), own)
    figures = {name: figure_of(each, seed) for name, each in found.items()}
    if pairs.any() and np.isfinite(value := alpha(counts)):
        drawn = [alpha(counts[rows]) for rows in resamples(groups, seed)]
        figures["alpha"] = figure(value, *np.nanpercentile(drawn, [2.5, 97.5]), len(counts))
    return figures


def alpha(counts: np.ndarray) -> float:
    """Return Krippendorff's alpha of nominal answers: counts (trials, answers) of how many raters gave each answer.

    Answers of pair are left and right, which the seed has shuffled, and not rows: where everybody prefers the same row, rows
    would leave chance nothing to be above. NaN where all answers are the same.
    """
    if np.count_nonzero(counts[counts.sum(1) > 1].sum(0)) < 2:
        return float("nan")
    answers = (np.repeat(np.arange(len(row)), row).tolist() for row in counts[counts.sum(1) > 1])
    told = [(rater, trial, answer) for trial, own in enumerate(answers) for rater, answer in enumerate(own)]
    return float(AnnotationTask(told).alpha()) if told else float("nan")


def _share(sums: np.ndarray, counts: np.ndarray, groups: np.ndarray) -> Statistic:
    return Statistic(lambda rows: float(sums[rows].sum() / counts[rows].sum()), groups)


if __name__ == "__main__":
    run(main)
