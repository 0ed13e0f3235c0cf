"""The demo's tiny Qwen2.5-VL: its processor, its model, how its tower learns to see, and the folder that holds them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    ProcessorMixin,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Tokenizer,
    Qwen2VLImageProcessorPil,
    ResNetModel,
)

from config.understanding_settings import Answers
from demo.drawn.world import EMOTIONS
from demo.making.captions import draw_content
from demo.making.content_questions import ask_content, completion
from demo.making.small_models import CONTENTS, SIZE, Images, Loss
from understanding.answers import TAGS
from understanding.kinds import binary, misleading, multiple
from understanding.processor import without_video

PATCH, MERGE, FRAMES = 8, 2, 2  # an image is two equal frames, as in Qwen2.5-VL
IMAGE_TOKENS = (SIZE // PATCH // MERGE) ** 2
VOCABULARY = 1000
KINDS = (binary, multiple, misleading)  # of the questions about emotion that the committed model has learned
SPECIAL = ["endoftext", "im_start", "im_end", "vision_start", "vision_end", "image_pad", "video_pad"]
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part.type == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_processor(seed: int) -> ProcessorMixin:
    """Return a Qwen2.5-VL processor for images of SIZE, with byte-pair encoding learned from the questions and answers."""
    blank = Qwen2Tokenizer().backend_tokenizer
    learned = Tokenizer(models.BPE())
    learned.normalizer, learned.pre_tokenizer = blank.normalizer, blank.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIAL) - len(TAGS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        min_frequency=2,
    )
    learned.train_from_iterator(_texts(seed), trainer)
    bpe = json.loads(learned.to_str())["model"]
    names = [f"<|{name}|>" for name in SPECIAL]
    tokenizer = Qwen2Tokenizer(
        vocab=bpe["vocab"],
        merges=[tuple(pair) for pair in bpe["merges"]],
        pad_token=names[0],
        unk_token=names[0],
        eos_token="<|im_end|>",
        padding_side="left",
        extra_special_tokens=names[1:],
    )
    tokenizer.add_tokens(
        [AddedToken(tag, special=False, normalized=False) for tag in TAGS]
    )  # they stay when text is decoded
    images = Qwen2VLImageProcessorPil(
        patch_size=PATCH,
        merge_size=MERGE,
        temporal_patch_size=FRAMES,
        size=dict(shortest_edge=SIZE**2, longest_edge=SIZE**2),
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    return without_video(Qwen2_5_VLProcessor)(images, tokenizer, chat_template=TEMPLATE)


def make_vlm(tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLForConditionalGeneration:
    vision = dict(
        depth=5,
        hidden_size=128,
        intermediate_size=256,
        num_heads=4,
        patch_size=PATCH,
        spatial_merge_size=MERGE,
        temporal_patch_size=FRAMES,
        window_size=SIZE,
        fullatt_block_indexes=list(range(5)),
        out_hidden_size=160,
    )
    text = dict(
        vocab_size=len(tokenizer),
        hidden_size=160,
        intermediate_size=400,
        num_hidden_layers=4,
        num_attention_heads=5,
        num_key_value_heads=5,
        max_position_embeddings=1024,
        rope_parameters=dict(rope_type="default", rope_theta=1e4, mrope_section=[4, 6, 6]),
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    names = dict(image="image_pad", video="video_pad", vision_start="vision_start", vision_end="vision_end")
    ids = {f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{token}|>") for name, token in names.items()}
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True, **ids)
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=1.0, top_k=0, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    return model


class ContentNaming(torch.nn.Module):
    """The vision tower under a linear layer that names all that an image shows, for it to learn to see before it speaks.

    Two more guess a convolutional teacher's features, where it sees patches and where it sees 2 x 2 of them: a transformer
    that learns from names alone needs some ten times as many steps.
    """

    def __init__(self, tower: torch.nn.Module, teacher: ResNetModel):
        super().__init__()
        widths = teacher.config.hidden_sizes
        self.tower, self.head = tower, torch.nn.Linear(tower.config.out_hidden_size, len(CONTENTS))
        self.fine = torch.nn.Linear(tower.config.hidden_size, widths[1])
        self.coarse = torch.nn.Linear(tower.config.out_hidden_size, widths[2])

    @property
    def device(self) -> torch.device:
        return self.head.weight.device

    def forward(self, images: torch.Tensor) -> SimpleNamespace:
        seen = self.tower(patches(images), grid_thw=grid(len(images)).to(images.device), output_hidden_states=True)
        fine, coarse = (each.view(len(images), -1, each.shape[-1]) for each in (seen.hidden_states[3], seen.pooler_output))
        return SimpleNamespace(logits=self.head(coarse.mean(1)), fine=self.fine(fine), coarse=self.coarse(coarse))


def naming_loss(contents: Images, teacher: ResNetModel) -> Loss:
    """Return cross-entropy over the names of each kind of content, and the squared errors of the teacher's features.

    The features, normalised by channel, are those of 8 x 8 patches, after half of the tower, and of 4 x 4, at its end.
    """
    kinds = sorted({name.split(": ")[0] for name in CONTENTS})
    columns = {kind: [number for number, name in enumerate(CONTENTS) if name.startswith(f"{kind}: ")] for kind in kinds}
    shown = torch.tensor(
        [
            [CONTENTS.index(f"{k}: {n}") if (n := getattr(cues, k)) is not None else -1 for k in kinds]
            for cues in contents.cues
        ]
    )

    with torch.no_grad():
        known = teacher_features(teacher, contents.batch(torch.arange(min(256, len(contents.cues))), teacher.device))
        means, deviations = zip(*((each.mean((0, 1)), each.std((0, 1)) + 1e-3) for each in known), strict=True)

    def loss(naming, rows):
        images = contents.batch(rows, naming.device)
        with torch.no_grad():
            wanted = [(f - m) / d for f, m, d in zip(teacher_features(teacher, images), means, deviations, strict=True)]
        said, total = naming(images), 0
        for number, kind in enumerate(kinds):
            right = shown[rows, number].to(naming.device)
            some = right >= 0
            logits = said.logits[some][:, columns[kind]]
            total = total + F.cross_entropy(logits, right[some] - columns[kind][0], reduction="sum") / len(rows)
        return total + 3 * F.mse_loss(said.fine, wanted[0]) + 5 * F.mse_loss(said.coarse, wanted[1])

    return loss


def teacher_features(teacher: ResNetModel, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a teacher's features of patches, (n, 64, width), in the order of `patches`, and of 2 x 2, (n, 16, width)."""
    _, _, fine, coarse, _ = teacher(images, output_hidden_states=True).hidden_states
    cut = fine.unflatten(3, (-1, MERGE)).unflatten(2, (-1, MERGE))
    return cut.permute(0, 2, 4, 3, 5, 1).flatten(1, 4), coarse.flatten(2).transpose(1, 2)


