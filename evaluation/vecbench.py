"""VECBench's questions (Wu et al., EmoCaliber, 2025, arXiv 2512.15528): which of some candidates does an image evoke?

Its file has a JSON object in each line: `conversations`, in which the image and a prompt stand as chat models take them,
`candidates`, `ground_truth`, and `task`, such as FI-8. The images are asked about with our own question, which offers the
same candidates. What is written are the same lines with `response`, <answer>...</answer><confidence>...</confidence>, and
`confidence`: the likeliest candidate, and its probability.

Scores are as its code (wdqqdw/EmoCaliber, commit a520291, inference/) defines them, but for `overall`, which reads answers
as the tasks do.
"""

import json
import re
from random import Random

import numpy as np

from config.understanding_settings import Answers
from runtime.figures import Metric, Statistic, figure_of, share
from runtime.run_folder import log
from understanding.kinds import multiple
from understanding.question import OwnChoice
from understanding.questions import instructed
from understanding.statistics import auroc

NAME, FILE = "VECBench", "0.jsonl"  # of the first of the files that its scripts merge
GROUPS = {  # of tasks, over which its calibration figures are
    "ID VSA": ("FI-2", "WebEmo-2"),
    "ID VER": ("FI-8", "EmoSet-8", "WebEmo-7", "WebEmo-25"),
    "OOD VER": ("Abstract-8", "Artphoto-8", "UnbiasedEmo-6"),
}
FIELDS = {"conversations": list, "candidates": list, "ground_truth": str, "task": str}  # of a record
BINS = 10
MOST = 0.9999  # confidence that is written: its calibration error counts none of 1
ANSWER = re.compile(r"<answer>(.*?)</answer>")
METRICS = {
    "accuracy": Metric("Accuracy", "↑", "answers that are the ground truth"),
    "weighted_f1": Metric("Weighted F1", "↑", "F1 of each candidate, weighted by how often it is the truth"),
    "ece": Metric("ECE", "↓", "mean distance of confidence from accuracy, in ten bins"),
    "brier": Metric("Brier score", "↓", "mean squared distance of confidence from being right"),
    "auroc": Metric("AUROC", "↑", "confidence is higher where the answer is right than where it is wrong"),
}


def is_of(records: list[dict]) -> bool:
    """Tell whether what a file holds are questions of VECBench, by its first record."""
    return FIELDS.keys() <= records[0].keys()


def what_lacks(record: dict) -> str:
    """Return in words what a record lacks, such as "task"; "" where it lacks nothing."""
    if lacking := [name for name, kind in FIELDS.items() if not isinstance(record.get(name), kind)]:
        return ", ".join(lacking)
    if not record["candidates"] or not all(isinstance(each, str) and each.strip() for each in record["candidates"]):
        return "names among its candidates"
    return "" if _image_of(record) else "an image in its conversations"


def questions(records: list[dict], answers: Answers, seed: int) -> list[OwnChoice]:
    """Return a question about each record; its image_id is the image as the record names it."""
    hopeless = [record for record in records if record["ground_truth"].lower() not in map(str.lower, record["candidates"])]
    if hopeless:
        log.warning(f"{len(hopeless):,} questions have a ground truth that is none of their candidates; no answer is right")
    rng, found = Random(f"{seed} VECBench"), []
    for record in records:
        options = tuple(rng.sample(record["candidates"], len(record["candidates"])))
        phrasing = rng.randrange(len(multiple.PHRASINGS))
        prompt = instructed(multiple.text(phrasing, None, options, answers), answers)
        asked = OwnChoice("choice", _image_of(record), "", None, options, phrasing, prompt)
        allowed = tuple(multiple.said_as(asked, option, answers) for option in options)
        found.append(OwnChoice(**vars(asked) | {"answers": allowed}))
    return found


def answered(records: list[dict], asked: list[OwnChoice], found: list[tuple[str, list[float]] | None]) -> list[dict]:
    """Return the records with what is found (answering.answer_choices); an error where the image cannot be shown."""
    return [
        record | ({"error": "the image cannot be shown"} if each is None else _response(question, *each))
        for record, question, each in zip(records, asked, found, strict=True)
    ]


