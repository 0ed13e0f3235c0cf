"""The folder of a fine-tuned model: an adapter or whole weights, the processor, and a model card."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from config.errors import UserError
from config.section import ROOT
from config.settings import Settings
from emoset.model_card import about_data
from runtime.built_folder import MARKER, building
from runtime.hub import resolve_model
from runtime.processes import start_process
from runtime.recipe import Recipe, read_recipe
from runtime.run_folder import is_first_process
from understanding import kinds
from understanding.model import ADAPTER
from understanding.processor import load_processor
from understanding.rewards import reward_weights

WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json", ADAPTER)  # of a checkpoint
CARD = """---
{licence}base_model: {base}
tags: [emotion, vision-language, grpo, affective-computing]
---
# A vision-language model that tells the emotion of an image

`{base}`, fine-tuned on {data} with questions of the kinds {kinds}, as told under Training.

```python
{use}
```

## Training
- {what}
- Answers: {format}, by {answer_by}; seed {seed}.
{done}

## Limits
{limits}
- Evaluate it (evaluation/evaluate.py) before you rely on it. The lines above say what was done, and not how well it works.
"""
ADAPTER_USE = """from peft import PeftModel
from transformers import AutoModelForImageTextToText, AutoProcessor

model = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained("{base}"), "path/to/this/folder")
processor = AutoProcessor.from_pretrained("path/to/this/folder")  # needs torchvision"""
WHOLE_USE = """from transformers import AutoModelForImageTextToText, AutoProcessor

model = AutoModelForImageTextToText.from_pretrained("path/to/this/folder")
processor = AutoProcessor.from_pretrained("path/to/this/folder")  # needs torchvision"""


WHAT = "understanding model"  # by which its folder is known


def model_recipe(key: str, done: Sequence[str]) -> Recipe:
    """Return what a model's folder is built from. key: a hash of all that the model was made from. done: what was done."""
    return Recipe(WHAT, {}, {"training": key, "stages": list(done)})


def stages_of(folder: str | Path) -> tuple[str, ...]:
    """Return what was done to a model, a line for each stage, as its folder says; nothing for one that is not of ours."""
    written = read_recipe(Path(folder) / MARKER)
    return tuple(written["inputs"].get("stages", ())) if written else ()


def write_model_folder(
    checkpoint: Path, start: str | Path, folder: Path, settings: Settings, key: str, done: Sequence[str]
) -> None:
    """Write what a stage has trained, whole, in place of an older folder. All processes call it.

    checkpoint: the stage's last. start: the model that it started from, by name or folder. key, done: see model_recipe.
    Raises UserError for a checkpoint without weights.
    """
    if is_first_process():
        with building(folder, model_recipe(key, done)) as work:
            for path in (path for pattern in WEIGHTS for path in checkpoint.glob(pattern)):
                shutil.copy(path, work)
            if not any(work.glob("*.safetensors")):
                raise UserError(
                    f"{checkpoint} holds no weights; in DeepSpeed's settings set stage3_gather_16bit_weights_on_model_save,"
                    " or gather them from there with zero_to_fp32.py"
                )
            load_processor(resolve_model(str(start))).save_pretrained(work)
            if (work / ADAPTER).is_file():
                _name_base(work / ADAPTER, settings.understanding.model)
            (work / "README.md").write_text(_model_card(settings, done), encoding="utf-8")
    start_process().wait_for_everyone()


def _name_base(path: Path, base: str) -> None:
    """Name the base as the config does: where that is a folder of the project, peft has written where the project lies."""
    about = json.loads(path.read_text())
    about["base_model_name_or_path"] = str(Path(base).relative_to(ROOT)) if Path(base).is_relative_to(ROOT) else base
    path.write_text(json.dumps(about, indent=2) + "\n")


def _model_card(settings: Settings, done: Sequence[str]) -> str:
    options, earned = settings.understanding, []
    if settings.grpo.ways:
        weights = reward_weights(settings.questions, settings.rewards).items()
        listed = ", ".join(f"{name} x {weight:g}" for name, weight in weights)
        earned = [f"Rewards: {listed}; scores are rewarded by `{settings.rewards.scoring}`."]
    adapter = f"LoRA of rank {options.lora_rank} on {', '.join(options.lora_targets)}"
    vision = "the vision tower trained too" if options.train_vision else "the vision tower frozen"
    return CARD.format(
        **about_data(settings.data.emoset, settings.data.taxonomy),
        base=options.model,
        kinds=", ".join(name for name, share in kinds.shares(settings.questions).items() if share),
        use=(ADAPTER_USE if options.lora_rank else WHOLE_USE).format(base=options.model),
        what=f"{adapter if options.lora_rank else 'All weights'}, {vision}.",
        format="`<think>…</think><answer>…</answer>`" if settings.answers.reasoning else "the answer alone",
        answer_by=settings.answers.by,
        seed=settings.seed,
        done="\n".join(f"- {line}" for line in [*done, *earned]),
    )
