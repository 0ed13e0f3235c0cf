"""What a run folder holds for the page: its settings, its models, each loaded when it is first needed, and examples."""

from contextlib import suppress
from functools import cached_property
from pathlib import Path

from config.errors import UserError
from config.loading import load
from config.settings import Settings
from config.taxonomy import Taxonomy
from emoset.annotation import inside
from emoset.images import is_whole
from emoset.reading import read_emoset
from emoset.split_lists import read_splits
from evaluation.features import feature_cache
from evaluation.judge import Judge, load_judge
from evaluation.perceptual import Distance, load_lpips
from runtime.processes import start_process
from training.generator_parts import GENERATOR, read_about
from training.pipeline import EmotionPipeline
from training.sampling import load_generator
from understanding.asking import Asker, load_asker

GENERATES, UNDERSTANDS, MEASURES = ("images", "training"), ("understanding",), ("evaluation",)  # by stages of a run


class RunModels:
    """The models of a run folder, which may hold one half alone. Raises UserError where it holds neither.

    Each model is loaded when it is first needed. One that cannot be loaded raises UserError, and is tried again.
    """

    def __init__(self, run: Path):
        self.run = run
        self.generates = (run / "generator" / GENERATOR).is_file()
        self.understands = (run / "understanding" / "model").is_dir()
        if not self.generates and not self.understands:
            raise UserError(
                f"run: {run} holds neither a generator nor an understanding model; `make demo` makes both in runs/demo, "
                "or name the folder of another run: run=..."
            )
        self.settings = self.settings_of(*MEASURES, *GENERATES, *UNDERSTANDS)
        self.taxonomy: Taxonomy = self.settings.data.taxonomy
        # A probe is fitted to the features of training images, which the evaluation has computed and kept.
        self.judges = self.settings.evaluate.judge is not None or (run / "evaluation" / "generation.json").is_file()

    def settings_of(self, *stages: str) -> Settings:
        """Return the settings that the first of some stages ran with, of those that have run."""
        configs = [self.run / stage / "config.yaml" for stage in stages]
        for config in filter(Path.is_file, configs):
            return load(["--config", str(config)])
        raise UserError(f"{configs[0]}: is not there; run the stage again, which writes it")

    @cached_property
    def generator(self) -> tuple[EmotionPipeline, dict]:
        """The pipeline, and the parameters that all its images share."""
        return load_generator(self.run / "generator", start_process().device)

    @cached_property
    def before(self) -> Asker:
        """What asks the understanding model as it was before training."""
        return self._asker(self.settings_of(*UNDERSTANDS).understanding.model)

    @cached_property
    def after(self) -> Asker:
        """What asks the understanding model that the run has trained."""
        return self._asker(str(self.run / "understanding" / "model"))

    def _asker(self, model: str) -> Asker:
        ran = self.settings_of(*UNDERSTANDS)
        return load_asker(ran.understanding, ran.answers, self.taxonomy, model, "understanding.model")

    @property
    def after_reasons(self) -> bool:
        """Whether the run's understanding model reasons before it answers."""
        return self.settings_of(*UNDERSTANDS).answers.reasoning

    @cached_property
    def judge(self) -> Judge:
        """The judge of the run's evaluation."""
        ran, train = self.settings, None
        cache = feature_cache(ran.data, ran.evaluate)
        if ran.evaluate.judge is None:
            index = read_emoset(ran.data, self.run, ran.machine.processes, check=True).index
            index["path"] = [ran.data.emoset / image for image in index["image"]]
            train = index[index["split"] == "train"].reset_index(drop=True)
        return load_judge(ran.evaluate.judge, ran.models.clip, train, self.taxonomy.emotions, cache)

    @cached_property
    def lpips(self) -> Distance:
        """How different two images look, by the network of the run's evaluation."""
        return load_lpips(self.settings.evaluate.lpips_network)[1]

    @cached_property
    def contents(self) -> dict[str, dict[str, int]]:
        """How many training images of each emotion show each object or scene; empty where the generator knows none."""
        return (read_about(self.run / "generator" / GENERATOR).get("contents") or {}) if self.generates else {}

    @cached_property
    def examples(self) -> list[Path]:
        """A whole image of each emotion: of the val split, or, where the data set is gone, of those the run has made."""
        found: dict[str, Path] = {}
        root = self.settings.data.emoset
        with suppress(UserError):
            for _, emotion, split, image, _ in read_splits(root)[0]:
                with suppress(ValueError):  # a path that leads out of the data set is no example
                    if split == "val" and emotion not in found and is_whole(path := Path(inside(root, image))):
                        found[emotion] = path
        for emotion in self.taxonomy.emotions:
            made = sorted((self.run / "images" / emotion).glob("*.png")) if emotion not in found else []
            if whole := next(filter(is_whole, made), None):
                found[emotion] = whole
        return [found[emotion] for emotion in self.taxonomy.emotions if emotion in found]
