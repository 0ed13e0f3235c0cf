"""Tiny models of Stable Diffusion's architecture with random weights, and a prepared run; made once, not to be changed."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> Path:
    """A folder with stable_diffusion/ (32 pixels, 4 x 8 x 8 latents), clip/ and backbone/ (a ResNet)."""
    import torch
    from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPConfig, CLIPModel, ResNetConfig, ResNetModel

    from demo.making.small_models import make_tokenizer, text_tower

    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    tokenizer = make_tokenizer(0)
    size = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2)
    ids = dict(bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    text = dict(vocab_size=len(tokenizer), max_position_embeddings=tokenizer.model_max_length, **size, **ids)
    clip = CLIPModel(
        CLIPConfig(text_config=text, vision_config=dict(image_size=32, patch_size=8, **size), projection_dim=24)
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 16),
        latent_channels=4,
        norm_num_groups=4,
        sample_size=32,
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=1,
        cross_attention_dim=32,
        attention_head_dim=2,
        norm_num_groups=8,
    )
    schedule = DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, clip_sample=False
    )
    StableDiffusionPipeline(
        vae, text_tower(clip), tokenizer, unet, schedule, None, None, requires_safety_checker=False
    ).save_pretrained(folder / "stable_diffusion")
    clip.save_pretrained(folder / "clip")
    tokenizer.save_pretrained(folder / "clip")
    backbone = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    ResNetModel(backbone).save_pretrained(folder / "backbone")
    return folder


@pytest.fixture(scope="session")
def generator(models, tmp_path_factory) -> Path:
    """A generator's folder with a random mapper and eight Gaussians far apart."""
    import torch
    from diffusers import StableDiffusionPipeline

    from runtime.hub import fingerprints
    from training.emotion_space import EmotionSpace
    from training.mapper import EmotionMapper
    from training.pipeline import GENERATOR

    folder = tmp_path_factory.mktemp("generator")
    torch.manual_seed(Random(1).randrange(1000))
    stable = StableDiffusionPipeline.from_pretrained(models / "stable_diffusion")
    mapper = EmotionMapper(dimension=12, width=32, tokens=2, hidden_size=16)
    space = EmotionSpace.of(torch.randn(8, 12) * 4, torch.rand(8, 12))
    mapper.start_from(space, stable.text_encoder.get_input_embeddings().weight.detach())
    mapper.save_pretrained(folder / "mapper")
    space.save_pretrained(folder / "emotion_space")
    about = {
        "base": str(models / "stable_diffusion"),
        "base_hashes": fingerprints(stable.unet, stable.text_encoder),
        "resolution": 32,
        "emotions": list(space.emotions),
    }
    (folder / GENERATOR).write_text(json.dumps(about))
    return folder


@pytest.fixture(scope="session")
def with_lora(generator, models, tmp_path_factory) -> Path:
    """The folder of a generator with a LoRA."""
    import torch
    from diffusers import UNet2DConditionModel
    from peft import LoraConfig

    from training.emotion_lora import LORA, save_lora

    folder = tmp_path_factory.mktemp("lora") / "generator"
    shutil.copytree(generator, folder)
    unet = UNet2DConditionModel.from_pretrained(models / "stable_diffusion" / "unet")
    torch.manual_seed(1)
    targets = [f"attn2.{part}" for part in ("to_q", "to_k", "to_v", "to_out.0")]
    config = LoraConfig(r=2, lora_alpha=2, init_lora_weights=False, target_modules=targets)
    unet.add_adapter(config, adapter_name=LORA)
    save_lora(folder, unet)
    return folder


@pytest.fixture
def write_published():
    """Return a function that writes a made-up publication, as EmoGen's repository is, and returns its classifier."""
    import torch

    from config.taxonomy import DEFAULT, read_taxonomy

    def write(folder: Path, features: int = 5) -> torch.nn.Linear:
        (folder / "emo_space").mkdir(parents=True, exist_ok=True)
        (folder / "weights/Clip_emotion_classifier").mkdir(parents=True, exist_ok=True)
        for label, emotion in enumerate(read_taxonomy(DEFAULT).emotions):
            torch.save(torch.full((6,), float(label)), folder / f"emo_space/{emotion}_mean_v2.pt")
            torch.save(torch.full((6,), label + 0.5, dtype=torch.float64), folder / f"emo_space/{emotion}_std_v2.pt")
        layer = torch.nn.Linear(features, 8)
        weights = {f"fc.{name}": value for name, value in layer.state_dict().items()}
        torch.save(weights, folder / "weights/Clip_emotion_classifier/time_2023-11-12_03-29-best.pth")
        return layer

    return write


