"""What the demo's generators are worth, on drawings and noise that nothing was chosen on: three seeds of everything.

    OMP_NUM_THREADS=1 python benchmarks/generation_quality.py --config config/demo.yaml

Each seed draws an EmoSet of its own, trains on its train split, and measures with evaluation/evaluate.py: 64 images of each
emotion for every row, by a judge and a content classifier that no training saw. The rows: demo.yaml's generator,
config.yaml's mapper with the same tiny models (benchmarks/default_mapper.yaml), the same contents named by a prompt alone
("a photo of a {attribute}"), the prompt "an image of {emotion}", and the drawings of the test split. All rows that draw a
content draw the same, and start from the same noise, so they are compared image by image.

All of it is kept in `<run>-generation/<drawing>/`. If you stop it, the same command resumes.
"""

from runtime.script import read_settings, run

read_settings(__name__, __doc__, "data", "mapper", "generate", "evaluate")

import json
import sys
from pathlib import Path

import pandas as pd
from understanding_quality import script

from config.section import ROOT
from config.settings import Settings
from evaluation.metric_labels import row_name, signed

DRAWINGS = {0: 3000, 1: 3001, 2: 3002}  # the seed of the images, by that of the training and of the noise
IMAGES = 64  # of each emotion
BASE = "attribute_prompt"
OTHER = "config.yaml"  # the generator beside the demo's, and how its settings differ
SETTINGS = ("--config", str(ROOT / "benchmarks" / "default_mapper.yaml"))
METRICS = {
    "emotion": "emotion_accuracy",
    "content": "content_accuracy",
    "both": "joint_accuracy",
    "recognisable": "semantic_clarity",
}


def main(settings: Settings) -> None:
    found = {}
    for seed, drawing in DRAWINGS.items():
        home = Path(f"{settings.run}-generation") / str(drawing)
        data = [f"data.{name}={home / name}" for name in ("emoset", "attribute_root", "cache")]
        shared = [*sys.argv[1:], *data, "mapper.sample_every=null"]
        script("demo/draw.py", *shared, f"run={home / 'demo.yaml'}", f"seed={drawing}")
        for name, others in {"demo.yaml": (), OTHER: SETTINGS}.items():
            own = [*shared, *others, f"run={home / name}", f"seed={seed}"]
            script("training/dataset_balance.py", *own)
            script("training/main.py", *own)
        measuring = [f"run={home / 'demo.yaml'}", f"seed={seed}", "evaluate.split=test", f"evaluate.generated={IMAGES}"]
        measuring += ["evaluate.models=[]", f"evaluate.generators={home / OTHER / 'generator'}"]
        script("evaluation/evaluate.py", *shared, *measuring)
        file = home / "demo.yaml" / "evaluation" / "generation.json"
        found[seed] = json.loads(file.read_text(encoding="utf-8"))
    show(found)


def show(found: dict[int, dict]) -> None:
    """Print every seed's figures, their means and ranges, and the gains over the prompt of the same contents.

    found: generation.json, by seed.
    """
    rows, gains = [], []
    for seed, measured in found.items():
        figures = {row: each["corrected"] for row, each in measured["figures"].items() if row != "transfer"}
        for row, own in figures.items():
            values = {title: own[name]["value"] for title, name in METRICS.items() if name in own}
            entropies, real = (entropies_of(measured["figures"][each]["by_emotion"]) for each in (row, "real"))
            values |= {"entropy, share of real": entropies.mean() / real.mean(), "least": (entropies / real).min()}
            rows.append({"row": row_name(row), "seed": seed} | values)
        gains += [
            {"pair": pair, "seed": seed} | {title: signed(own[name]) for title, name in METRICS.items() if name in own}
            for pair, own in measured["paired"].items()
        ]
    table = pd.DataFrame(rows)
    print(table.to_markdown(index=False, floatfmt=".3f"))
    kept = table.drop(columns="seed").groupby("row", sort=False).agg(["mean", "min", "max"])
    titles = [title for title in table if title not in ("row", "seed")]
    ranges = {title: ["{:.3f} ({:.3f} to {:.3f})".format(*row) for row in kept[title].to_numpy()] for title in titles}
    print(f"\nmean (least to most) of the seeds\n\n{pd.DataFrame(ranges, kept.index).to_markdown()}")
    print(f"\npaired, more than {row_name(BASE)}\n\n{pd.DataFrame(gains).to_markdown(index=False)}")


def entropies_of(by_emotion: dict[str, dict]) -> pd.Series:
    return pd.Series({emotion: figures["attribute_entropy"]["value"] for emotion, figures in by_emotion.items()})


if __name__ == "__main__":
    run(main)
