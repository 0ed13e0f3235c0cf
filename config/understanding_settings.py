"""The settings of the understanding half: sections of `Settings` in settings.py."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from config.section import BatchSize, ByKind, ModelName, ProjectPath, Section, SplitAtCommas, Unique

SCORINGS = {"brier": "quadratic", "published": "reward"}  # by their older names


class Questions(ByKind):
    """The questions that the understanding model is trained on, each about one image: the share of each kind, and more."""

    count: int = Field(12000, ge=32, le=10**7)
    """Number of questions, shared out over the kinds and rounded down to an equal number of every case."""
    confusable_share: float = Field(0.5, ge=0, le=1)
    """Share of images that are easily taken for the asked emotion, among questions about a wrong emotion."""
    confusability: ProjectPath | None = None
    """Confusability.json, which says which emotion is taken for which. null takes that of the run's emotion space."""


class Answers(Section):
    """The form of an answer, in training, mining, prediction and evaluation alike."""

    by: Literal["name", "letter"] = "name"
    """How a multiple-choice question is answered: by the emotion's name, or by the letter of the option."""
    reasoning: bool = True
    """Ask for <think>...</think><answer>...</answer>. false asks for the answer alone."""
    tokens: int = Field(256, ge=1, le=32768)
    """Most tokens of an answer, its reasoning included: as many as the longest right answer takes, or more."""
    score_step: int = Field(5, ge=1, le=50)
    """Steps of the scores from 0 to 100 that misleading questions allow. 1 allows every whole number."""

    def contradictions(self) -> Iterator[str]:
        if 100 % self.score_step:
            yield f"answers.score_step: {self.score_step} does not divide 100; the next that does is {self._divisor()}"

    def _divisor(self) -> int:
        return next(each for each in range(self.score_step, 101) if 100 % each == 0)


class Rewards(ByKind):
    """The rewards of answers: the weight of each kind of question, and of what all kinds share. The total is their sum."""

    format: float = Field(0.2, ge=0, le=1000)
    """Weight of 1 for an answer in the right format."""
    scoring: Annotated[Literal["quadratic", "reward", "log"], BeforeValidator(lambda name: SCORINGS.get(name, name))] = (
        "quadratic"
    )
    """What a score, or the distribution of all answers, earns. quadratic and log are proper, reward is as published."""
    graded: bool = False
    """Give a wrong emotion up to a half, by how easily the true one is taken for it."""
    length: float = Field(0.0, ge=0, le=1000)
    """Weight of a penalty for completions longer than length_limit, up to 1 at twice as long. 0 gives none."""
    length_limit: int = Field(256, ge=1, le=100000)
    """Tokens of a completion that cost nothing, fewer than answers.tokens."""


class Understanding(Section):
    """The vision-language model that is fine-tuned to tell emotions, and what of it is trained."""

    model: ModelName = "Qwen/Qwen2.5-VL-3B-Instruct"
    """Chat model that takes an image and text, by name on the Hub or as a folder."""
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    """Precision of the frozen weights and of the forward pass. With LoRA the adapter stays float32."""
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    """Attention kernel. flash_attention_2 needs grpo.answers=sampled, and then the answers of a group share no prompt."""
    four_bit: bool = False
    """Load the frozen weights in 4 bits (bitsandbytes, a GPU): QLoRA."""
    max_pixels: int = Field(256 * 28 * 28, ge=1, le=10**8)
    """Pixels that larger images are shrunk to before the processor. 28 x 28 are one token of Qwen2.5-VL."""
    lora_rank: int = Field(16, ge=0, le=1024)
    """Rank of the adapter. 0 trains all weights."""
    lora_alpha: int = Field(32, ge=1, le=4096)
    """Scale of the adapter, divided by its rank."""
    lora_targets: Annotated[list[str], SplitAtCommas, Unique] = Field(
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"], min_length=1
    )
    """Linear layers that get an adapter, by the end of their names."""
    train_vision: bool = False
    """Train the vision tower too, with the adapter or wholly. false freezes it."""
    push_to_hub: ModelName | None = None
    """Repository on the Hub that the result is uploaded to. null uploads nothing."""

    def contradictions(self) -> Iterator[str]:
        if self.four_bit and not self.lora_rank:
            yield "understanding.four_bit: weights of 4 bits cannot be trained; set understanding.lora_rank"


class Tuning(Section):
    """Training settings that the warm-up and both steps of GRPO share."""

    warmup_steps: int = Field(10, ge=0, le=10**6)
    """Updates over which the learning rate rises from zero."""
    max_gradient_norm: float = Field(1.0, gt=0, le=10**6)
    """Norm that the gradients of an update are scaled down to."""
    gradient_checkpointing: bool = True
    """Save memory by computing activations twice."""
    log_every: int = Field(5, ge=1, le=10**6)
    """Updates between two lines of metrics.jsonl."""
    checkpoint_every: int = Field(100, ge=1, le=10**6)
    """Updates between two checkpoints."""
    checkpoints_kept: int = Field(2, ge=1, le=1000)
    """Most checkpoints that are kept. Older ones are removed."""


