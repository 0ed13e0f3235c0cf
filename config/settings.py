"""Every setting of the project, with its type, bounds, default and meaning; of understanding, in understanding_settings.py.

`config.yaml` beside this file states the same defaults for people to edit; `loading.py` reads YAML and the command line
into these classes. Paths that are relative count from the project's root, so that a script does the same from any folder.
"""

from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from config.section import ROOT as ROOT  # the project's folder, which many ask the settings for
from config.section import ModelName, ProjectPath, Section, SplitAtCommas, Unique
from config.understanding_settings import Grpo, Mining, Predict, Questions, Rewards, Understanding, Warmup

Emotion = Literal["amusement", "awe", "contentment", "excitement", "anger", "disgust", "fear", "sadness"]
EMOTIONS = get_args(Emotion)
PLACEHOLDER = "<emotion>"  # stands in a prompt for the emotion
OneOrMore = BeforeValidator(lambda value: [value] if isinstance(value, str) else value)
Weight = Annotated[float, Field(gt=0, le=1000)]
Seed = Annotated[int, Field(ge=0, le=10**15, strict=False)]  # as many as JSON holds exactly; not strict, for 0,1,2 is text
Kind = Literal["object", "scene", "facial_expression", "human_action"]
Split = Literal["train", "val", "test"]


class Data(Section):
    """EmoSet on disk and the attribute folders made from it."""

    emoset: ProjectPath = Path("data/EmoSet")
    """EmoSet's folder: the one that holds info.json, train.json, val.json, test.json, annotation/ and image/."""
    attribute_root: ProjectPath = Path("data/EmoSet-attributes")
    """Where the attribute folders are built, and rebuilt when something changes. A foreign folder is never touched."""
    cache: ProjectPath = Path("data/cache")
    """Where the index of all annotations is kept between runs."""
    kinds: Annotated[list[Kind], SplitAtCommas, Unique] = Field(["object", "scene"], min_length=1)
    """The kinds of attribute that get folders and take part in the balanced set."""
    link: Literal["auto", "hard", "symbolic", "copy"] = "auto"
    """How an image gets into its attribute folders; auto takes the first of hard, symbolic, copy that the disk allows."""
    problems_allowed: float = Field(0.01, ge=0, le=1)
    """The share of images with a problem above which a run ends instead of going on without them."""
    decode: bool = False
    """Decode every image completely while reading, rather than its header and last bytes."""
    near_duplicates: int | None = Field(None, ge=0, le=16)
    """List images of different splits whose 64-bit perceptual hashes differ in at most so many bits; null does not look."""
    workers: int | None = Field(None, ge=1, le=256)
    """Processes that read annotations and images; null takes one for each core."""


class Balance(Section):
    """The emotion-balanced training set that is drawn from EmoSet."""

    policy: Literal["tempered", "emogen"] = "tempered"
    """tempered: emotions equal, attributes flattened, repeats bounded. emogen: the published rule."""
    splits: Annotated[list[Split], SplitAtCommas, Unique] = Field(["train"], min_length=1)
    """The splits drawn from. Whatever is drawn from here must not be evaluated on."""
    temperature: float = Field(0.5, ge=0, le=1)
    """tempered: exponent on an attribute's image count; 1 leaves the long tail as it is, 0 makes attributes equal."""
    max_repeats: int = Field(4, ge=1, le=1000)
    """tempered: the most often that one image may be drawn."""
    images_per_emotion: int | None = Field(None, ge=1, le=10**7)
    """tempered: draws for each emotion; null: as many as the largest emotion has images, if max_repeats lets all follow."""


class Drawn(Section):
    """The small drawn EmoSet that stands in for the real one in the demo and the tests."""

    images: int = Field(4000, ge=80, le=99999)
    """How many images are drawn in all."""
    size: int = Field(64, ge=32, le=1024)
    """Width and height of an image, in pixels."""


