"""Where the numbers of the mapper's training go: metrics.jsonl, and a tracker of the user's choice."""

from pathlib import Path

from accelerate import Accelerator
from accelerate.tracking import filter_trackers

from runtime.metrics import MetricsFile, read_metrics


class TrainingCurves:
    """Writes the numbers of updates, on the main process alone."""

    def __init__(self, folder: Path, step: int, tracker: str, accelerator: Accelerator):
        """Resume after `step`: lines of later steps, written before the run was killed, are dropped."""
        self.folder, self.accelerator = folder, accelerator
        if not accelerator.is_main_process:
            return
        self.file = MetricsFile(folder, step)
        if tracker != "none":
            accelerator.log_with = filter_trackers([tracker], folder)
            accelerator.project_configuration.logging_dir = str(folder)
            accelerator.init_trackers("curves")

    def log(self, step: int, numbers: dict[str, float]) -> None:
        """Write the numbers of a step."""
        if self.accelerator.is_main_process:
            self.file.write(step, numbers)
            self.accelerator.log(numbers, step=step)

    def last(self) -> dict[str, float]:
        """Return the numbers of the last line; none where it was damaged."""
        return (read_metrics(self.folder) or [{}])[-1]

    def finish(self) -> None:
        """Close the tracker. end_training would end the process group too, which the model still holds."""
        for each in self.accelerator.trackers:
            each.finish()
