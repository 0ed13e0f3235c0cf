"""Which images Step II should take: hard ones, by the errors before or after Step I, ones drawn by their error, or any.

    OMP_NUM_THREADS=1 python benchmarks/hard_images.py --config config/demo.yaml

After benchmarks/understanding_quality.py, in whose folders it starts from each seed's Step I with exact answers: by exact
answers again, and by sampled ones as config/demo.yaml does. Whatever the images, updates and questions are equally many. All
is measured on the same test images. Step I's own errors are those that its updates computed of the images they asked about:
they take no pass over the images. To see them, this script makes Step I once more.
"""

from runtime.script import read_settings, run

read_settings(__name__, __doc__, "grpo", "understanding", "mining")

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import pandas as pd
from understanding_quality import BEST, WAYS, drawings, measured, show

from config.errors import UserError
from config.loading import load
from config.section import ROOT
from config.settings import Settings
from config.taxonomy import Taxonomy
from config.understanding_settings import Mining
from runtime.files import write_atomically
from runtime.run_folder import open_run_folder
from understanding.objective import Objective

AFTER = "mining.reference=step_one"
IMAGES = {  # which images, by the settings of mining
    "random images": ("mining.lowest=0", "mining.highest=1", "mining.easy_share=0", AFTER),
    "hard before Step I": ("mining.reference=base",),
    "hard after Step I": (AFTER,),
    "drawn by their error": (AFTER,),
    "drawn by Step I's own errors": (AFTER,),
}
STEPS = {  # of Step II
    "exact": ("grpo.answers_two=exact", "grpo.steps_two=100", "grpo.learning_rate_two=0.001"),
    "sampled": ("grpo.answers_two=sampled", "grpo.steps_two=16"),
}


def main(settings: Settings) -> None:
    confusability = settings.run / "training" / "emotion_space" / "confusability.json"
    rows = []
    for seed, drawing in drawings(settings):
        home = Path(f"{settings.run}-quality") / str(drawing)
        first = home / BEST / "understanding" / "step_one"
        if not first.is_dir():
            raise UserError(f"{first} is not there; run benchmarks/understanding_quality.py")
        shared = [*sys.argv[1:], f"data.emoset={home / 'EmoSet'}", f"data.cache={home / 'cache'}", f"seed={seed}"]
        shared += [
            f"questions.confusability={confusability}",
            "grpo.evaluate_every=null",
            *WAYS[BEST](settings.grpo.steps_one),
        ]
        models = {"Step I": str(first / "model")}
        for images, choosing in IMAGES.items():
            for way, steps in STEPS.items():
                folder = home / "step two" / f"{images} {way}"
                shutil.copytree(first, folder / "understanding" / "step_one", dirs_exist_ok=True)
                asked = home / "step two" / "asked" / ("after" if AFTER in choosing else "before")
                if asked.is_dir():  # by mining, which is the same for all that ask the same model
                    shutil.copytree(asked, folder / "mining" / "distributions", dirs_exist_ok=True)
                fine_tune(load([*shared, *choosing, *steps, "mining.images=null", f"run={folder}"]), images, home)
                if (folder / "mining" / "distributions").is_dir():
                    shutil.copytree(folder / "mining" / "distributions", asked, dirs_exist_ok=True)
                models[f"{images}, {way}"] = str(folder / "understanding" / "model")
        found = measured(home / "step two", [*shared, "evaluate.baselines=false"], models)
        rows += [dict(seed=seed, way=way) | figures for way, figures in found.items()]
    for way in STEPS:
        show(
            pd.DataFrame([row for row in rows if row["way"] == "Step I" or row["way"].endswith(way)]),
            f"random images, {way}",
        )


def fine_tune(settings: Settings, images: str, home: Path) -> None:
    """Run understanding.py with the images of IMAGES."""
    script = understanding_script()
    if images.startswith("drawn by"):
        script.hard_images = drawn_by_error
    if images == "drawn by Step I's own errors":
        found = errors_of_step_one(settings, home / "step two" / "Step I again")
        script.mine = lambda train, *_: train[["image_id", "emotion"]].assign(error=train["image_id"].map(found).fillna(1))
    script.fine_tune(settings, open_run_folder(settings, "understanding"))


def errors_of_step_one(settings: Settings, folder: Path) -> pd.Series:
    """Return the errors that Step I's updates computed, by image_id: 1 is the mean of its kind of question at that time."""
    kept = folder / "scores.parquet"
    if not kept.exists():
        shutil.rmtree(folder, ignore_errors=True)  # of a Step I that was stopped: its first scores are lost
        seen, score = [], Objective.score

        def seeing(objective, question, log_p):
            found = score(objective, question, log_p)
            if not found.requires_grad:  # for the log: once for each question of an update
                seen.append((question.image_id, question.kind, found.item()))
            return found

        with patch.object(Objective, "score", seeing):
            grpo = settings.grpo.model_copy(update={"steps_two": 0})
            alone = settings.model_copy(update={"run": folder, "grpo": grpo})
            understanding_script().fine_tune(alone, open_run_folder(alone, "understanding"))
        write_atomically(kept, pd.DataFrame(seen, columns=["image_id", "kind", "score"]).to_parquet)
    seen = pd.read_parquet(kept)
    error = 1 - seen["score"]
    usual = error.groupby(seen["kind"]).transform(lambda each: each.rolling(100, center=True, min_periods=1).mean())
    return (error / usual).groupby(seen["image_id"]).mean()


def understanding_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("understanding_script", ROOT / "understanding.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def drawn_by_error(errors: pd.DataFrame, taxonomy: Taxonomy, mining: Mining, seed: int) -> pd.DataFrame:
    """Return as many images as there are, each as likely as its error, with repetitions. errors: of mining or of Step I."""
    drawn = errors.sample(len(errors), replace=True, weights=errors["error"], random_state=seed)
    return drawn[["image_id", "emotion"]].reset_index(drop=True)


if __name__ == "__main__":
    run(main)
