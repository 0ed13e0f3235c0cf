"""Checkpoints that are whole or not there, and full weights that resume.

TRL's checkpoints hold pickles (training_args.bin, rng_state.pth), the one exception to the rule that none are loaded, in our
own run folder.
"""

import shutil
from pathlib import Path

from peft import PeftModel
from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, rotate_checkpoints

from config.errors import UserError
from runtime.full_disk import naming
from runtime.processes import of_first
from runtime.sealed import newest_sealed, seal
from runtime.stopping import finishing_updates, stop, stop_is_asked
from understanding.model import load_adapter


def newest_checkpoint(arguments: TrainingArguments) -> str | None:
    """Return the folder of the newest checkpoint that is whole, or None. All processes call it together."""

    def find() -> str | None:
        folder = Path(arguments.output_dir)
        found = [path for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*") if path.name.rpartition("-")[2].isdecimal()]
        newest = newest_sealed(sorted(found, key=lambda path: int(path.name.rpartition("-")[2])))
        return newest and str(newest)

    return of_first(find)


def run_updates(trainer: Trainer, newest: str | None) -> None:
    """Train from a checkpoint, or from the start for None; after SIGTERM save one at the end of the update, and stop."""
    stopping = StopCallback()
    trainer.add_callback(stopping)
    with finishing_updates():
        trainer.train(resume_from_checkpoint=newest)
    if stopping.is_asked:
        stop(f"a checkpoint was saved after update {trainer.state.global_step:,} of {trainer.state.max_steps:,}")


class StopCallback(TrainerCallback):
    """Lets a trainer save a checkpoint and stop after the update in which SIGTERM has reached any of its processes."""

    is_asked = False

    def on_step_end(self, args, state, control, **_) -> None:
        self.is_asked = stop_is_asked()
        if self.is_asked:
            control.should_save = control.should_training_stop = True


class WholeCheckpoints:
    """Whole checkpoints for a trainer of TRL. Name this class before the trainer in the list of bases."""

    _beside: Path | None = None  # where a checkpoint is being written

    def _get_output_dir(self, trial) -> str:
        return str(self._beside or self.args.output_dir)

    def _save_checkpoint(self, model, trial) -> None:
        """Write the checkpoint beside and rename it, when all processes have written their parts."""
        final = Path(self.args.output_dir)
        self._beside = final / ".unfinished"
        if self.accelerator.is_main_process:
            shutil.rmtree(self._beside, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        try:
            with naming(final, self._beside):
                super()._save_checkpoint(model, trial)
                self.accelerator.wait_for_everyone()
                if self.accelerator.is_main_process:
                    (written,) = self._beside.glob(f"{PREFIX_CHECKPOINT_DIR}-*")
                    seal(written)
            if self.accelerator.is_main_process:
                shutil.rmtree(final / written.name, ignore_errors=True)
                written.rename(final / written.name)
                rotate_checkpoints(output_dir=str(final), save_total_limit=self.args.save_total_limit)
            self.accelerator.wait_for_everyone()
        finally:
            self._beside = None

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Load a checkpoint; full weights by the names that they were saved under, few of which Trainer knows.

        Raises UserError where it lacks some.
        """
        if isinstance(self.model, PeftModel):
            return load_adapter(
                self.model,
                resume_from_checkpoint,
                "a checkpoint to resume from (remove it to resume from an earlier one)",
                trainable=True,
            )
        options = dict(dtype=self.model.dtype, output_loading_info=True)
        saved, loading = type(self.model).from_pretrained(resume_from_checkpoint, **options)
        if missing := sorted(loading["missing_keys"]):  # which it filled at random; of tied weights one is enough
            some = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
            raise UserError(f"{resume_from_checkpoint} lacks weights ({some}); remove it to resume from the one before it")
        self.model.load_state_dict(saved.state_dict())

    def create_model_card(self, *_, **__) -> None:
        """The result has a card of its own."""
