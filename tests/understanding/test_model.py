"""The adapter: on the language model alone, or on the vision tower too."""

import json

import pytest
from peft import get_peft_model
from safetensors.torch import load_file, save_file
from tiny_trainers import llava, qwen2_5, qwen3
from transformers import AutoModelForImageTextToText

import understanding.trainers
from config.errors import UserError
from understanding.model import check_targets, load_whole, lora_config
from understanding.trainers import load_trainable
from understanding.trl_checkpoints import WholeCheckpoints


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
    monkeypatch.setattr(understanding.trainers, "load_whole", lambda *_, **__: model)
    with pytest.raises(UserError, match="no language_model or text_model, so that nothing but its head would be trained"):
        load_trainable(quick(understanding={"lora_rank": lora_rank}).understanding, vlm)
    trained, _ = load_trainable(quick(understanding={"lora_rank": lora_rank, "train_vision": True}).understanding, vlm)
    assert all(weight.requires_grad for weight in trained.parameters())


def test_all_weights_of_an_adapters_base_are_not_trained(quick, adapter):
    """A checkpoint would hold the adapter alone."""
    with pytest.raises(UserError, match=r"^understanding\.lora_rank: 0 trains all weights, and .* is an adapter; merge it"):
        load_trainable(quick(understanding={"lora_rank": 0}).understanding, adapter)
    load_trainable(quick().understanding, adapter)


def test_a_target_that_no_layer_ends_in_is_refused_in_one_line(quick):
    """peft passes over it where another target matches."""
    of_language = quick(understanding={"lora_targets": ["q_proj", "lm_head"]}).understanding
    with pytest.raises(
        UserError, match=r"^understanding\.lora_targets: no layer of the language model ends in lm_head; .* q_proj, "
    ) as error:
        check_targets(qwen2_5(), of_language)
    assert "\n" not in str(error.value)
    check_targets(qwen2_5(), quick().understanding)
    check_targets(qwen2_5(), quick(understanding={"lora_targets": ["qkv"], "train_vision": True}).understanding)
    with pytest.raises(UserError, match="no layer ends in wrong; its"):
        check_targets(llava(), quick(understanding={"lora_targets": ["wrong"], "train_vision": True}).understanding)


def spoiled(adapter, fault: str) -> None:
    """Change the adapter in a folder so that it does not fit its base."""
    path, config = adapter / "adapter_model.safetensors", adapter / "adapter_config.json"
    weights = load_file(path)
    first = sorted(weights)[0]
    if fault == "lacks":
        del weights[first]
    elif fault == "alone has":
        weights[first.replace("layers.0.", "layers.9.")] = weights[first].clone()
    elif fault == "size mismatch":
        weights[first] = weights[first][:, :8].contiguous()
    save_file(weights, path)
    if fault == "no adapter_model.safetensors":
        path.unlink()
    elif fault == "damaged":
        path.write_bytes(path.read_bytes()[:1000])
    elif fault == "Target modules":
        config.write_text(json.dumps(json.loads(config.read_text()) | {"target_modules": ["c_attn"]}))
    elif fault == "does not say which base":
        config.write_text("{}")


FAULTS = ["lacks", "alone has", "size mismatch", "no adapter_model.safetensors", "damaged", "Target modules"]


@pytest.mark.parametrize("fault", [*FAULTS, "does not say which base"])
def test_an_adapter_that_does_not_fit_its_base_weight_by_weight_is_refused(quick, adapter, fault):
    """peft warns, at most, and answers with random weights."""
    settings = quick().understanding
    load_whole(settings, adapter, "predict.model")
    spoiled(adapter, fault)
    with pytest.raises(UserError, match=rf"^predict\.model: .*{adapter}.*{fault}") as error:
        load_whole(settings, adapter, "predict.model")
    assert "\n" not in str(error.value)
    if fault in ("lacks", "alone has"):
        assert "language_model.layers." in str(error.value)


def test_so_is_a_checkpoint_that_lacks_a_weight_of_the_adapter(quick, adapter):
    trainer = WholeCheckpoints()
    trainer.model = load_whole(quick().understanding, adapter, "understanding.model", trainable=True)
    trainer._load_from_checkpoint(str(adapter))
    spoiled(adapter, "lacks")
    with pytest.raises(UserError, match=r"remove it to resume from an earlier one.* lacks the weights base_model"):
        trainer._load_from_checkpoint(str(adapter))
