"""The settings of the generation half: sections of `Settings` in settings.py."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from config.section import ModelName, OneOrMore, ProjectPath, Section, Seed, SplitAtCommas, Unique, Weight

PLACEHOLDER = "<emotion>"  # stands in a prompt for the emotion
CONTENT = "<content>"  # stands in a prompt for what the image shows
CONTENT_PROMPT = f"a photo of a {PLACEHOLDER} {CONTENT}"
STRENGTH = 0.8  # of an emotion beside other words; chosen in docs/benchmarks_generator.md


class Models(Section):
    """Pretrained models that the generator builds on: each a name on the Hub or a folder."""

    stable_diffusion: ModelName = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    """Stable Diffusion whose VAE, text encoder and U-Net are used, frozen."""
    clip: ModelName = "openai/clip-vit-large-patch14"
    """Whole CLIP whose text tower is Stable Diffusion's text encoder, for the attribute and emotion losses."""
    backbone: ModelName = "microsoft/resnet-50"
    """Vision model that the emotion encoder starts from: any with image features, for example CLIP or DINOv2."""
    resolution: int = Field(512, ge=32, le=2048, multiple_of=8)
    """Width and height of training and generated images, in pixels."""


class Caches(Section):
    """Frozen work that is done once: VAE moments and decoded pixels, below data.cache."""

    use: bool = True
    """Cache VAE moments and pixels. Without a cache every step decodes its images and runs the VAE, with the same losses."""
    batch_size: int = Field(16, ge=1, le=4096)
    """Images that the VAE encodes at once."""
    shard: int = Field(256, ge=1, le=100_000)
    """Images in one cache file. A killed run loses at most one file of each process."""


class EmotionSpace(Section):
    """The emotion space: an encoder trained to tell the emotions, and a Gaussian of its vectors for each."""

    imported: ProjectPath | None = None
    """Folder written by training/import_emogen.py, used instead of training an encoder."""
    published: ProjectPath | None = None
    """Folder with EmoGen's published files, for training/import_emogen.py, which says which."""
    dimension: int = Field(768, ge=2, le=65536)
    """Length of an emotion vector."""
    image_size: int = Field(224, ge=16, le=2048)
    """Width and height of the encoder's input, in pixels."""
    epochs: int = Field(10, ge=1, le=1000)
    """Passes over the training split. The epoch that is best on the val split is kept."""
    batch_size: int = Field(64, ge=2, le=65536)
    """Images for each process and step."""
    learning_rate: float = Field(1e-4, gt=0, le=1)
    """Peak learning rate of AdamW, after a warm-up of one twentieth of the steps and before a cosine decay."""
    weight_decay: float = Field(1e-2, ge=0, le=10)
    """Weight decay of AdamW."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Dropout before the classifier."""
    contrastive_weight: float = Field(0.0, ge=0, le=100)
    """Weight of the supervised contrastive loss (Khosla et al. 2020) beside cross-entropy."""
    contrastive_temperature: float = Field(0.1, ge=0.001, le=10)
    """Temperature of the supervised contrastive loss."""
    covariance: Literal["diagonal", "full"] = "diagonal"
    """diagonal keeps a standard deviation for each dimension, as published. full keeps a covariance matrix, shrunk."""
    shrinkage: float = Field(0.1, ge=0, le=1)
    """Share of the diagonal in a full covariance matrix. 1 is the diagonal alone."""

    def unread(self) -> set[str]:
        names = {"shrinkage"} if self.covariance == "diagonal" else set()
        return names if self.contrastive_weight else names | {"contrastive_temperature"}


