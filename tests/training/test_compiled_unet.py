"""mapper.compile: the same training by compiled kernels, and wrong gradients found before anything is trained by them."""

import shutil
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from mapper_runs import (
    assert_close,
    assert_same_losses,
    gradients,
    killed_after_two_updates,
    metrics,
    resumed_after,
    weights,
)

from config.errors import UserError


@pytest.fixture(scope="module")
def small(models, tmp_path_factory) -> Path:
    """Stable Diffusion whose U-Net is small enough to be compiled in a test."""
    folder = Path(shutil.copytree(models / "stable_diffusion", tmp_path_factory.mktemp("small") / "stable_diffusion"))
    torch.manual_seed(0)
    UNet2DConditionModel(
        sample_size=8,
        down_block_types=("CrossAttnDownBlock2D",),
        mid_block_type=None,
        up_block_types=("CrossAttnUpBlock2D",),
        block_out_channels=(8,),
        layers_per_block=1,
        cross_attention_dim=32,
        attention_head_dim=2,
        norm_num_groups=4,
    ).save_pretrained(folder / "unet")
    return folder


def test_compiled_or_not_gradients_and_losses_are_the_same_and_a_run_resumes(run, small, monkeypatch):
    own = {"models__stable_diffusion": small, "mapper__checkpoints_kept": 9}
    plain, fast = run("plain", **own), run("compiled", **own, mapper__compile="true")
    assert_close(gradients(plain), gradients(fast), 1e-4)
    assert_same_losses(plain, fast)
    assert "the compiled U-Net's gradients lie" in (fast / "training/log.txt").read_text()

    with killed_after_two_updates(monkeypatch), pytest.raises(KeyboardInterrupt):
        run("resumed", **own, mapper__compile="true")
    resumed = run("resumed", **own, mapper__compile="true")
    assert resumed_after(resumed) == ["2"]
    assert metrics(resumed) == metrics(fast)
    first, second = weights(fast), weights(resumed)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_it_compiles_lora_and_checkpointed_gradients_of_a_batch_in_parts(run, small):
    own = {"models__stable_diffusion": small, "mapper__gradient_accumulation": 2, "mapper__batch_size": 4}
    own |= {"mapper__lora_rank": 2, "mapper__gradient_checkpointing": "true", "mapper__max_train_steps": 1}
    plain, fast = run("plain", **own), run("compiled", **own, mapper__compile="true")
    assert_close(gradients(plain), gradients(fast), 1e-4)
    assert_same_losses(plain, fast)


def test_gradients_that_a_compiler_got_wrong_end_the_run_though_the_losses_are_right(run, monkeypatch):
    from training import training_module
    from training.compiled_unet import plain

    def wrong(unet):
        return lambda noisy, timesteps, states: plain(unet)(noisy, timesteps, states + 0.1 * (states - states.detach()))

    monkeypatch.setattr(training_module, "compiled", wrong)
    with pytest.raises(UserError, match=r"mapper\.compile: .* lie 0\.\d+ of their norm from the plain ones.*compile=false"):
        run("wrong", mapper__compile="true")


def test_a_compiler_that_fails_is_told_in_one_line(run, small, monkeypatch):
    from training import training_module
    from training.compiled_unet import plain

    def failing(graph, inputs):
        raise OSError("no C++ compiler\nand a long trace")

    monkeypatch.setattr(training_module, "compiled", lambda unet: torch.compile(plain(unet), backend=failing))
    with pytest.raises(UserError, match=r"torch\.compile failed \(no C\+\+ compiler\); set mapper\.compile=false$"):
        run("failing", models__stable_diffusion=small, mapper__compile="true")


def test_deepspeed_is_refused(run, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(UserError, match=r"mapper\.compile does not work under DeepSpeed: .*Set mapper\.compile=false"):
        run("deepspeed", mapper__compile="true")
