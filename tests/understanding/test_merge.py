"""Merged weights answer as the base with its adapter does."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

from config.errors import UserError
from emoset.images import load_image
from understanding import merge
from understanding.model import conversation, load_whole
from understanding.processor import load_processor


def test_merged_weights_give_the_logits_of_base_and_adapter(quick, adapter, drawn):
    settings = quick(predict={"model": str(adapter)})
    merge.main(settings)
    folder = settings.run / "understanding" / "merged"
    assert not (folder / "adapter_config.json").exists()
    processor = load_processor(str(folder))
    text = processor.apply_chat_template(conversation("Which emotion is it?"), add_generation_prompt=True, tokenize=False)
    image = load_image(next((drawn / "image" / "awe").iterdir()))
    inputs = processor(images=[[image]], text=[text], return_tensors="pt")
    models = {
        "merged": AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32),  # without peft
        "adapted": load_whole(settings.understanding, adapter, "predict.model"),
        "base": load_whole(settings.understanding, settings.understanding.model, "understanding.model"),
    }
    with torch.no_grad():
        logits = {name: model.eval()(**inputs).logits for name, model in models.items()}
    torch.testing.assert_close(logits["merged"], logits["adapted"], rtol=1e-3, atol=1e-4)
    assert (logits["merged"] - logits["base"]).abs().max() > 0.1, "the adapter changes something"


def test_another_base_is_merged_anew(quick, adapter, vlm, tmp_path):
    """It is the adapter that names its base, whatever understanding.model says."""
    base, about = shutil.copytree(vlm, tmp_path / "base"), adapter / "adapter_config.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"base_model_name_or_path": str(base)}))
    settings = quick(predict={"model": str(adapter)})
    merge.main(settings)
    merged = settings.run / "understanding" / "merged" / "model.safetensors"
    first = merged.read_bytes()
    save_file({name: each + 1 for name, each in load_file(base / merged.name).items()}, base / merged.name, {"format": "pt"})
    merge.main(settings)
    assert merged.read_bytes() != first


def test_there_must_be_an_adapter(quick, vlm):
    with pytest.raises(UserError, match=r"run/understanding/model is not there; understanding\.py makes one"):
        merge.main(quick())
    with pytest.raises(UserError, match=r"predict\.model: .* holds no adapter, there is nothing to merge"):
        merge.main(quick(predict={"model": str(vlm)}))
