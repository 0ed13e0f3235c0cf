"""MVEI's questions (Wu et al., Customizing Visual Emotion Evaluation for MLLMs, ICLR 2026): is a statement correct?

Its file is a JSON list: `image_id`, the path below its folder images/, and `statement_list`, in which each has a
`statement`, its `label`, correct or incorrect, and its `class`. What is written is the same list with `predict` in each
statement, the likelier of Correct and Incorrect, and `p_correct`, the probability of the first.

Scores are as its code (wdqqdw/MVEI, commit 6291992, eval/cal_metrics.py) defines them: a prediction that holds neither word
gives up, and is wrong.
"""

import json

import numpy as np

from config.understanding_settings import Answers
from runtime.figures import Metric, figure_of, share
from understanding.question import OwnChoice
from understanding.questions import instructed

NAME, FILE = "MVEI", "MVEI_predict.json"
OPTIONS = ("correct", "incorrect")
ASKED = 'Here is a statement about this image: "{statement}" Is it correct or incorrect? Answer with that word.'
METRICS = {
    "accuracy": Metric("Accuracy", "↑", "predictions that are the label", 1 / 2),
    "positive_ratio": Metric("Says correct", "", "share of statements that are found correct"),
    "give_up_ratio": Metric("Gives up", "", "share of statements without a prediction"),
}


def is_of(records: list[dict]) -> bool:
    """Tell whether what a file holds are statements of MVEI, by its first record."""
    return {"image_id", "statement_list"} <= records[0].keys()


def what_lacks(record: dict) -> str:
    """Return in words what a record lacks, such as "statement 2's label"; "" where it lacks nothing."""
    if not isinstance(record.get("image_id"), str) or not isinstance(record.get("statement_list"), list):
        return "image_id or statement_list"
    lacking = [
        f"statement {number}'s {name}"
        for number, each in enumerate(record["statement_list"], 1)
        for name in ("statement", "label", "class")
        if not isinstance(each, dict) or not isinstance(each.get(name), str)
    ]
    lacking = lacking or [
        f"statement {number}'s label (correct or incorrect)"
        for number, each in enumerate(record["statement_list"], 1)
        if each["label"].lower() not in OPTIONS
    ]
    return lacking[0] if lacking else ""


def questions(records: list[dict], answers: Answers, seed: int) -> list[OwnChoice]:
    """Return a question about each statement; its image_id is that of the record."""
    return [
        OwnChoice(
            kind="statement",
            image_id=record["image_id"],
            emotion="",
            asked=None,
            options=OPTIONS,
            phrasing=0,
            prompt=instructed(ASKED.format(statement=each["statement"].strip()), answers),
            answers=OPTIONS,
        )
        for record in records
        for each in record["statement_list"]
    ]


def answered(records: list[dict], asked: list[OwnChoice], found: list[tuple[str, list[float]] | None]) -> list[dict]:
    """Return the records with what is found (answering.answer_choices); no prediction where the image cannot be shown."""
    rest = iter(found)
    return [
        record | {"statement_list": [_predicted(each, next(rest)) for each in record["statement_list"]]}
        for record in records
    ]


def written(records: list[dict]) -> str:
    """Return the text of the file that its script takes."""
    return json.dumps(records, ensure_ascii=False, indent=2) + "\n"


def scores(records: list[dict], seed: int) -> dict[str, dict[str, dict]]:
    """Return the figures of answered records by class, and of all. Images are resampled, with all statements about them."""
    statements = [each for record in records for each in record["statement_list"]]
    images = np.array([record["image_id"] for record in records for _ in record["statement_list"]])
    kind, label = (np.array([each[key].lower() for each in statements]) for key in ("class", "label"))
    said = np.array([said_of(each["predict"]) for each in statements])
    parts = {str(name): kind == name for name in dict.fromkeys(kind)} | {"overall": np.ones(len(kind), bool)}
    return {
        name: {
            "accuracy": figure_of(share(said[own] == label[own]), seed, images[own]),
            "positive_ratio": figure_of(share(said[own] == "correct"), seed, images[own]),
            "give_up_ratio": figure_of(share(said[own] == "abstain"), seed, images[own]),
        }
        for name, own in parts.items()
    }


def said_of(predict: str) -> str:
    """Return correct, incorrect or abstain, as its code reads a prediction.

    >>> [said_of(text) for text in ("Correct.", "That is incorrect", "")]
    ['correct', 'incorrect', 'abstain']
    """
    text = predict.lower()
    return "incorrect" if "incorrect" in text else "correct" if "correct" in text else "abstain"


def _predicted(statement: dict, found: tuple[str, list[float]] | None) -> dict:
    if found is None:
        return statement | {"predict": "", "p_correct": None}
    completion, (correct, incorrect) = found
    predict = OPTIONS[int(incorrect > correct)].capitalize()
    return statement | {"predict": predict, "p_correct": round(correct, 4), "completion": completion}
