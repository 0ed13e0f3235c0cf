"""The folder of a fine-tuned model: an adapter or whole weights, the processor, and a model card."""

import json
import shutil
from pathlib import Path

from accelerate import PartialState

from config.errors import UserError
from runtime.run_folder import is_first_process
from config.section import ROOT
from config.settings import Settings
from runtime.built_folder import building
from emoset.model_card import about_data
from runtime.hub import resolve_model
from understanding.grpo import reward_weights
from understanding.loading import load_processor
from understanding.model import ADAPTER

WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json", ADAPTER)  # of a checkpoint
CARD = """---
{licence}base_model: {base}
tags: [emotion, vision-language, grpo, affective-computing]
---
# A vision-language model that tells the emotion of an image

`{base}`, fine-tuned on {data} by GRPO with binary, multiple-choice and misleading-choice questions.

```python
{use}
```

## Training
- {what}
- Rewards: {rewards}; misleading scored by `{scoring}`.
- Answers: {format}, by {answer_by}; seed {seed}.
{steps}

## Limits
{limits}
- Evaluate it (evaluation/evaluate.py) before you rely on it: the lines above say what was done, not how well.
"""
ADAPTER_USE = """from peft import PeftModel
from transformers import AutoModelForImageTextToText, AutoProcessor

model = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained("{base}"), "path/to/this/folder")
processor = AutoProcessor.from_pretrained("path/to/this/folder")"""
WHOLE_USE = """from transformers import AutoModelForImageTextToText, AutoProcessor

model = AutoModelForImageTextToText.from_pretrained("path/to/this/folder")
processor = AutoProcessor.from_pretrained("path/to/this/folder")"""


def save_result(checkpoint: Path, start: str | Path, folder: Path, settings: Settings, steps: list[str]) -> None:
    """Write what a stage has trained, whole, in place of an older folder. All processes call it.

    checkpoint: the stage's last. start: the model that it started from, by name or folder. steps: what was done, for the
    model card.
    """
    if is_first_process():
        with building(folder, {"what": "understanding model", "steps": steps}) as work:
            for path in (path for kind in WEIGHTS for path in checkpoint.glob(kind)):
                shutil.copy(path, work)
            if not any(work.glob("*.safetensors")):
                raise UserError(
                    f"{checkpoint} holds no weights; in DeepSpeed's settings set stage3_gather_16bit_weights_on_model_save,"
                    " or gather them from there with zero_to_fp32.py"
                )
            load_processor(resolve_model(str(start))).save_pretrained(work)
            if (work / ADAPTER).is_file():
                _name_base(work / ADAPTER, settings.understanding.model)
            (work / "README.md").write_text(_card(settings, steps), encoding="utf-8")
    PartialState().wait_for_everyone()


def _name_base(path: Path, base: str) -> None:
    """Name the base as the config does: where that is a folder of the project, peft has written where the project lies."""
    about = json.loads(path.read_text())
    about["base_model_name_or_path"] = str(Path(base).relative_to(ROOT)) if Path(base).is_relative_to(ROOT) else base
    path.write_text(json.dumps(about, indent=2) + "\n")


def _card(settings: Settings, steps: list[str]) -> str:
    options, rewards = settings.understanding, settings.rewards
    trained = (
        f"LoRA of rank {options.lora_rank} on {', '.join(options.lora_targets)}" if options.lora_rank else "All weights"
    )
    vision = "the vision tower trained too" if options.train_vision else "the vision tower frozen"
    return CARD.format(
        **about_data(settings.data.emoset),
        base=options.model,
        use=(ADAPTER_USE if options.lora_rank else WHOLE_USE).format(base=options.model),
        what=f"{trained}, {vision}.",
        rewards=", ".join(f"{name} x {weight:g}" for name, weight in reward_weights(rewards).items()),
        scoring=rewards.scoring,
        format="`<think>…</think><answer>…</answer>`" if settings.questions.reasoning else "the answer alone",
        answer_by=settings.questions.answer_by,
        seed=settings.seed,
        steps="\n".join(f"- {step}" for step in steps),
    )
