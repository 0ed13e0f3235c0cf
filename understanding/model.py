"""Vision-language models: the base that the config names, an adapter on it, and what a result's folder holds."""

import importlib.util
import json
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel
from PIL import Image
from safetensors import SafetensorError
from torch import nn
from transformers import AutoModelForImageTextToText, BitsAndBytesConfig, PreTrainedModel

from config.errors import UserError
from config.understanding_settings import Understanding
from runtime.hub import load_model, resolve_model

ADAPTER = "adapter_config.json"
LANGUAGE = ("language_model", "text_model")  # what vision-language models call their language model
LONGEST = 100  # times as long as wide an image may be; processors refuse from 200
PADDING = (128, 128, 128)  # around an image that is longer


def check_four_bit() -> None:
    """Raise UserError where no weights of 4 bits can be had."""
    if not torch.cuda.is_available():
        raise UserError("understanding.four_bit: needs a GPU, and there is none here; set it to false")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(
            "understanding.four_bit: bitsandbytes is not installed; pip install bitsandbytes, or set it to false"
        )


def load_base(settings: Understanding, name: str, setting: str = "understanding.model") -> PreTrainedModel:
    """Return the model `name`, on the CPU but for 4 bits. Raises UserError where there is none, naming `setting`."""
    options = dict(dtype=getattr(torch, settings.dtype), attn_implementation=settings.attention)
    if settings.four_bit:
        check_four_bit()
        options["device_map"] = {"": torch.cuda.current_device()}
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=options["dtype"],
        )
    return load_model(AutoModelForImageTextToText, name, setting, **options)


def load_whole(
    settings: Understanding, name: str | Path, setting: str, trainable: bool = False
) -> PreTrainedModel | PeftModel:
    """Return a model by name or folder; where the folder holds an adapter, its base with the adapter on it."""
    folder = Path(resolve_model(str(name)))
    if not (folder / ADAPTER).is_file():
        return load_base(settings, str(name), setting)
    try:
        base = json.loads((folder / ADAPTER).read_text())["base_model_name_or_path"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{setting}: {folder / ADAPTER} does not say which base its adapter is for ({error})") from None
    model = load_base(settings, base, f"{folder.name}/{ADAPTER}: base_model_name_or_path")
    with _fitting(folder, setting), warnings.catch_warnings(action="ignore"):  # of what is an error here
        adapted = PeftModel.from_pretrained(model, folder, is_trainable=trainable)
    load_adapter(adapted, folder, setting, trainable)
    return adapted


def check_whole(settings: Understanding, name: str | Path) -> None:
    """Raise UserError where all weights of an adapter's base would be trained: a checkpoint holds the adapter alone."""
    if not settings.lora_rank and (Path(resolve_model(str(name))) / ADAPTER).is_file():
        raise UserError(
            f"understanding.lora_rank: 0 trains all weights, and {name} is an adapter; merge it first"
            f" (understanding/merge.py predict.model={name}), or set a rank of 1 or more"
        )


def load_adapter(model: PeftModel, folder: str | Path, setting: str, trainable: bool) -> None:
    """Load an adapter's weights in place of the model's. Raises UserError, naming folder and setting, if some do not fit.

    peft leaves weights that the folder lacks as they were, and passes over those that the model has no place for.
    """
    with _fitting(folder, setting):
        loading = model.load_adapter(str(folder), model.active_adapter, is_trainable=trainable)
    for problem, names in (("lacks", loading.missing_keys), ("alone has", loading.unexpected_keys)):
        if names:
            some = ", ".join(sorted(names)[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            raise UserError(f"{setting}: {folder} does not fit its base model: it {problem} the weights {some}")


@contextmanager
def _fitting(folder: str | Path, setting: str) -> Iterator[None]:
    """Turn what peft raises of an adapter that cannot be loaded into one line that names its folder."""
    if not any((Path(folder) / name).is_file() for name in ("adapter_model.safetensors", "adapter_model.bin")):
        raise UserError(f"{setting}: {folder} has an {ADAPTER}, but no adapter_model.safetensors")
    try:
        yield
    except (ValueError, RuntimeError, KeyError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{setting}: the adapter in {folder} does not fit the model or is damaged ({reason})") from None


def lora_config(settings: Understanding) -> LoraConfig:
    """Return the adapter: on the language model alone, whose layers' names the vision tower's may share."""
    names = "|".join(map(re.escape, settings.lora_targets))
    return LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=0.0,  # drawn once for a shared prompt and once for each answer, it would make them differ
        target_modules=_layers_ending_in(names, settings),
        task_type="CAUSAL_LM",
    )


def check_targets(model: PreTrainedModel, settings: Understanding) -> None:
    """Raise UserError for each of `understanding.lora_targets` that no linear layer ends in: peft would pass over it."""
    linear = [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    patterns = {target: _layers_ending_in(re.escape(target), settings) for target in settings.lora_targets}
    nothing = [target for target, pattern in patterns.items() if not any(re.fullmatch(pattern, name) for name in linear)]
    if nothing:
        where, anything = "" if settings.train_vision else " of the language model", _layers_ending_in(r"\w+", settings)
        ends = ", ".join(dict.fromkeys(name.rpartition(".")[2] for name in linear if re.fullmatch(anything, name)))
        raise UserError(
            f"understanding.lora_targets: no layer{where} ends in {' or '.join(nothing)}; its linear layers end in {ends}"
        )


def _layers_ending_in(names: str, settings: Understanding) -> str:
    """Return a pattern of the full names of layers that may get an adapter, whose last parts match the pattern `names`."""
    where = "" if settings.train_vision else rf"(?=.*\b(?:{'|'.join(LANGUAGE)})\b)"
    return rf"{where}.*\.({names})"


def check_language_model(model: PreTrainedModel) -> None:
    """Raise UserError where the language model has another name: nothing but the head would be trained."""
    if not any(part in name for name, _ in model.named_parameters() for part in LANGUAGE):
        raise UserError(
            f"understanding.model: a {type(model).__name__} has no {' or '.join(LANGUAGE)}, so that nothing but its head"
            " would be trained; understanding.train_vision=true trains all of it"
        )


def freeze_vision(model: PreTrainedModel) -> None:
    """Let everything but the language model and its head keep its weights."""
    for name, weight in model.named_parameters():
        weight.requires_grad_(any(part in name for part in (*LANGUAGE, "lm_head")))


def bounded(image: Image.Image, max_pixels: int) -> Image.Image:
    """Return the image, shrunk to at most `max_pixels`, its aspect kept; one longer than LONGEST is padded up to that."""
    width, height = image.size
    wide, high = max(width, -(-height // LONGEST)), max(height, -(-width // LONGEST))
    scale = min(1.0, (max_pixels / (wide * high)) ** 0.5)
    if scale < 1:
        width, height, wide, high = (max(1, int(side * scale)) for side in (width, height, wide, high))
        image = image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3)
    if (wide, high) == image.size:
        return image
    padded = Image.new("RGB", (wide, high), PADDING)
    padded.paste(image, ((wide - width) // 2, (high - height) // 2))
    return padded


def conversation(prompt: str) -> list[dict]:
    """Return the chat that asks one question about one image, as TRL and processors read it."""
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}]