class Models(Section):
    """Pretrained models that the generator builds on: each a name on the Hub or a folder."""

    stable_diffusion: ModelName = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    """The Stable Diffusion whose VAE, text encoder and U-Net are used, frozen."""
    clip: ModelName = "openai/clip-vit-large-patch14"
    """The whole CLIP whose text tower is Stable Diffusion's text encoder, for the attribute and emotion losses."""
    backbone: ModelName = "microsoft/resnet-50"
    """The vision model that the emotion encoder starts from: any with image features, CLIP and DINOv2 among them."""
    resolution: int = Field(512, ge=32, le=2048, multiple_of=8)
    """Width and height of training and generated images, in pixels."""


class Caches(Section):
    """Frozen work that is done once: VAE moments and decoded pixels, below data.cache."""

    use: bool = True
    """Whether to cache; without, every step decodes its images and runs the VAE: slower, less disk, the same losses."""
    batch_size: int = Field(16, ge=1, le=4096)
    """Images that the VAE encodes at once."""
    shard: int = Field(256, ge=1, le=100_000)
    """Images in one file; a killed run loses at most one file of each process."""


class EmotionSpace(Section):
    """The emotion space: an encoder trained to tell the eight emotions, and a Gaussian of its vectors for each."""

    imported: ProjectPath | None = None
    """A folder written by training/import_emogen.py, used instead of training an encoder."""
    published: ProjectPath | None = None
    """import_emogen.py: the folder with EmoGen's published *_mean_v2.pt, *_std_v2.pt and clip_emotion_classifier.pth."""
    dimension: int = Field(768, ge=2, le=65536)
    """Length of an emotion vector."""
    image_size: int = Field(224, ge=16, le=2048)
    """Width and height of the encoder's input, in pixels."""
    epochs: int = Field(10, ge=1, le=1000)
    """Passes over the training split; the epoch that is best on the val split is kept."""
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
    """diagonal: a standard deviation for each dimension, as published. full: a covariance matrix, shrunk."""
    shrinkage: float = Field(0.1, ge=0, le=1)
    """full: the share of the diagonal in the covariance matrix; 1 is the diagonal alone."""


class Mapper(Section):
    """The mapper from an emotion vector to the embeddings of the placeholder's tokens, and how it is trained."""

    hidden_layers: int = Field(1, ge=0, le=32)
    """0: one linear layer. 1: linear, ReLU, linear, as published. More: with LayerNorm and dropout after each."""
    hidden_size: int = Field(1024, ge=1, le=65536)
    """Width of the hidden layers."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Dropout, with more than one hidden layer."""
    tokens: int = Field(4, ge=1, le=16)
    """Placeholder tokens that carry the emotion."""
    lora_rank: int = Field(0, ge=0, le=1024)
    """Rank of LoRA on the U-Net's cross-attention, trained with the mapper; 0: none, as published."""
    epochs: int = Field(1, ge=1, le=10_000)
    """Passes over the balanced set."""
    max_train_steps: int | None = Field(None, ge=1, le=10**9)
    """Updates after which training ends, before its last epoch does; null: no such limit."""
    batch_size: int = Field(8, ge=1, le=65536)
    """Images for each process and forward pass."""
    gradient_accumulation: int = Field(1, ge=1, le=65536)
    """Forward passes for each update."""
    learning_rate: float = Field(1e-3, gt=0, le=1)
    """Peak learning rate of AdamW (fused)."""
    weight_decay: float = Field(1e-2, ge=0, le=10)
    """Weight decay of AdamW."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Of the learning rate after its warm-up."""
    warmup_steps: int = Field(100, ge=0, le=10**6)
    """Updates over which the learning rate rises from zero."""
    max_gradient_norm: float = Field(1.0, gt=0, le=10**6)
    """Gradients of an update are scaled down to this norm."""
    ema: float | None = Field(None, ge=0, lt=1)
    """Decay of a moving average of the trained weights, which is then what is saved and sampled; null: none."""
    mixed_precision: Literal["no", "bf16", "fp16"] | None = None
    """Precision of the frozen models and the forward pass; null: what accelerate's configuration says."""
    gradient_checkpointing: bool = False
    """Save memory in the U-Net by computing its activations twice."""
    content_share: float = Field(0.25, ge=0, le=1)
    """Share of items whose prompt names the image's attribute beside the placeholder, so that content stays content."""
    attribute_weight: float = Field(0.001, ge=0, le=100)
    """Weight of the attribute loss, before alpha."""
    attribute_temperature: float = Field(0.07, ge=0.001, le=100)
    """Temperature of the attribute loss; 1 is as published and nearly without a gradient."""
    emotion_weight: float = Field(0.1, ge=0, le=100)
    """Weight of the emotion loss; published: 0."""
    alpha_threshold: float = Field(0.0, ge=0, le=1)
    """Emotion confidences alpha below this count as 0."""
    alpha_discount: bool = False
    """Scale the diffusion loss by 1 - alpha, as published."""
    pooled: Literal["end_of_text", "placeholder"] = "end_of_text"
    """Whose state the attribute and emotion losses see. placeholder: what the published code amounts to."""
    workers: int = Field(2, ge=0, le=256)
    """Processes that load batches, for each training process."""
    log_every: int = Field(10, ge=1, le=10**6)
    """Updates between two lines of metrics.jsonl, which hold means over them."""
    sample_every: int | None = Field(1000, ge=1, le=10**6)
    """Updates between two grids of samples; null: none."""
    samples: int = Field(4, ge=1, le=64)
    """Images of each emotion in a grid of samples."""
    checkpoint_every: int = Field(500, ge=1, le=10**6)
    """Updates between two checkpoints."""
    checkpoints_kept: int = Field(2, ge=1, le=1000)
    """The most checkpoints that are kept; older ones are removed."""
    tracker: Literal["tensorboard", "wandb", "trackio", "none"] = "tensorboard"
    """Where curves go beside metrics.jsonl."""
    push_to_hub: ModelName | None = None
    """A repository on the Hub that the generator is uploaded to; null: none."""


