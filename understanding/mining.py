"""Find the training images that are hard for the reference model: it answers each several times, the wrong are counted.

    python understanding/mining.py --config config/demo.yaml
    accelerate launch understanding/mining.py data.emoset=path/to/EmoSet            # as accelerate is configured

Writes to `<run>/mining/`: errors.parquet, the error rate of every image and what it was taken for; confusability.json;
and errors.png, the error rates by emotion. understanding.py does the same between its Step I and Step II.
"""

import sys
from dataclasses import asdict
from pathlib import Path

from config.errors import UserError
from runtime.files import write_atomically
from runtime.run_folder import is_first_process, log, open_run_folder
from runtime.script import run
from config.settings import Settings
from config.understanding_settings import Mining

import numpy as np
import pandas as pd

from emoset.selection import equal_emotions
from emoset.labels import EMOTIONS


def main(settings: Settings) -> None:
    from emoset.reading import read_emoset

    folder = open_run_folder(settings, "mining")
    index = read_emoset(settings.data, folder).index  # before torch starts its threads: it forks
    mine(index[index["split"] == "train"], folder, settings)


def reference_model(settings: Settings) -> str | Path:
    """Return the model that is asked, by name or folder: what GRPO starts from or, by understanding.reference, Step I's.

    Raises UserError where understanding.py has not made it.
    """
    of_step_one = settings.understanding.reference == "step_one" and settings.grpo.steps_one != 0
    if not of_step_one and not settings.warmup.steps:
        return settings.understanding.model
    stage, otherwise = ("step_one", "understanding.reference=base") if of_step_one else ("warm_up", "warmup.steps=0")
    model = settings.run / "understanding" / stage / "model"
    if not model.is_dir():
        raise UserError(f"{model} is not there; understanding.py makes it, or set {otherwise}")
    return model


def mine(images: pd.DataFrame, folder: Path, settings: Settings) -> pd.DataFrame:
    """Ask about the images (columns image_id, emotion, image) and return a row for each: error, from 0 to 1, and emotion.

    Also a column for each emotion: the share of answers that named it. Written into `folder`, with a plot. Where that table
    is there, of the same images, model and settings, no model is loaded.
    """
    from runtime.hub import weights_digest
    from understanding.answering import digest, file_states
    from understanding.asking import load_asker
    from understanding.questions import multiple_choice

    reference, options = reference_model(settings), settings.understanding
    images = equal_emotions(images, settings.mining.images, settings.seed)
    questions = multiple_choice(images, settings.questions, settings.seed)
    paths = {
        image_id: settings.data.emoset / path for image_id, path in zip(images["image_id"], images["image"], strict=True)
    }
    recipe = [weights_digest(str(name)) for name in (reference, options.model)]
    recipe += [options.dtype, options.attention, options.four_bit, options.max_pixels, settings.evaluate.batch_size]
    recipe += [settings.grpo.answer_tokens, settings.grpo.temperature, settings.mining.answers]
    recipe = digest([*recipe, [asdict(question) for question in questions], file_states(paths.values())])
    table = folder / "errors.parquet"
    errors = pd.read_parquet(table) if table.is_file() else pd.DataFrame()
    if errors.attrs.get("recipe") != recipe:
        errors = error_rates(load_asker(settings, reference, "understanding.model"), questions, paths, folder, settings)
        errors.attrs["recipe"] = recipe
    if is_first_process():
        write_atomically(table, errors.to_parquet)
        _write_confusability(errors, folder / "confusability.json")
        _plot(errors, folder / "errors.png")
    log.info(
        f"{len(errors):,} images: {errors['error'].mean():.1%} of answers wrong; {(errors['error'] > 0.5).sum():,} mostly"
    )
    return errors


