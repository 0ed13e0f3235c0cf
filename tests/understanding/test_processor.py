"""A processor loads with torchvision and without it, and pads on the left."""

import importlib.util
import json
import shutil

import pytest
from families import smol, write_family
from transformers import AutoProcessor
from transformers.models.smolvlm import processing_smolvlm

from config.errors import UserError
from understanding.asking import GREY
from understanding.chat import read_chat
from understanding.model import conversation
from understanding.processor import load_processor

WITHOUT = importlib.util.find_spec("torchvision") is None


@pytest.fixture
def folder(vlm):
    return vlm


def test_it_loads_and_pads_on_the_left(folder):
    processor = load_processor(str(folder))
    assert type(processor).__name__ == "Qwen2_5_VLProcessor"
    assert processor.tokenizer.padding_side == "left"
    assert processor.image_token == "<|image_pad|>"
    assert processor.apply_chat_template([{"role": "user", "content": "hi"}]) == "<|im_start|>user\nhi<|im_end|>\n"


@pytest.mark.skipif(not WITHOUT, reason="torchvision is installed: the processor loads whole")
def test_without_torchvision_the_plain_way_fails_and_the_video_part_is_left_out(folder):
    with pytest.raises(ImportError, match="Torchvision"):
        AutoProcessor.from_pretrained(folder)
    assert not hasattr(load_processor(str(folder)), "video_processor")


def test_a_processor_saved_again_loads_again_and_keeps_its_video_part(folder, tmp_path):
    load_processor(str(folder)).save_pretrained(tmp_path)
    assert load_processor(str(tmp_path)).tokenizer.get_vocab() == load_processor(str(folder)).tokenizer.get_vocab()
    whole, saved = (json.loads((each / "processor_config.json").read_text()) for each in (folder, tmp_path))
    assert whole["video_processor"].items() <= saved["video_processor"].items()


def test_a_processor_saved_without_its_video_part_loads(folder, tmp_path):
    load_processor(str(folder)).save_pretrained(tmp_path)
    about = json.loads((tmp_path / "processor_config.json").read_text())
    del about["video_processor"]
    (tmp_path / "processor_config.json").write_text(json.dumps(about))
    assert not hasattr(load_processor(str(tmp_path)), "video_processor")


@pytest.mark.skipif(not WITHOUT, reason="torchvision is installed: the processor loads whole")
def test_an_older_folder_that_names_no_processor_loads_by_its_config(folder, tmp_path):
    """As of the published Qwen2.5-VL: preprocessor_config.json, and no processor_config.json."""
    for path in folder.iterdir():
        if path.suffix != ".safetensors":
            shutil.copy(path, tmp_path)
    images = json.loads((tmp_path / "processor_config.json").read_text())["image_processor"]
    (tmp_path / "processor_config.json").unlink()
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(images))
    processor = load_processor(str(tmp_path))
    assert processor.image_processor.patch_size == 8
    assert processor.chat_template
    processor.save_pretrained(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "processor_config.json").read_text())["video_processor"] == images


def test_another_missing_package_is_told_in_one_line(monkeypatch, folder):
    def missing(*_, **__):
        raise ImportError("no module named sentencepiece\nPlease install it")

    monkeypatch.setattr(AutoProcessor, "from_pretrained", missing)
    with pytest.raises(UserError, match=r"^predict\.model: .* needs a package \(no module named sentencepiece\)$"):
        load_processor(str(folder), "predict.model")


@pytest.mark.skipif(not WITHOUT, reason="torchvision is installed: the processor loads whole")
def test_smolvlms_processor_loads_without_its_video_part_or_names_the_package_that_it_lacks(tmp_path, monkeypatch):
    """It demands a video part, and a package that spells numbers in prompts about videos."""
    write_family(smol, tmp_path)
    for name in ("processor_config.json", "tokenizer_config.json"):
        path = tmp_path / name
        path.write_text(path.read_text().replace("Idefics3Processor", "SmolVLMProcessor"))
    monkeypatch.setattr(processing_smolvlm, "num2words", None)
    with pytest.raises(UserError, match=r"needs a package \(.*num2words"):
        load_processor(str(tmp_path))
    monkeypatch.setattr(processing_smolvlm, "num2words", str)
    processor = load_processor(str(tmp_path))
    assert type(processor).__name__ == "SmolVLMProcessor"
    chat = read_chat(processor)
    assert chat.inputs([chat.prompt(conversation("Is it awe?"))], [GREY]).pixel_values.size(1) > 1, "it is cut into tiles"


def test_a_tokenizer_alone_is_no_processor(folder, tmp_path):
    shutil.copy(folder / "tokenizer.json", tmp_path)
    about = json.loads((folder / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(about | {"processor_class": None}))
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
    with pytest.raises(UserError, match="has no processor of images and text"):
        load_processor(str(tmp_path))
