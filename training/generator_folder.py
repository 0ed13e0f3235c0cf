"""Writes the generator's folder: the mapper, the emotion space, what they belong to, and a model card."""

from pathlib import Path

import torch
from diffusers.utils import SAFETENSORS_WEIGHTS_NAME

from config.settings import Settings
from emoset.model_card import about_data
from runtime.built_folder import building
from runtime.files import read_json, write_json
from runtime.hub import network_digest
from runtime.recipe import Recipe
from runtime.tensors import are_whole
from training.emotion_lora import save_lora
from training.emotion_space import EmotionSpace
from training.generator_parts import GENERATOR
from training.mapper import EmotionMapper

CARD = """---
{licence}library_name: diffusers
tags: [emotion, text-to-image, stable-diffusion, affective-computing]
---
# An emotion-conditioned generator

A mapper from emotion vectors to token embeddings of `{base}`, trained on {data}. It holds no weights of that model.

```python
from training.pipeline import EmotionPipeline

pipe = EmotionPipeline.from_pretrained("path/to/this/folder")
pipe(emotion="{first}").images[0]
pipe(emotion={{"{first}": 0.7, "{second}": 0.3}}).images[0]
pipe(emotion="{last}", content="bag").images[0]
```

## Training
- Data: {images:,} images of {data} ({splits}), drawn {rows:,} times by the policy `{policy}`; seed {seed}.
- {steps:,} updates of {total} images{lora}.
- Contents: {contents}.
- Last losses, mean over {losses_updates} updates: {losses}.
- Emotion space: {space}.

## Limits
{limits}
- The losses above say how well the mapper learned. They do not say how good its images are. Evaluate it for that.
"""


def save_generator(
    folder: Path,
    recipe: Recipe,
    settings: Settings,
    mapper: EmotionMapper,
    space: EmotionSpace,
    unet: torch.nn.Module,
    base_hashes: list[str],
    contents: dict[str, dict[str, int]],
    facts: dict,
) -> None:
    """Write the folder whole, in place of an older one.

    contents: what count_contents returns, where prompts named them. facts: of the training, for the model card: images,
    rows, steps, batch, losses, losses_updates, emotion_space, whether attributes were trained on, and seen, of MapperInputs.
    """
    about = {
        "base": settings.models.stable_diffusion,
        "base_hashes": base_hashes,
        "resolution": settings.models.resolution,
        "emotions": list(space.emotions),
        "contents": contents,
        "lora_rank": settings.mapper.lora_rank,
        "trained_with": networks_seen(settings, facts["attributes"]) | facts.pop("seen", {}),
        "trained": facts,
    }
    with building(folder, recipe) as work:
        mapper.save_pretrained(work / "mapper")
        space.save_pretrained(work / "emotion_space")
        if settings.mapper.lora_rank:
            save_lora(work, unet)
        write_json(work / GENERATOR, about)
        (work / "README.md").write_text(_card(settings, contents, facts), encoding="utf-8")


def is_whole(folder: Path) -> bool:
    """Tell whether the weights in a generator's folder can be read: none is missing, empty or cut off."""
    return are_whole(folder, *(f"{part}/{SAFETENSORS_WEIGHTS_NAME}" for part in ("mapper", "emotion_space")))


def networks_seen(settings: Settings, attributes: bool = True) -> dict[str, str]:
    """Return digests of the networks from which training learned about emotions. None of them may judge its images.

    CLIP did so by its texts alone, where the data have attributes. A probe of its images may judge, with a warning.
    """
    seen = {"models.backbone": network_digest(settings.models.backbone)}
    if attributes and (settings.mapper.attribute_weight or settings.mapper.emotion_weight):
        seen["models.clip"] = network_digest(settings.models.clip)
    imported = settings.emotion_space.imported
    encoder = (imported or settings.run / "training" / "emotion_space") / "encoder"
    if imported:
        files = (read_json(imported / "summary.json") or {}).get("files", {})
        if attributes and settings.mapper.emotion_weight:
            seen |= {f"emotion_space.imported: {name}": digest for name, digest in files.items() if name.endswith(".pth")}
    if encoder.is_dir():
        seen["the emotion encoder"] = network_digest(str(encoder))
    return seen


def _card(settings: Settings, contents: dict[str, dict[str, int]], facts: dict) -> str:
    rank, taxonomy = settings.mapper.lora_rank, settings.data.taxonomy
    first, second = (*taxonomy.opposites, taxonomy.emotions[:2])[0]
    known = len({name for own in contents.values() for name in own})
    share = f"{known:,}, named in {settings.mapper.content_share:.0%} of the prompts and drawn from p(attribute | emotion)"
    return CARD.format(
        first=first,
        second=second,
        last=taxonomy.emotions[-1],
        **about_data(settings.data.emoset, taxonomy),
        base=settings.models.stable_diffusion,
        splits=", ".join(settings.balance.splits),
        policy=settings.balance.policy,
        seed=settings.seed,
        lora=f", with LoRA of rank {rank} on the U-Net's cross-attention" if rank else "",
        contents=share if known else "none, so its prompt is the emotion alone",
        images=facts["images"],
        rows=facts["rows"],
        steps=facts["steps"],
        total=facts["batch"],
        losses_updates=facts["losses_updates"],
        losses=", ".join(f"{name} {value:.4f}" for name, value in facts["losses"].items()) or "not known any more",
        space=", ".join(f"{name} {value}" for name, value in facts["emotion_space"].items()),
    )
