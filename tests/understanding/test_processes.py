"""The whole of a training, on one process and on two: the same weights."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

SCRIPT = Path(__file__).with_name("whole_training.py")
TWO = ["--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--use_deepspeed"]
LAUNCHERS = {
    "NO": [],
    "MULTI_CPU": ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"],
    "DEEPSPEED": ["-m", "accelerate.commands.launch", *TWO, "--zero_stage", "2"],
}


@pytest.mark.parametrize("kind", ["MULTI_CPU", pytest.param("DEEPSPEED", marks=pytest.mark.slow)])
def test_two_processes_train_the_weights_of_one(quick, kind):
    """Both steps' worth of it: sampled groups, rewards, advantages, KL, accumulation, updates, checkpoints."""
    trained = {}
    for launcher in ("NO", kind):
        settings = quick(launcher, grpo={"steps_one": 3, "steps_two": 0, "learning_rate": 1.0, "beta": 0.1})
        config = settings.run.with_suffix(".yaml")
        environment = os.environ | {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, *LAUNCHERS[launcher], str(SCRIPT), str(config)]
        result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=500)
        assert result.returncode == 0, result.stderr[-3000:]
        folder = settings.run / "understanding"
        assert (f" on 2 processes ({kind})" in (folder / "log.txt").read_text()) == (launcher == kind)
        trained[launcher] = load_file(folder / "model" / "adapter_model.safetensors")
    moved = {name: one for name, one in trained["NO"].items() if "lora_B" in name}
    assert all(one.any() for one in moved.values()), "lora_B starts from zero"
    for name, one in moved.items():
        assert (one - trained[kind][name]).norm() <= 1e-3 * one.norm(), name
