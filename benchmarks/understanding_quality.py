"""What each stage of understanding gives on the drawn world: supervised answers alone, Step I, Step II, and random images.

    python benchmarks/understanding_quality.py --config config/demo.yaml

Runs, for three seeds and in `<run>-quality-<seed>/`: supervised fine-tuning with as many updates as Step I has; Step I;
after it Step II on hard images, or the same number of updates on random ones. `demo/draw.py` and `training/main.py` must
have run in the run folder, for the images and for what is confusable. Measures every model on all test images of another
drawing, in `<run>-quality/`: config/demo.yaml was chosen on the run's.
"""

from runtime.script import read_settings, run

read_settings(__name__, __doc__, "grpo", "understanding")

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd

from config.errors import UserError
from config.section import ROOT
from config.settings import Settings

SEEDS = (0, 1, 2)
DRAWING = 1000  # the seed of the images that are measured on
METRICS = {
    "multiple choice": "multiple_balanced_accuracy",
    "forced choice": "multiple_forced_balanced_accuracy",
    "binary": "binary_balanced_accuracy",
    "binary AUROC": "binary_auroc",
    "AUROC": "misleading_auroc",
    "expected score, AUROC": "misleading_expected_auroc",
    "its ECE": "misleading_expected_ece",
    "format": "format_rate",
}
RANDOM_IMAGES = ("mining.lowest=0", "mining.highest=1", "mining.easy_share=0")  # every image counts as hard


def main(settings: Settings) -> None:
    arguments = sys.argv[1:]
    confusability = settings.run / "training" / "emotion_space" / "confusability.json"
    if not confusability.exists():
        raise UserError(f"{confusability}: not there; run demo/draw.py, training/dataset_balance.py and training/main.py")
    if not settings.grpo.steps_one or not settings.grpo.steps_two:
        raise UserError(
            "grpo.steps_one, grpo.steps_two: give both a number, for the other trainings to have as many updates"
        )
    measured = Path(f"{settings.run}-quality")
    script("demo/draw.py", *arguments, f"run={measured}", f"data.emoset={measured / 'EmoSet'}", f"seed={DRAWING}")
    rows, cells = [], []
    for seed in SEEDS:
        folders = {name: Path(f"{settings.run}-quality-{seed}") / name for name in ("grpo", "random", "supervised")}
        shared = [*arguments, f"seed={seed}", f"questions.confusability={confusability}", "grpo.evaluate_every=null"]
        supervised = [f"warmup.steps={settings.grpo.steps_one}", f"warmup.batch_size={settings.grpo.questions_per_step}"]
        supervised += ["warmup.learning_rate=0.001", "grpo.steps_one=0", "grpo.steps_two=0"]
        script("understanding.py", *shared, f"run={folders['grpo']}")
        first = Path("understanding") / "step_one"  # is the same for both, and is not trained twice
        shutil.copytree(folders["grpo"] / first, folders["random"] / first, dirs_exist_ok=True)
        script("understanding.py", *shared, f"run={folders['random']}", *RANDOM_IMAGES)
        script("understanding.py", *shared, f"run={folders['supervised']}", *supervised)
        models = {
            "before": settings.understanding.model,
            "supervised": folders["supervised"] / "understanding" / "model",
            "Step I": folders["grpo"] / "understanding" / "step_one" / "model",
            "random images": folders["random"] / "understanding" / "model",
            "Step II": folders["grpo"] / "understanding" / "model",  # the last one is asked blind as well
        }
        named = f"evaluate.models=[{','.join(str(path) for path in models.values())}]"
        measuring = ["evaluate.split=test", "evaluate.images=null", "evaluate.baselines=false"]
        measuring += [f"data.emoset={measured / 'EmoSet'}"]
        script("evaluation/evaluate.py", *shared, f"run={folders['grpo']}", named, *measuring)
        found = json.loads((folders["grpo"] / "evaluation" / "understanding.json").read_text(encoding="utf-8"))
        names = [*models, "blind"]
        for name, figures in zip(names, found["figures"].values(), strict=True):
            rows.append(dict(seed=seed, model=name) | {title: figures[key]["value"] for title, key in METRICS.items()})
            cells.append(dict(seed=seed, model=name) | {title: as_text(figures[key]) for title, key in METRICS.items()})
    table = pd.DataFrame(rows)
    means = table.groupby("model", sort=False)[list(METRICS)].agg(["mean", "min", "max"])
    ranges = {title: ["{:.3f} ({:.3f} to {:.3f})".format(*row) for row in means[title].to_numpy()] for title in METRICS}
    print(f"{pd.DataFrame(cells).to_markdown(index=False)}\n\nvalue (95 % interval; n)")
    print(f"\nmean (least to most) of seeds {SEEDS}\n\n{pd.DataFrame(ranges, means.index).to_markdown()}")


def as_text(figure: dict) -> str:
    """Return a figure with its interval and n."""
    return "{value:.3f} ({low:.3f} to {high:.3f}; {n})".format(**figure)


def script(name: str, *arguments: str) -> None:
    """Run one of the project's scripts; end with its exit status where it fails."""
    done = subprocess.run([sys.executable, str(ROOT / name), *arguments])
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    run(main)
