"""A reward of your own: a Python file that says score(images, conditions)."""

import importlib.util
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from config.errors import UserError, first_line
from runtime.stopping import has_sigterm
from training.choosing import Condition

FUNCTION = "score"


class RewardFile:
    """score(images, conditions) -> (n,) of a Python file, which need not be differentiable.

    images: n PIL images in RGB. conditions: what each was asked to show (training/choosing.py). It returns n numbers, as a
    tensor, an array or a list; more is better. Raises UserError where the file is not there, fails, or has no such function.
    """

    def __init__(self, file: Path):
        self.file = file
        if not file.is_file():
            raise UserError(f"loop.reward: {file}: no such file; give one with a function {FUNCTION}(images, conditions)")
        spec = importlib.util.spec_from_file_location(f"reward_file_{file.stem}", file)
        module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # where dataclasses look their module up
        with self._failing():
            spec.loader.exec_module(module)
        if not callable(function := getattr(module, FUNCTION, None)):
            raise UserError(f"loop.reward: {file} has no function {FUNCTION}(images, conditions)")
        self.function = function

    @torch.no_grad()
    def __call__(self, images: list[Image.Image], conditions: Sequence[Condition]) -> Tensor:
        """Return (n,). Raises UserError where that is not what the file's function gives."""
        with self._failing():
            found = torch.as_tensor(self.function(images, conditions)).float().cpu()
        if found.shape != (len(images),) or not found.isfinite().all():
            told = f"{tuple(found.shape)}" if found.shape != (len(images),) else "numbers that are not finite"
            raise UserError(f"loop.reward: {self.file} returned {told} for {len(images)} images; return a number for each")
        return found

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Raise UserError, with the line of the file, for whatever it raises, and for exit(), which ends no command."""
        try:
            yield
        except (Exception, SystemExit) as error:
            if isinstance(error, SystemExit) and has_sigterm():  # the end that a cluster asks for
                raise
            lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(self.file)]
            where = f"{self.file}, line {lines[-1]}" if lines else f"{self.file}"
            told = f"{type(error).__name__}: {first_line(error)}" if str(error) else type(error).__name__
            raise UserError(f"loop.reward: {where}: {told}") from error
