"""What each way of training gives: right answers, sampled GRPO, both, exact answers, on drawings that nothing was chosen on.

    OMP_NUM_THREADS=1 python benchmarks/understanding_quality.py --config config/demo.yaml

Each of three seeds draws an EmoSet of its own (2000, 2001 and 2002, or with seed=1 the three that follow), trains on its
train split and measures on its test split. Every way has as many updates as the config's Step I. A way whose updates take
clearly other seconds is trained once more, with as many as fit into those of `exact quadratic`. The seconds are of the CPU,
of the whole command but its start. CLIP's probe of the same images stands beside. What is confusable is that of the run's
emotion space: demo/draw.py and training/main.py must have run.

All of it is kept in `<run>-quality/<drawing>/`. If you stop it, the same command resumes with the next training.
"""

from runtime.script import read_settings, run

read_settings(__name__, __doc__, "grpo", "understanding")

import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd

from config.errors import UserError
from config.section import ROOT
from config.settings import Settings
from evaluation.measure_understanding import ALONE
from runtime.files import write_json

SEEDS = (0, 1, 2)  # of the trainings
METRICS = {
    "multiple choice": "multiple_balanced_accuracy",
    "forced choice": "multiple_forced_balanced_accuracy",
    "binary": "binary_balanced_accuracy",
    "p(yes), AUROC": "binary_auroc",
    "score, AUROC": "misleading_auroc",
    "E[score], AUROC": "misleading_expected_auroc",
    "E[score], ECE": "misleading_expected_ece",
    "format": "format_rate",
}
SAMPLED = ("grpo.answers=sampled", "grpo.learning_rate=0.00125")  # config/demo.yaml's before it had exact answers
BEST = "exact quadratic"  # which others are compared with
WAYS: dict[str, Callable[[int], tuple[str, ...]]] = {  # the settings of so many updates
    "supervised": lambda n: (f"warmup.steps={n}", "grpo.steps_one=0"),
    "sampled": lambda n: (*SAMPLED, f"grpo.steps_one={n}"),
    "supervised then sampled": lambda n: (*SAMPLED, f"warmup.steps={n // 2}", f"grpo.steps_one={n - n // 2}"),
    "exact reward": lambda n: ("rewards.scoring=reward", f"grpo.steps_one={n}"),
    "exact log": lambda n: ("rewards.scoring=log", f"grpo.steps_one={n}"),
    BEST: lambda n: ("rewards.scoring=quadratic", f"grpo.steps_one={n}"),
}


def main(settings: Settings) -> None:
    confusability = settings.run / "training" / "emotion_space" / "confusability.json"
    if not confusability.exists():
        raise UserError(f"{confusability}: not there; run demo/draw.py, training/dataset_balance.py and training/main.py")
    if not settings.grpo.steps_one:
        raise UserError("grpo.steps_one: give it a number, for every way to have as many updates")
    rows, grpo = [], settings.grpo
    for seed, drawing in drawings(settings):
        home = Path(f"{settings.run}-quality") / str(drawing)
        shared = [*sys.argv[1:], f"data.emoset={home / 'EmoSet'}", f"data.cache={home / 'cache'}"]
        script("demo/draw.py", *shared, f"run={home}", f"seed={drawing}")
        shared += [
            f"seed={seed}",
            f"questions.confusability={confusability}",
            "grpo.evaluate_every=null",
            "grpo.steps_two=0",
        ]
        shared += [f"warmup.batch_size={grpo.questions_per_step}", f"warmup.learning_rate={grpo.learning_rate}"]
        updates, seconds = train_all(home, shared, grpo.steps_one)
        rows += [
            dict(seed=seed, way=way, updates=updates.get(way), seconds=seconds.get(way)) | figures
            for way, figures in measured(home, shared, models_of(home, settings.understanding.model, updates)).items()
        ]
    show(pd.DataFrame(rows), BEST)


def drawings(settings: Settings) -> list[tuple[int, int]]:
    """Return each training's seed and that of its images."""
    return [(seed, 2000 + len(SEEDS) * settings.seed + seed) for seed in SEEDS]


