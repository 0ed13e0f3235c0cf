"""Each half measures the other: what the understanding model says of the generator's images."""

import time
from pathlib import Path

import numpy as np
import pandas as pd

from runtime.files import write_atomically
from runtime.run_folder import is_first_process, log
from emoset.labels import EMOTIONS
from config.settings import Settings
from emoset.selection import equal_emotions
from runtime.figures import of_mean
from evaluation.metric_labels import CROSS
from evaluation.tables import figures_table, write_json
from understanding.answering import answer_all
from understanding.asking import load_asker
from understanding.questions import multiple_choice
from understanding.scoring import LIKELIHOODS, read_answers


def measure_cross(settings: Settings, folder: Path, model: str, generated: dict) -> dict:
    """Ask a model one multiple-choice question about each image that `generated` (measure_generation) tells of.

    Writes cross.json into `folder` and returns it: for each row, and for each strength of `transfer`, agreement with the
    intended emotion and with the judge; for each mix of `fusion`, how likely the model finds the two emotions, and
    agreement with the judge.
    """
    started, figures, asked_about = time.monotonic(), {}, {}
    asker = load_asker(settings, model, "evaluate.models")
    for row, images in generated["images"].items():
        images = images.assign(judged=np.array(EMOTIONS)[generated["judged"][row].argmax(1)])
        if row not in ("transfer", "fusion"):
            images = equal_emotions(images, settings.evaluate.images, settings.seed)
        questions = multiple_choice(images, settings.questions, settings.seed)
        paths = dict(zip(images["image_id"], images["path"], strict=True))
        answers = answer_all(asker, questions, paths, folder, settings.evaluate.batch_size, forced=True)
        answers = read_answers(answers, settings.questions.reasoning, settings.questions.answer_by)
        answers["judged"] = images["judged"].to_numpy()
        asked_about[row] = len(answers)
        if is_first_process():
            write_atomically(folder / f"answers-generated-{row}.parquet", answers.drop(columns="said_score").to_parquet)
        if row == "transfer":  # transfer/<content>/<strength>/...
            strengths = answers["image_id"].str.split("/").str[2]
            figures[row] = {name: agreement(own, settings.seed) for name, own in answers.groupby(strengths)}
        elif row == "fusion":  # fusion/<first>-<second>/<weight>/...
            pairs, weights = (answers["image_id"].str.split("/").str[place] for place in (1, 2))
            figures[row] = {
                pair: {
                    weight: likelihoods(each, pair, settings.seed) | {"judge": agreement(each, settings.seed)["judge"]}
                    for weight, each in own.groupby(weights)
                }
                for pair, own in answers.groupby(pairs)
            }
        else:
            figures[row] = agreement(answers, settings.seed)
    about = {"n": asked_about, "seed": settings.seed, "split": settings.evaluate.split}
    about |= {"models": {"asked": model, "judge": settings.evaluate.judge}}
    found = {"about": about | {"seconds": round(time.monotonic() - started, 1)}, "figures": figures}
    if is_first_process():
        write_json(folder / "cross.json", found)
        shown = {row: each for row, each in figures.items() if "intended" in each}
        log.info(f"\n{figures_table(shown, CROSS)}\n\nvalue (low to high, 95 %)")
    return found


def agreement(answers: pd.DataFrame, seed: int) -> dict[str, dict]:
    """Return how often answers (read_answers, and a column judged) name the intended emotion, and the judge's.

    ..._forced: the same of the likeliest of the eight names. Means over the intended emotions.
    """
    said = {"": answers["said_emotion"].fillna("none").to_numpy()}
    said["_forced"] = np.array(EMOTIONS)[answers[LIKELIHOODS].to_numpy().argmax(1)]
    emotions = answers["emotion"].to_numpy()
    against = {"intended": emotions, "judge": answers["judged"].to_numpy()}
    return {
        f"{name}{how}": of_mean(words == wanted, emotions, seed)
        for how, words in said.items()
        for name, wanted in against.items()
    }


def likelihoods(answers: pd.DataFrame, pair: str, seed: int) -> dict[str, dict]:
    """Return the mean likelihood of each emotion of a pair, awe-fear, among the eight names."""
    one_group = np.zeros(len(answers))
    return {emotion: of_mean(answers[f"p_{emotion}"].to_numpy(), one_group, seed) for emotion in pair.split("-")}
