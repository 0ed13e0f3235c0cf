"""The mapper's training as processes of its own: two of them, under DDP and DeepSpeed, and one that is killed."""

import shutil
import signal
import subprocess
import time
from pathlib import Path
from random import Random

import pytest
import torch
from mapper_runs import arguments, assert_close, assert_same_losses, gradients, resumed_after, weights

from config.section import ROOT


@pytest.fixture
def launch(prepared, python, tmp_path):
    """Return a function that trains on two processes, as a user would launch it, and returns the run folder."""

    def train(name: str, *options: str, **changed) -> Path:
        folder = tmp_path / name
        if not folder.exists():
            shutil.copytree(prepared["run"], folder)
        accelerate = [python, "-m", "accelerate.commands.launch", "--num_processes", "2", "--num_machines", "1"]
        command = [*accelerate, "--main_process_port", "0", "--mixed_precision", "no", *options, ROOT / "training/main.py"]
        command += arguments(prepared, run=folder, **{"mapper__batch_size": 4} | changed)
        done = subprocess.run(command, capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, done.stderr[-3000:]
        return folder

    return train


ZERO_2 = ("--use_deepspeed", "--zero_stage", "2")  # as README.md launches it
IN_PARTS = {"mapper__batch_size": 2, "mapper__gradient_accumulation": 2}  # of two processes: 8 images, as of one


def as_configured(name: str) -> tuple[str, Path]:
    return "--config_file", ROOT / "config/accelerate" / f"{name}.yaml"


def processes(folder: Path) -> str:
    """How the last run worked, as it logged it."""
    return (folder / "training/log.txt").read_text().rpartition("images; ")[2].splitlines()[0]


def test_two_processes_are_one_with_twice_the_batch(plain, launch):
    two = launch("two", *as_configured("multi_gpu"), mapper__checkpoints_kept=9, **IN_PARTS)
    assert processes(plain) == "cpu"
    assert processes(two) == "2 processes (MULTI_CPU), cpu"
    assert_close(gradients(plain), gradients(two), 1e-4)
    assert_same_losses(plain, two)
    before = weights(two)
    shutil.rmtree(two / "training/mapper/checkpoints/step-0000004")
    shutil.rmtree(two / "generator")
    launch("two", *as_configured("multi_gpu"), mapper__checkpoints_kept=9, **IN_PARTS)
    assert processes(two) == "2 processes (MULTI_CPU), cpu"
    assert resumed_after(two) == ["3"]
    assert all(torch.equal(before[name], weight) for name, weight in weights(two).items())


@pytest.mark.parametrize("options", [ZERO_2, as_configured("zero3")], ids=["zero2", "zero3"])
def test_deepspeed_does_what_one_process_does_and_resumes(plain, launch, options):
    whole = launch("whole", *options, **IN_PARTS)
    assert processes(whole) == "2 processes (DEEPSPEED), cpu"
    assert_same_losses(plain, whole, 1e-3)
    for step in ("step-0000003", "step-0000004"):
        assert (whole / "training/mapper/checkpoints" / step / "deepspeed").is_dir()
    before = weights(whole)
    shutil.rmtree(whole / "training/mapper/checkpoints/step-0000004")
    shutil.rmtree(whole / "generator")
    again = weights(launch("whole", *options, **IN_PARTS))
    assert resumed_after(whole) == ["3"]
    for name, weight in weights(plain).items():
        assert torch.equal(before[name], again[name])
        assert (before[name] - weight).norm() <= 2e-2 * weight.norm()


def test_deepspeed_trains_in_half_precision_as_configured(plain, launch):
    half = launch(
        "half", *as_configured("zero2"), "--num_processes", "1", "--mixed_precision", "bf16", mapper__gradient_accumulation=2
    )
    assert processes(half) == "1 process (DEEPSPEED), cpu"
    assert_same_losses(plain, half, 0.02)


def test_a_moving_average_under_deepspeed_is_refused_before_an_older_training_is_moved_aside(again, launch):
    folder = again("trained")
    with pytest.raises(AssertionError, match=r"mapper\.ema does not work under DeepSpeed"):
        launch("trained", *ZERO_2, "--num_processes", "1", mapper__ema=0.5)
    assert not (folder / "training" / "mapper.old").exists()


@pytest.mark.slow
def test_killed_at_random_updates_it_ends_with_the_same_weights(run, prepared, python, tmp_path):
    """kill -9, three times, each later; the last run goes through."""
    steps = {"mapper.epochs": 2, "mapper.max_train_steps": 40, "mapper.checkpoint_every": 2}
    whole = run("whole", **{key.replace(".", "__"): value for key, value in steps.items()})
    folder = Path(shutil.copytree(prepared["run"], tmp_path / "killed"))
    lines, checkpoints = folder / "training/mapper/metrics.jsonl", []
    for update in [*sorted(Random(0).sample(range(1, 20), 3)), None]:
        began = time.time_ns()
        process = subprocess.Popen([python, ROOT / "training/main.py", *arguments(prepared | steps, run=folder)])
        while update and process.poll() is None:
            written = lines.exists() and lines.stat().st_mtime_ns > began  # not what the run before it left
            if written and lines.read_text().count("\n") >= update:
                process.kill()
                break
            time.sleep(0.01)
        assert process.wait(300) == (-signal.SIGKILL if update else 0), f"it ended otherwise at update {update}"
        whole_ones = sorted((folder / "training/mapper/checkpoints").glob("step-*"))
        checkpoints += [str(int(path.name.removeprefix("step-"))) for path in whole_ones[-1:]] if update else []
    assert resumed_after(folder) == checkpoints
    first, second = weights(whole), weights(folder)
    assert all(torch.equal(first[name], second[name]) for name in first)
