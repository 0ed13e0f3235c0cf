"""A processor loads with torchvision and without it, and pads on the left."""

import importlib.util
import json
import shutil

import pytest
import torch
from transformers import AutoProcessor

from demo.making.small_vlm import make_processor, make_vlm, save_vlm
from understanding.processor import load_processor

WITHOUT = importlib.util.find_spec("torchvision") is None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    processor = make_processor(0)
    save_vlm(made := tmp_path_factory.mktemp("vlm"), make_vlm(processor.tokenizer), processor)
    return made


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


def test_another_missing_package_is_not_hidden(monkeypatch, folder):
    def missing(*_, **__):
        raise ImportError("no module named sentencepiece")

    monkeypatch.setattr(AutoProcessor, "from_pretrained", missing)
    with pytest.raises(ImportError, match="sentencepiece"):
        load_processor(str(folder))
