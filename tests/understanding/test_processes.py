"""Trainings on one process and on two, by DDP and by ZeRO-2: the same weights, also where they are killed on the way."""

import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from config.settings import Settings

TWO = ["--num_processes", "2", "--num_machines", "1", "--main_process_port", "0", "--mixed_precision", "no"]
TWO += ["--dynamo_backend", "no", "--use_deepspeed"]
LAUNCHERS = {
    "NO": [],
    "MULTI_CPU": ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"],
    "DEEPSPEED": ["-m", "accelerate.commands.launch", *TWO, "--zero_stage", "2"],
}


@pytest.fixture
def launch(python):
    """Return a function that runs a script beside this file with the settings' file, as a launcher starts it."""

    def run(launcher: str, script: str, settings: Settings, *arguments: str) -> subprocess.CompletedProcess:
        path = str(Path(__file__).with_name(script))
        command = [python, *LAUNCHERS[launcher], path, str(settings.run.with_suffix(".yaml")), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=500)

    return run


def weights_of(settings: Settings) -> dict[str, torch.Tensor]:
    return load_file(settings.run / "understanding" / "model" / "adapter_model.safetensors")


@pytest.mark.slow
def test_two_processes_train_the_weights_of_one(quick, launch):
    """Groups, rewards, advantages, KL, accumulation, updates, checkpoints, all answers at once, also after thoughts."""
    ways, trained = ("sampled", "exact", "thoughts"), {}
    for launcher in LAUNCHERS:
        grpo = {"steps_one": 2, "steps_two": 0, "learning_rate": 1.0, "beta": 0.1}
        changed = {way: {"grpo": grpo | {"answers": way}} for way in ways}
        changed["thoughts"] = {
            "grpo": grpo | {"answers": "exact", "learning_rate": 0.1},
            "answers": {"reasoning": True, "tokens": 32},
        }
        settings = {way: quick(f"{launcher}-{way}", **changed[way]) for way in ways}
        others = [str(settings[way].run.with_suffix(".yaml")) for way in ways[1:]]
        result = launch(launcher, "whole_training.py", settings["sampled"], *others)
        assert result.returncode == 0, result.stderr[-3000:]
        for way in ways:
            log = (settings[way].run / "understanding" / "log.txt").read_text()
            assert (f" on 2 processes ({launcher})" in log) == (launcher != "NO")
            trained[launcher, way] = weights_of(settings[way])
    for way in ways:
        alone = {name: weight for name, weight in trained["NO", way].items() if "lora_B" in name}
        assert all(weight.any() for weight in alone.values()), "they start from zero"
        for launcher in ("MULTI_CPU", "DEEPSPEED"):
            for name, weight in alone.items():
                assert (weight - trained[launcher, way][name]).norm() <= 1e-3 * weight.norm(), (launcher, way, name)


@pytest.mark.slow
def test_two_processes_of_which_one_is_killed_end_with_the_same_weights(quick, launch):
    """Each samples by a state of its own, and under ZeRO-2 holds its own part of the optimizer's."""
    changed = {"grpo": {"steps_one": 2, "steps_two": 0}, "tuning": {"checkpoint_every": 1}}
    whole, killed = (quick(name, **changed) for name in ("whole", "killed"))
    assert launch("DEEPSPEED", "killed_process.py", whole).returncode == 0
    assert launch("DEEPSPEED", "killed_process.py", killed, "in a step's second update").returncode
    result = launch("DEEPSPEED", "killed_process.py", killed)
    assert result.returncode == 0, result.stderr[-3000:]
    log = (killed.run / "understanding" / "log.txt").read_text()
    assert " on 2 processes (DEEPSPEED)" in log
    assert "resumed from checkpoint-1" in log
    expected, found = weights_of(whole), weights_of(killed)
    assert any(weight.any() for name, weight in expected.items() if "lora_B" in name), "they start from zero"
    assert all(torch.equal(expected[name], found[name]) for name in expected)