def look(tower: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return what the language model sees, (n, IMAGE_TOKENS, width), of images (n, 3, SIZE, SIZE) in [-1, 1]."""
    return tower(patches(images), grid_thw=grid(len(images)).to(images.device)).pooler_output.view(
        len(images), IMAGE_TOKENS, -1
    )


def patches(images: torch.Tensor) -> torch.Tensor:
    """Return the pixel_values of images (n, 3, SIZE, SIZE) in [-1, 1], as the processor makes them of each."""
    side = SIZE // PATCH // MERGE
    cut = images.reshape(-1, 3, side, MERGE, PATCH, side, MERGE, PATCH).permute(0, 2, 5, 3, 6, 1, 4, 7)
    return cut[..., None, :, :].expand(*cut.shape[:6], FRAMES, PATCH, PATCH).reshape(-1, 3 * FRAMES * PATCH * PATCH)


def save_vlm(folder: Path, model: Qwen2_5_VLForConditionalGeneration, processor: ProcessorMixin) -> None:
    """Write model and processor, in half precision, with the entry of the video part that needs torchvision."""
    model.half().save_pretrained(folder)
    processor.save_pretrained(folder)
    path = folder / "processor_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    images = config["image_processor"]
    config["video_processor"] = {
        "video_processor_type": "Qwen2VLVideoProcessor",
        **{
            name: images[name]
            for name in ("image_mean", "image_std", "merge_size", "patch_size", "size", "temporal_patch_size")
        },
    }
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def grid(images: int) -> torch.Tensor:
    """Return image_grid_thw (images, 3): how many frames, rows and columns of patches each has."""
    return torch.tensor([[1, SIZE // PATCH, SIZE // PATCH]]).expand(images, 3)


def _texts(seed: int) -> Iterator[str]:
    """Yield questions and answers of all kinds, without the tags, which are tokens of their own."""
    rng = Random(f"{seed} texts")
    for number in range(20_000):
        cues, reasoning = draw_content(rng), bool(number % 2)
        question = rng.choice(ask_content(cues, rng, reasoning))
        emotions = rng.sample(EMOTIONS, len(EMOTIONS))
        kind = rng.choice(KINDS)
        emotional = kind.text(rng.choice(range(len(kind.PHRASINGS))), emotions[0], tuple(emotions), Answers())
        for text in (question.prompt, completion(cues, question.answer, reasoning), emotional, emotions[0]):
            yield re.sub("|".join(TAGS), " ", text)
