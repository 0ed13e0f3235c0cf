"""A generator that was hardly trained, settings that measure it in seconds, and a made-up run with its report."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from diffusers import StableDiffusionPipeline
from made_run import make_cross, make_generation, make_understanding, report_of

from config.loading import load
from config.section import ROOT
from config.settings import Settings
from config.taxonomy import DEFAULT, read_taxonomy
from runtime.hub import fingerprints
from training.emotion_space import EmotionSpace
from training.mapper import EmotionMapper
from training.pipeline import GENERATOR

MODELS = ROOT / "demo" / "models"


@pytest.fixture(scope="session")
def generator(tmp_path_factory) -> Path:
    """A generator's folder with a random mapper; not to be changed."""
    return _write_generator(tmp_path_factory.mktemp("run") / "generator", read_taxonomy(DEFAULT).emotions)


@pytest.fixture
def write_generator():
    """Return a function that writes a generator of some emotions, with a random mapper, into a folder."""
    return _write_generator


def _write_generator(folder: Path, emotions: tuple[str, ...]) -> Path:
    folder.mkdir()
    torch.manual_seed(0)
    base = MODELS / "stable_diffusion"
    stable = StableDiffusionPipeline.from_pretrained(base, dtype=torch.float32)
    words = stable.text_encoder.get_input_embeddings().weight.detach()
    mapper = EmotionMapper(dimension=12, width=words.shape[1], tokens=1, hidden_size=16)
    space = EmotionSpace.of(torch.randn(len(emotions), 12) * 4, torch.rand(len(emotions), 12), emotions)
    mapper.start_from(space, words)
    mapper.save_pretrained(folder / "mapper")
    space.save_pretrained(folder / "emotion_space")
    hashes = fingerprints(stable.unet, stable.text_encoder)
    about = {"base": str(base), "base_hashes": hashes, "resolution": 32, "emotions": list(emotions)}
    about["contents"] = {emotion: {"tree": 2, "landfill": 1, "old boot": 1} for emotion in emotions}
    (folder / GENERATOR).write_text(json.dumps(about))
    return folder


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory, drawn) -> Path:
    """A made-up run of both halves, with its report; not to be changed."""
    run = tmp_path_factory.mktemp("run")
    make_generation(run)
    make_understanding(run, drawn)
    make_cross(run)
    return report_of(run, drawn)


@pytest.fixture
def few_resamples(monkeypatch):
    """Let intervals be rough, whose exact ones take a third of an evaluation."""
    monkeypatch.setattr("runtime.figures.RESAMPLES", 50)
    monkeypatch.setattr("evaluation.image_metrics.SUBSETS", 5)


@pytest.fixture
def quick(drawn, generator, tmp_path):
    """Return a function that gives settings which measure the generator in seconds, in a run folder of its own."""

    def settings(name: str = "run", **evaluate) -> Settings:
        content = {
            "run": str(tmp_path / name),
            "data": {"emoset": str(drawn), "cache": str(tmp_path / f"{name}-cache")},
            "models": {"clip": str(MODELS / "clip"), "resolution": 32},
            "generate": {"generator": str(generator), "steps": 2, "batch_size": 16},
            "answers": {"reasoning": False, "tokens": 4},
            "understanding": {"model": str(MODELS / "vision_language"), "dtype": "float32"},
            "evaluate": {
                "generated": 4,
                "images": 16,
                "reference": 80,
                "pairs": 48,
                "batch_size": 32,
                "judge": str(MODELS / "judge"),
                "fid_network": str(MODELS / "backbone"),
                "lpips_network": str(MODELS / "backbone"),
                "object_classifier": str(MODELS / "content"),
                "scene_classifier": str(MODELS / "content"),
                "contents": ["tree"],
                "curve_images": 1,
            }
            | evaluate,
        }
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(content))
        return load(["--config", str(path)])

    return settings
