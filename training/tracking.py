"""Where the numbers of a training go: metrics.jsonl, and a tracker of the user's choice."""

import json
from pathlib import Path

from accelerate import Accelerator
from accelerate.tracking import filter_trackers

from config.errors import UserError
from runtime.files import write_atomically


class Metrics:
    """Writes lines of numbers, on the main process alone."""

    def __init__(self, folder: Path, step: int, tracker: str, accelerator: Accelerator):
        """Go on after `step`: lines of later steps, written before the run was killed, are dropped."""
        self.accelerator, self.path = accelerator, folder / "metrics.jsonl"
        if not accelerator.is_main_process:
            return
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step]
        text = "".join(f"{line}\n" for line in kept)
        write_atomically(self.path, lambda beside: beside.write_text(text))
        if tracker != "none":
            accelerator.log_with = filter_trackers([tracker], folder)
            if not accelerator.log_with:
                raise UserError(f"mapper.tracker: {tracker} is not installed; pip install {tracker}, or choose none")
            accelerator.project_configuration.logging_dir = str(folder)
            accelerator.init_trackers("curves")

    def log(self, step: int, numbers: dict[str, float]) -> None:
        """Write the numbers of a step."""
        if not self.accelerator.is_main_process:
            return
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step} | {name: round(value, 6) for name, value in numbers.items()}) + "\n")
        self.accelerator.log(numbers, step=step)

    def last(self) -> dict[str, float]:
        """Return the numbers of the last line."""
        return json.loads(self.path.read_text().splitlines()[-1])
