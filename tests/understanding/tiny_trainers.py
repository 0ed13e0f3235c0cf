"""Tiny models of several architectures, GRPO trainers of them, and what one batch gives; for tests of the shared prefix."""

import re
from typing import ClassVar

import numpy as np
import torch
from datasets import Dataset
from peft import LoraConfig
from PIL import Image
from tokenizers import Tokenizer, decoders, models
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPVisionConfig,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3Processor,
    Gemma3TextConfig,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    ProcessorMixin,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Config,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    SiglipVisionConfig,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from trl import GRPOConfig

from understanding.shared_prefix import SharedPrefixGRPOTrainer

SPECIAL = ["<|pad|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
TEXT |= {"initializer_range": 0.2, "vocab_size": 272}  # wide: attention to a wrong token must show
MROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}
G = 4
ENDS = list(range(0, 256, 7))  # many bytes end an answer, so that a random model's answers have unequal lengths


class QwenProcessor(ProcessorMixin):
    """The Qwen-VL processor without its video part, which needs torchvision."""

    return_mm_token_type_ids = True

    def __init__(self, image_processor=None, tokenizer=None, chat_template=None):
        self.image_token, self.image_token_id = "<|image_pad|>", tokenizer.convert_tokens_to_ids("<|image_pad|>")
        super().__init__(image_processor, tokenizer, chat_template=chat_template)

    def replace_image_token(self, image_inputs, image_idx, **kwargs):
        return self.image_token * (image_inputs["image_grid_thw"][image_idx].prod() // self.image_processor.merge_size**2)


class InternProcessor(InternVLProcessor):
    """The InternVL processor without its video part: it cuts an image into tiles, and does not say how many."""

    def __init__(self, image_processor=None, tokenizer=None, chat_template=None):
        names = ("<|image_pad|>", "<|vision_start|>", "<|vision_end|>")
        self.image_token, self.start_image_token, self.end_image_token = names
        self.image_token_id, self.start_image_token_id, self.end_image_token_id = tokenizer.convert_tokens_to_ids(names)
        self.multimodal_pattern, self.image_seq_length = re.compile(r"(?P<image><\|image_pad\|>)"), 4
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)


class Counting:
    """A processor's class with its calls written down."""

    images: ClassVar[list[int]] = []

    def __call__(self, images=None, **kwargs):
        Counting.images.append(0 if images is None else len(images))
        return super().__call__(images=images, **kwargs)


def tokenizer() -> PreTrainedTokenizerFast:
    letters = {letter: i for i, letter in enumerate(sorted(ByteLevel.alphabet()))}
    made = Tokenizer(models.BPE(letters, []))
    made.pre_tokenizer, made.decoder = ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = {"pad_token": "<|pad|>", "eos_token": "<|im_end|>", "additional_special_tokens": SPECIAL}
    return PreTrainedTokenizerFast(tokenizer_object=made, padding_side="left", **special)


def qwen2_5() -> Qwen2_5_VLForConditionalGeneration:
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 4, "out_hidden_size": 32}
    vision |= {"window_size": 56, "fullatt_block_indexes": [1], "initializer_range": 0.2}
    config = Qwen2_5_VLConfig(text_config=TEXT | {"rope_parameters": MROPE}, vision_config=vision, **_ids())
    return Qwen2_5_VLForConditionalGeneration(config)


def qwen3() -> Qwen3VLForConditionalGeneration:
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 4,
        "out_hidden_size": 32,
        "patch_size": 14,
    }
    vision |= {"deepstack_visual_indexes": [0], "num_position_embeddings": 64, "initializer_range": 0.2}
    text = TEXT | {"head_dim": 8, "rope_parameters": MROPE | {"mrope_interleaved": True}}
    return Qwen3VLForConditionalGeneration(Qwen3VLConfig(text_config=text, vision_config=vision, **_ids()))


def llava() -> LlavaForConditionalGeneration:
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4, image_size=56, patch_size=14
    )
    text = LlamaConfig(**TEXT, head_dim=8)
    return LlavaForConditionalGeneration(
        LlavaConfig(vision_config=vision, text_config=text, image_token_id=_ids()["image_token_id"])
    )


