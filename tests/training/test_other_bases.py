"""Other kinds of Stable Diffusion than a folder of version 1: each trains, and makes images from what it trained."""

import shutil
import sys
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from config.section import ROOT
from training.pipeline import EmotionPipeline

sys.path.append(str(ROOT / "tests/runtime"))
from single_file import write_hub_cache, write_single_file

SCHEDULE = {"beta_schedule": "scaled_linear", "steps_offset": 1}
WITHOUT_CLIP = {"mapper__attribute_weight": 0, "mapper__emotion_weight": 0}


def half_precision_variants(stable: Path, made: Path) -> Path:
    """A folder that holds model.fp16.safetensors and the like alone, as many downloads do."""
    StableDiffusionPipeline.from_pretrained(stable, safety_checker=None).to(torch.float16).save_pretrained(
        made, variant="fp16"
    )
    return made


def one_file(stable: Path, made: Path) -> Path:
    write_single_file(StableDiffusionPipeline.from_pretrained(stable, safety_checker=None), made.with_suffix(".safetensors"))
    return made.with_suffix(".safetensors")


def version_2_1(stable: Path, made: Path) -> Path:
    """Velocities, linear projections, heads by level, another text encoder, texts padded with a word, as in 2.1."""
    shutil.copytree(stable, made)
    changed = {"use_linear_projection": True, "attention_head_dim": [2, 4], "upcast_attention": True}
    torch.manual_seed(2)
    unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(made / "unet") | changed)
    unet.save_pretrained(made / "unet")
    text = CLIPTextConfig.from_pretrained(made / "text_encoder", hidden_act="gelu", num_hidden_layers=3)
    CLIPTextModel(text).save_pretrained(made / "text_encoder")
    schedule = DDIMScheduler(**SCHEDULE, prediction_type="v_prediction", clip_sample=False)
    schedule.save_pretrained(made / "scheduler")
    pipe = StableDiffusionPipeline.from_pretrained(made, safety_checker=None)
    pipe.tokenizer.pad_token = pipe.tokenizer.convert_ids_to_tokens(0)
    pipe.tokenizer.save_pretrained(made / "tokenizer")
    return made


def turbo(stable: Path, made: Path) -> Path:
    """Few steps from the last timestep on, as SD-Turbo is sampled."""
    shutil.copytree(stable, made)
    EulerDiscreteScheduler(**SCHEDULE, timestep_spacing="trailing").save_pretrained(made / "scheduler")
    return made


@pytest.mark.parametrize(
    ("make", "settings", "sampling"),
    [
        (half_precision_variants, {}, {}),
        (one_file, {}, {}),
        (version_2_1, WITHOUT_CLIP, {}),
        (turbo, {}, {"num_inference_steps": 1, "guidance_scale": 1.0}),
    ],
)
def test_it_trains_and_makes_images(make, settings, sampling, models, run, tmp_path, monkeypatch):
    write_hub_cache(models / "stable_diffusion", tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    base = make(models / "stable_diffusion", tmp_path / "base")
    folder = run("run", models__stable_diffusion=base, mapper__max_train_steps=1, **settings)
    pipe = EmotionPipeline.from_pretrained(folder / "generator")
    pipe.set_progress_bar_config(disable=True)
    options = {"num_inference_steps": 2, "output_type": "np", "generator": torch.Generator().manual_seed(0)} | sampling
    for strength in (0.5, 1.0):
        made = pipe(prompt="a <emotion> tree", emotion="awe", emotion_strength=strength, **options).images
        assert made.shape == (1, 32, 32, 3)
        assert np.isfinite(made).all()
        assert made.std() > 0