class Warmup(Section):
    """Supervised fine-tuning on right answers to the questions, before GRPO."""

    steps: int = Field(0, ge=0, le=10**7)
    """Updates of the supervised warm-up. 0 skips it."""
    batch_size: int = Field(4, ge=1, le=65536)
    """Questions for each process and update."""
    learning_rate: float = Field(1e-5, gt=0, le=1)
    """Peak learning rate, with a cosine decay."""


class Grpo(Section):
    """Group relative policy optimisation (Shao et al. 2024), in Step I and in Step II."""

    answers: Literal["exact", "sampled"] = "exact"
    """exact trains on the probabilities of all answers that a question allows, computed at once. sampled draws some."""
    answers_two: Literal["exact", "sampled"] | None = None
    """exact or sampled answers in Step II. null takes those of Step I."""
    group: int = Field(8, ge=2, le=1024)
    """Answers sampled to each question. They are compared with one another."""
    questions_per_step: int = Field(32, ge=1, le=10**6)
    """Questions of one update, over all processes."""
    batch_size: int = Field(2, ge=1, le=65536)
    """Questions, each with its group, in one forward pass of one process. The rest of an update is accumulated."""
    steps_one: int | None = Field(None, ge=0, le=10**8)
    """Updates of Step I. null makes one pass over the questions, 0 skips it."""
    steps_two: int | None = Field(None, ge=0, le=10**8)
    """Updates of Step II. null makes one pass over the questions about hard images, 0 skips mining and Step II."""
    temperature: float = Field(1.0, gt=0, le=10)
    """Temperature of sampling in training."""
    beta: float = Field(0.0, ge=0, le=100)
    """Weight of the KL divergence from the model that the step started from. 0 needs no reference model."""
    entropy: float = Field(0.0, ge=0, le=100)
    """Weight of the mean entropy of the next token, in nats. It gained nothing on the demo."""
    learning_rate: float = Field(1e-5, gt=0, le=1)
    """Peak learning rate of AdamW."""
    learning_rate_two: float | None = Field(None, gt=0, le=1)
    """Peak learning rate of Step II. null takes that of Step I."""
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    """Learning rate after the warm-up."""
    share_prefix: bool = True
    """Let sampled answers of a group share their image and prompt: the same numbers, faster."""
    compile_decoding: bool = False
    """On a GPU, compile the step that samples the next token. No speed-up has been measured yet."""
    evaluate_every: int | None = Field(200, ge=1, le=10**6)
    """Updates between two evaluations on the val split. null makes none."""
    evaluated_questions: int = Field(600, ge=24, le=10**6)
    """Questions about images of the val split in such an evaluation, of the kinds that are trained on."""
    evaluation_batch_size: BatchSize = 16
    """Questions of such an evaluation that each process runs at once."""

    def answers_of(self, step: str) -> str:
        """Return exact or sampled. step: step_one or step_two."""
        return self.answers_two or self.answers if step == "step_two" else self.answers

    def rate_of(self, step: str) -> float:
        """Return the peak learning rate. step: step_one or step_two."""
        return self.learning_rate_two or self.learning_rate if step == "step_two" else self.learning_rate

    @property
    def ways(self) -> set[str]:
        """Which of exact and sampled the steps take that have updates."""
        updates = {"step_one": self.steps_one, "step_two": self.steps_two}
        return {self.answers_of(step) for step, limit in updates.items() if limit != 0}


class Mining(Section):
    """Finding the images that are hard for the reference model, and choosing those of Step II."""

    reference: Literal["base", "step_one"] = "base"
    """Model whose mistakes make an image hard: the one before Step I, or the one after it."""
    images: int | None = Field(None, ge=8, le=10**8)
    """Training images that the reference model is asked about, equally many of each emotion. null takes all."""
    batch_size: BatchSize = 16
    """Images that each process asks about at once."""
    lowest: float = Field(0.6, ge=0, le=1)
    """A hard image has a larger error than this share of the images of its emotion."""
    highest: float = Field(0.9, ge=0, le=1)
    """Share of the images of an emotion, by error, above which none counts as hard: many are mislabelled. 1 keeps all."""
    easy_share: float = Field(0.2, ge=0, lt=1)
    """Share of other images in Step II, so that the model keeps what it knows."""

    def contradictions(self) -> Iterator[str]:
        if self.lowest >= self.highest:
            yield f"mining.lowest: {self.lowest} is not less than mining.highest, {self.highest}"
        if self.easy_share and not self.lowest:
            yield "mining.easy_share: with mining.lowest 0 no image is easier than a hard one; set mining.easy_share=0"


class Predict(Section):
    """The images that understanding/predict.py answers about, and the model that it asks."""

    images: Annotated[list[ProjectPath], SplitAtCommas] = Field([])
    """Images, and folders of images."""
    model: ModelName | None = None
    """Model that predict.py asks or merge.py merges, by name or folder. null takes the result in the run folder."""
    batch_size: BatchSize = 16
    """Images that are answered about at once."""
