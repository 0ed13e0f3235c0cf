"""Teaching the understanding model by generated images, aimed at what it finds hard: the steps of loop/teach.py."""

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from config.data_settings import Data
from config.errors import UserError
from config.generation_settings import CONTENT_PROMPT
from config.loop_settings import Loop
from config.settings import Settings
from config.understanding_settings import Questions
from emoset.attribute_folders import memberships
from emoset.reading import EmoSet
from emoset.selection import equal_emotions
from evaluation.features import FeatureCache, Network, feature_cache, seen_by_all
from evaluation.first_checks import check_clip
from evaluation.networks import clip_network
from loop.cells import cell_errors, draw_cells, is_hard_cell, near_copies
from loop.loop_checks import check_exact
from loop.scores import check_network, load_network, network_folder, network_key
from runtime.figures import balanced_share, figure_of, paired
from runtime.hub import model_digest, weights_digest
from runtime.processes import free_memory, start_process
from runtime.recipe import digest
from runtime.run_folder import log
from runtime.seeds import derived_seed
from training.contents import Contents, count_contents
from training.sampling import load_generator, make_images
from understanding.grpo import plan, train_by_grpo
from understanding.model import ADAPTER, check_whole
from understanding.model_check import base_of
from understanding.model_folder import stages_of
from understanding.questions import draw_questions, needed_confusability, question_counts
from understanding.stages import StageModel, TrainingData
from understanding.trainers import start_training_process

BEFORE, TAUGHT, CONTROL = "before", "taught", "teach_control"  # models: names of figures, and folders of the loop


def checks_of_teaching(settings: Settings) -> list[Callable[[], Any]]:
    """Return the checks of all that would end the teaching later on; each raises UserError."""
    asked = questions_to_teach_by(settings)
    return [
        partial(check_network, settings, "understanding"),
        partial(check_network, settings, "encoder"),
        partial(check_clip, settings.models.clip),
        partial(check_exact, settings.rewards),
        lambda: check_whole(settings.understanding, network_folder(settings.run, settings.loop, "understanding")),
        partial(plan, settings.grpo, asked.count, settings.loop.teach_updates),
    ]


def teach(
    settings: Settings,
    emoset: EmoSet,
    generator: Path,
    folder: Path,
    ways: Sequence[str] = (TAUGHT, CONTROL),
    turn: int = 0,
) -> tuple[dict[str, Path], dict] | None:
    """Return the models, the one that learns among them, and what each is worth on the real images of evaluate.split.

    None where no generated image serves. generator: the folder of the one that makes the images. folder: gets the images and
    the models. ways: what is trained. turn: of several teachings, each of which takes other images and questions.
    """
    start_training_process()
    drawn = settings.model_copy(update={"seed": derived_seed(settings.seed, "teaching", turn) % 2**32}) if turn else settings
    index = emoset.index.assign(path=[settings.data.emoset / image for image in emoset.index["image"]])
    train = index[index["split"] == "train"].reset_index(drop=True)
    cache = feature_cache(settings.data, settings.evaluate, settings.machine.processes)
    model = network_folder(settings.run, settings.loop, "understanding")

    # 1. What is hard, by cell.
    mined = equal_emotions(train, settings.mining.images, drawn.seed).reset_index(drop=True)
    unlikely = 1 - likelihoods(settings, model, mined, cache, "mining")
    errors = cell_errors(attributes_of(mined, settings.data.kinds), unlikely)

    # 2. Images of it, and which of them serve.
    made = make_hard(drawn, generator, train, errors, folder / "teaching")
    serves = serving(settings, made, train, cache)
    log.info(f"{serves.sum():,} of {len(made):,} generated images serve")
    made = made[serves].reset_index(drop=True)
    if made.empty:
        return None

    # 3. The model that learns from them, and the control.
    by = weights_digest(str(generator / "mapper"))
    models = {BEFORE: model} | learned(drawn, emoset, train, made, model, folder, ways, by)

    # 4. What they are worth on real images.
    real = index[index["split"] == settings.evaluate.split].reset_index(drop=True)
    about = {
        "split": settings.evaluate.split,
        "seed": settings.seed,
        "made": settings.loop.teach_images,
        "served": len(made),
    }
    return models, {"about": about} | compare(settings, models, real, errors, cache)