def written(records: list[dict]) -> str:
    """Return the text of the file that its scripts take."""
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def scores(records: list[dict], seed: int) -> dict[str, dict[str, dict]]:
    """Return the figures of answered records by task, by group of tasks, and of all; records with an error count nowhere.

    Images are resampled, with all the tasks that ask about them.
    """
    records = [record for record in records if "error" not in record]
    task = np.array([record["task"] for record in records])
    true = np.array([record["ground_truth"].lower() for record in records])
    said = np.array([said_of(record["response"], record["candidates"]) for record in records])
    confidence = np.array([record["confidence"] for record in records], dtype=float)
    images = np.array([_image_of(record) for record in records])
    parts = {name: task == name for name in dict.fromkeys(task)}
    parts |= {name: np.isin(task, tasks) for name, tasks in GROUPS.items()} | {"overall": np.ones(len(task), bool)}
    found = {}
    for name, own in parts.items():
        if own.any():
            statistics = choices(true[own], said[own])
            if name in GROUPS:
                statistics |= calibration(confidence[own], true[own] == said[own])
            found[str(name)] = {metric: figure_of(each, seed, images[own]) for metric, each in statistics.items()}
    return found


def said_of(response: str, candidates: list[str]) -> str:
    """Return the first of the candidates that stands in the answer, or without one in the response, as its code reads it.

    >>> said_of("<think>Not fear.</think><answer>Awe</answer>", ["fear", "awe"])
    'awe'
    """
    text = response.lower()
    answer = ANSWER.search(text)
    text = answer[1] if answer and answer[1] else text
    return next((each.lower() for each in candidates if each.lower() in text), "unknown")


def choices(true: np.ndarray, said: np.ndarray) -> dict[str, Statistic]:
    """Return the accuracy of what is said (n,) of what is true (n,), and Σ n(c)/n F1(c) over the true candidates c."""
    codes = np.unique(np.concatenate([true, said]), return_inverse=True)[1]
    first, second = codes[: len(true)], codes[len(true) :]

    def weighted_f1(rows: np.ndarray) -> float:
        hits = first[rows][first[rows] == second[rows]]
        hits, true_of, said_of = (np.bincount(each, minlength=len(codes)) for each in (hits, first[rows], second[rows]))
        return float((true_of * 2 * hits / np.maximum(true_of + said_of, 1)).sum() / len(rows))

    return {"accuracy": share(true == said), "weighted_f1": Statistic(weighted_f1, np.zeros(len(true)))}


def calibration(confidence: np.ndarray, right: np.ndarray) -> dict[str, Statistic]:
    """Return how well confidence (n,) tells what is right (n,). A bin holds its lower end; no bin holds 1."""
    bins = np.digitize(confidence, np.linspace(0, 1, BINS + 1)) - 1

    def ece(rows: np.ndarray) -> float:
        gaps = [(confidence[rows] - right[rows])[bins[rows] == each].sum() for each in range(BINS)]
        return float(np.abs(gaps).sum() / len(rows))

    found = {"ece": Statistic(ece, np.zeros(len(right)), is_biased=True), "brier": share((confidence - right) ** 2)}
    if right.any() and not right.all():  # resampled within right and wrong ones
        found["auroc"] = Statistic(lambda rows: auroc(right[rows], confidence[rows]), right)
    return found


def _response(question: OwnChoice, completion: str, probabilities: list[float]) -> dict:
    likeliest = int(np.argmax(probabilities))
    confidence = min(round(probabilities[likeliest], 4), MOST)
    response = f"<answer>{question.options[likeliest]}</answer><confidence>{confidence}</confidence>"
    return {"response": response, "confidence": confidence, "completion": completion}


def _image_of(record: dict) -> str:
    """Return the image of a record's conversation, as it is named there; "" where it has none."""
    turns = [turn["content"] for turn in record["conversations"] if isinstance(turn, dict) and "content" in turn]
    parts = [part for content in turns if isinstance(content, list) for part in content if isinstance(part, dict)]
    images = [part.get("image") for part in parts if part.get("type") == "image"]
    return next((image for image in images if isinstance(image, str)), "")
