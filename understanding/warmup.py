"""The supervised warm-up: right answers to the same questions, by TRL's SFTTrainer."""

from pathlib import Path

from peft import PeftModel
from trl import SFTConfig, SFTTrainer

from config.settings import Settings
from understanding.checkpoints import WholeCheckpoints, newest_checkpoint
from understanding.curves import Numbers
from understanding.grpo import announce, common_arguments, keep_precise, load_trainable, on_one_gpu, question_data
from understanding.model import lora_config
from understanding.questions import LETTERS, Question

SURE = {True: "95", False: "5"}  # scores of a true and of a wrong emotion


def right_answer(question: Question, reasoning: bool, answer_by: str) -> str:
    """Return an answer that earns the most, or nearly so, in the format of the questions."""
    if question.kind == "binary":
        answer = "yes" if question.is_true else "no"
    elif question.kind == "misleading":
        answer = SURE[question.is_true]
    else:
        answer = LETTERS[question.options.index(question.emotion)] if answer_by == "letter" else question.emotion
    thought = f"This image evokes {question.emotion}."
    return f"<think>{thought}</think><answer>{answer}</answer>" if reasoning else answer


def train_on_answers(
    settings: Settings, start: str | Path, questions: list[Question], images: dict[str, Path], folder: Path
) -> None:
    """Train the model `start`, by name or folder, on right answers; go on from the newest checkpoint in `folder`."""
    asked, warmup = settings.questions, settings.warmup
    arguments = on_one_gpu(
        SFTConfig(
            output_dir=str(folder / "checkpoints"),
            per_device_train_batch_size=warmup.batch_size,
            max_steps=warmup.steps,
            max_length=None,
            **common_arguments(settings) | {"learning_rate": warmup.learning_rate, "lr_scheduler_type": "cosine"},
        )
    )
    model, processor = load_trainable(settings, start)
    answers = [right_answer(question, asked.reasoning, asked.answer_by) for question in questions]
    new_adapter = settings.understanding.lora_rank and not isinstance(model, PeftModel)
    trainer = Trainer(
        model=model,
        args=arguments,
        processing_class=processor,
        train_dataset=question_data(questions, images, settings.understanding.max_pixels, answers),
        callbacks=[Numbers(folder)],
        peft_config=lora_config(settings.understanding) if new_adapter else None,
    )
    keep_precise(trainer, settings)
    newest = newest_checkpoint(arguments)
    announce(trainer, "warm_up", newest)
    trainer.train(resume_from_checkpoint=newest)


class Trainer(WholeCheckpoints, SFTTrainer):
    """`SFTTrainer` whose checkpoints are whole or not there, and whose full weights resume."""
