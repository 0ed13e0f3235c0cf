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
from training.choosing import Condition, copies, numbers_of

FUNCTION = "score"


class RewardFile:
    """score(images, conditions) -> (n,) of a Python file, which need not be differentiable.

    images: n PIL images in RGB. conditions: what each was asked to show (training/choosing.py). It returns n numbers, as a
    tensor, an array or a list; more is better. It may import files beside it. Raises UserError where the file is not there,
    fails, or has no such function.
    """

    def __init__(self, file: Path):
        self.file = file
        if not file.is_file():
            raise UserError(f"loop.reward: {file}: no such file; give one with a function {FUNCTION}(images, conditions)")
        spec = importlib.util.spec_from_file_location(f"reward_file_{file.stem}", file)
        module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # where dataclasses look their module up
        with self._running():
            spec.loader.exec_module(module)
        if not callable(function := getattr(module, FUNCTION, None)):
            raise UserError(f"loop.reward: {file} has no function {FUNCTION}(images, conditions)")
        self.function = function

    @torch.no_grad()
    def __call__(self, images: list[Image.Image], conditions: Sequence[Condition]) -> Tensor:
        """Return (n,) in float64. Raises UserError where that is not what the file's function gives."""
        with self._running():
            returned = self.function(*copies(images, conditions))
        where = f"loop.reward: {self.file}"
        found = numbers_of(returned, len(images), where)
        if not found.isfinite().all():
            raise UserError(f"{where}: returned a number that is not finite for {len(images)} images; return finite ones")
        return found

    @contextmanager
    def _running(self) -> Iterator[None]:
        """Let the file import others beside it, as `python file.py` would.

        Raise UserError, with the line of the file, for whatever it raises, and for exit(), which ends no command.
        """
        sys.path.insert(0, folder := str(self.file.resolve().parent))
        try:
            yield
        except (Exception, SystemExit) as error:
            if isinstance(error, SystemExit) and has_sigterm():  # the end that a cluster asks for
                raise
            lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(self.file)]
            where = f"{self.file}, line {lines[-1]}" if lines else f"{self.file}"
            told = f"{type(error).__name__}: {first_line(error)}" if str(error) else type(error).__name__
            raise UserError(f"loop.reward: {where}: {told}") from error
        finally:
            if folder in sys.path:  # unless the file has taken it out itself
                sys.path.remove(folder)
