"""How a stage of understanding.py is trained once: skipped where its result is there and unchanged, resumed where killed.

<run>/understanding/{warm_up,step_one,step_two}/recipe.json    what it was made from
                                                checkpoints/   of TRL
                                                metrics.jsonl
                                                model/         what the next stage starts from
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from config.errors import UserError
from config.settings import Settings
from config.understanding_settings import Questions, Rewards, Understanding
from runtime.built_folder import MARKER, building, is_built
from runtime.hub import model_digest, upload
from runtime.processes import free_memory, of_first, start_process
from runtime.recipe import RECIPE, Recipe, digest, settings_of
from runtime.run_folder import is_first_process, log
from runtime.sealed import is_sealed
from runtime.stage import open_stage
from runtime.tensors import are_whole
from understanding import kinds
from understanding.model_folder import model_recipe, write_model_folder
from understanding.question import Question

# Neither changes a weight.
WATCHING = {"log_every", "checkpoint_every", "checkpoints_kept", "gradient_checkpointing"}


@dataclass(frozen=True)
class StageModel:
    """A model as a stage leaves it, for the next one to start from.

    model: by name or folder. key: a hash of all that it was made from. done: what was done, a line for each stage.
    """

    model: str | Path
    key: str
    done: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainingData:
    """What every stage shares.

    fingerprint: of the data set. images: the file of every image id. confusability: (K, K), or None where nobody needs it.
    val_questions: those of the evaluations while a model trains.
    """

    fingerprint: str
    images: dict[str, Path]
    confusability: np.ndarray | None
    val_questions: list[Question]


def base_model(understanding: Understanding) -> StageModel:
    """Return the model that the config names, untrained."""
    return StageModel(understanding.model, model_digest(understanding.model))


def stage_recipe(
    settings: Settings, name: str, own: dict[str, Any], start: StageModel, questions: list[Question], data: TrainingData
) -> Recipe:
    """Return what a stage's result is made from. own: the settings that the stage alone reads, by dotted key."""
    made_by = {"seed": settings.seed}
    made_by |= settings_of("understanding", settings.understanding, {"push_to_hub"})
    made_by |= settings_of("tuning", settings.tuning, WATCHING)
    made_by |= settings_of("answers", settings.answers, {"tokens"})
    made_by |= question_settings(settings.questions)
    matrix = None if data.confusability is None else digest(data.confusability.tolist())
    inputs = {
        "data set": data.fingerprint,
        "model to start from": start.key,
        "questions": digest([asdict(question) for question in questions]),
        "confusability": matrix,
    }
    return Recipe(name, made_by | own, inputs)


def question_settings(questions: Questions) -> dict[str, Any]:
    """Return the settings that the questions follow from, by dotted key; of the kinds, those that are asked."""
    shares = kinds.shares(questions)
    in_use = {f"questions.{name}": share for name, share in shares.items() if share}
    return settings_of("questions", questions, {"confusability", *shares}) | in_use


def reward_settings(questions: Questions, rewards: Rewards) -> dict[str, Any]:
    """Return the settings that the rewards follow from, by dotted key; of the kinds, those that are asked."""
    weights = {f"rewards.{name}": weight for name, weight in kinds.weights(questions, rewards).items()}
    return settings_of("rewards", rewards, set(kinds.shares(questions))) | weights


def run_stage(
    settings: Settings,
    folder: Path,
    recipe: Recipe,
    start: StageModel,
    steps: int,
    what: str,
    train: Callable[[Path], None],
) -> StageModel:
    """Train a stage in its folder, or find it trained. Return its model. All processes call it together.

    train: of the stage's `steps` updates, in the folder that it is given. what: was done, for the model card.
    Another recipe's training in that folder is moved aside, to `<folder>.old`.
    """
    model, last = folder / "model", folder / "checkpoints" / f"checkpoint-{steps}"
    result = StageModel(model, recipe.key, (*start.done, what))
    is_finished = open_stage(folder, recipe) and of_first(lambda: is_whole(model))
    start_process().wait_for_everyone()  # all have looked before one writes
    is_trained = not is_finished and of_first(lambda: is_sealed(last))
    if is_finished:
        log.info(f"{folder.name}: trained before, and nothing has changed")
        return result
    if not is_trained:
        began = time.monotonic()
        train(folder)
        log.info(f"{folder.name}: the last of {steps:,} updates is done, {time.monotonic() - began:.0f} s after this start")
        free_memory()
    write_model_folder(last, start.model, model, settings, result.key, result.done)
    if is_first_process():
        recipe.finish(folder / RECIPE)
    return result


def is_whole(model: Path) -> bool:
    """Tell whether a model is in its folder, and none of its weights cut off or damaged."""
    return any(model.glob("*.safetensors")) and are_whole(model)


def save(folder: Path, result: StageModel, push_to_hub: str | None) -> None:
    """Copy the last stage's model to `folder`/model/, and upload it where the config says so.

    Raises UserError where nothing was trained.
    """
    if not result.done:
        raise UserError("nothing was trained: warmup.steps, grpo.steps_one and grpo.steps_two are all 0")
    target, recipe = folder / "model", model_recipe(result.key, result.done)
    if is_first_process():
        if not (is_built(target, recipe) and is_whole(target)):
            with building(target, recipe) as work:
                shutil.copytree(result.model, work, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MARKER))
        if push_to_hub:
            upload(target, push_to_hub)
    log.info(f"the fine-tuned model is in {folder.name}/{target.name}/")
