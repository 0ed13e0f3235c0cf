"""One step of GRPO: a model, questions about images, rewards. Step I and Step II differ only in their images.

TRL's trainer does the training. Here stand the questions as its data set, the rewards, and how an update is shared out.
Whether a step has been trained before is for stages.py, how a killed one resumes for trl_checkpoints.py.
"""

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from accelerate import DistributedType
from torch.utils._triton import has_triton
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled
from trl import GRPOConfig

from config.errors import UserError
from config.settings import Settings
from config.understanding_settings import Answers, Grpo, Understanding
from runtime.processes import start_process
from runtime.recipe import settings_of
from runtime.run_folder import log
from understanding.callbacks import EvaluationCallback
from understanding.chat import read_chat
from understanding.dead_groups import ExactDeadGroups
from understanding.exact import train as train_exactly
from understanding.kinds import weights
from understanding.objective import Objective
from understanding.question import Question
from understanding.rewards import reward_functions, reward_weights
from understanding.shared_prefix import SharedPrefixGRPOTrainer
from understanding.stages import StageModel, TrainingData, reward_settings, run_stage, stage_recipe
from understanding.thoughts import ThoughtTrainer
from understanding.trainers import (
    keep_precise,
    load_trainable,
    log_start,
    new_adapter,
    on_one_gpu,
    question_data,
    step_arguments,
)
from understanding.trl_checkpoints import WholeCheckpoints, newest_checkpoint, run_updates

# What the weights do not depend on but by rounding. What the two steps may have of their own, a step's recipe says apart.
WATCHING = {"steps_one", "steps_two", "evaluate_every", "evaluated_questions", "evaluation_batch_size"}
WATCHING |= {"answers", "answers_two", "learning_rate", "learning_rate_two", "entropy", "compile_decoding"}
SAMPLING = {"group", "temperature", "share_prefix"}  # without which exact answers alone do
LABELS = {"step_one": "Step I, training images", "step_two": "Step II, hard images"}


@dataclass(frozen=True)
class Plan:
    """How the questions of a step are shared out. accumulation: forward passes of a process for each update."""

    processes: int
    accumulation: int
    steps: int


