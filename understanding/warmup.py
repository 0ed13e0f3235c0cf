"""The supervised warm-up: right answers to the same questions, by TRL's SFTTrainer."""

from functools import partial
from pathlib import Path

from torch import Tensor
from torch.nn import functional as F
from trl import SFTConfig, SFTTrainer
from trl.trainer.utils import flush_left

from config.settings import Settings
from config.taxonomy import Taxonomy
from config.understanding_settings import Answers
from runtime.recipe import settings_of
from understanding import kinds
from understanding.answers import in_format
from understanding.callbacks import MetricsCallback
from understanding.chat import Chat, continued, read_chat
from understanding.packing import PER_TOKEN
from understanding.question import Question
from understanding.stages import StageModel, TrainingData, run_stage, stage_recipe
from understanding.trainers import (
    common_arguments,
    keep_precise,
    load_trainable,
    log_start,
    new_adapter,
    on_one_gpu,
    question_data,
)
from understanding.trl_checkpoints import WholeCheckpoints, newest_checkpoint, run_updates


def warm_up(
    settings: Settings, folder: Path, start: StageModel, questions: list[Question], data: TrainingData
) -> StageModel:
    """Return what `warmup.steps` updates on right answers make of `start`, in `folder`/warm_up/; `start` where that is 0."""
    steps = settings.warmup.steps
    if not steps:
        return start
    recipe = stage_recipe(settings, "warm_up", settings_of("warmup", settings.warmup), start, questions, data)
    what = f"Supervised warm-up: {steps:,} updates on right answers"
    training = partial(train_on_answers, settings, start.model, questions, data.images)
    return run_stage(settings, folder / "warm_up", recipe, start, steps, what, training)


def train_on_answers(
    settings: Settings, start: str | Path, questions: list[Question], images: dict[str, Path], folder: Path
) -> None:
    """Train the model `start`, by name or folder, on right answers, from the newest checkpoint in `folder`."""
    warmup = settings.warmup
    arguments = on_one_gpu(
        SFTConfig(
            output_dir=str(folder / "checkpoints"),
            per_device_train_batch_size=warmup.batch_size,
            max_steps=warmup.steps,
            max_length=None,
            learning_rate=warmup.learning_rate,
            lr_scheduler_type="cosine",
            **common_arguments(settings.tuning, settings.machine, settings.understanding.dtype, settings.seed),
        )
    )
    model, processor = load_trainable(settings.understanding, start)
    answers = [right_answer(question, settings.data.taxonomy, settings.answers) for question in questions]
    trainer = Trainer(
        model=model,
        data_collator=partial(answered, read_chat(processor)),
        args=arguments,
        processing_class=processor,
        train_dataset=question_data(questions, images, settings.understanding.max_pixels, answers, processor),
        callbacks=[MetricsCallback(folder)],
        **new_adapter(settings.understanding, model),
    )
    keep_precise(trainer, settings.understanding)
    newest = newest_checkpoint(arguments)
    log_start(trainer, "warm_up", newest)
    run_updates(trainer, newest)


def right_answer(question: Question, taxonomy: Taxonomy, answers: Answers) -> str:
    """Return a completion that earns the most, or nearly so, in the form that the question asks for."""
    answer = kinds.kind_named(question.kind).right_answer(question, taxonomy, answers)
    return in_format(answer, answers.reasoning, f"This image evokes {question.emotion}.")


def answered(chat: Chat, rows: list[dict]) -> dict[str, Tensor]:
    """Return the batch of rows of question_data: the tokens of the prompts, and after each those that sampling has to emit.

    The loss is of these alone, from the first that sampling emits to the one that ends the answer.
    """
    prompts = [chat.prompt(row["prompt"]) for row in rows]
    turns = [chat.turn(row["completion"][0]["content"]) for row in rows]
    inputs = dict(chat.inputs(prompts, [row["image"] for row in rows]))
    answers = [chat.emitted(prompt, turn) for prompt, turn in zip(prompts, turns, strict=True)]
    ids, mask, longest = continued(inputs["input_ids"], inputs["attention_mask"], answers)
    labels = ids.masked_fill(mask == 0, -100)
    labels[:, :-longest] = -100
    tokens = {"input_ids": ids, "labels": labels}
    tokens |= {name: F.pad(inputs[name], (0, longest)) for name in PER_TOKEN & inputs.keys()}
    mask, *moved = flush_left(mask, *tokens.values())
    return inputs | dict(zip(tokens, moved, strict=True)) | {"attention_mask": mask}


class Trainer(WholeCheckpoints, SFTTrainer):
    """`SFTTrainer` whose checkpoints are whole or not there, and whose full weights resume."""
