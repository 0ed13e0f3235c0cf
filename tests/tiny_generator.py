"""A generator that was not trained at all, on the demo's Stable Diffusion."""

import json
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline

from config.section import ROOT
from runtime.hub import fingerprints
from training.emotion_space import EmotionSpace
from training.mapper import EmotionMapper
from training.pipeline import GENERATOR

CONTENTS = {"tree": 2, "landfill": 1, "old boot": 1}


def write_random_generator(folder: Path, emotions: tuple[str, ...]) -> Path:
    """Write a generator of some emotions, with a random mapper, that makes images of 32 pixels; return its folder."""
    folder.mkdir()
    torch.manual_seed(0)
    base = ROOT / "demo" / "models" / "stable_diffusion"
    stable = StableDiffusionPipeline.from_pretrained(base, dtype=torch.float32)
    words = stable.text_encoder.get_input_embeddings().weight.detach()
    mapper = EmotionMapper(dimension=12, width=words.shape[1], tokens=1, hidden_size=16)
    space = EmotionSpace.of(torch.randn(len(emotions), 12) * 4, torch.rand(len(emotions), 12), emotions)
    mapper.start_from(space, words)
    mapper.save_pretrained(folder / "mapper")
    space.save_pretrained(folder / "emotion_space")
    hashes = fingerprints(stable.unet, stable.text_encoder)
    about = {"base": str(base), "base_hashes": hashes, "resolution": 32, "emotions": list(emotions)}
    about["contents"] = dict.fromkeys(emotions, CONTENTS)
    (folder / GENERATOR).write_text(json.dumps(about))
    return folder