def intern() -> InternVLForConditionalGeneration:
    vision = InternVLVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, image_size=28, patch_size=7
    )
    text, image = Qwen2Config(**TEXT), _ids()["image_token_id"]
    return InternVLForConditionalGeneration(InternVLConfig(vision_config=vision, text_config=text, image_token_id=image))


def windowed() -> Qwen2_5_VLForConditionalGeneration:
    model = qwen2_5()
    model.config.text_config.layer_types = ["full_attention", "sliding_attention"]
    model.config.text_config.sliding_window = 64
    return model


def gemma3() -> Gemma3ForConditionalGeneration:
    vision = SiglipVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, image_size=56, patch_size=14
    )
    text = Gemma3TextConfig(**TEXT, head_dim=8, layer_types=["full_attention"] * 2, query_pre_attn_scalar=8)
    ids = {"boi_token_index": 259, "eoi_token_index": 260, "image_token_id": _ids()["image_token_id"]}
    model = Gemma3ForConditionalGeneration(
        Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4, **ids)
    )
    torch.nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight)  # else images are zeros
    return model


def _ids() -> dict[str, int]:
    names = {"image_token_id": "<|image_pad|>", "vision_start_token_id": "<|vision_start|>"}
    found = {name: tokenizer().convert_tokens_to_ids(token) for name, token in names.items()}
    return found | {"video_token_id": 270, "vision_end_token_id": tokenizer().convert_tokens_to_ids("<|vision_end|>")}


