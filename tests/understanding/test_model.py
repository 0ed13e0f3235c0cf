"""The adapter: on the language model alone, or on the vision tower too."""

import pytest
from peft import get_peft_model
from tiny_trainers import llava, qwen2_5, qwen3
from transformers import AutoModelForImageTextToText

import understanding.grpo
from config.errors import UserError
from understanding.grpo import load_trainable
from understanding.model import lora_config


def adapted(model, settings) -> list[str]:
    """Return the names of the adapter's weights."""
    names = [
        name for name, weight in get_peft_model(model, lora_config(settings)).named_parameters() if weight.requires_grad
    ]
    assert names
    assert all("lora_" in name for name in names)
    return names


@pytest.mark.parametrize("architecture", [qwen2_5, qwen3, llava])
def test_the_adapter_is_on_the_language_model_alone(quick, architecture):
    names = adapted(architecture(), quick().understanding)
    assert all("language_model" in name for name in names)
    for target in quick().understanding.lora_targets:
        assert any(f".{target}." in name for name in names)


@pytest.mark.parametrize("architecture", [qwen2_5, llava])
def test_with_train_vision_the_vision_tower_has_some_too(quick, architecture):
    names = adapted(architecture(), quick(understanding={"train_vision": True}).understanding)
    assert any("language_model" in name for name in names)
    assert any("visual" in name or "vision_tower" in name for name in names)


def test_so_it_is_on_the_demos_model(quick, vlm):
    names = adapted(AutoModelForImageTextToText.from_pretrained(vlm), quick().understanding)
    assert all("language_model" in name for name in names)


@pytest.mark.parametrize("lora_rank", [0, 4])
def test_a_model_whose_language_model_has_another_name_is_refused(quick, vlm, monkeypatch, lora_rank):
    model = qwen2_5()
    model.model.decoder = model.model.language_model
    del model.model.language_model
    monkeypatch.setattr(understanding.grpo, "load_whole", lambda *_, **__: model)
    with pytest.raises(UserError, match="no language_model or text_model, so that nothing but its head would be trained"):
        load_trainable(quick(understanding={"lora_rank": lora_rank}), vlm)
    trained, _ = load_trainable(quick(understanding={"lora_rank": lora_rank, "train_vision": True}), vlm)
    assert all(weight.requires_grad for weight in trained.parameters())
