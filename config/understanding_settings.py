"""The settings of the understanding half: sections of `Settings` in settings.py."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from config.section import ModelName, ProjectPath, Section, SplitAtCommas, Unique


class Questions(Section):
    """The questions that the understanding model is trained on, each about one image."""

    count: int = Field(12000, ge=32, le=10**7)
    """Questions in all, shared out by the next three; rounded down to an equal number of every case."""
    binary: float = Field(1.0, ge=0, le=1000)
    """Share of questions whether an image belongs to an emotion; half of the time it does. 0: none."""
    multiple: float = Field(1.0, ge=0, le=1000)
    """Share of questions which of the eight emotions it is."""
    misleading: float = Field(1.0, ge=0, le=1000)
    """Share of questions how much, from 0 to 100, it belongs to an emotion; half of the time it does."""
    confusable_share: float = Field(0.5, ge=0, le=1)
    """Among questions about a wrong emotion, the share of images that are easily taken for it."""
    confusability: ProjectPath | None = None
    """A confusability.json, which says what is taken for what; null: that of the run folder's emotion space."""
    answer_by: Literal["name", "letter"] = "name"
    """How a multiple-choice question is answered."""
    reasoning: bool = True
    """Ask for <think>...</think><answer>...</answer>; else for the answer alone."""

    @model_validator(mode="after")
    def _asks_something(self):
        if not self.binary + self.multiple + self.misleading:
            raise ValueError("questions: binary, multiple and misleading are all 0; give one of them a share")
        return self


class Rewards(Section):
    """What answers earn. The total is the sum of those that apply, each times its weight."""

    binary: float = Field(1.0, ge=0, le=1000)
    """Weight of 1 for the right one of yes and no."""
    multiple: float = Field(1.0, ge=0, le=1000)
    """Weight of 1 for the right emotion."""
    misleading: float = Field(1.0, ge=0, le=1000)
    """Weight of what a score from 0 to 100 earns."""
    format: float = Field(0.2, ge=0, le=1000)
    """Weight of 1 for an answer in the right format."""
    scoring: Literal["brier", "published"] = "brier"
    """brier: 1 - 2 (s / 100 - t)^2, a proper score. published: linear in s."""
    graded: bool = False
    """Let a wrong emotion earn up to a half, by how easily the true one is taken for it."""
    length: float = Field(0.0, ge=0, le=1000)
    """Weight of a penalty for completions longer than length_limit, up to 1 at twice as long. 0: none."""
    length_limit: int = Field(256, ge=1, le=100000)
    """Tokens of a completion that cost nothing."""


class Understanding(Section):
    """The vision-language model that is fine-tuned to tell emotions, and what of it is trained."""

    model: ModelName = "Qwen/Qwen2.5-VL-3B-Instruct"
    """A chat model that takes an image and text, by name on the Hub or as a folder."""
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    """Precision of the weights that are not trained, and of the forward pass; with LoRA the adapter stays float32."""
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    """The attention kernel; with flash_attention_2 the answers of a group cannot share their image and prompt."""
    four_bit: bool = False
    """Load the frozen weights in 4 bits (bitsandbytes, a GPU): QLoRA."""
    max_pixels: int = Field(256 * 28 * 28, ge=1, le=10**8)
    """Images with more pixels are shrunk to so many before the processor; 28 x 28 are one token of Qwen2.5-VL."""
    lora_rank: int = Field(16, ge=0, le=1024)
    """Rank of the adapter; 0 trains all weights."""
    lora_alpha: int = Field(32, ge=1, le=4096)
    """Scale of the adapter, divided by its rank."""
    lora_targets: Annotated[list[str], SplitAtCommas, Unique] = Field(
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"], min_length=1
    )
    """Linear layers that get an adapter, by the end of their names."""
    train_vision: bool = False
    """Train the vision tower too, with the adapter or wholly; else it is frozen."""
    reference: Literal["base", "step_one"] = "base"
    """Whose mistakes make an image hard for Step II: those of the model before Step I, or after it."""
    push_to_hub: ModelName | None = None
    """A repository on the Hub that the result is uploaded to; null: none."""

    @model_validator(mode="after")
    def _trains_what_can_be_trained(self):
        if self.four_bit and not self.lora_rank:
            raise ValueError("understanding.four_bit: weights of 4 bits cannot be trained; set understanding.lora_rank")
        return self


