"""Checkpoints that are whole or not there, and full weights that resume.

TRL's checkpoints hold pickles (training_args.bin, rng_state.pth), the one exception to the rule that none are loaded, in our
own run folder.
"""

import os
import shutil
from pathlib import Path

from peft import PeftModel
from torch import nn
from transformers import TrainingArguments
from transformers.trainer_utils import get_last_checkpoint, rotate_checkpoints

from config.errors import UserError
from understanding.model import load_adapter


def newest_checkpoint(arguments: TrainingArguments) -> str | None:
    """Return the folder of the newest checkpoint, or None."""
    return get_last_checkpoint(arguments.output_dir) if os.path.isdir(arguments.output_dir) else None


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
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
            if self.accelerator.is_main_process:
                (written,) = self._beside.glob("checkpoint-*")
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
            return load_adapter(self.model, resume_from_checkpoint, "resuming (remove it to resume earlier)", trainable=True)
        options = dict(dtype=self.model.dtype, output_loading_info=True)
        saved, loading = type(self.model).from_pretrained(resume_from_checkpoint, **options)
        if missing := sorted(loading["missing_keys"]):  # which it filled at random; of tied weights one is enough
            some = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
            raise UserError(f"{resume_from_checkpoint} lacks weights ({some}); remove it to resume from the one before it")
        self.model.load_state_dict(saved.state_dict())

    def create_model_card(self, *_, **__) -> None:
        """The result has a card of its own."""
