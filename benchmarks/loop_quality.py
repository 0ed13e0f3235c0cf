"""What the loop gains on the drawn world, by a judge that nothing was trained by: three seeds of everything.

    OMP_NUM_THREADS=1 python benchmarks/loop_quality.py --config config/demo.yaml

Each seed draws an EmoSet of its own, trains both halves on its train split, and runs the loop, then loop/teach.py, then the
loop once more that trains the LoRA too. The model that was taught chooses among the same images as the one before, as it
would in the next rounds. Rows of a seed start from the same noise, which nothing was chosen on; the demo's reward was chosen
on val, by the same judge. Beside them stand curves of the untouched generator, which a gain must beat at equal attribute
entropy: other strengths, spreads and numbers of steps.

All of it is kept in `<run>-loop/<drawing>/`. If you stop it, the same command resumes. After each step the tables of all
that there is are printed. What you set goes over its own sizes and the test split.
"""

from runtime.script import read_settings, run

read_settings(__name__, __doc__, "data", "mapper", "generate", "evaluate", "loop", "grpo")

import json
import sys
from pathlib import Path

import pandas as pd
from understanding_quality import script

from config.loading import load
from config.settings import Settings
from evaluation.metric_labels import signed
from loop.measure import Measure, measure_loop
from runtime.files import write_json

DRAWINGS = {0: 5000, 1: 5001, 2: 5002}  # the seed of the images, by that of the training and of the noise
SIZES = ("loop.images=64", "loop.candidates=8", "loop.best_of=4", "loop.rounds=4", "loop.conditions=32", "loop.updates=32")
SIZES += ("loop.held_out=32", "loop.teach=false", "loop.teach_images=256", "loop.teach_updates=32")
SHARED = ("balance", "generator", "training", "understanding", "mining")  # of the run folder that both loops begin with
CURVES = {"strength 0.6": {"strength": 0.6}, "strength 1": {"strength": 1.0}, "spread 0.25": {"spread": 0.25}}
FILES = {"mapper": "mapper/loop/metrics.json", "lora": "lora/loop/metrics.json", "curves": "curves/metrics.json"}
TEACHING, TAUGHT = "mapper/loop/teaching.json", "mapper/loop/taught/step_two/model"
METRICS = {
    "joint": "joint_accuracy",
    "emotion": "emotion_accuracy",
    "content": "content_accuracy",
    "recognisable": "semantic_clarity",
    "entropy": "attribute_entropy",
    "least": "least_attribute_entropy",
    "KID": "kid",
    "reward": "reward",
}


def main(settings: Settings) -> None:
    homes = {seed: Path(f"{settings.run}-loop") / str(drawing) for seed, drawing in DRAWINGS.items()}
    own = {
        seed: [*SIZES, "evaluate.split=test", "mapper.sample_every=null", *sys.argv[1:], *places(home), f"seed={seed}"]
        for seed, home in homes.items()
    }
    for seed, words in own.items():
        script("demo/draw.py", *words, f"seed={DRAWINGS[seed]}")
        for name in ("training/dataset_balance.py", "training/main.py", "understanding.py", "loop/main.py", "loop/teach.py"):
            script(name, *words)
        show(homes)
    for seed, home in homes.items():
        next_gate(own[seed], home)
        single = [*own[seed], "loop.candidates=1", "loop.best_of=1"]  # one image of each kind, for rows that choose nothing
        curves(load(single), home / "curves")
        begin(home / "mapper", home / "lora")
        script("loop/main.py", *single, f"run={home / 'lora'}", "loop.trains=mapper_and_lora")
        show(homes)


def places(home: Path) -> list[str]:
    """Return the settings of where a seed's data and its first run are."""
    return [*(f"data.{name}={home / name}" for name in ("emoset", "attribute_root", "cache")), f"run={home / 'mapper'}"]


def begin(first: Path, other: Path) -> None:
    """Let a run folder begin with what another one holds of both halves."""
    other.mkdir(parents=True, exist_ok=True)
    for part in SHARED:
        if not (other / part).exists() and (first / part).exists():
            (other / part).symlink_to(first / part)


def curves(settings: Settings, folder: Path) -> None:
    """Measure what the untouched generator gives at other settings, unless it is measured."""
    if not (folder / "metrics.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        others = CURVES | {"4 x the steps": {"steps": 4 * settings.generate.steps}}
        measure_loop(settings, folder, {"untouched": settings.run / "generator"}, [], others)


def next_gate(words: list[str], home: Path) -> None:
    """Measure how the understanding model chooses as the gate, before it was taught and after, unless it is measured."""
    file, models = home / "next_gate.json", {"before": [], "taught": [f"loop.understanding={home / TAUGHT}"]}
    if file.is_file():
        return
    views, judged, ranks = {}, {}, {}
    for name, changed in models.items():
        settings = load([*words, *changed])
        measure = Measure(settings, home / "mapper" / "loop", settings.run / "generator")
        measure.make("untouched", settings.run / "generator", settings.loop.candidates)
        ranks[name] = measure.of_candidates("untouched")
        measure.keep_best(name, "untouched", settings.loop.candidates, by="gate")
        views[name], judged[name] = measure.views[name], measure.judged[name]
    right = {name: measure.comparison.content_figures(views[name], judged[name]) for name in models}
    found = {"candidates": ranks, "figures": right, "paired": measure.comparison.gains(views, judged, "before")}
    write_json(file, found)
    for name in models:
        print(f"{home.name}, {name}: {ranks[name]}, best of them by it {right[name]['joint_accuracy']}")
    for pair, apart in found["paired"].items():
        print(f"{home.name}, {pair}: " + "; ".join(f"{part} {signed(each)}" for part, each in apart.items()), flush=True)


def show(homes: dict[int, Path]) -> None:
    """Print every seed's figures, their means over the seeds, and the paired differences, of the files that there are."""
    rows, gains, ranks = [], [], []
    for seed, home in homes.items():
        for name in [name for name, file in FILES.items() if (home / file).is_file()]:
            files = json.loads((home / FILES[name]).read_text(encoding="utf-8"))
            for row, own in files["figures"].items():
                label = f"{row} ({name})" if row.startswith(("reward", "control")) else row
                values = {title: own[key]["value"] for title, key in METRICS.items() if key in own}
                rows.append({"row": label, "seed": seed, "n": own["emotion_accuracy"]["n"]} | values)
            for pair, own in files["paired"].items():
                shown = {title: signed(own[key]) for title, key in METRICS.items() if key in own}
                gains.append({"of": name, "pair": pair, "seed": seed} | shown)
            ranks += [{"of": name, "row": row, "seed": seed} | own for row, own in files["candidates"].items()]
        if (home / TEACHING).is_file():
            taught = json.loads((home / TEACHING).read_text(encoding="utf-8"))["paired"]
            for pair, own in taught.items():
                print(f"seed {seed}, {pair}: " + "; ".join(f"{part} {signed(each)}" for part, each in own.items()))
    table = pd.DataFrame(rows).drop_duplicates(["row", "seed"])
    print(table.to_markdown(index=False, floatfmt=".3f"))
    means = table.drop(columns="seed").groupby("row", sort=False).mean()
    print(f"\nmeans of the seeds\n\n{means.to_markdown(floatfmt='.3f')}")
    print(f"\npaired\n\n{pd.DataFrame(gains).drop_duplicates(['of', 'pair', 'seed']).to_markdown(index=False)}")
    print(f"\nwithin a condition\n\n{pd.DataFrame(ranks).to_markdown(index=False, floatfmt='.3f')}", flush=True)


if __name__ == "__main__":
    run(main)
