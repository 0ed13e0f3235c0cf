"""Find the hard training images. The reference model answers about each image several times, and we count its wrong answers.

    python understanding/mining.py --config config/demo.yaml
    accelerate launch understanding/mining.py data.emoset=path/to/EmoSet            # as accelerate is configured

Writes to `<run>/mining/`: errors.parquet, the error rate of every image and what it was taken for; confusability.json;
and errors.png, the error rates by emotion. understanding.py does the same between its Step I and Step II.
"""

from runtime.script import read_settings, run

read_settings(__name__, __doc__, "data", "machine", "answers", "understanding", "warmup", "grpo", "mining")

from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from config.errors import UserError, tell_together
from config.settings import Settings
from config.taxonomy import Taxonomy
from config.understanding_settings import Mining
from emoset.confusability import confusability, write_confusability
from emoset.reading import read_emoset
from emoset.selection import equal_emotions
from runtime.built_folder import lock
from runtime.checking import in_words, stops_here
from runtime.files import file_states, write_atomically
from runtime.hub import model_digest
from runtime.processes import start_process
from runtime.recipe import RECIPE, Recipe, digest, settings_of
from runtime.run_folder import is_first_process, log, open_run_folder
from runtime.sealed import is_sealed, seal
from understanding.answering import answer_all
from understanding.asking import load_asker
from understanding.kinds import multiple
from understanding.model_check import CheckedModel, check_extras, check_model
from understanding.question import Question
from understanding.questions import multiple_choice
from understanding.scoring import read_answers

NOT_ASKED = {"lowest", "highest", "easy_share", "reference"}  # of the settings, what no answer depends on


def main(settings: Settings) -> None:
    folder = open_run_folder(settings, "mining")
    with lock(folder, wait=False) if is_first_process() and not settings.check else nullcontext():
        about = check(settings)
        index = read_emoset(settings.data, folder, settings.machine.processes, settings.check).index
        images = index[index["split"] == "train"]
        asked, answers = len(equal_emotions(images, settings.mining.images, settings.seed)), settings.mining.answers
        takes = {"images": f"{asked:,}", "sampled answers": f"{asked * answers:,}, {answers} about each image"}
        if not stops_here(settings, takes | {"memory of each process": f"{in_words(about.bytes)} of weights"}):
            mine(images, folder, settings)


def check(settings: Settings) -> CheckedModel:
    """Return what is known of the reference model; refuse, before images are read, what cannot be mined, all at once."""
    known = []
    tell_together(
        lambda: check_count(settings.mining, settings.data.taxonomy),
        lambda: check_extras(settings.understanding),
        lambda: known.append(
            check_model(settings.understanding, str(reference_model(settings)), "understanding.model", not settings.check)
        ),
    )
    return known[0]


def check_count(mining: Mining, taxonomy: Taxonomy) -> None:
    """Raise UserError where images are too few for one of each emotion."""
    if mining.images is not None and mining.images < len(taxonomy):
        raise UserError(
            f"mining.images: {mining.images} is not one for each of the {len(taxonomy)} emotions of data.taxonomy; raise it"
            f" to {len(taxonomy)}, or set null for all images"
        )


def mine(images: pd.DataFrame, folder: Path, settings: Settings) -> pd.DataFrame:
    """Ask about the images (columns image_id, emotion, image) and return a row for each: error, from 0 to 1, and emotion.

    Also a column for each emotion: the share of answers that named it. Written into `folder`, with a plot. Where that table
    is there, of the same images, model and settings, no model is loaded. All processes call it together.
    """
    taxonomy, mining, reference = settings.data.taxonomy, settings.mining, reference_model(settings)
    images = equal_emotions(images, mining.images, settings.seed)
    questions = multiple_choice(images, taxonomy, settings.answers, settings.seed)
    paths = {name: settings.data.emoset / path for name, path in zip(images["image_id"], images["image"], strict=True)}
    recipe = _recipe(settings, reference, questions, paths)
    table, made_from = folder / "errors.parquet", folder / RECIPE
    if table.is_file() and not made_from.is_file():
        raise UserError(f"{table} was written by an earlier version of this project; move {folder.name}/ away")
    is_known = recipe.is_finished(made_from) and is_sealed(folder)
    start_process().wait_for_everyone()  # all have looked before one writes
    if is_known:
        log.info("mining: mined before, and nothing has changed")
        return pd.read_parquet(table)
    if is_first_process():
        if made_from.is_file() and not recipe.is_started(made_from):
            log.info(f"mining: {recipe.changes(made_from)}")
        recipe.start(made_from)
    asker = load_asker(settings.understanding, settings.answers, taxonomy, reference, "understanding.model")
    sampled = dict(count=mining.answers, temperature=mining.temperature)
    answers = answer_all(asker, questions, paths, folder, mining.batch_size, **sampled)
    errors = error_rates(questions, read_answers(answers, taxonomy, settings.answers), taxonomy)
    if is_first_process():
        write_atomically(table, partial(errors.to_parquet, write_page_checksum=True))
        _write_confusability(errors, taxonomy, folder / "confusability.json")
        _plot(errors, taxonomy, folder / "errors.png")
        seal(folder, [table.name, "errors.png"])
        recipe.finish(made_from)
    log.info(
        f"{len(errors):,} images: {errors['error'].mean():.1%} of answers wrong; {(errors['error'] > 0.5).sum():,} mostly"
    )
    return errors