class Mapper(Section):
    """The mapper from an emotion vector to the embeddings of the placeholder's tokens, and how it is trained."""

    hidden_layers: int = Field(1, ge=0, le=32)
    """Hidden layers: 0 is one linear layer, 1 is linear, ReLU, linear, as published. More have LayerNorm and dropout."""
    hidden_size: int = Field(1024, ge=1, le=65536)
    """Width of the hidden layers."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Dropout in a mapper with more than one hidden layer."""
    tokens: int = Field(4, ge=1, le=16)
    """Placeholder tokens that carry the emotion."""
    lora_rank: int = Field(0, ge=0, le=1024)
    """Rank of LoRA on the U-Net's cross-attention, trained with the mapper. 0 trains none, as published."""
    epochs: int = Field(1, ge=1, le=10_000)
    """Passes over the balanced set."""
    max_train_steps: int | None = Field(None, ge=1, le=10**9)
    """Updates after which training ends, even within an epoch. null sets no such limit."""
    batch_size: int = Field(8, ge=1, le=65536)
    """Images for each process and forward pass."""
    gradient_accumulation: int = Field(1, ge=1, le=65536)
    """Forward passes for each update."""
    learning_rate: float = Field(1e-3, gt=0, le=1)
    """Peak learning rate of AdamW (fused)."""
    weight_decay: float = Field(1e-2, ge=0, le=10)
    """Weight decay of AdamW."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Learning rate after the warm-up."""
    warmup_steps: int = Field(100, ge=0, le=10**6)
    """Updates over which the learning rate rises from zero."""
    max_gradient_norm: float | None = Field(1.0, gt=0, le=10**6)
    """Norm that the gradients of an update are scaled down to. null leaves them as they are, as published."""
    ema: float | None = Field(None, ge=0, lt=1)
    """Decay of a moving average of the trained weights, which is then what is saved and sampled. null keeps none."""
    resize: Literal["crop", "squeeze"] = "crop"
    """How training images become square: crop cuts out the centre, squeeze changes their proportions, as published."""
    mirrored_vectors: bool = True
    """Give a mirrored image the emotion vector of its mirror image. false, as published, gives it that of the image."""
    mixed_precision: Literal["no", "bf16", "fp16"] | None = None
    """Precision of the frozen models and the forward pass. null takes accelerate's, and else bf16 where the GPU has it."""
    compile: bool = False
    """Compile the U-Net with torch.compile. The first update then takes minutes."""
    gradient_checkpointing: bool = False
    """Save memory in the U-Net by computing its activations twice."""
    content_share: float = Field(0.8, ge=0, le=1)
    """Share of prompts that name the image's attribute beside the placeholder. It needs a data set with attributes."""
    attribute_weight: float = Field(0.001, ge=0, le=100)
    """Weight of the attribute loss, before alpha."""
    attributes: ProjectPath | None = None
    """Text file (a name on each line) or JSON list of the attributes that the attribute loss compares. null: all."""
    attribute_temperature: float = Field(0.07, ge=0.001, le=100)
    """Temperature of the attribute loss. 1 is as published and nearly without a gradient."""
    emotion_weight: float = Field(0.1, ge=0, le=100)
    """Weight of the emotion loss. The published weight is 0."""
    alpha_threshold: float = Field(0.0, ge=0, le=1)
    """Emotion confidences alpha below this threshold count as 0."""
    alpha_discount: bool = False
    """Scale the diffusion loss by 1 - alpha, as published."""
    pooled: Literal["end_of_text", "placeholder"] = "end_of_text"
    """Token whose state the attribute and emotion losses see. placeholder is what the published code amounts to."""
    log_every: int = Field(10, ge=1, le=10**6)
    """Updates between two lines of metrics.jsonl, which hold means over them."""
    sample_every: int | None = Field(1000, ge=1, le=10**6)
    """Updates between two grids of samples. null draws none."""
    samples: int = Field(4, ge=1, le=64)
    """Images of each emotion in a grid of samples."""
    checkpoint_every: int = Field(500, ge=1, le=10**6)
    """Updates between two checkpoints."""
    checkpoints_kept: int = Field(2, ge=1, le=1000)
    """Most checkpoints that are kept. Older ones are removed."""
    push_to_hub: ModelName | None = None
    """Repository on the Hub that the generator is uploaded to. null uploads nothing."""

    def unread(self) -> set[str]:
        return {"dropout"} if self.hidden_layers < 2 else set()


class Generate(Section):
    """The images that training/inference.py makes. Every emotion and mix is combined with every prompt."""

    generator: ProjectPath | None = None
    """Folder of the generator. null takes generator/ in the run folder."""
    emotions: Annotated[list[str] | None, SplitAtCommas, Unique] = None
    """Emotions to make images of. null takes all that data.taxonomy lists."""
    mixes: list[Annotated[dict[str, Weight], Field(min_length=1)]] = Field([])
    """Weighted mixes of emotions, for example [{awe: 0.7, fear: 0.3}]."""
    prompts: Annotated[list[str] | None, OneOrMore, Unique] = Field(None, min_length=1)
    """Prompts with <emotion>, and <content> if you like. null: a photo of a <emotion> <content> if the generator can."""
    contents: Annotated[list[str], SplitAtCommas, Unique] = Field([])
    """Contents for prompts that say <content>. An empty list draws one for each image, from p(attribute | emotion)."""
    images_from: ProjectPath | None = None
    """Folder of photographs that the images start from, each with every emotion and prompt. null starts from noise alone."""
    image_strength: float = Field(0.6, gt=0, le=1)
    """How much of a photograph is replaced. Low values keep it, and 1 forgets it. diffusers calls it strength."""
    strength: float = Field(STRENGTH, ge=0, le=4)
    """Strength with which the emotion changes a prompt that has other words. 0 leaves the words alone, 1 is as learned."""
    spread: float = Field(1.0, ge=0, le=4)
    """Scatter of emotion vectors around their emotion's mean. Below 1 images are truer to it and more alike."""
    images: int = Field(8, ge=1, le=10**6)
    """Images of each emotion, or mix, and prompt (and photograph), where no seeds are given."""
    seeds: Annotated[list[Seed] | None, SplitAtCommas] = Field(None, min_length=1)
    """Seeds of the images of each emotion, or mix, and prompt, one image each. null derives them from the global seed."""
    batch_size: int = Field(8, ge=1, le=4096)
    """Images that each process makes at once."""
    steps: int = Field(50, ge=1, le=1000)
    """Denoising steps."""
    guidance_scale: float = Field(7.5, ge=1, le=100)
    """Scale of classifier-free guidance. 1 uses none."""
    negative_prompt: str = ""
    """Words for what images should not show."""

    def contradictions(self) -> Iterator[str]:
        if self.emotions == [] and not self.mixes:
            yield "generate.emotions: neither emotions nor mixes, so there is nothing to make; give some of either"
        for prompt in self.prompts or []:
            if (times := prompt.count(PLACEHOLDER)) != 1:
                yield f"generate.prompts: {prompt!r} says {PLACEHOLDER} {times} times; write it once, where the emotion goes"
        for setting, text in [("negative_prompt", self.negative_prompt), *(("contents", each) for each in self.contents)]:
            if said := [each for each in (PLACEHOLDER, CONTENT) if each in text]:
                yield f"generate.{setting}: {text!r} says {said[0]}, which stands in generate.prompts alone; use plain words"
        if self.contents and self.prompts and not any(CONTENT in prompt for prompt in self.prompts):
            yield f"generate.contents: no prompt says {CONTENT}; write it where the content goes, or name no contents"
        if self.images_from and int(self.image_strength * self.steps) < 1:
            yield f"generate.image_strength: {self.image_strength:g} of {self.steps} steps leaves none; raise one of the two"
        if self.seeds and len(set(self.seeds)) < len(self.seeds):
            yield f"generate.seeds: one of {self.seeds} stands there twice; name each once"
