"""What is known of a vision-language model before its weights are read: whether it is one, whole, and how large it is."""

import importlib.util
import json
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from torch import nn
from transformers import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModelForImageTextToText,
    PreTrainedConfig,
    ProcessorMixin,
)

from config.data_settings import Machine
from config.errors import UserError, first_line, tell_together
from config.understanding_settings import Understanding
from runtime.hub import hide_loading, load_model, not_found, resolve_model
from runtime.metrics import check_tracker
from understanding.chat import read_chat
from understanding.model import ADAPTER, check_four_bit, check_language_model, check_targets, freeze_vision, lora_config
from understanding.processor import load_processor

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class CheckedModel:
    """A model without the numbers of its weights.

    skeleton: the model on the meta device. weights: how many it has. bytes: what they take in memory. has_adapter: whether
    it is an adapter on a base, and not a whole model.
    """

    skeleton: nn.Module
    weights: int
    bytes: int
    has_adapter: bool


def check_model(understanding: Understanding, name: str, setting: str, download: bool = True) -> CheckedModel:
    """Return what is known of a model by name or folder, without reading its weights. It takes seconds.

    download: get a model of the Hub, to see whether it is whole; else its config and processor alone are looked at.
    Raises UserError, naming `setting`, for what is no chat model that takes an image and text, lacks a processor, a chat
    template or weights, or whose tokenizer is another model's.
    """
    hide_loading(transformers)
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    folder = Path(resolve_model(name))
    has_adapter = (folder / ADAPTER).is_file()
    base, of = name, setting
    if has_adapter:
        base, of = base_of(folder), f"{folder.name}/{ADAPTER}: base_model_name_or_path"
    config = _check_kind(base, of)
    processor = load_processor(str(folder), setting)
    kernel = {"attn_implementation": understanding.attention}
    if download or Path(resolve_model(base)).exists():
        skeleton = load_model(AutoModelForImageTextToText, base, of, device_map="meta", **kernel)
    else:
        with torch.device("meta"):
            skeleton = AutoModelForImageTextToText.from_config(config, **kernel)
    _check_processor(processor, skeleton, name, setting)
    if has_adapter:
        skeleton = _with_adapter(skeleton, folder, setting)
    size = 0.5 if understanding.four_bit else BYTES[understanding.dtype]
    weights = sum(weight.numel() for weight in skeleton.parameters())
    return CheckedModel(skeleton, weights, int(weights * size), has_adapter)


def check_trainable(understanding: Understanding, checked: CheckedModel) -> int:
    """Return how many weights a training would train. Raises UserError where it cannot train the model as the config says.

    The model gets its adapter here, so it is of no further use.
    """
    if checked.has_adapter:
        raise UserError(
            f"understanding.model: {understanding.model} is an adapter; merge it first:"
            f" understanding/merge.py predict.model={understanding.model}"
        )
    model = checked.skeleton
    if not understanding.train_vision:
        check_language_model(model)
        if not understanding.lora_rank:
            freeze_vision(model)
    if understanding.lora_rank:
        check_targets(model, understanding)
        try:
            model = get_peft_model(model, lora_config(understanding))
        except ValueError as error:  # a name that is a linear layer's here and a block's there
            raise UserError(f"understanding.lora_targets: {first_line(error)}") from None
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)


def check_extras(understanding: Understanding, machine: Machine | None = None, trains: bool = False) -> None:
    """Raise UserError for each package and GPU that the config asks for and that is not there. machine: of a training."""

    def precision() -> None:
        if trains and understanding.dtype == "float16" and not torch.cuda.is_available():
            raise UserError("understanding.dtype: float16 trains on a GPU alone, and there is none here; choose bfloat16")

    def kernel() -> None:
        if understanding.attention != "flash_attention_2":
            return
        if not torch.cuda.is_available():
            raise UserError("understanding.attention: flash_attention_2 needs a GPU, and there is none here; choose sdpa")
        if not any(map(importlib.util.find_spec, ("flash_attn", "kernels"))):
            raise UserError("understanding.attention: flash_attn is not installed; pip install flash-attn, or choose sdpa")

    tell_together(
        lambda: understanding.four_bit and check_four_bit(),
        precision,
        kernel,
        lambda: machine and check_tracker(machine.tracker),
    )


def _check_kind(name: str, setting: str) -> PreTrainedConfig:
    folder = Path(resolve_model(name))
    if (folder / "model_index.json").is_file():
        raise UserError(f"{setting}: {name!r} is a diffusion pipeline; name a chat model that takes an image and text")
    try:
        config = AutoConfig.from_pretrained(str(folder) if folder.exists() else name)
    except Exception as error:  # a config that is none makes its readers raise whatever they stumble over
        raise not_found(folder, f"{setting}: {name!r}", first_line(error)) from None
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise UserError(
            f"{setting}: {name!r} is a {config.model_type} model; name a chat model that takes an image and text, such as"
            " Qwen/Qwen2.5-VL-3B-Instruct"
        )
    return config


def _check_processor(processor: ProcessorMixin, model: nn.Module, name: str, setting: str) -> None:
    if not (hasattr(processor, "image_processor") and hasattr(processor, "tokenizer")):
        raise UserError(f"{setting}: {name!r} has a {type(processor).__name__}, which takes no images with text")
    read_chat(processor, setting)
    rows, highest = model.get_input_embeddings().num_embeddings, max(processor.tokenizer.get_vocab().values())
    if highest >= rows:
        raise UserError(
            f"{setting}: the tokenizer of {name!r} is another model's: it has {highest + 1:,} tokens, the model {rows:,}"
        )
    own = set(processor.image_token_ids) - {None}  # of Gemma 3 not image_token_id, which begins an image in a text
    expected = getattr(model.config, "image_token_id", None)
    if own and expected is not None and expected not in own:
        token = ", ".join(map(str, sorted(own)))
        raise UserError(
            f"{setting}: the tokenizer of {name!r} is another model's: an image is its token {token}, the model's {expected}"
        )


def _with_adapter(model: nn.Module, folder: Path, setting: str) -> PeftModel:
    """Return a model with the adapter in a folder on it, without numbers. Raises UserError where the two do not fit."""
    try:
        adapted = get_peft_model(model, LoraConfig.from_pretrained(folder))
        with safe_open(folder / "adapter_model.safetensors", "pt") as file:
            saved = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    except Exception as error:  # of another base, or damaged, it makes peft and safetensors raise what they stumble over
        raise UserError(f"{setting}: {folder} cannot be loaded as an adapter ({first_line(error)})") from None
    own = {key.replace(".default.", "."): each for key, each in adapted.named_parameters() if "lora_" in key}
    if missing := sorted(key for key, each in own.items() if saved.get(key) != tuple(each.shape)):
        some = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise UserError(f"{setting}: {folder} does not fit its base model: it lacks the weights {some}")
    return adapted


def base_of(folder: Path) -> str:
    """Return the base of the adapter in a folder, by name or folder. Raises UserError where none is named."""
    try:
        return str(json.loads((folder / ADAPTER).read_text(encoding="utf-8"))["base_model_name_or_path"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{folder / ADAPTER}: cannot be read as that of an adapter ({first_line(error)})") from None