def error_rates(asker, questions: list, paths: dict[str, Path], folder: Path, settings: Settings) -> pd.DataFrame:
    """Return what `mine` does, of answers to multiple-choice questions, one about each image."""
    from understanding.answering import answer_all
    from understanding.scoring import read_answers

    sampled = dict(count=settings.mining.answers, temperature=settings.grpo.temperature)
    answers = answer_all(asker, questions, paths, folder, settings.evaluate.batch_size, **sampled)
    answers = read_answers(answers, settings.questions.reasoning, settings.questions.answer_by)
    said = pd.crosstab(answers["image_id"], answers["said_emotion"].fillna("none"), normalize="index")
    said = said.reindex(columns=list(EMOTIONS), fill_value=0.0)
    errors = pd.DataFrame([(question.image_id, question.emotion) for question in questions], columns=["image_id", "emotion"])
    errors = errors.merge(said, left_on="image_id", right_index=True)
    own = errors["emotion"].map(EMOTIONS.index).to_numpy()
    errors.insert(2, "error", 1 - errors[list(EMOTIONS)].to_numpy()[np.arange(len(errors)), own])
    return errors


def hard_images(errors: pd.DataFrame, mining: Mining, seed: int) -> pd.DataFrame:
    """Return the images of Step II (columns image_id, emotion): hard ones, equally many of each emotion, and some easier.

    An emotion gives as many as that with the fewest hard images has, drawn at random.
    Raises UserError where an emotion has no hard image.
    """
    is_hard = errors["error"].between(mining.lowest, mining.highest)
    counts = errors.loc[is_hard, "emotion"].value_counts().reindex(list(EMOTIONS), fill_value=0)
    if not counts.min():
        none = ", ".join(counts.index[counts == 0])
        raise UserError(
            f"mining: no image of {none} has an error rate from {mining.lowest:g} to {mining.highest:g};"
            " lower mining.lowest, or set grpo.steps_two=0"
        )
    hard = equal_emotions(errors[is_hard], int(counts.min()) * len(EMOTIONS), seed)
    easy = round(len(hard) * mining.easy_share / (1 - mining.easy_share))
    others = errors[errors["error"] < mining.lowest]
    chosen = [hard, others.sample(min(easy, len(others)), random_state=seed)]
    log.info(
        f"{len(hard):,} hard images, {counts.min():,} of each emotion, and {len(chosen[1]):,} easier; there are hard ones of"
        f" {', '.join(f'{emotion} {count:,}' for emotion, count in counts.items())}"
    )
    return pd.concat(chosen)[["image_id", "emotion"]].reset_index(drop=True)


def _write_confusability(errors: pd.DataFrame, path: Path) -> None:
    """Write what is taken for what; where the mistakes do not tell it of each emotion, leave no older file there."""
    from emoset.confusability import confusability, write_confusability

    own = errors["emotion"].map(EMOTIONS.index).to_numpy()
    mistaken = errors[list(EMOTIONS)].to_numpy() * (1 - np.eye(len(EMOTIONS)))[own]
    never = [emotion for number, emotion in enumerate(EMOTIONS) if not mistaken[own == number].any()]
    if never:
        path.unlink(missing_ok=True)
        log.info(f"never taken for another emotion: {', '.join(never)}; so there is no {path.name}")
    else:
        write_confusability(path, confusability(mistaken, own), "mining")


def _plot(errors: pd.DataFrame, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rates = sorted(errors["error"].round(3).unique())
    shares = pd.crosstab(errors["emotion"], errors["error"].round(3), normalize="index").reindex(list(EMOTIONS)).fillna(0)
    figure, axes = plt.subplots(figsize=(9, 4.2), layout="constrained")
    left = np.zeros(len(EMOTIONS))
    colours = plt.get_cmap("cividis_r")(np.linspace(0.05, 1, max(len(rates), 2)))
    for rate, colour in zip(rates, colours, strict=False):
        width = shares[rate].to_numpy()
        axes.barh(EMOTIONS, width, left=left, color=colour, label=f"{rate:.0%}" if len(rates) <= 9 else None)
        left += width
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="share of the emotion's images", title="Error rate of the reference model, image by image")
    axes.xaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1))
    axes.spines[["top", "right"]].set_visible(False)
    if len(rates) <= 9:
        axes.legend(title="wrong answers", loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    write_atomically(path, lambda beside: figure.savefig(beside, dpi=130))
    plt.close(figure)


if __name__ == "__main__":
    run(main, __doc__)
