"""GRPO with reasoning on the drawn world: sampled answers, as published, against answers integrated out, at equal seconds.

    OMP_NUM_THREADS=1 python benchmarks/thoughts.py --config config/demo.yaml

The demo's model is first taught to think in one short sentence, by a warm-up on the run's images. Then, for each of the
three seeds and in the folders of benchmarks/understanding_quality.py, which must have run, it is trained by both ways on the
train split of that seed's drawing, and measured on its test split. Sampled answers get as many updates as fit into the
seconds of the other way's. Last, how an image's error as mining asks, for the answer alone, goes with that after a thought.
"""

from runtime.script import read_settings, run

read_settings(__name__, __doc__, "grpo", "understanding")

import json
import sys
from pathlib import Path

import pandas as pd
from scipy.stats import spearmanr
from understanding_quality import drawings, measured, script, show, train

from config.settings import Settings

THINKING = ("answers.reasoning=true", "answers.tokens=32", "grpo.group=4", "grpo.temperature=1", "grpo.evaluate_every=null")
TAUGHT = ("warmup.steps=200", "warmup.batch_size=32", "warmup.learning_rate=0.003", "grpo.steps_one=0", "grpo.steps_two=0")
UPDATES = 50
TRAINED = ("grpo.steps_two=0", "grpo.learning_rate=0.001")


def main(settings: Settings) -> None:
    whole = Path(f"{settings.run}-quality")
    confusability = settings.run / "training" / "emotion_space" / "confusability.json"
    shared = [*sys.argv[1:], f"questions.confusability={confusability}", *THINKING]
    train(whole, "taught to think", [*shared, *TAUGHT, f"data.emoset={settings.data.emoset}"])
    script("understanding/merge.py", *shared, f"run={whole / 'taught to think'}")
    start, rows = whole / "taught to think" / "understanding" / "merged", []
    for seed, drawing in drawings(settings):
        home = whole / str(drawing)
        own = [*shared, f"seed={seed}", f"data.emoset={home / 'EmoSet'}", f"data.cache={home / 'cache'}"]
        own += [*TRAINED, f"understanding.model={start}"]
        idle = train(home, "thoughts, start", [*own, "check=true", f"grpo.steps_one={UPDATES}"])
        exact = train(home, "thoughts, exact", [*own, "grpo.answers=exact", f"grpo.steps_one={UPDATES}"])
        sampled = [*own, "grpo.answers=sampled"]
        some = UPDATES // 4
        few = train(home, "thoughts, sampled, few", [*sampled, f"grpo.steps_one={some}"])
        updates = round(some * (exact - idle) / (few - idle))
        took = train(home, "thoughts, sampled", [*sampled, f"grpo.steps_one={updates}"])
        models = {"taught to think": str(start)} | {
            way: str(home / f"thoughts, {way}" / "understanding" / "model") for way in ("sampled", "exact")
        }
        cost = {"exact": (UPDATES, exact - idle), "sampled": (updates, took - idle)}
        measuring = [*own, "evaluate.baselines=false", "evaluate.blind=false", "evaluate.images=240"]
        for way, figures in measured(home / "thoughts", measuring, models).items():
            count, seconds = cost.get(way, (None, None))
            rows.append(dict(seed=seed, way=way, updates=count, seconds=seconds) | figures)
        alone = [*measuring, "answers.reasoning=false", "answers.tokens=6"]
        measured(home / "answers alone", alone, {"exact": models["exact"]})
        errors = [errors_of(home / asked / "evaluation") for asked in ("thoughts", "answers alone")]
        rank = spearmanr(*pd.concat(errors, axis=1, join="inner").to_numpy().T).statistic
        print(
            f"seed {seed}: rank correlation of an image's error alone and after a thought {rank:.2f} (n = {len(errors[0])})"
        )
    show(pd.DataFrame(rows), "sampled")


def errors_of(evaluation: Path) -> pd.Series:
    """Return 1 - p(true emotion) of each image of an evaluation, by the last model, by image id."""
    label = list(json.loads((evaluation / "understanding.json").read_text(encoding="utf-8"))["about"]["models"])[-1]
    table = pd.read_parquet(evaluation / f"answers-{label}.parquet")
    table = table[table["kind"] == "multiple"].set_index("image_id")
    return pd.Series({image: 1 - row[f"p_{row['emotion']}"] for image, row in table.iterrows()})


if __name__ == "__main__":
    run(main)