class Generate(Section):
    """What training/inference.py makes. Every emotion and mix is combined with every prompt."""

    generator: ProjectPath | None = None
    """The generator's folder; null: generator/ in the run folder."""
    emotions: Annotated[list[Emotion], SplitAtCommas, Unique] = Field(list(EMOTIONS))
    """Emotions to make images of."""
    mixes: list[Annotated[dict[Emotion, Weight], Field(min_length=1)]] = Field([])
    """Weighted mixes of emotions, for example [{awe: 0.7, fear: 0.3}]."""
    prompts: Annotated[list[str], OneOrMore, Unique] = Field(["<emotion>"], min_length=1)
    """Prompts in which <emotion> stands for the emotion, for example a photo of a <emotion> bag."""
    strength: float = Field(1.0, ge=0, le=4)
    """How strongly the emotion changes a prompt that has other words; 0: not at all."""
    spread: float = Field(1.0, ge=0, le=4)
    """How far emotion vectors scatter around their emotion's mean: below 1 images are truer to it and more alike."""
    images: int = Field(8, ge=1, le=10**6)
    """Images of each emotion, or mix, and prompt; without seeds."""
    seeds: Annotated[list[Seed] | None, SplitAtCommas] = Field(None, min_length=1)
    """Seeds of the images of each emotion, or mix, and prompt, one image each; null: they follow from the global seed."""
    batch_size: int = Field(8, ge=1, le=4096)
    """Images made at once by each process."""
    steps: int = Field(50, ge=1, le=1000)
    """Denoising steps."""
    guidance_scale: float = Field(7.5, ge=1, le=100)
    """Classifier-free guidance; 1: none."""
    negative_prompt: str = ""
    """What images should not show."""

    @model_validator(mode="after")
    def _prompts_say_where_the_emotion_stands(self):
        for prompt in self.prompts:
            if (times := prompt.count(PLACEHOLDER)) != 1:
                raise ValueError(
                    f"generate.prompts: {prompt!r} says {PLACEHOLDER} {times} times; write it once, where the emotion goes"
                )
        return self

    @model_validator(mode="after")
    def _seeds_differ(self):
        if self.seeds and len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"generate.seeds: one of {self.seeds} stands there twice; name each once")
        return self