@pytest.fixture(scope="session")
def prepared(drawn, models, tmp_path_factory) -> dict:
    """Settings of a run whose balanced set, caches and emotion space are made; a test copies its run folder."""
    from accelerate.state import AcceleratorState
    from mapper_runs import arguments

    from config.loading import load
    from training import dataset_balance
    from training import main as script

    folder = tmp_path_factory.mktemp("prepared")
    settings = {
        "run": folder / "run",
        "data.emoset": drawn,
        "data.attribute_root": folder / "attributes",
        "data.cache": folder / "cache",
        "models.stable_diffusion": models / "stable_diffusion",
        "models.clip": models / "clip",
        "models.backbone": models / "backbone",
        "models.resolution": 32,
        "emotion_space.dimension": 16,
        "emotion_space.image_size": 32,
        "emotion_space.epochs": 1,
        "mapper.hidden_size": 32,
        "mapper.batch_size": 8,
        "mapper.max_train_steps": 4,
        "mapper.warmup_steps": 1,
        "mapper.max_gradient_norm": 1e6,  # clipping would hide a gradient of the wrong scale
        "mapper.log_every": 1,
        "mapper.sample_every": "null",
        "mapper.checkpoint_every": 1,
        "machine.loaders": 0,
        "machine.tracker": "none",
    }
    dataset_balance.main(load(arguments(settings)))
    AcceleratorState._reset_state(reset_partial_state=True)  # as in train_in
    script.main(load(arguments(settings, **{"mapper.max_train_steps": 1})))
    shutil.rmtree(folder / "run" / "training" / "mapper")
    return settings


@pytest.fixture
def sigterm(monkeypatch) -> Iterator[Callable[[], None]]:
    """A function that sends SIGTERM to this process, which hears it as a script does; the next run has not heard of it."""
    from runtime import stopping

    before = signal.signal(signal.SIGTERM, stopping._on_sigterm)
    monkeypatch.setattr(stopping, "_asked_at", None)
    agree, agreed = stopping.stop, []

    def stop(done: str) -> None:
        monkeypatch.setattr(stopping, "_asked_at", None)
        agreed.append(done)
        agree(done)

    for module in ("training.mapper_training", "training.encoder_training"):
        monkeypatch.setattr(f"{module}.stop", stop)
    yield lambda: os.kill(os.getpid(), signal.SIGTERM) if not agreed else None
    signal.signal(signal.SIGTERM, before)


def train_in(folder: Path, prepared: dict, **changed) -> Path:
    """Train in a run folder, a copy of the prepared one if it is not there, and return it."""
    from accelerate.state import AcceleratorState
    from mapper_runs import arguments

    from config.loading import load
    from training import main as script

    if not folder.exists():
        shutil.copytree(prepared["run"], folder)
    AcceleratorState._reset_state(reset_partial_state=True)  # else the first run's precision is that of all
    script.main(load(arguments(prepared, run=folder, **changed)))
    return folder


@pytest.fixture(scope="session")
def plain(prepared, tmp_path_factory) -> Path:
    """A run folder that was trained with the prepared settings, all checkpoints kept; not to be changed."""
    return train_in(tmp_path_factory.mktemp("plain") / "run", prepared, mapper__checkpoints_kept=9)


@pytest.fixture
def run(prepared, tmp_path):
    """Return a function that trains with other settings, each in a run folder of its own, and returns that folder."""
    return lambda name, **changed: train_in(tmp_path / name, prepared, **changed)


@pytest.fixture
def again(plain, run, tmp_path):
    """Return a function that trains with other settings in a copy of `plain`, and returns that folder."""

    def train(name: str = "again", **changed) -> Path:
        if not (tmp_path / name).exists():
            shutil.copytree(plain, tmp_path / name)
        return run(name, mapper__checkpoints_kept=9, **changed)

    return train
