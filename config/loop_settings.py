"""The settings of the loop: a section of `Settings` in settings.py."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from config.section import ModelName, Section


class Loop(Section):
    """How each half improves the other: loop/main.py, and choosing among images: loop/inference.py."""

    judge: ModelName | None = None
    """Classifier of the emotions that measures the loop. Neither reward, gate nor any training may have seen its weights."""
    reward: ModelName = "understanding"
    """What scores images: log p(emotion | image) by the run's `understanding` model or `encoder`, or your own .py file."""
    content_weight: float = Field(0.0, ge=0, le=100)
    """Weight in the reward of CLIP's log p(content | image), among the generator's contents."""
    score_batch_size: int = Field(16, ge=1, le=4096)
    """Images that reward and gate see at once."""
    best_of: int = Field(4, ge=1, le=256)
    """Images that loop/inference.py makes for each that it keeps."""
    rounds: int = Field(4, ge=0, le=1000)
    """Rounds of making images, scoring them and training on them. 0 leaves the generator as it is."""
    conditions: int = Field(32, ge=1, le=10**6)
    """Emotions on contents in a round."""
    group: int = Field(8, ge=2, le=1024)
    """Images of each condition, which are compared with each other."""
    trains: Literal["mapper", "mapper_and_lora"] = "mapper"
    """Weights that are trained. The LoRA can be where the generator has one."""
    updates: int = Field(32, ge=1, le=10**6)
    """Updates of a round."""
    batch_size: int = Field(32, ge=2, le=65536, multiple_of=2)
    """Images of an update, for each process: half of them generated, half real."""
    learning_rate: float = Field(3e-4, gt=0, le=1)
    """Learning rate of AdamW, after a warm-up of a quarter of the round's updates."""
    beta: float = Field(0.5, gt=0, le=100)
    """Trust region: the smaller, the farther an advantage moves the target away from the old prediction."""
    data_weight: float = Field(0.3, ge=0, le=100)
    """Weight of the ordinary loss on real images, which keeps the generator from collapsing."""
    ema: float = Field(0.9, ge=0, lt=1)
    """Decay of the moving average of the weights that the next round starts from."""
    held_out: int = Field(64, ge=2, le=10**6)
    """Images of other emotions, contents and noise, by which the gate ends the training early."""
    control: bool = True
    """Train a control beside: as many updates by the ordinary loss on real images alone."""
    images: int = Field(64, ge=4, le=10**6)
    """Images of each emotion that are measured, of every row."""
    candidates: int = Field(8, ge=1, le=256)
    """Images of the untouched generator for each that is measured: the best of 2, of 4, ... of them are rows too."""

    teach: bool = False
    """Teach the rewarding understanding model between two rounds. The next one takes it if it is better on the val split."""
    teach_images: int = Field(512, ge=16, le=10**7)
    """Images that are made to teach the understanding model, before those that do not serve are left out."""
    teach_share: float = Field(0.3, gt=0, lt=1)
    """Share of generated images among those that the understanding model learns from. The others are real."""
    teach_updates: int = Field(100, ge=1, le=10**6)
    """Updates of the understanding model, and of its control on real images alone."""
    teach_learning_rate: float = Field(1e-5, gt=0, le=1)
    """Peak learning rate of the understanding model's updates."""
    understanding: ModelName | None = None
    """Understanding model of reward and gate, for example one that loop/teach.py has taught. null takes the run's."""

    def contradictions(self) -> Iterator[str]:
        if self.candidates & (self.candidates - 1):
            yield f"loop.candidates: {self.candidates} is no power of two; give 1, 2, 4, 8 or more"
        if self.reward not in ("understanding", "encoder") and not self.reward.endswith(".py"):
            yield f"loop.reward: {self.reward} is neither understanding nor encoder, nor a .py file with your own score"
        if self.teach and self.reward != "understanding":
            yield f"loop.teach: teaches the reward, which is {self.reward}; set it to false, or loop.reward=understanding"
        if self.teach and self.rounds < 2:
            yield "loop.teach: teaches between two rounds; give loop.rounds 2 or more"