def plan(grpo: Grpo, questions: int, limit: int | None) -> Plan:
    """Return how `questions` are shared out, in `limit` updates or, for None, one pass over them.

    Raises UserError for what cannot be, with the nearest that can.
    """
    processes, asked = int(os.environ.get("WORLD_SIZE", "1")), grpo.questions_per_step
    at_once = grpo.batch_size * processes
    most, nearest = questions // at_once * at_once, max(at_once, round(asked / at_once) * at_once)
    split = f"cannot be shared out over {processes} processes of grpo.batch_size {grpo.batch_size}"
    too_few = f"there are {questions} questions"
    more = "ask more questions: questions.count"
    wrong = ""
    if asked % at_once and nearest <= questions:
        wrong = f" {split}; the nearest that can is {nearest}"
    elif asked % at_once:
        wrong = f" {split}, and {too_few}; {f'the most that can be is {most}' if most else more}"
    elif questions < asked:
        wrong = f", but {too_few}; {f'the most that can be is {most}' if most else more}"
    if wrong:
        raise UserError(f"grpo.questions_per_step: {asked}{wrong}")
    return Plan(processes, asked // at_once, questions // asked if limit is None else limit)


def is_sampling(answers: Answers, grpo: Grpo, name: str) -> bool:
    """Return whether step_one or step_two samples anything: answers or, where all answers are scored, thoughts."""
    return answers.reasoning or grpo.answers_of(name) == "sampled"


def train_by_grpo(
    settings: Settings,
    name: str,
    folder: Path,
    start: StageModel,
    questions: list[Question],
    data: TrainingData,
    limit: int | None,
    label: str | None = None,
) -> StageModel:
    """Return the model that GRPO makes of `start` in `folder`/`name`/: in `limit` updates or, for None, one pass.

    What is there and unchanged is not trained again. Without an update the result is `start`.
    name: step_one or step_two. label: of the training in the model card; None takes that of the step.
    """
    if limit == 0:
        return start
    grpo = settings.grpo
    shared = plan(grpo, len(questions), limit)
    steps, is_exact, samples = shared.steps, grpo.answers_of(name) == "exact", is_sampling(settings.answers, grpo, name)
    own = settings_of("grpo", grpo, WATCHING | (set() if samples else SAMPLING))
    own |= {f"grpo.{name.replace('step_', 'steps_')}": steps, "grpo.answers": grpo.answers_of(name)}
    own |= {"grpo.learning_rate": grpo.rate_of(name)}
    own |= reward_settings(settings.questions, settings.rewards)
    own |= {"answers.tokens": settings.answers.tokens} if samples else {}
    own |= {} if is_exact else {"grpo.entropy": grpo.entropy}
    recipe = stage_recipe(settings, name, own, start, questions, data)
    each = f"{grpo.group} {'thoughts' if is_exact else 'answers'}" if samples else "all their answers"
    what = f"{label or LABELS[name]}: {steps:,} updates of {grpo.questions_per_step} questions x {each}"
    training = partial(train, settings, name, start.model, questions, data, steps)
    if not samples:
        training = partial(train_exactly, settings, name, start.model, questions, data, steps, shared.accumulation)
    return run_stage(settings, folder / name, recipe, start, steps, what, training)


def train(
    settings: Settings,
    name: str,
    start: str | Path,
    questions: list[Question],
    data: TrainingData,
    steps: int,
    folder: Path,
) -> None:
    """Train the model `start`, by name or folder, for `steps` updates, from the newest checkpoint in `folder`.

    The last checkpoint, checkpoint-<steps>, must not be there: from it Trainer would make one update more.
    name: of the step, for the log.
    """
    # The arguments come before the model: ZeRO-3 shares it out as it loads.
    arguments = training_arguments(settings, name, len(questions), steps, folder)
    model, processor = load_trainable(settings.understanding, start)
    newest = newest_checkpoint(arguments)
    watching = EvaluationCallback(folder, settings, data.val_questions, data.images, processor)
    taxonomy, rewards = settings.data.taxonomy, settings.rewards
    earned = reward_functions(questions, taxonomy, settings.questions, settings.answers, rewards, data.confusability)
    common = dict(
        model=model,
        args=arguments,
        processing_class=processor,
        train_dataset=question_data(questions, data.images, settings.understanding.max_pixels, processor=processor),
        callbacks=[watching],
        compile_decoding=settings.grpo.compile_decoding and can_compile(settings.understanding),
        **new_adapter(settings.understanding, model),
    )
    if settings.grpo.answers_of(name) == "exact":
        arguments.reward_weights = [1.0]
        objective = Objective(taxonomy, settings.answers, rewards, weights(settings.questions, rewards))
        own = dict(objective=objective, questions=questions, chat=read_chat(processor))
        trainer = ThoughtTrainer(**common, **own, reward_funcs=[earned["format"]])
    else:
        trainer = Trainer(**common, reward_funcs=list(earned.values()), share_prefix=settings.grpo.share_prefix)
    watching.trainer = trainer
    keep_precise(trainer, settings.understanding)
    log_start(trainer, name, newest)
    run_updates(trainer, newest)


def can_compile(understanding: Understanding) -> bool:
    """Tell whether decoding can be compiled here; the log says why not."""
    is_deepspeed = start_process().distributed_type == DistributedType.DEEPSPEED
    obstacles = {
        "there is no GPU here": not torch.cuda.is_available(),
        "Triton is not installed, or does not know the GPU": torch.cuda.is_available() and not has_triton(),
        "ZeRO-3 gathers the weights of each layer as it comes to it": is_deepspeed_zero3_enabled(),
        "DeepSpeed hooks into a model whose weights are all trained": is_deepspeed and not understanding.lora_rank,
        "weights of 4 bits cannot be compiled": understanding.four_bit,
    }
    found = [obstacle for obstacle, stands in obstacles.items() if stands]
    if found:
        log.warning(f"grpo.compile_decoding: decoding is not compiled, because {found[0]}")
    return not found


def training_arguments(settings: Settings, name: str, questions: int, steps: int, folder: Path) -> GRPOConfig:
    """Return TRL's arguments for `steps` updates of step_one or step_two; its batch sizes count answers."""
    grpo = settings.grpo
    shared = plan(grpo, questions, steps)
    arguments = GRPOConfig(
        per_device_train_batch_size=grpo.batch_size * grpo.group,
        gradient_accumulation_steps=shared.accumulation,
        steps_per_generation=shared.accumulation,  # one sampling for each update, without which no run resumes exactly
        num_generations=grpo.group,
        max_completion_length=settings.answers.tokens,
        temperature=grpo.temperature,
        beta=grpo.beta,
        entropy_coef=grpo.entropy if grpo.answers_of(name) == "sampled" else 0.0,
        scale_rewards="none",  # by a group's deviation, a slight error would count as much as a gross one: no proper score
        reward_weights=list(reward_weights(settings.questions, settings.rewards).values()),
        **step_arguments(settings, name, steps, folder),
    )
    return on_one_gpu(arguments)


class Trainer(WholeCheckpoints, ExactDeadGroups, SharedPrefixGRPOTrainer):
    """`SharedPrefixGRPOTrainer` that knows dead groups, with checkpoints that are whole or not there and resume."""
