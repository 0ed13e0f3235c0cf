"""Runs understanding.py once without a pause, and once killed at points of those below and started again; for test_grpo.py.

    python killed_runs.py whole.yaml killed.yaml point ...

Each run is a fork of this process, which has imported everything and started no thread.
"""

import importlib.util
import os
import signal
import sys

import understanding.asking
import understanding.callbacks
import understanding.grpo
import understanding.model_folder
import understanding.stages
import understanding.warmup
from config.loading import load
from config.section import ROOT
from runtime.stopping import end_by_sigterm

POINTS = {  # the function that a run is killed in, and at which of its calls in that run
    "while the warm-up's checkpoint is saved": (understanding.warmup.Trainer, "_save_rng_state", 2),
    "in sampling": (understanding.grpo.Trainer, "_generate_single_turn", 2),
    "in the update": (understanding.callbacks.EvaluationCallback, "on_optimizer_step", 1),
    "while images are mined": (understanding.asking.Asker, "likelihoods", 2),
    "in a step's second update": (understanding.callbacks.EvaluationCallback, "on_optimizer_step", 2),
    "while a checkpoint is saved": (understanding.grpo.Trainer, "_save_rng_state", 1),
    "while the result is saved": (understanding.model_folder, "_model_card", 1),
}


TERMINATED = "terminated in a step's second update"  # by SIGTERM, with no regular checkpoint near


def run(config: str, point: str | None) -> int:
    """Return the signal that ended the run, or its exit code."""
    child = os.fork()
    if not child:
        given = ["--config", config]
        if point == TERMINATED:
            end_by_sigterm()
            kill_at(*POINTS["in a step's second update"], signal.SIGTERM)
            given += ["tuning.checkpoint_every=100"]
        elif point:
            kill_at(*POINTS[point])
        spec = importlib.util.spec_from_file_location("understanding_script", ROOT / "understanding.py")
        script = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(script)
        try:
            script.main(load(given))
        except SystemExit as end:
            os._exit(end.code)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    return os.WTERMSIG(status) or os.WEXITSTATUS(status)


def kill_at(owner, name: str, call: int, by: int = signal.SIGKILL) -> None:
    """Let this process be killed by the given call of a function, counted from 1, before it does anything."""
    original, calls = getattr(owner, name), []

    def killing(*args, **kwargs):
        calls.append(name)
        if len(calls) == call:
            os.kill(os.getpid(), by)
        return original(*args, **kwargs)

    setattr(owner, name, killing)


if __name__ == "__main__":
    whole, killed, *points = sys.argv[1:]
    assert run(whole, None) == 0
    for each in points:
        assert run(killed, each) == (143 if each == TERMINATED else signal.SIGKILL), f"not killed {each}"
    assert run(killed, None) == 0