def reference_model(settings: Settings) -> str | Path:
    """Return the model that is asked, by name or folder: what GRPO starts from or, by mining.reference, Step I's.

    Raises UserError where understanding.py has not made it.
    """
    of_step_one = settings.mining.reference == "step_one" and settings.grpo.steps_one != 0
    if not of_step_one and not settings.warmup.steps:
        return settings.understanding.model
    stage, otherwise = ("step_one", "mining.reference=base") if of_step_one else ("warm_up", "warmup.steps=0")
    model = settings.run / "understanding" / stage / "model"
    if not model.is_dir():
        raise UserError(f"{model} is not there; understanding.py makes it, or set {otherwise}")
    return model


def _recipe(settings: Settings, reference: str | Path, questions: list[Question], paths: dict[str, Path]) -> Recipe:
    """Return what the error rates follow from."""
    read = {"dtype", "attention", "four_bit", "max_pixels"}
    model = settings_of("understanding", settings.understanding, set(type(settings.understanding).model_fields) - read)
    asking = settings_of("mining", settings.mining, NOT_ASKED) | settings_of("answers", settings.answers)
    inputs = {
        "reference model": model_digest(str(reference)),
        "base model": model_digest(settings.understanding.model),
        "questions": digest([asdict(question) for question in questions]),
        "images": digest(file_states(paths.values())),
    }
    return Recipe("error rates", {"seed": settings.seed} | model | asking, inputs)


def error_rates(questions: list[Question], answers: pd.DataFrame, taxonomy: Taxonomy) -> pd.DataFrame:
    """Return what `mine` does, of read answers to multiple-choice questions, one about each image."""
    said = pd.crosstab(answers["image_id"], answers[multiple.COLUMN].fillna("none"), normalize="index")
    said = said.reindex(columns=list(taxonomy.emotions), fill_value=0.0)
    errors = pd.DataFrame([(question.image_id, question.emotion) for question in questions], columns=["image_id", "emotion"])
    errors = errors.merge(said, left_on="image_id", right_index=True)
    own = errors["emotion"].map(taxonomy.emotions.index).to_numpy()
    errors.insert(2, "error", 1 - errors[list(taxonomy.emotions)].to_numpy()[np.arange(len(errors)), own])
    return errors


def hard_images(errors: pd.DataFrame, taxonomy: Taxonomy, mining: Mining, seed: int) -> pd.DataFrame:
    """Return the images of Step II (columns image_id, emotion): hard ones, equally many of each emotion, and some easier.

    An emotion gives as many as that with the fewest hard images has, drawn at random.
    Raises UserError where an emotion has no hard image.
    """
    is_hard = errors["error"].between(mining.lowest, mining.highest)
    counts = errors.loc[is_hard, "emotion"].value_counts().reindex(list(taxonomy.emotions), fill_value=0)
    if not counts.min():
        none = ", ".join(counts.index[counts == 0])
        raise UserError(
            f"mining: no image of {none} has an error rate from {mining.lowest:g} to {mining.highest:g};"
            " lower mining.lowest, or set grpo.steps_two=0"
        )
    hard = equal_emotions(errors[is_hard], int(counts.min()) * len(taxonomy), seed)
    easy = round(len(hard) * mining.easy_share / (1 - mining.easy_share))
    others = errors[errors["error"] < mining.lowest]
    easier = others.sample(min(easy, len(others)), random_state=seed)
    log.info(
        f"{len(hard):,} hard images, {counts.min():,} of each emotion, and {len(easier):,} easier; there are hard ones of"
        f" {', '.join(f'{emotion} {count:,}' for emotion, count in counts.items())}"
    )
    return pd.concat([hard, easier])[["image_id", "emotion"]].reset_index(drop=True)


def _write_confusability(errors: pd.DataFrame, taxonomy: Taxonomy, path: Path) -> None:
    """Write what is taken for what; where the mistakes do not tell it of each emotion, leave no older file there."""
    emotions = taxonomy.emotions
    own = errors["emotion"].map(emotions.index).to_numpy()
    mistaken = errors[list(emotions)].to_numpy() * (1 - np.eye(len(emotions)))[own]
    never = [emotion for number, emotion in enumerate(emotions) if not mistaken[own == number].any()]
    if never:
        path.unlink(missing_ok=True)
        log.info(f"never taken for another emotion: {', '.join(never)}; so there is no {path.name}")
    else:
        write_confusability(path, confusability(mistaken, own, emotions), emotions, "mining")


def _plot(errors: pd.DataFrame, taxonomy: Taxonomy, path: Path) -> None:
    emotions, rounded = list(taxonomy.emotions), errors["error"].round(3)
    rates = sorted(rounded.unique())
    shares = pd.crosstab(errors["emotion"], rounded, normalize="index").reindex(emotions).fillna(0)
    figure = Figure(figsize=(9, 1 + 0.4 * len(emotions)), layout="constrained")
    axes = figure.subplots()
    left = np.zeros(len(emotions))
    colours = colormaps["cividis_r"](np.linspace(0.05, 1, max(len(rates), 2)))
    for rate, colour in zip(rates, colours, strict=False):
        width = shares[rate].to_numpy()
        axes.barh(emotions, width, left=left, color=colour, label=f"{rate:.0%}" if len(rates) <= 9 else None)
        left += width
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="share of the emotion's images", title="Error rate of the reference model, image by image")
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.spines[["top", "right"]].set_visible(False)
    if len(rates) <= 9:
        axes.legend(title="wrong answers", loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    write_atomically(path, lambda beside: figure.savefig(beside, dpi=130))


if __name__ == "__main__":
    run(main)
