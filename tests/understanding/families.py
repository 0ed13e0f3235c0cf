"""Folders of tiny random models of several families, as their processors without torchvision read them."""

from pathlib import Path

import torch
from tiny_trainers import SPECIAL, TEMPLATE, TEXT, gemma3, intern, qwen3, tokenizer
from transformers import (
    AutoConfig,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
    InternVLProcessor,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionProcessor,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ProcessorMixin,
    Qwen3VLProcessor,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.gemma3.processing_gemma3 import Gemma3Processor
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from understanding.processor import without_video

# As the published ones write turns: an answer after "Assistant:" begins with a space; an assistant's turn is not quite what
# LLaVA-OneVision asks with.
IDEFICS = (
    "<|im_start|>{% for message in messages %}{{ message.role | capitalize }}{% if message.content[0].type == 'image' %}:"
    "{% else %}: {% endif %}{% for part in message.content %}{% if part.type == 'text' %}{{ part.text }}{% else %}<image>"
    "{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
ONEVISION = (
    "{% for message in messages %}<|im_start|>{{ message.role }} {% for part in message.content %}"
    "{% if part.type == 'image' %}<image>{% endif %}{% endfor %}{% for part in message.content %}"
    "{% if part.type == 'text' %}\n{{ part.text }}{% endif %}{% endfor %}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
IMAGE = ["<image>", "<fake_token_around_image>", "<end_of_utterance>", "<global-img>"]
VISION = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


def words(**named: str) -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer whose tokens of images have the names that processors read, as `named` says."""
    made = tokenizer()
    made.add_special_tokens({"additional_special_tokens": [*SPECIAL, *IMAGE]})
    made = PreTrainedTokenizerFast(
        tokenizer_object=made.backend_tokenizer,
        padding_side="left",
        pad_token="<|pad|>",
        eos_token="<|pad|>",  # not what ends a turn
        extra_special_tokens=named or {},
    )
    return made


def qwen() -> tuple[PreTrainedModel, ProcessorMixin]:
    images = Qwen2VLImageProcessorPil(patch_size=14, merge_size=2, min_pixels=28 * 28, max_pixels=56 * 56)
    return qwen3(), without_video(Qwen3VLProcessor)(images, words(), chat_template=TEMPLATE)


def idefics(config=Idefics3Config, kind=Idefics3ForConditionalGeneration) -> tuple[PreTrainedModel, ProcessorMixin]:
    image, text = words().convert_tokens_to_ids("<image>"), AutoConfig.for_model("llama", **TEXT, head_dim=8)
    vision = VISION | {"image_size": 28, "patch_size": 7}
    model = kind(config(vision_config=vision, text_config=text, image_token_id=image, pad_token_id=0, scale_factor=2))
    images = Idefics3ImageProcessorPil(size={"longest_edge": 56}, max_image_size={"longest_edge": 28})
    return model, Idefics3Processor(images, words(), image_seq_len=4, chat_template=IDEFICS)


def smol() -> tuple[PreTrainedModel, ProcessorMixin]:
    return idefics(SmolVLMConfig, SmolVLMForConditionalGeneration)


def onevision() -> tuple[PreTrainedModel, ProcessorMixin]:
    vision = AutoConfig.for_model("siglip_vision_model", **VISION, image_size=28, patch_size=7)
    text, image = AutoConfig.for_model("qwen2", **TEXT), words().convert_tokens_to_ids("<image>")
    grid = [[28, 28], [28, 56], [56, 28]]
    config = LlavaOnevisionConfig(
        vision_config=vision, text_config=text, image_token_index=image, video_token_index=271, image_grid_pinpoints=grid
    )
    images = LlavaOnevisionImageProcessorPil(size={"height": 28, "width": 28}, image_grid_pinpoints=grid)
    extra = {"num_image_tokens": 16, "vision_feature_select_strategy": "full", "chat_template": ONEVISION}
    return LlavaOnevisionForConditionalGeneration(config), without_video(LlavaOnevisionProcessor)(images, words(), **extra)


def internvl() -> tuple[PreTrainedModel, ProcessorMixin]:
    named = {"start_image_token": "<|vision_start|>", "end_image_token": "<|vision_end|>", "video_token": "<global-img>"}
    images = GotOcr2ImageProcessorPil(size={"height": 28, "width": 28}, max_patches=6)
    template = TEMPLATE.replace("<|vision_start|><|image_pad|><|vision_end|>", "<|image_pad|>")
    made = words(**named, context_image_token="<|image_pad|>")
    return intern(), without_video(InternVLProcessor)(images, made, image_seq_length=4, chat_template=template)


def gemma() -> tuple[PreTrainedModel, ProcessorMixin]:
    images = Gemma3ImageProcessorPil(size={"height": 56, "width": 56})
    named = {"boi_token": "<|vision_start|>", "image_token": "<|image_pad|>", "eoi_token": "<|vision_end|>"}
    template = TEMPLATE.replace("<|vision_start|><|image_pad|><|vision_end|>", "<|vision_start|>")
    return gemma3(), Gemma3Processor(images, words(**named), chat_template=template, image_seq_length=4)


def write_family(family, folder: Path) -> Path:
    """Write a seeded tiny model of a family, with its processor, into `folder`."""
    torch.manual_seed(0)
    model, processor = family()
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