class Evaluate(Section):
    """What evaluation/evaluate.py measures."""

    models: Annotated[list[ModelName], SplitAtCommas, Unique] = Field([])
    """Models, adapters or merged weights, by name or folder; []: the one trained from, and the result in the run folder."""
    split: Literal["val", "test"] = "val"
    """The split of EmoSet that is asked about."""
    folder: ProjectPath | None = None
    """Instead of EmoSet, a folder with a subfolder of images for each emotion, of another data set say."""
    images: int | None = Field(None, ge=1, le=10**8)
    """Images that are asked about, of EmoSet and of each method, equally many of each emotion; null: all."""
    batch_size: int = Field(16, ge=1, le=4096)
    """Questions, or images, that each process runs at once; in mining, in predict.py and on val while training too."""
    blind: bool = True
    """Ask the last model about a grey image too: what the text alone gives away."""
    baselines: bool = True
    """Measure CLIP beside it, models.clip: zero-shot, and a linear probe on EmoSet's training split."""
    generators: Annotated[list[ProjectPath], SplitAtCommas, Unique] = Field([])
    """Measured beside the run folder's generator: folders of generators, or of other methods' images in <emotion>/."""
    generated: int = Field(500, ge=4, le=10**6)
    """Images of each emotion that every method makes; and that are taken of EmoSet, for comparison."""
    reference: int | None = Field(None, ge=16, le=10**8)
    """Training images, equally many of each emotion, to compare generated ones with; null: as many as the rarest has."""
    pairs: int = Field(2000, ge=8, le=10**7)
    """Pairs of images of the same emotion, over all emotions, whose difference makes LPIPS and semantic diversity."""
    judge: ModelName | None = None
    """A classifier of the eight emotions, or EmoGen's, as .pth or imported; null: a linear probe of models.clip."""
    force_judge: bool = False
    """Accept a judge that the generator was trained with."""
    fid_network: ModelName = "inception"
    """Whose features FID and KID compare: inception (torch-fidelity), or a vision model by name or folder."""
    lpips_network: ModelName = "alex"
    """Whose features LPIPS compares: alex (lpips), or a ResNet by name or folder, unweighted."""
    object_classifier: ModelName = "microsoft/resnet-50"
    """A classifier of objects, by name, folder or file of torchvision's ResNet-50; for semantic clarity and attributes."""
    scene_classifier: ModelName = "data/resnet50_places365.pth.tar"
    """A classifier of scenes, likewise."""
    contents: Annotated[list[str], SplitAtCommas, Unique] = Field(["bag", "cup", "house", "room", "street", "tree"])
    """What emotions are put on, at strengths from 0 to 1: "a photo of a <emotion> bag"."""
    curve_images: int = Field(16, ge=1, le=10**5)
    """Images of each content, strength and emotion, and four times as many of each fusion and weight."""


class Settings(Section):
    """All settings."""

    seed: int = Field(0, ge=0, le=2**32 - 1)
    """Seed of everything that is random."""
    run: ProjectPath = Path("runs/full")
    """The run folder; each script writes into a folder of its own in it."""
    data: Data = Data()
    balance: Balance = Balance()
    drawn: Drawn = Drawn()
    models: Models = Models()
    caches: Caches = Caches()
    emotion_space: EmotionSpace = EmotionSpace()
    mapper: Mapper = Mapper()
    generate: Generate = Generate()
    questions: Questions = Questions()
    rewards: Rewards = Rewards()
    understanding: Understanding = Understanding()
    warmup: Warmup = Warmup()
    grpo: Grpo = Grpo()
    mining: Mining = Mining()
    evaluate: Evaluate = Evaluate()
    predict: Predict = Predict()

    @model_validator(mode="after")
    def _emogen_knows_two_kinds(self):
        others = set(self.data.kinds) - {"object", "scene"}
        if self.balance.policy == "emogen" and others:
            raise ValueError(
                f"balance.policy: emogen is defined for object and scene alone; take {', '.join(sorted(others))} "
                "out of data.kinds or choose tempered"
            )
        return self
