"""What can be watched while GRPO trains: metrics.jsonl, evaluations on the val split, answers beside their images."""

import base64
import json
import math
from html import escape
from io import BytesIO
from pathlib import Path

import pandas as pd
import torch
from transformers import ProcessorMixin, TrainerCallback
from trl.models import unwrap_model_for_generation

from runtime.files import write_atomically
from runtime.run_folder import is_first_process, log, progress
from config.settings import Settings
from emoset.images import load_image
from understanding.answering import answer_all
from understanding.asking import Asker
from understanding.questions import Question
from understanding.scoring import figures, read_answers

TOLD = {
    "multiple_accuracy": "eight-way",
    "multiple_forced_accuracy": "forced choice",
    "binary_balanced_accuracy": "binary",
    "misleading_auroc": "misleading AUROC",
    "format_rate": "format",
}
SHOWN = 24  # answers in a page of samples
STYLE = "body{font:15px/1.4 system-ui;margin:2em}td,th{padding:.4em .8em;text-align:left;vertical-align:top}img{width:8em}"


class Numbers(TrainerCallback):
    """Writes metrics.jsonl into `folder`, a line of numbers for each logged step, and shows a bar of the updates."""

    def __init__(self, folder: Path):
        self.folder = folder

    def on_train_begin(self, args, state, control, **_) -> None:
        """Drop the lines of steps after the one that is gone on from."""
        path = self.folder / "metrics.jsonl"
        if is_first_process():
            lines = path.read_text().splitlines() if path.exists() else []
            kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= state.global_step]
            path.write_text("".join(f"{line}\n" for line in kept))
            self.bar = progress(None, "updates", state.max_steps, state.global_step, " updates")

    def on_log(self, args, state, control, logs=None, **_) -> None:
        if is_first_process():
            numbers = {name: round(float(value), 6) for name, value in logs.items() if _is_number(value)}
            with (self.folder / "metrics.jsonl").open("a") as file:
                file.write(json.dumps({"step": state.global_step} | numbers) + "\n")

    def on_step_end(self, args, state, control, **_) -> None:
        if is_first_process():
            self.bar.update()

    def on_train_end(self, args, state, control, **_) -> None:
        if is_first_process():
            self.bar.close()


class Curves(Numbers):
    """Evaluates as well: numbers of the val split, and samples/step-<n>.html.

    trainer: to be set once there is one.
    """

    trainer = None

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        questions: list[Question],
        images: dict[str, Path],
        processor: ProcessorMixin,
    ):
        super().__init__(folder)
        self.settings, self.questions, self.images, self.processor = settings, questions, images, processor

    def on_train_begin(self, args, state, control, **_) -> None:
        """Evaluate before the first step too."""
        super().on_train_begin(args, state, control)
        if not state.global_step and self.settings.grpo.evaluate_every:
            self._evaluate(0)

    def on_step_end(self, args, state, control, **_) -> None:
        super().on_step_end(args, state, control)
        every = self.settings.grpo.evaluate_every
        if every and (state.global_step % every == 0 or state.global_step == state.max_steps):
            self._evaluate(state.global_step)

    def _evaluate(self, step: int) -> None:
        trainer, asked = self.trainer, self.settings.questions
        was_training = trainer.model.training
        with (
            unwrap_model_for_generation(trainer.model_wrapped, trainer.accelerator) as model,
            torch.random.fork_rng(),  # so that with and without evaluations the training is the same
        ):
            asker = Asker(model, self.processor, self.settings)
            size = self.settings.evaluate.batch_size
            # Kept for all steps together: what Step I has answered at its end, Step II finds at its start.
            answers = answer_all(asker, self.questions, self.images, self.folder.parent, size, forced=True)
        trainer.model.train(was_training)
        if not is_first_process():
            return
        answers = read_answers(answers, asked.reasoning, asked.answer_by)
        numbers = {f"val/{name}": figure["value"] for name, figure in figures(answers).items()}
        should_log = trainer.control.should_log
        trainer.callback_handler.on_log(trainer.args, trainer.state, trainer.control, numbers)  # to the tracker too
        trainer.control.should_log = should_log  # which that has switched off, on this process alone
        told = [f"{label} {numbers[f'val/{name}']:.3f}" for name, label in TOLD.items() if f"val/{name}" in numbers]
        log.info(f"step {step:,}, val: {', '.join(told)} (n = {len(answers):,})")
        write_samples(self.folder / "samples" / f"step-{step:06d}.html", answers.head(SHOWN), self.images)


def write_samples(path: Path, answers: pd.DataFrame, images: dict[str, Path]) -> None:
    """Write a page that shows answers beside their images, which it holds itself."""
    rows = [
        f"<tr><td><img alt='{escape(row.emotion)}' src='{_thumbnail(images[row.image_id])}'></td>"
        f"<td>{escape(row.emotion)}</td><td>{escape(row.kind)}{f': {row.asked}' if row.asked else ''}</td>"
        f"<td>{escape(row.completion)}</td></tr>"
        for row in answers.itertuples()
    ]
    head = "<tr><th>image</th><th>emotion</th><th>question</th><th>answer</th></tr>"
    page = f"<!doctype html><meta charset=utf-8><title>{path.stem}</title><style>{STYLE}</style>"
    page += f"<table>{head}{''.join(rows)}</table>\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda beside: beside.write_text(page, encoding="utf-8"))


def _thumbnail(path: Path) -> str:
    image = load_image(path)
    image.thumbnail((192, 192))
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _is_number(value) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