class Warmup(Section):
    """Supervised fine-tuning on right answers to the questions, before GRPO."""

    steps: int = Field(0, ge=0, le=10**7)
    """Updates; 0: none."""
    batch_size: int = Field(4, ge=1, le=65536)
    """Questions for each process and update."""
    learning_rate: float = Field(1e-5, gt=0, le=1)
    """Peak learning rate, with a cosine decay."""


class Grpo(Section):
    """Group relative policy optimisation (Shao et al. 2024): of Step I, and of Step II."""

    group: int = Field(8, ge=2, le=1024)
    """Answers sampled to each question; they are compared with one another."""
    questions_per_step: int = Field(32, ge=1, le=10**6)
    """Questions of one update, over all processes."""
    batch_size: int = Field(2, ge=1, le=65536)
    """Questions, each with its group, in one forward pass of one process; the rest of an update is accumulated."""
    steps_one: int | None = Field(None, ge=0, le=10**8)
    """Updates of Step I; null: one pass over the questions, 0: none."""
    steps_two: int | None = Field(None, ge=0, le=10**8)
    """Updates of Step II; null: one pass over the questions about hard images, 0: neither mining nor Step II."""
    answer_tokens: int = Field(256, ge=1, le=32768)
    """The most tokens of an answer, its reasoning with it."""
    temperature: float = Field(1.0, gt=0, le=10)
    """Of sampling, in training and in mining."""
    beta: float = Field(0.02, ge=0, le=100)
    """Weight of the KL divergence from the model that the step started from."""
    learning_rate: float = Field(1e-5, gt=0, le=1)
    """Peak learning rate of AdamW."""
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    """Of the learning rate after its warm-up."""
    warmup_steps: int = Field(10, ge=0, le=10**6)
    """Updates over which the learning rate rises from zero."""
    max_gradient_norm: float = Field(1.0, gt=0, le=10**6)
    """Gradients of an update are scaled down to this norm."""
    share_prefix: bool = True
    """Let the answers of a group share their image and prompt: the same numbers, faster."""
    gradient_checkpointing: bool = True
    """Save memory by computing activations twice."""
    vllm: bool = False
    """Sample with vLLM in the same processes, once it has given the same greedy answers as transformers."""
    workers: int = Field(2, ge=0, le=256)
    """Processes that decode images, for each training process."""
    log_every: int = Field(5, ge=1, le=10**6)
    """Updates between two lines of metrics.jsonl."""
    evaluate_every: int | None = Field(200, ge=1, le=10**6)
    """Updates between two evaluations on the val split; null: none."""
    evaluated_questions: int = Field(600, ge=192, le=10**6)
    """Questions about images of the val split in such an evaluation, of the kinds that are trained on."""
    checkpoint_every: int = Field(100, ge=1, le=10**6)
    """Updates between two checkpoints."""
    checkpoints_kept: int = Field(2, ge=1, le=1000)
    """The most checkpoints that are kept; older ones are removed."""
    tracker: Literal["tensorboard", "wandb", "trackio", "none"] = "tensorboard"
    """Where curves go beside metrics.jsonl."""


class Mining(Section):
    """Finding the images that are hard for the reference model, and choosing those of Step II."""

    images: int | None = Field(None, ge=8, le=10**8)
    """Training images that are asked about, equally many of each emotion; null: all."""
    answers: int = Field(4, ge=1, le=1024)
    """Multiple-choice answers sampled about each image; the share of wrong ones is its error rate."""
    lowest: float = Field(0.5, ge=0, le=1)
    """An image is hard from this error rate on,"""
    highest: float = Field(1.0, ge=0, le=1)
    """and up to this one: what is always answered wrong may be labelled wrong."""
    easy_share: float = Field(0.2, ge=0, lt=1)
    """Share of other images mixed in, so that what is known stays known."""

    @model_validator(mode="after")
    def _has_a_range(self):
        if self.lowest > self.highest:
            raise ValueError(f"mining.lowest: {self.lowest} is more than mining.highest, {self.highest}")
        return self


class Predict(Section):
    """What understanding/predict.py says of a user's own images."""

    images: Annotated[list[ProjectPath], SplitAtCommas] = Field([])
    """Images, and folders of images."""
    model: ModelName | None = None
    """What predict.py asks, or merge.py merges: a model by name or folder; null: the result in the run folder."""
