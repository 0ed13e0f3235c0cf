"""A run of both halves that is made up: what its stages leave, and its report."""

import json
import re
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd
from PIL import Image

from config.loading import load
from config.taxonomy import DEFAULT, read_taxonomy
from config.understanding_settings import Answers
from evaluation.answers_by_emotion import accuracy_by_emotion, confusions
from evaluation.report import main
from understanding.scoring import figures, likelihood_columns, read_answers

TAXONOMY = read_taxonomy(DEFAULT)
EMOTIONS = TAXONOMY.emotions
METHODS = ("ours", "prompt_only", "real")
METRICS = ("emotion_accuracy", "emotion_accuracy_two_way", "fid", "fid_half", "kid", "lpips", "semantic_diversity")


def figure(rng: Random, scale: float = 1.0) -> dict:
    value = rng.uniform(0.2, 0.8)
    return {"value": scale * value, "low": scale * (value - 0.1), "high": scale * (value + 0.1), "n": 64}


def write_image(path: Path, rng: Random) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 32), tuple(rng.randrange(256) for _ in range(3))).save(path)


def write_json(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_lines(path: Path, lines: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def write_stage(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text("seed: 5\nmapper:\n  epochs: 7\n")
    write_json(folder / "seconds.json", {"seconds": 67.8})
    write_json(folder / "environment.json", {"python": "3.11.7", "git": None, "packages": {"torch": "2.13.0", "trl": None}})
    (folder / "log.txt").write_text("2026-01-02 03:04:05 begun\n  more\n2026-01-02 04:05:06 done\n")


def make_generation(run: Path) -> None:
    """Write what a generator's training and its evaluation leave."""
    rng, evaluated = Random(0), run / "evaluation"
    for stage in ("training", "evaluation"):
        write_stage(run / stage)
    write_json(run / "generator" / "generator.json", {})
    write_lines(run / "training/emotion_space/metrics.jsonl", [{"epoch": n, "train_loss": 2 / n} for n in (1, 2, 3)])
    names = ("loss", "diffusion", "attribute", "emotion")
    steps = [{"step": n, **{name: rng.random() for name in names}} for n in range(10, 200, 10)]
    write_lines(run / "training/mapper/metrics.jsonl", steps)
    write_image(run / "training/mapper/samples/0000200.png", rng)
    about = {"n": dict.fromkeys(METHODS, 64), "split": "val", "seed": 0, "models": {"judge": "demo/models/judge"}}
    about |= {"seconds": 12.5, "warnings": {"FID of 64 images is biased": ["ours", "prompt_only"]}}
    about |= {"reference": 1600, "published_reference": 2400}
    rows = {}
    for row in METHODS:
        corrected = {name: figure(rng, 300 if "fid" in name else 1) for name in METRICS}
        emogen = {name: figure(rng, 300 if "fid" in name else 1e-5 if "sem" in name else 1) for name in METRICS[:4]}
        by_emotion = {emotion: {name: figure(rng) for name in METRICS[:2]} for emotion in EMOTIONS}
        rows[row] = {"corrected": corrected, "emogen": emogen, "by_emotion": by_emotion}
        counts = pd.DataFrame([[rng.randrange(9) for _ in EMOTIONS] for _ in EMOTIONS], EMOTIONS, EMOTIONS)
        evaluated.mkdir(exist_ok=True)
        counts.to_csv(evaluated / f"confusion-generation-{row}.csv")
        for emotion in EMOTIONS:
            for number in range(4):
                write_image(evaluated / f"images/{row}/{emotion}/{number:05d}.png", rng)
    rows["transfer"] = {"corrected": {"emotion_accuracy": figure(rng), "clip_score": figure(rng, 30)}, "emogen": {}}
    write_json(evaluated / "generation.json", {"about": about, "figures": rows})
    places = ("0.0", "0.5", "1.0")
    for place in places:
        for content in ("bag", "tree"):
            for emotion in EMOTIONS:
                write_image(evaluated / f"images/transfer/{content}/{place}/{emotion}/00000.png", rng)
        for number in range(2):
            write_image(evaluated / f"images/fusion/awe-fear/{place}/{number:05d}.png", rng)
    names = ("emotion_accuracy", "content_accuracy", "clip_score")
    strength = {place: {name: figure(rng, 30 if name == "clip_score" else 1) for name in names} for place in places}
    fusion = {"awe-fear": {place: {"awe": figure(rng), "fear": figure(rng)} for place in places}}
    write_json(evaluated / "curves.json", {"strength": strength, "fusion": fusion})


def make_understanding(run: Path, emoset: Path) -> None:
    """Write what the fine-tuning of an understanding model, mining and the evaluation leave."""
    rng, evaluated = Random(0), run / "evaluation"
    for stage in ("understanding", "evaluation"):
        write_stage(run / stage)
    (run / "understanding/model").mkdir()
    trained = [{"step": n, "reward": n / 9, "rewards/format/mean": 1.0, "kl": 0.1 * n} for n in range(1, 9)]
    write_lines(run / "understanding/step_one/metrics.jsonl", [{"step": 0, "val/multiple_accuracy": 0.2}, *trained])
    entries = json.loads((emoset / "val.json").read_text())
    rows = {}
    for row, skill in {"before": 0.3, "after": 0.7, "blind": 0.1}.items():
        asked = []
        for emotion, image_id, *_ in entries:
            said = emotion if rng.random() < skill else rng.choice(EMOTIONS)
            shares = np.random.default_rng(len(asked)).dirichlet(np.ones(len(EMOTIONS))).tolist()
            likely = dict(zip(likelihood_columns(EMOTIONS), shares, strict=True))
            completion = f"<think>a <b>drawing</b> & more</think><answer>{said}</answer>"
            question = {
                "kind": "multiple",
                "image_id": image_id,
                "emotion": emotion,
                "asked": None,
                "options": [],
                "phrasing": 0,
            }
            asked.append(question | likely | {"completion": completion})
        answers = read_answers(pd.DataFrame(asked), TAXONOMY, Answers())
        answers.to_parquet(evaluated / f"answers-{row}.parquet")
        for kind, counts in confusions(answers, TAXONOMY).items():
            counts.to_csv(evaluated / f"confusion-{kind}-{row}.csv")
        others = Random(row)
        rows[row] = figures(answers, TAXONOMY) | accuracy_by_emotion(answers, TAXONOMY, 0)
        rows[row] |= {name: figure(others) for name in ("binary_balanced_accuracy", "misleading_auroc")}
    models = {"before": "demo/models/vision_language", "after": str(run / "understanding/model")}
    about = {"n": len(entries), "questions": len(entries), "seed": 0, "split": "val", "models": models, "seconds": 3.0}
    write_json(evaluated / "understanding.json", {"about": about, "figures": rows})
    shares = np.random.default_rng(0).dirichlet(np.ones(len(EMOTIONS)), len(entries))
    errors = pd.DataFrame(shares, columns=list(EMOTIONS)).assign(emotion=[entry[0] for entry in entries])
    errors["error"] = 1 - shares[np.arange(len(errors)), errors["emotion"].map(EMOTIONS.index)]
    (run / "mining").mkdir()
    errors.to_parquet(run / "mining/errors.parquet")


def make_cross(run: Path) -> None:
    """Write what the evaluation of each half by the other leaves."""
    rng, names = Random(0), ("intended", "judge", "intended_forced", "judge_forced")
    found = {row: {name: figure(rng) for name in names} for row in METHODS}
    found["transfer"] = {place: {name: figure(rng) for name in names} for place in ("0.0", "1.0")}
    found["fusion"] = {
        "awe-fear": {place: {name: figure(rng) for name in ("awe", "fear", "judge")} for place in ("0.0", "1.0")}
    }
    about = {"n": dict.fromkeys(found, 64), "seed": 0, "split": "val", "models": {"judge": None}, "seconds": 1.0}
    write_json(run / "evaluation/cross.json", {"about": about, "figures": found})


def report_of(run: Path, emoset: Path) -> Path:
    main(load([f"run={run}", f"data.emoset={emoset}"]))
    return run


def page_of(run: Path) -> str:
    return (run / "report" / "index.html").read_text()


def sections_of(page: str) -> set[str]:
    return set(re.findall(r'<section aria-labelledby="(\w+)"', page))


def flat(tree: dict, above: str = "") -> dict[str, float]:
    """Return the numbers of figures by their path."""
    found = {}
    for name, value in tree.items():
        found |= flat(value, f"{above}{name}/") if isinstance(value, dict) else {f"{above}{name}": value}
    return found