def check_start(run: Path, loop: Loop, places: Sequence[Path]) -> None:
    """Raise UserError where the model to teach lies in one of the folders that are written over."""
    model = network_folder(run, loop, "understanding").resolve()
    if any(model.is_relative_to(place.resolve()) for place in places):
        raise UserError(f"loop.understanding: {model} is what this script writes; copy it to another folder, and name that")


def check_contents(data: Data, emoset: EmoSet) -> None:
    """Raise UserError where some emotion's training images have no attribute that its generated images could show."""
    train = emoset.index[emoset.index["split"] == "train"]
    if not count_contents(train, data.kinds, data.taxonomy.emotions):
        raise UserError("loop: the training images of some emotion have no attribute of data.kinds to aim at")


def attributes_of(images: pd.DataFrame, kinds: list[str]) -> pd.DataFrame:
    """Return a row for each image and attribute (columns row, emotion, attribute); row: the image's in the table."""
    table = memberships(images.assign(row=np.arange(len(images))), kinds)
    return table[["row", "emotion", "attribute"]]


def likelihoods(settings: Settings, model: Path, images: pd.DataFrame, cache: FeatureCache, what: str) -> np.ndarray:
    """Return p(true emotion) (n,) of images by an understanding model."""
    log_p = distributions(settings, model, images, cache, what)
    names = list(settings.data.taxonomy.emotions)
    return np.exp(log_p[np.arange(len(images)), [names.index(emotion) for emotion in images["emotion"]]])


def distributions(settings: Settings, model: Path, images: pd.DataFrame, cache: FeatureCache, what: str) -> np.ndarray:
    """Return log p (n, K) of images by an understanding model."""
    settings = settings.model_copy(update={"loop": settings.loop.model_copy(update={"understanding": str(model)})})
    score = load_network(settings, "understanding")
    network = Network(f"loop understanding {network_key(settings, 'understanding')}", score.log_probabilities)
    found = cache.features_of(network, images, what).numpy()
    del score
    free_memory()
    return found


def make_hard(settings: Settings, generator: Path, train: pd.DataFrame, errors: pd.Series, folder: Path) -> pd.DataFrame:
    """Make images aimed at hard cells; return a table of them: image_id, emotion, content, path."""
    emotions, loop, generate = settings.data.taxonomy.emotions, settings.loop, settings.generate
    counts = count_contents(train, settings.data.kinds, emotions)
    pipe, about = load_generator(generator, start_process().device)
    contents, plan = draw_cells(Contents.of(counts, emotions), errors), {}
    for number in range(loop.teach_images):
        emotion, seed = emotions[number % len(emotions)], derived_seed(settings.seed, "teaching", number)
        plan[f"{emotion}/{number:06d}.png"] = {
            "prompt": CONTENT_PROMPT,
            "content": contents.of_image(emotion, seed),
            "weights": {emotion: 1.0},
            "seed": seed,
            "steps": generate.steps,
            "guidance_scale": generate.guidance_scale,
            "negative_prompt": generate.negative_prompt,
            "strength": generate.strength,
            "spread": generate.spread,
        } | about
    make_images(pipe, plan, folder, generate.batch_size, "images to teach by")
    del pipe
    free_memory()
    rows = [  # by its plan an image has another id, and is learned from again, where anything that it was made by changes
        (f"generated-{digest(each)}/{path}", Path(path).parent.name, each["content"], folder / path)
        for path, each in plan.items()
    ]
    return pd.DataFrame(rows, columns=["image_id", "emotion", "content", "path"])


def serving(settings: Settings, made: pd.DataFrame, train: pd.DataFrame, cache: FeatureCache) -> np.ndarray:
    """Return (n,) whether an image shows the intended emotion to the gate and is no near copy of a training image."""
    gate, names = load_network(settings, "encoder"), np.array(settings.data.taxonomy.emotions)
    network = Network(f"loop encoder {network_key(settings, 'encoder')}", gate.log_probabilities)
    agreed = names[cache.features_of(network, made, "gate").argmax(1)] == made["emotion"]
    clip = clip_network(settings.models.clip)
    seen, known = (cache.features_of(clip, each, "CLIP") for each in (made, train))
    copies = near_copies(seen, known[known.isfinite().all(1)])  # without those that cannot be measured
    log.info(f"left out: {(~agreed).sum():,} that the gate takes for another emotion, {copies.sum():,} near copies")
    return agreed.to_numpy() & ~copies


