"""Every setting of the project, by section, with its type, bounds, default and meaning.

`config.yaml` beside this file states the same defaults for people to edit. `loading.py` reads YAML and the command line
into these classes. Paths that are relative count from the project's root, so that a script does the same from any folder.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import Field

from config.app_settings import App
from config.data_settings import Balance, Data, Drawn, Machine, Source
from config.evaluation_settings import Evaluate, Rating
from config.generation_settings import Caches, EmotionSpace, Generate, Mapper, Models
from config.loop_settings import Loop
from config.section import ProjectPath, Section, SplitAtCommas, Unique
from config.understanding_settings import (
    Answers,
    Grpo,
    Mining,
    Predict,
    Questions,
    Rewards,
    Tuning,
    Understanding,
    Warmup,
)


class Settings(Section):
    """All settings."""

    seed: int = Field(0, ge=0, le=2**32 - 1)
    """Seed of everything that is random."""
    run: ProjectPath = Path("runs/full")
    """Run folder. Each script writes into a folder of its own in it."""
    runs: Annotated[list[ProjectPath], SplitAtCommas, Unique] = Field([])
    """Run folders of the same config with other seeds, of which evaluation/report.py makes one report."""
    check: bool = False
    """Stop after all checks and print what the run would take. Nothing is computed or written."""
    data: Data = Data()
    balance: Balance = Balance()
    machine: Machine = Machine()
    drawn: Drawn = Drawn()
    source: Source = Source()
    models: Models = Models()
    caches: Caches = Caches()
    emotion_space: EmotionSpace = EmotionSpace()
    mapper: Mapper = Mapper()
    generate: Generate = Generate()
    questions: Questions = Questions()
    answers: Answers = Answers()
    rewards: Rewards = Rewards()
    understanding: Understanding = Understanding()
    tuning: Tuning = Tuning()
    warmup: Warmup = Warmup()
    grpo: Grpo = Grpo()
    mining: Mining = Mining()
    evaluate: Evaluate = Evaluate()
    predict: Predict = Predict()
    rating: Rating = Rating()
    loop: Loop = Loop()
    app: App = App()

    def contradictions(self) -> Iterator[str]:
        others = set(self.data.kinds) - {"object", "scene"}
        if self.balance.policy == "emogen" and others:
            yield (
                f"balance.policy: emogen is defined for object and scene alone; take {', '.join(sorted(others))} "
                "out of data.kinds or choose tempered"
            )
        if self.run.is_relative_to(self.data.emoset / "image"):
            yield f"run: {self.run} lies among the images of data.emoset; name a folder elsewhere"
        known = self.data.taxonomy.emotions
        named = {"generate.emotions": self.generate.emotions or []}
        named["generate.mixes"] = [name for mix in self.generate.mixes for name in mix]
        named["source.classes"] = [emotion for emotion in self.source.classes.values() if emotion]
        for key, names in named.items():
            if unknown := [repr(name) for name in dict.fromkeys(names) if name not in known]:
                are = "is" if len(unknown) == 1 else "are"
                yield f"{key}: {', '.join(unknown)} {are} not allowed; data.taxonomy lists {', '.join(known)}"
        if "exact" in self.grpo.ways:
            yield from self._not_exact()
        if self.grpo.compile_decoding and not (self.answers.reasoning or "sampled" in self.grpo.ways):
            yield "grpo.compile_decoding: nothing is sampled here, so there is nothing to compile; set it to false"
        if self.grpo.compile_decoding and not self.grpo.share_prefix and "sampled" in self.grpo.ways:
            yield "grpo.compile_decoding: works with grpo.share_prefix=true only; set one of them otherwise"
        if "sampled" in self.grpo.ways and self.rewards.scoring == "log":
            yield "rewards.scoring: log is a score of distributions; set grpo.answers=exact, or choose quadratic or reward"
        if "sampled" in self.grpo.ways and self.rewards.length and self.rewards.length_limit >= self.answers.tokens:
            yield (
                f"rewards.length_limit: no answer is longer than answers.tokens, {self.answers.tokens}, so the penalty is"
                " never due; set it to fewer"
            )

    def _not_exact(self) -> Iterator[str]:
        """Yield what exact answers do not go with."""
        if self.rewards.graded:
            yield "rewards.graded: works with sampled answers only; set it to false, or set grpo.answers=sampled"
        if self.rewards.length:
            yield "rewards.length: works with sampled answers only; set it to 0, or set grpo.answers=sampled"
        if self.grpo.entropy and "sampled" not in self.grpo.ways:
            yield "grpo.entropy: works with sampled answers only; set it to 0, or set grpo.answers=sampled"
        if not self.grpo.share_prefix and "sampled" not in self.grpo.ways:
            yield "grpo.share_prefix: exact answers always share their prompt; set it to true, or set grpo.answers=sampled"
