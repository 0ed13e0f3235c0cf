"""The demo's vision-language model, and settings with which it is trained in seconds."""

import importlib.util
from pathlib import Path

import pytest
import torch
import yaml
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForImageTextToText

import understanding.grpo
from config.loading import load
from config.section import ROOT
from config.settings import Settings
from emoset.reading import read_emoset
from runtime.run_folder import open_run_folder
from understanding.processor import load_processor
from understanding.questions import draw_questions
from understanding.stages import TrainingData

VLM = ROOT / "demo" / "models" / "vision_language"
QUICK = {
    "questions": {"count": 400, "confusable_share": 0.0},
    "answers": {"reasoning": False, "tokens": 6},
    "machine": {"loaders": 0, "processes": 2, "tracker": "none"},
    "tuning": {"warmup_steps": 0, "log_every": 1, "checkpoint_every": 2, "gradient_checkpointing": False},
    "grpo": {
        "answers": "sampled",
        "group": 4,
        "questions_per_step": 8,
        "batch_size": 4,
        "steps_one": 4,
        "steps_two": 2,
        "learning_rate": 0.001,
        "schedule": "constant",
        "evaluate_every": None,
        "evaluated_questions": 192,
        "evaluation_batch_size": 32,
    },
    "mining": {"images": 64, "lowest": 0.0, "easy_share": 0.0, "batch_size": 32},
    "understanding": {"model": str(VLM), "dtype": "float32", "lora_rank": 4, "lora_alpha": 8},
}


@pytest.fixture
def quick(drawn, tmp_path):
    """Return a function that gives quick settings on the drawn EmoSet, in a run folder of its own, and changed as told."""

    def settings(name: str = "run", **changed) -> Settings:
        content = QUICK | {"run": str(tmp_path / name), "data": {"emoset": str(drawn), "cache": str(tmp_path / "cache")}}
        for key, value in changed.items():
            content[key] = content.get(key, {}) | value if isinstance(value, dict) else value
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(content))
        return load(["--config", str(path)])

    return settings


@pytest.fixture
def vlm() -> Path:
    return VLM


@pytest.fixture
def adapter(tmp_path) -> Path:
    """A folder with an adapter of random weights and its processor; the base's answers are not its answers."""
    torch.manual_seed(0)
    lora = LoraConfig(
        r=4, target_modules=r".*language_model.*\.(q_proj|v_proj)", init_lora_weights=False, task_type="CAUSAL_LM"
    )
    model = get_peft_model(AutoModelForImageTextToText.from_pretrained(VLM), lora)
    model.save_pretrained(tmp_path / "adapter")
    load_processor(str(VLM)).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.fixture
def understanding_script():
    """understanding.py as a module."""
    spec = importlib.util.spec_from_file_location("understanding_script", ROOT / "understanding.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


@pytest.fixture
def fine_tune(understanding_script):
    """understanding.py, run in this process: a function of settings."""
    return lambda settings: understanding_script.fine_tune(settings, open_run_folder(settings, "understanding"))


@pytest.fixture
def trainer(quick, monkeypatch, tmp_path):
    """GRPO's trainer as a step has it, before its first update, and its next generation batch: 4 questions of one text."""
    settings = quick(questions={"binary": 1.0, "multiple": 0.0, "misleading": 0.0}, grpo={"beta": 0.0})
    index = read_emoset(settings.data, tmp_path, 2).index
    images = index[index["split"] == "train"]
    questions = draw_questions(images, settings.data.taxonomy, settings.questions, settings.answers, None, 0)
    questions = [question for question in questions if question.prompt == questions[0].prompt][:4]
    paths = {image_id: settings.data.emoset / path for image_id, path in index[["image_id", "image"]].to_numpy()}
    settings = settings.model_copy(update={"grpo": settings.grpo.model_copy(update={"questions_per_step": 4})})
    ready = []
    monkeypatch.setattr(understanding.grpo.Trainer, "train", lambda made, **_: ready.append(made))
    data = TrainingData("data set", paths, None, [])
    understanding.grpo.train(settings, "step_one", settings.understanding.model, questions, data, 1, tmp_path)
    (made,) = ready
    rows = [row for row in made.train_dataset for _ in range(settings.grpo.group)]
    return made.model.train() and made, rows