def questions_to_teach_by(settings: Settings) -> Questions:
    """Return the section of questions with a count that gives loop.teach_updates all that they take.

    Of every case of a kind as many are drawn, so a few more must be asked for. Raises UserError where the updates take fewer
    than a kind has cases.
    """
    wanted, each = settings.loop.teach_updates * settings.grpo.questions_per_step, settings.grpo.questions_per_step
    for count in itertools.count(wanted, each):
        questions = settings.questions.model_copy(update={"count": count})
        if sum(question_counts(settings.data.taxonomy, questions, "loop.teach_updates", each).values()) >= wanted:
            return questions


def learned(
    settings: Settings,
    emoset: EmoSet,
    train: pd.DataFrame,
    made: pd.DataFrame,
    model: Path,
    folder: Path,
    ways: Sequence[str],
    by: str,
) -> dict[str, Path]:
    """Return the models that have learned from generated and real images, and from real ones alone; of these the `ways`.

    by: a digest of the generator, for the model card.
    """
    loop, grpo = settings.loop, settings.grpo
    changed = {"answers_two": "exact", "learning_rate_two": loop.teach_learning_rate, "evaluate_every": None}
    base = base_of(model) if (model / ADAPTER).is_file() else str(model)  # of the adapter that is trained
    own = settings.model_copy(
        update={
            "understanding": settings.understanding.model_copy(update={"model": base}),
            "grpo": grpo.model_copy(update=changed),
            "questions": questions_to_teach_by(settings),
            "answers": settings.answers.model_copy(update={"reasoning": False}),
        }
    )
    columns = ["image_id", "emotion", "path"]
    whole = round(len(made) / loop.teach_share)
    real = equal_emotions(train[columns], whole, settings.seed)
    fewer = equal_emotions(train[columns], whole - len(made), settings.seed)
    sets = {TAUGHT: pd.concat([made[columns], fewer], ignore_index=True), CONTROL: real}
    matrix = needed_confusability(own.questions, own.rewards, settings.data.taxonomy, settings.run)
    labels = {TAUGHT: f"Taught by {len(made):,} images of the generator {by} and {len(fewer):,} real ones"}
    start, found = StageModel(model, model_digest(str(model)), stages_of(model)), {}
    for name in ways:
        images = sets[name]
        questions = draw_questions(images, own.data.taxonomy, own.questions, own.answers, matrix, settings.seed)
        data = TrainingData(emoset.fingerprint, dict(images[["image_id", "path"]].to_numpy()), matrix, [])
        own_label = labels.get(name, f"Trained on {len(images):,} real images")
        trained = train_by_grpo(own, "step_two", folder / name, start, questions, data, loop.teach_updates, own_label)
        found[name] = Path(trained.model)
        free_memory()
    return found


def compare(
    settings: Settings, models: dict[str, Path], real: pd.DataFrame, errors: pd.Series, cache: FeatureCache
) -> dict[str, dict]:
    """Return what each model is worth on real images, all of them and those of hard cells, and paired differences.

    Images that cannot be measured are left out for all models.
    """
    found = {name: distributions(settings, model, real, cache, name) for name, model in models.items()}
    measured = seen_by_all(*found.values())
    real = real[measured]
    names, emotions, seed = np.array(settings.data.taxonomy.emotions), real["emotion"].to_numpy(), settings.seed
    ids, hard = real["image_id"].to_numpy(), is_hard_cell(attributes_of(real, settings.data.kinds), errors, len(real))
    parts, statistics = {"accuracy": np.ones(len(real), dtype=bool), "hard_cells_accuracy": hard}, {}
    for name, log_p in found.items():
        right = names[log_p[measured].argmax(1)] == emotions
        statistics[name] = {part: balanced_share(right[rows], emotions[rows]) for part, rows in parts.items()}

    def apart(first: str, second: str, part: str) -> dict:
        one, other, rows = {part: statistics[first][part]}, {part: statistics[second][part]}, parts[part]
        return paired(one, other, ids[rows], emotions[rows], seed)[part]

    pairs = itertools.combinations([name for name in (TAUGHT, CONTROL, BEFORE) if name in models], 2)
    return {
        "figures": {
            name: {part: figure_of(each, seed) for part, each in own.items() if parts[part].any()}
            for name, own in statistics.items()
        },
        "paired": {
            f"{first} - {second}": {part: apart(first, second, part) for part in parts if parts[part].any()}
            for first, second in pairs
        },
    }
