"""The demo's vision-language model, and settings with which it is trained in seconds."""

import pytest
import yaml

from config.loading import load
from config.settings import ROOT, Settings

VLM = ROOT / "demo" / "models" / "vision_language"
QUICK = {
    "questions": {"count": 400, "reasoning": False, "confusable_share": 0.0},
    "grpo": {
        "group": 4,
        "questions_per_step": 8,
        "batch_size": 4,
        "steps_one": 4,
        "steps_two": 2,
        "answer_tokens": 6,
        "learning_rate": 0.001,
        "warmup_steps": 0,
        "schedule": "constant",
        "workers": 0,
        "log_every": 1,
        "evaluate_every": None,
        "evaluated_questions": 192,
        "checkpoint_every": 2,
        "tracker": "none",
        "gradient_checkpointing": False,
    },
    "mining": {"images": 64, "answers": 2, "lowest": 0.4},
    "understanding": {"model": str(VLM), "dtype": "float32", "lora_rank": 4, "lora_alpha": 8},
    "evaluate": {"batch_size": 32},
}


@pytest.fixture
def quick(drawn, tmp_path):
    """Return a function that gives quick settings on the drawn EmoSet, in a run folder of its own, and changed as told."""

    def settings(name: str = "run", **changed) -> Settings:
        places = {"run": str(tmp_path / name), "data": {"emoset": str(drawn), "cache": str(tmp_path / "cache")}}
        sections = {
            section: dict(values) for section, values in (QUICK | places | changed).items() if isinstance(values, dict)
        }
        for section in QUICK.keys() & changed.keys():
            sections[section] = QUICK[section] | changed[section]
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(places | {k: v for k, v in changed.items() if not isinstance(v, dict)} | sections))
        return load(["--config", str(path)])

    return settings
