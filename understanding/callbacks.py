"""What can be watched while a model trains: metrics.jsonl, evaluations on the val split, answers beside their images."""

from contextlib import suppress
from pathlib import Path

import pandas as pd
import torch
from transformers import ProcessorMixin, TrainerCallback
from trl.models import unwrap_model_for_generation

from config.settings import Settings
from emoset.images import ImageError, load_image
from runtime.metrics import MetricsFile
from runtime.page import picture, thumbnail, write_page
from runtime.run_folder import is_first_process, log, progress
from runtime.stopping import nothing_to_save
from understanding.answering import answer_all
from understanding.asking import Asker
from understanding.question import Question
from understanding.scoring import curves, figures, read_answers

TEMPLATE = Path(__file__).with_name("samples.html.jinja")
SAMPLES = 24  # answers on a page of samples
PIXELS = 192  # of the longer side of an image on that page


class MetricsCallback(TrainerCallback):
    """Writes metrics.jsonl into `folder`, a line of numbers for each logged step, and shows a bar of the updates."""

    def __init__(self, folder: Path):
        self.folder = folder

    def on_train_begin(self, args, state, control, **_) -> None:
        """Drop the lines of steps after the one that the training resumes from."""
        if is_first_process():
            self.metrics = MetricsFile(self.folder, state.global_step or -1)  # of a start from nothing not even step 0
            self.bar = progress(None, "updates", state.max_steps, state.global_step, " updates")

    def on_log(self, args, state, control, logs=None, **_) -> None:
        if is_first_process():
            self.metrics.write(state.global_step, logs)

    def on_step_end(self, args, state, control, **_) -> None:
        if is_first_process():
            self.bar.update()

    def on_train_end(self, args, state, control, **_) -> None:
        if is_first_process():
            self.bar.close()


class EvaluationCallback(MetricsCallback):
    """Evaluates as well: figures of the val split, and samples/step-<n>.html.

    questions: about the val split. images: the file of every image id. trainer: to be set once there is one.
    """

    trainer = None

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        questions: list[Question],
        images: dict[str, Path],
        processor: ProcessorMixin,
    ):
        super().__init__(folder)
        self.questions, self.images, self.processor = questions, images, processor
        self.understanding, self.answers, self.taxonomy = settings.understanding, settings.answers, settings.data.taxonomy
        self.every, self.batch_size = settings.grpo.evaluate_every, settings.grpo.evaluation_batch_size
        self.at_start: dict[str, float] = {}  # figures; none where the training resumes

    def on_train_begin(self, args, state, control, **_) -> None:
        """Evaluate before the first step too."""
        super().on_train_begin(args, state, control)
        if not state.global_step and self.every:
            with nothing_to_save():
                self._evaluate(0)

    def on_step_end(self, args, state, control, **_) -> None:
        super().on_step_end(args, state, control)
        if self.every and (state.global_step % self.every == 0 or state.global_step == state.max_steps):
            self._evaluate(state.global_step)

    def _evaluate(self, step: int) -> None:
        trainer = self.trainer
        was_training = trainer.model.training
        with (
            unwrap_model_for_generation(trainer.model_wrapped, trainer.accelerator) as model,
            torch.random.fork_rng(),  # so that with and without evaluations the training is the same
        ):
            asker = Asker(model, self.processor, self.understanding, self.answers, self.taxonomy)
            # Kept for all steps together: what Step I has answered at its end, Step II finds at its start.
            folder = self.folder.parent
            table = answer_all(asker, self.questions, self.images, folder, self.batch_size, forced=True)
        trainer.model.train(was_training)
        if not is_first_process():
            return
        table = read_answers(table, self.taxonomy, self.answers)
        found = {name: figure["value"] for name, figure in figures(table, self.taxonomy).items()}
        should_log, numbers = trainer.control.should_log, {f"val/{name}": value for name, value in found.items()}
        trainer.callback_handler.on_log(trainer.args, trainer.state, trainer.control, numbers)  # to the tracker too
        trainer.control.should_log = should_log  # which that has switched off, on this process alone
        shown = [f"{label} {found[name]:.3f}" for name, label in curves().items() if name in found]
        log.info(f"step {step:,}, val: {', '.join(shown)} (n = {len(table):,})")
        if not step:
            self.at_start = found
        elif step == trainer.state.max_steps and self.at_start:
            changes = {label: found[name] - self.at_start[name] for name, label in curves().items() if name in found}
            told = ", ".join(f"{label} {change:+.3f}" for label, change in changes.items())
            log.info(f"{self.folder.name}: what {step:,} updates changed on val: {told}")
        write_samples(self.folder / "samples" / f"step-{step:06d}.html", table.head(SAMPLES), self.images)


def write_samples(path: Path, answers: pd.DataFrame, images: dict[str, Path]) -> None:
    """Write a page that shows answers beside their images, which it holds itself."""
    rows = []
    for row in answers.itertuples():
        question = f"{row.kind}: {row.asked}" if row.asked else row.kind
        with suppress(ImageError):  # an image that is gone since it was asked about
            shown = picture(thumbnail(load_image(images[row.image_id]), PIXELS), row.emotion)
            rows.append({"picture": shown, "emotion": row.emotion, "question": question, "answer": row.completion})
    write_page(path, TEMPLATE, title=path.stem, rows=rows)
