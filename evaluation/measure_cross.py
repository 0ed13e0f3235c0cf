"""Each half measures the other: what the understanding model says of the generator's images."""

import time
from pathlib import Path

import numpy as np
import pandas as pd

from config.settings import Settings
from emoset.selection import equal_emotions
from evaluation.completeness import by_warning, gaps, mark
from evaluation.generators import generators_of
from evaluation.metric_labels import cross_metrics, markdown_table, marked
from evaluation.plans import CURVES
from evaluation.skipped import skipped_of
from runtime.figures import of_mean
from runtime.files import write_atomically, write_json
from runtime.hub import network_digest, weights_digest
from runtime.run_folder import is_first_process, log
from training.generator_parts import GENERATOR, read_about
from training.image_files import read_parameters
from understanding.answering import answer_all
from understanding.asking import load_asker
from understanding.model_folder import stages_of
from understanding.questions import multiple_choice
from understanding.scoring import likelihood_columns, read_answers


def measure_cross(settings: Settings, folder: Path, model: str, generated: dict) -> dict:
    """Ask a model one multiple-choice question about each image in `generated`, which measure_generation returned.

    Writes cross.json into `folder` and returns it: for each row, and for each strength of `transfer`, agreement with the
    intended emotion and with the judge; for each mix of `fusion`, how likely the model finds the two emotions, and
    agreement with the judge.
    """
    started, figures, counts, skipped, marks, lacking = time.monotonic(), {}, {}, {}, {}, {}
    taxonomy, evaluate, seed = settings.data.taxonomy, settings.evaluate, settings.seed
    emotions, generators = taxonomy.emotions, generators_of(settings)
    form = settings.answers.model_copy(update={"reasoning": False})  # thoughts about all of them would take hours
    asker = load_asker(settings.understanding, form, taxonomy, model, "evaluate.models")
    for row, images in generated["images"].items():
        images = images.assign(judged=np.array(emotions)[generated["judged"][row].argmax(1)])
        if row not in CURVES:
            images = equal_emotions(images, evaluate.images, seed)
        questions = multiple_choice(images, taxonomy, form, seed)
        paths = dict(zip(images["image_id"], images["path"], strict=True))
        answers = answer_all(asker, questions, paths, folder, evaluate.batch_size, forced=True)
        answers = read_answers(answers, taxonomy, form)
        answers["judged"] = answers["image_id"].map(dict(zip(images["image_id"], images["judged"], strict=True)))
        counts[row] = len(answers)
        skipped |= skipped_of(row, images[~images["image_id"].isin(answers["image_id"])])
        if row not in CURVES:
            marks[row] = mark(answers["emotion"], emotions, pairs=False)
            lacking[row] = gaps(answers["emotion"], emotions, pairs=False)
            lacking[row] += circular(generators.get(row), images, model)
        if is_first_process():
            write_atomically(folder / f"answers-generated-{row}.parquet", answers.to_parquet)
        if row == "transfer":  # transfer/<content>/<strength>/...
            strengths = answers["image_id"].str.split("/").str[2]
            figures[row] = {name: agreement(own, emotions, seed) for name, own in answers.groupby(strengths)}
        elif row == "fusion":
            figures[row] = by_mix(answers, emotions, seed)
        else:
            figures[row] = agreement(answers, emotions, seed)
    about = {"n": counts, "seed": seed, "split": evaluate.split, "warnings": by_warning(lacking), "skipped": skipped}
    about["incomplete"] = {row: text for row, text in marks.items() if text}
    about["models"] = {"understanding": model, "judge": evaluate.judge}
    found = {"about": about | {"seconds": round(time.monotonic() - started, 1)}, "figures": figures}
    if is_first_process():
        write_json(folder / "cross.json", found)
        shown = {row: each for row, each in figures.items() if "intended" in each}
        table = markdown_table(marked(shown, about["incomplete"]), cross_metrics(taxonomy))
        log.debug(f"\n{table}\n\nvalue (low to high, 95 %)")
    return found


def circular(generator: Path | None, images: pd.DataFrame, model: str) -> list[str]:
    """Return a warning where a model has trained the generator of a row's images or was taught by it, or has chosen these.

    generator: its folder, or that of another method's images. images: column path.
    """
    file = generator / GENERATOR if generator else None
    trained_with = (read_about(file).get("trained_with") or {}) if file and file.is_file() else {}
    score = (read_parameters(images["path"].iloc[0]) or {}).get("score", "")
    if network_digest(model) in trained_with.values() or score.startswith("understanding "):
        return ["the understanding model has trained the generator or chosen the images, so its agreement is circular"]
    taught_by = weights_digest(str(generator / "mapper")) if file and file.is_file() else None
    if taught_by and any(taught_by in stage for stage in stages_of(model)):
        return ["the generator's images have taught the understanding model, so its agreement is circular"]
    return []


def agreement(answers: pd.DataFrame, emotions: tuple[str, ...], seed: int) -> dict[str, dict]:
    """Return how often answers (read_answers, and a column judged) name the intended emotion, and the judge's.

    ..._forced: the same of the likeliest of the names of the `emotions`. Means over the intended emotions.
    """
    said = {"": answers["said_emotion"].fillna("none").to_numpy()}
    said["_forced"] = np.array(emotions)[answers[likelihood_columns(emotions)].to_numpy().argmax(1)]
    intended = answers["emotion"].to_numpy()
    against = {"intended": intended, "judge": answers["judged"].to_numpy()}
    return {
        f"{name}{how}": of_mean(words == wanted, intended, seed)
        for how, words in said.items()
        for name, wanted in against.items()
    }


def by_mix(answers: pd.DataFrame, emotions: tuple[str, ...], seed: int) -> dict[str, dict[str, dict]]:
    """Return, by pair and weight, how likely the model finds the two emotions of a mix, and agreement with the judge.

    answers: as of `agreement`, about images fusion/<first>-<second>/<weight>/...
    """
    pairs, weights = (answers["image_id"].str.split("/").str[place] for place in (1, 2))
    return {
        pair: {
            weight: likelihoods(each, pair, seed) | {"judge": agreement(each, emotions, seed)["judge"]}
            for weight, each in own.groupby(weights)
        }
        for pair, own in answers.groupby(pairs)
    }


def likelihoods(answers: pd.DataFrame, pair: str, seed: int) -> dict[str, dict]:
    """Return the mean likelihood of each emotion of a pair, awe-fear, among the names of all emotions."""
    one_group = np.zeros(len(answers))
    return {emotion: of_mean(answers[f"p_{emotion}"].to_numpy(), one_group, seed) for emotion in pair.split("-")}
