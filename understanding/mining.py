"""Find the hard training images: those for whose true emotion the reference model has a low probability.

    python understanding/mining.py --config config/demo.yaml
    accelerate launch understanding/mining.py data.emoset=path/to/EmoSet            # as accelerate is configured

One forward pass of an image gives the probabilities of all emotions. Its error is 1 - p(true emotion).

`<run>/mining/` gets errors.parquet with the error and the probabilities of every image, confusability.json with what is
taken for what, and errors.png with the errors by emotion. understanding.py does the same between its Step I and Step II.
"""

from runtime.script import read_settings, run

read_settings(__name__, __doc__, "data", "machine", "answers", "understanding", "warmup", "grpo", "mining")

import math
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
from runtime.built_folder import alone_in
from runtime.checking import in_words, stops_here
from runtime.files import file_states, write_atomically
from runtime.hub import model_digest
from runtime.processes import start_process
from runtime.recipe import RECIPE, Recipe, digest, settings_of
from runtime.run_folder import is_first_process, log, open_run_folder
from runtime.sealed import is_sealed, seal
from understanding.answering import answer_distributions
from understanding.asking import load_asker
from understanding.hard_images import has_hard
from understanding.model_check import CheckedModel, check_extras, check_model
from understanding.question import Question
from understanding.questions import multiple_choice
from understanding.showing import tell_left_out

NOT_ASKED = {"lowest", "highest", "easy_share", "reference", "batch_size"}  # of the settings, what no answer depends on


def main(settings: Settings) -> None:
    folder = open_run_folder(settings, "mining")
    with alone_in(folder, settings.check):
        about = check(settings)
        index = read_emoset(settings.data, folder, settings.machine.processes, settings.check).index
        images = index[index["split"] == "train"]
        asked = len(equal_emotions(images, settings.mining.images, settings.seed))
        takes = {"images": f"{asked:,}, a forward pass of each"}
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
    """Raise UserError where images are too few for a hard one of each emotion."""
    if mining.images is not None and not has_hard(each := mining.images // len(taxonomy), mining):
        enough = len(taxonomy) * math.ceil(1 / (mining.highest - mining.lowest))
        raise UserError(
            f"mining.images: {mining.images} are {each} of each of the {len(taxonomy)} emotions, and none of so"
            f" few ranks from {mining.lowest:g} to {mining.highest:g} by its error; raise it to {enough}, or set null"
        )


def mine(images: pd.DataFrame, folder: Path, settings: Settings) -> pd.DataFrame:
    """Ask about the images (columns image_id, emotion, image) and return a row for each: error, from 0 to 1, and emotion.

    Also a column for each emotion: its probability. Asked for is the answer alone, also where training asks for reasoning.
    Written into `folder`, with a plot. Where that table is there, of the same images, model and settings, no model is
    loaded. Images that cannot be shown are left out, and named. All processes call it together.
    """
    taxonomy, mining, reference = settings.data.taxonomy, settings.mining, reference_model(settings)
    images = equal_emotions(images, mining.images, settings.seed)
    alone = settings.answers.model_copy(update={"reasoning": False})
    questions = multiple_choice(images, taxonomy, alone, settings.seed)
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
    asker = load_asker(settings.understanding, alone, taxonomy, reference, "understanding.model")
    found = answer_distributions(asker, questions, paths, folder, mining.batch_size)
    tell_left_out([each.image_id for each, p in zip(questions, found, strict=True) if p is None], paths, asker.obstacle)
    errors = errors_of(questions, found, taxonomy)
    if is_first_process():
        write_atomically(table, partial(errors.to_parquet, write_page_checksum=True))
        _write_confusability(errors, taxonomy, folder / "confusability.json")
        _plot(errors, taxonomy, folder / "errors.png")
        seal(folder, [table.name, "errors.png"])
        recipe.finish(made_from)
    log.info(
        f"{len(errors):,} images: mean error {errors['error'].mean():.3f}; the true emotion of"
        f" {(errors['error'] > 0.5).sum():,} is less likely than not"
    )
    return errors


def reference_model(settings: Settings) -> str | Path:
    """Return the model that mining asks, by name or folder: the start of GRPO or, by mining.reference, the result of Step I.

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
    """Return what the errors follow from."""
    read = {"dtype", "attention", "four_bit", "max_pixels"}
    model = settings_of("understanding", settings.understanding, set(type(settings.understanding).model_fields) - read)
    asking = settings_of("mining", settings.mining, NOT_ASKED) | {"answers.by": settings.answers.by}
    inputs = {
        "reference model": model_digest(str(reference)),
        "base model": model_digest(settings.understanding.model),
        "questions": digest([asdict(question) for question in questions]),
        "images": digest(file_states(paths.values())),
    }
    return Recipe("errors", {"seed": settings.seed} | model | asking, inputs)


def errors_of(questions: list[Question], probabilities: list[list[float] | None], taxonomy: Taxonomy) -> pd.DataFrame:
    """Return what `mine` does, of the probabilities (K,) of the emotions for multiple-choice questions; None is left out.

    Raises UserError where every one is None, and where one is no number, as an overflow in float16 gives it.
    """
    emotions = list(taxonomy.emotions)
    rows = [
        {"image_id": question.image_id, "emotion": question.emotion, "error": 1 - p[emotions.index(question.emotion)]}
        | dict(zip(emotions, p, strict=True))
        for question, p in zip(questions, probabilities, strict=True)
        if p is not None
    ]
    if not rows:
        raise UserError(f"none of {len(questions):,} images can be shown to the model")
    errors = pd.DataFrame(rows)
    if unknown := int(errors["error"].isna().sum()):
        raise UserError(
            f"mining: the reference model's probabilities are no numbers (NaN) for {unknown:,} of {len(errors):,} images;"
            " with understanding.dtype=float16 choose bfloat16, else train the model again at a lower learning rate"
        )
    return errors


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
    emotions, fifths = list(taxonomy.emotions), np.minimum((errors["error"] * 5).astype(int), 4)
    shares = pd.crosstab(errors["emotion"], fifths, normalize="index").reindex(emotions, columns=range(5)).fillna(0)
    figure = Figure(figsize=(9, 1 + 0.4 * len(emotions)), layout="constrained")
    axes = figure.subplots()
    left = np.zeros(len(emotions))
    for fifth, colour in enumerate(colormaps["cividis_r"](np.linspace(0.05, 1, 5))):
        width = shares[fifth].to_numpy()
        axes.barh(emotions, width, left=left, color=colour, label=f"{fifth / 5:.1f} to {(fifth + 1) / 5:.1f}")
        left += width
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="share of the emotion's images", title="Error of the reference model, image by image")
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(title="1 - p(true emotion)", loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    write_atomically(path, lambda beside: figure.savefig(beside, dpi=130))


if __name__ == "__main__":
    run(main)
