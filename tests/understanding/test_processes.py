"""The whole of a training on one process and on two, by DDP and by ZeRO-2: the same weights."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

SCRIPT = Path(__file__).with_name("whole_training.py")
TWO = ["--num_processes", "2", "--num_machines", "1", "--main_process_port", "0", "--mixed_precision", "no"]
TWO += ["--dynamo_backend", "no", "--use_deepspeed"]
LAUNCHERS = {
    "NO": [],
    "MULTI_CPU": ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"],
    "DEEPSPEED": ["-m", "accelerate.commands.launch", *TWO, "--zero_stage", "2"],
}


@pytest.mark.slow
def test_two_processes_train_the_weights_of_one(quick):
    """Groups, rewards, advantages, KL, accumulation, updates, checkpoints; what is left to differ is rounding."""
    trained = {}
    for launcher, launch in LAUNCHERS.items():
        settings = quick(launcher, grpo={"steps_one": 3, "steps_two": 0, "learning_rate": 1.0, "beta": 0.1})
        environment = os.environ | {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, *launch, str(SCRIPT), str(settings.run.with_suffix(".yaml"))]
        result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=500)
        assert result.returncode == 0, result.stderr[-3000:]
        folder = settings.run / "understanding"
        assert (f" on 2 processes ({launcher})" in (folder / "log.txt").read_text()) == (launcher != "NO")
        trained[launcher] = load_file(folder / "model" / "adapter_model.safetensors")
    alone = {name: weight for name, weight in trained["NO"].items() if "lora_B" in name}
    assert all(weight.any() for weight in alone.values()), "they start from zero"
    for launcher in ("MULTI_CPU", "DEEPSPEED"):
        for name, weight in alone.items():
            assert (weight - trained[launcher][name]).norm() <= 1e-3 * weight.norm(), (launcher, name)
