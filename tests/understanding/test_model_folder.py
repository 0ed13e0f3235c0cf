"""The folder of a fine-tuned model: what of a checkpoint goes into it."""

import json

import pytest

from config.errors import UserError
from understanding.model_folder import write_model_folder


def test_a_result_holds_the_adapter_its_processor_and_a_card_and_no_pickles(quick, adapter, vlm, tmp_path):
    for name in ("training_args.bin", "optimizer.pt", "rng_state.pth", "trainer_state.json"):
        (adapter / name).write_text("")
    settings = quick()
    write_model_folder(adapter, settings.understanding.model, tmp_path / "model", settings, "key", ["Step I: 7 updates"])
    assert {path.name for path in (tmp_path / "model").iterdir()} == {
        ".files",
        ".recipe.json",
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "chat_template.jinja",
        "processor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    about = json.loads((tmp_path / "model" / "adapter_config.json").read_text())
    assert about["base_model_name_or_path"] == "demo/models/vision_language", "it names no machine"
    whole, saved = (json.loads((each / "processor_config.json").read_text()) for each in (vlm, tmp_path / "model"))
    assert whole["video_processor"].items() <= saved["video_processor"].items(), "it loads where torchvision is"
    card = (tmp_path / "model" / "README.md").read_text()
    assert "- Step I: 7 updates" in card
    assert "binary x 1, multiple x 1, misleading x 1, format x 0.2; scores are rewarded by `quadratic`" in card
    assert "fine-tuned on EmoSet with questions of the kinds binary, multiple, misleading, as told" in card
    assert "\nlicense_name: emoset-terms\nlicense_link: https://vcc.tech/EmoSet\nbase_model: " in card


def test_a_checkpoint_without_weights_is_no_result(quick, tmp_path):
    """As ZeRO-3 writes it where it is not told to gather them."""
    (tmp_path / "checkpoint-2").mkdir()
    (tmp_path / "checkpoint-2" / "config.json").write_text("{}")
    settings = quick()
    with pytest.raises(UserError, match="checkpoint-2 holds no weights"):
        write_model_folder(tmp_path / "checkpoint-2", settings.understanding.model, tmp_path / "model", settings, "", [])
    assert not (tmp_path / "model").exists()