def train_all(home: Path, shared: list[str], updates: int) -> tuple[dict[str, int], dict[str, float]]:
    """Train by every way, as far as it is not done; return the updates and the seconds of each, the best way last."""
    made = {}
    started = train(home, "start", [*shared, *WAYS[BEST](updates), "check=true"])
    seconds = {way: train(home, way, [*shared, *settings_of(updates)]) - started for way, settings_of in WAYS.items()}
    for way in WAYS:
        made[way] = updates
        fitting = round(updates * seconds[BEST] / seconds[way])
        if abs(fitting - updates) > updates / 4:
            again = f"{way} in equal seconds"
            made[again] = fitting
            seconds[again] = train(home, again, [*shared, *WAYS[way](fitting)]) - started
    return made | {BEST: made.pop(BEST)}, seconds


def train(home: Path, way: str, arguments: list[str]) -> float:
    """Train in `home`/<way>/, unless it has been trained by the same; return the seconds of all processes of the command."""
    folder, kept = home / way, home / f"{way}.json"
    done = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    if done.get("arguments") != arguments:
        shutil.rmtree(folder, ignore_errors=True)  # of a training that was stopped: its seconds would be too few
        before = cpu_seconds()
        script("understanding.py", *arguments, f"run={folder}")
        done = {"arguments": arguments, "seconds": cpu_seconds() - before}
        write_json(kept, done)
    return done["seconds"]


def cpu_seconds() -> float:
    """Return the seconds that all processes took which this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def models_of(home: Path, base: str, ways: Iterable[str]) -> dict[str, str]:
    """Return the models that are measured, by the names of their rows."""
    return {"base": base} | {way: str(home / way / "understanding" / "model") for way in ways}


def measured(home: Path, shared: list[str], models: dict[str, str]) -> dict[str, dict[str, float]]:
    """Return the METRICS on the test images, by their titles: of each model, and of what else the evaluation measures."""
    named = f"evaluate.models={json.dumps(list(models.values()))}"
    script("evaluation/evaluate.py", "evaluate.images=null", *shared, f"run={home}", named, "evaluate.split=test")
    found = json.loads((home / "evaluation" / "understanding.json").read_text(encoding="utf-8"))
    names = dict(zip(found["about"]["models"], models, strict=True))
    names |= {f"{label}{ALONE}": f"{name}, without thoughts" for label, name in names.items()}
    return {
        names.get(row, row): {title: figures[key]["value"] for title, key in METRICS.items() if key in figures}
        for row, figures in found["figures"].items()
    }


def show(table: pd.DataFrame, best: str) -> None:
    """Print every seed's figures, their means and ranges, and what each way has more than one of them, seed by seed.

    table: columns seed, way, perhaps updates and seconds, METRICS.
    """
    print(table.to_markdown(index=False, floatfmt=".3f"))
    titles = [name for name in ("updates", "seconds", *METRICS) if name in table]
    kept = table.groupby("way", sort=False)[titles].agg(["mean", "min", "max"])
    ranges = {title: ["{:.3f} ({:.3f} to {:.3f})".format(*row) for row in kept[title].to_numpy()] for title in titles}
    print(f"\nmean (least to most) of the seeds\n\n{pd.DataFrame(ranges, kept.index).to_markdown()}")
    wide = table.set_index(["way", "seed"])[list(METRICS)]
    apart = (wide - wide.loc[best]).groupby("way", sort=False).agg(["mean", "sem"])
    differences = {title: ["{:+.3f} ± {:.3f}".format(*row) for row in apart[title].to_numpy()] for title in METRICS}
    print(f"\nless that of {best}: mean and standard error of the seeds' differences\n")
    print(pd.DataFrame(differences, apart.index).drop(best).to_markdown())


def script(name: str, *arguments: str) -> None:
    """Run one of the project's scripts; end with its exit status where it fails."""
    done = subprocess.run([sys.executable, str(ROOT / name), *arguments])
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    run(main)
