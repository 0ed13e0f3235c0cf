"""A prepared run of tests/training with an understanding model beside its generator, and the loop on it."""

import importlib.util
import shutil
from pathlib import Path

import pytest

from config.section import ROOT

_spec = importlib.util.spec_from_file_location("training_fixtures", ROOT / "tests" / "training" / "conftest.py")
_fixtures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_fixtures)
models, prepared = _fixtures.models, _fixtures.prepared

DEMO = ROOT / "demo" / "models"


@pytest.fixture(scope="session")
def loop_settings(prepared) -> dict:
    """The settings of a loop of one round, without its run folder."""
    return prepared | {
        "models.clip": DEMO / "clip",  # the tiny one sees no images
        "mapper.attribute_weight": 0,
        "mapper.emotion_weight": 0,
        "generate.steps": 1,
        "generate.guidance_scale": 2.0,
        "generate.batch_size": 8,
        "understanding.model": DEMO / "vision_language",
        "understanding.dtype": "float32",
        "understanding.max_pixels": 4096,
        "answers.reasoning": "false",
        "evaluate.reference": 64,
        "evaluate.pairs": 16,
        "evaluate.fid_network": DEMO / "backbone",
        "evaluate.lpips_network": DEMO / "backbone",
        "evaluate.object_classifier": DEMO / "content",
        "evaluate.scene_classifier": DEMO / "content",
        "evaluate.contents": "tree",
        "loop.judge": DEMO / "judge",
        "loop.rounds": 1,
        "loop.conditions": 8,
        "loop.group": 2,
        "loop.updates": 3,
        "loop.batch_size": 8,
        "loop.held_out": 8,
        "loop.images": 4,
        "loop.candidates": 2,
        "loop.best_of": 2,
    }


@pytest.fixture
def loop_run(prepared, tmp_path):
    """Return a function that gives a new run folder of both halves."""

    def make(name: str = "run") -> Path:
        folder = Path(shutil.copytree(prepared["run"], tmp_path / name))
        (folder / "understanding").mkdir()
        (folder / "understanding" / "model").symlink_to(DEMO / "vision_language")
        return folder

    return make


@pytest.fixture
def base_and_adapter(tmp_path) -> tuple[Path, Path]:
    """A copy of the demo's vision-language model, and an adapter of random weights on it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    from understanding.processor import load_processor

    base, adapter = Path(shutil.copytree(DEMO / "vision_language", tmp_path / "base")), tmp_path / "adapter"
    torch.manual_seed(0)
    lora = LoraConfig(r=2, target_modules=r".*language_model.*\.(q_proj|v_proj)", task_type="CAUSAL_LM")
    get_peft_model(AutoModelForImageTextToText.from_pretrained(base), lora).save_pretrained(adapter)
    load_processor(str(base)).save_pretrained(adapter)
    return base, adapter
