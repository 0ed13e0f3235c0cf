"""Every setting of the project, by section, with its type, bounds, default and meaning.

`config.yaml` beside this file states the same defaults for people to edit; `loading.py` reads YAML and the command line
into these classes. Paths that are relative count from the project's root, so that a script does the same from any folder.
"""

from pathlib import Path

from pydantic import Field, model_validator

from config.data_settings import Balance, Data, Drawn, Machine, Source
from config.evaluation_settings import Evaluate
from config.generation_settings import Caches, EmotionSpace, Generate, Mapper, Models
from config.section import ProjectPath, Section
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

    @model_validator(mode="after")
    def _emogen_knows_two_kinds(self):
        others = set(self.data.kinds) - {"object", "scene"}
        if self.balance.policy == "emogen" and others:
            raise ValueError(
                f"balance.policy: emogen is defined for object and scene alone; take {', '.join(sorted(others))} "
                "out of data.kinds or choose tempered"
            )
        return self

    @model_validator(mode="after")
    def _emotions_are_of_the_taxonomy(self):
        known = self.data.taxonomy.emotions
        named = {"generate.emotions": self.generate.emotions or []}
        named["generate.mixes"] = [name for mix in self.generate.mixes for name in mix]
        named["source.classes"] = [emotion for emotion in self.source.classes.values() if emotion]
        for key, names in named.items():
            if unknown := [name for name in names if name not in known]:
                raise ValueError(f"{key}: {unknown[0]!r} is not allowed; data.taxonomy lists {', '.join(known)}")
        return self