def llava_processor(kind: type[LlavaProcessor] = LlavaProcessor) -> LlavaProcessor:
    images = CLIPImageProcessorPil(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56})
    extra = {"patch_size": 14, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    return kind(images, tokenizer(), chat_template=TEMPLATE, image_token="<|image_pad|>", **extra)


def processor_of(model) -> ProcessorMixin:
    if isinstance(model, LlavaForConditionalGeneration):
        return llava_processor(
            type("CountingLlavaProcessor", (Counting, LlavaProcessor), {"__init__": LlavaProcessor.__init__})
        )
    if isinstance(model, Gemma3ForConditionalGeneration):
        images = Gemma3ImageProcessorPil(size={"height": 56, "width": 56})
        words = tokenizer()
        words.boi_token, words.image_token, words.eoi_token = "<|vision_start|>", "<|image_pad|>", "<|vision_end|>"
        words.boi_token_id, words.image_token_id = words.convert_tokens_to_ids([words.boi_token, words.image_token])
        template = TEMPLATE.replace("<|vision_start|><|image_pad|><|vision_end|>", "<|vision_start|>")
        return Gemma3Processor(images, words, chat_template=template, image_seq_length=4)
    if isinstance(model, InternVLForConditionalGeneration):
        images = GotOcr2ImageProcessorPil(size={"height": 28, "width": 28}, max_patches=6)
        template = TEMPLATE.replace("<|vision_start|><|image_pad|><|vision_end|>", "<|image_pad|>")
        return InternProcessor(images, tokenizer(), chat_template=template)
    images = Qwen2VLImageProcessorPil(patch_size=14, merge_size=2, min_pixels=28 * 28, max_pixels=112 * 112)
    counting = type("CountingQwenProcessor", (Counting, QwenProcessor), {"__init__": QwenProcessor.__init__})
    return counting(images, tokenizer(), chat_template=TEMPLATE)


def questions(count: int) -> list[dict]:
    """Questions of unequal length about images of unequal size; the second has the text of the first, on another image."""
    rng = np.random.default_rng(0)
    sizes = [(56, 84), (56, 84), (28, 28), (112, 56)]
    texts = ["Is it awe?", "Is it awe?", "Which of the eight emotions does this image represent?", "Fear, from 0 to 100?"]
    return [
        {
            "prompt": [{"role": "user", "content": texts[i % 4]}],
            "image": Image.fromarray(rng.integers(0, 256, (*sizes[i % 4], 3), dtype=np.uint8)),
            "image_id": f"awe_{i:05}",
        }
        for i in range(count)
    ]


def by_length(completions, **_) -> list[float]:
    """A reward that differs within every group of unequal answers."""
    return [float(len(each[0]["content"].encode()) * 7 % 11) for each in completions]


def make_trainer(
    folder,
    share: bool,
    architecture=qwen2_5,
    lora: bool = False,
    kernel: str = "sdpa",
    compile_decoding: bool = False,
    **options,
):
    """Return a trainer of a seeded tiny model; the same weights for the same architecture."""
    torch.manual_seed(0)
    model = architecture()
    model.generation_config.eos_token_id = ENDS
    model.save_pretrained(folder / architecture.__name__)  # full fine-tuning loads its reference from there
    model = type(model).from_pretrained(folder / architecture.__name__, attn_implementation=kernel)
    arguments = {
        "per_device_train_batch_size": 2 * G,
        "num_generations": G,
        "max_completion_length": 12,
        "beta": 0.1,
        "max_steps": 1,
        "lr_scheduler_type": "constant",
        "gradient_checkpointing": False,
        "report_to": "none",
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
        "use_cpu": True,
        "bf16": False,
    }
    targets = r".*language_model.*\.(q_proj|v_proj|up_proj)"
    adapter = LoraConfig(r=4, target_modules=targets, init_lora_weights=False, task_type="CAUSAL_LM") if lora else None
    made = SharedPrefixGRPOTrainer(
        model,
        by_length,
        GRPOConfig(str(folder / "run"), **arguments | options),
        Dataset.from_list(questions(8)),
        processing_class=processor_of(model),
        peft_config=adapter,
        share_prefix=share,
        compile_decoding=compile_decoding,
    )
    made.model.train()
    return made


def groups(count: int) -> list[dict]:
    """A generation batch: `count` questions, each G times."""
    return [question for question in questions(count) for _ in range(G)]


def answers(count: int, seed: int = 0) -> list[list[int]]:
    """Answers of 1 to 12 tokens, the shorter ones ended by end-of-sequence."""
    rng, end = np.random.default_rng(seed), tokenizer().eos_token_id
    lengths = rng.permutation(np.arange(count) % 12 + 1).tolist()
    return [rng.integers(32, 127, n).tolist() if n == 12 else [*rng.integers(32, 127, n - 1).tolist(), end] for n in lengths]


def scored(trainer, monkeypatch, count: int = 2) -> tuple[dict, torch.Tensor, dict[str, torch.Tensor]]:
    """Return the scored batch of given answers, the policy's log-probabilities, and the gradients of the loss."""
    monkeypatch.setattr(trainer, "_generate_single_turn", lambda *_, **__: (answers(count * G), None))
    batch = trainer._generate_and_score_completions(groups(count))
    trainer.current_gradient_accumulation_steps = 1
    policy = {}
    original = trainer._get_per_token_logps_and_entropies

    def recorded(*args, **kwargs):
        policy["logps"], policy["entropies"], _ = result = original(*args, **kwargs)
        return result

    monkeypatch.setattr(trainer, "_get_per_token_logps_and_entropies", recorded)
    trainer.model.zero_grad()
    trainer._compute_loss(trainer.model, batch).backward()
    gradients = {name: each.grad for name, each in trainer.model.named_parameters() if each.grad is not None}
    return batch, policy, gradients


def assert_same_numbers(plain, shared) -> None:
    (batch, policy, gradients), (batch_shared, policy_shared, gradients_shared) = plain, shared
    assert batch.keys() == batch_shared.keys()
    for name in {
        "ref_per_token_logps",
        "old_per_token_logps",
        "completion_ids",
        "advantages",
        "pixel_values",
    } & batch.keys():
        assert torch.allclose(batch[name].float(), batch_shared[name].float(), rtol=0, atol=1e-5), name
    for name in policy:
        difference = (policy[name] - policy_shared[name]).abs().max().item()
        print(f"{name}: {difference:.1e}")
        assert difference <= 1e-5, name
    assert gradients.keys() == gradients_shared.keys()
    floor = 1e-5 * max(
        each.norm() for each in gradients.values()
    )  # a bias of CLIP's keys has no effect: its gradient is noise
    relative = {
        name: ((each - gradients_shared[name]).norm() / each.norm().clamp(min=floor)).item()
        for name, each in gradients.items()
    }
    print(f"gradients: {max(relative.values()):.1e} of {max(relative, key=relative.get)}")
    assert max(relative.values()) <= 1e-4, max(relative, key=relative.get)
