"""At which strength an emotion is put on a content best, and by which vectors, over three seeds of everything.

    OMP_NUM_THREADS=1 python benchmarks/strength_quality.py --config config/demo.yaml

Each row makes 16 images of each emotion on drawn contents, at one strength, and a judge and a content classifier that no
training saw measure them. Vectors come from the emotion's Gaussian, as the pipeline draws them, or from that of an emotion
and content: the emotion's training images that show it. These are few, so mean and covariance are shrunk towards the
emotion's, as if so many more images had those. "In training too" is a generator that was trained on draws of the emotion's
Gaussian, and not on each image's own vector. All rows of a seed start from the same noise and show the same contents, so
they are compared image by image.

Trainings are those of benchmarks/loop_quality.py, in `<run>-loop/<drawing>/`. If you stop it, the same command resumes.
"""

from runtime.script import read_settings, run

read_settings(__name__, __doc__, "data", "mapper", "generate", "evaluate")

import sys
from copy import copy
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from loop_quality import DRAWINGS, places
from safetensors.torch import load_file
from understanding_quality import script

from config.generation_settings import CONTENT_PROMPT
from config.loading import load
from config.settings import Settings
from emoset.attribute_folders import memberships
from emoset.reading import read_emoset
from evaluation import plans
from evaluation.features import feature_cache
from evaluation.judge import load_judge
from evaluation.measure_generation import images_of_emoset, load_comparison
from evaluation.metric_labels import signed
from evaluation.viewers import load_viewers
from runtime.processes import start_process
from training.early_checks import check_training
from training.emotion_space import EmotionSpace
from training.main import prepare, read_rows
from training.mapper_training import train_mapper
from training.sampling import load_generator, make_images

IMAGES = 16  # of each emotion
NOISE = 100  # added to the seed of the noise, so that it is not that of other benchmarks
OWN = "the emotion"
STRENGTHS = (0.6, 0.7, 0.8, 0.9, 1.0)
ROWS = [(OWN, strength) for strength in STRENGTHS]
PRIORS = {"emotion and content, 16 more": 16}
ROWS += [(vectors, strength) for vectors in PRIORS for strength in (0.8, 1.0)]
TOO = "the emotion, in training too"
ROWS += [(TOO, strength) for strength in (0.8, 1.0)]
BASE = (OWN, 0.8)
METRICS = {"emotion": "emotion_accuracy", "content": "content_accuracy", "both": "joint_accuracy"}
METRICS |= {"recognisable": "semantic_clarity", "entropy": "attribute_entropy"}


def main(settings: Settings) -> None:
    rows, gains = [], []
    for seed, drawing in DRAWINGS.items():
        home = Path(f"{settings.run}-loop") / str(drawing)
        own = [*sys.argv[1:], *places(home), "mapper.sample_every=null", "evaluate.split=val"]
        script("demo/draw.py", *own, f"seed={drawing}")
        for name in ("training/dataset_balance.py", "training/main.py"):
            script(name, *own, f"seed={seed}")
        train_on_draws(load([*own, f"seed={seed}"]), home / "draws")
        figures, paired = measured(load([*own, f"seed={NOISE + seed}", f"evaluate.generated={IMAGES}"]), home / "strengths")
        rows += [dict(zip(("vectors", "strength"), row, strict=True)) | {"seed": seed} | own for row, own in figures.items()]
        gains += [dict(zip(("vectors", "strength"), row, strict=True)) | {"seed": seed} | own for row, own in paired.items()]
        show(rows, gains)


def measured(settings: Settings, folder: Path) -> tuple[dict, dict]:
    """Return the figures of each of ROWS, and how much more of "both" it has than BASE."""
    folder.mkdir(parents=True, exist_ok=True)
    data, evaluate, emotions = settings.data, settings.evaluate, settings.data.taxonomy.emotions
    cache = feature_cache(data, evaluate, settings.machine.processes)
    train, _, reference, everything, _ = images_of_emoset(settings, folder)
    viewers = load_viewers(evaluate, settings.models.clip, cache)
    judge = load_judge(evaluate.judge, settings.models.clip, train, emotions, cache)
    comparison, _ = load_comparison(settings, viewers, train, reference, everything)
    views, judged = {}, {}
    for vectors, strength in ROWS:
        generator = folder.parent / "draws" / "generator" if vectors == TOO else settings.run / "generator"
        pipe, about = load_generator(generator, start_process().device)
        acting = {"strength": strength, "spread": settings.generate.spread}
        row = f"{vectors} {strength}"
        plan = plans.emotion_plan(row, CONTENT_PROMPT, pipe.contents, emotions, IMAGES, acting, settings.seed)
        plan = {path: own | shared_of(settings) | about for path, own in plan.items()}
        table = plans.as_table(plan, folder)
        if vectors in PRIORS:
            cells = sorted(set(zip(table["emotion"], table["content"], strict=True)))
            pipe.register_modules(emotion_space=space_of_cells(settings, pipe.emotion_space, cells, PRIORS[vectors]))
            pipe.register_to_config(contents=None)  # theirs are of the emotions; all are named here
            for path, own in plan.items():
                (emotion,) = own["weights"]
                plan[path] = own | {"weights": {f"{emotion} {own['content']}": 1.0}}
        make_images(pipe, plan, folder, settings.generate.batch_size, row)
        views[row], judged[row] = viewers.views(table, row), judge(table, f"judging {row}")
    names = {f"{vectors} {strength}": (vectors, strength) for vectors, strength in ROWS}
    figures = {
        names[row]: {title: comparison.corrected(seen, judged[row])[name]["value"] for title, name in METRICS.items()}
        for row, seen in views.items()
    }
    base = f"{BASE[0]} {BASE[1]}"
    gains = comparison.gains(views, judged, base)
    return figures, {
        names[pair.removesuffix(f" - {base}")]: {"both, more than at 0.8": signed(own["joint_accuracy"])}
        for pair, own in gains.items()
    }


def train_on_draws(settings: Settings, folder: Path) -> None:
    """Train the mapper of a run once more, in `folder`, on vectors drawn from the Gaussian of each image's emotion."""
    rows = read_rows(settings.run / "balance" / "balanced.parquet", settings.mapper.content_share)
    inputs = prepare(settings, settings.run / "training", rows, check_training(settings, rows))
    items = copy(inputs.items)
    items.vectors = None  # then they are drawn
    inputs = replace(inputs, items=items, made_from=inputs.made_from | {"emotion vectors": "drawn"})
    train_mapper(settings, folder / "mapper", inputs, folder / "generator")


def shared_of(settings: Settings) -> dict:
    generate = settings.generate
    return {"steps": generate.steps, "guidance_scale": generate.guidance_scale, "negative_prompt": ""}


def space_of_cells(settings: Settings, space: EmotionSpace, cells: list[tuple[str, str]], prior: int) -> EmotionSpace:
    """Return Gaussians of the training images of each (emotion, content), shrunk towards the emotion's.

    With n vectors of a cell, their mean m and their covariance S, those are (n m + prior mean) / (n + prior) and
    (n S + prior covariance) / (n + prior).
    """
    index = read_emoset(settings.data, settings.run, settings.machine.processes).index
    vectors = load_file(settings.run / "training/emotion_space/vectors.safetensors")["vectors"][:, 0]
    learned = index[index["split"].isin(["train", "val"])]  # whose vectors the emotion space keeps, in this order
    place = {image_id: number for number, image_id in enumerate(learned["image_id"])}
    carried = memberships(index[index["split"] == "train"], settings.data.kinds)
    of_cell = {
        cell: vectors[[place[each] for each in own]] for cell, own in carried.groupby(["emotion", "attribute"])["image_id"]
    }
    means, factors = [], []
    for cell in cells:
        own, emotion = of_cell[cell], space.emotions.index(cell[0])
        apart = own - own.mean(0)
        factor = space.factor[emotion]
        covariance = (apart.T @ apart + prior * factor @ factor.T) / (len(own) + prior)
        means.append((own.sum(0) + prior * space.mean[emotion]) / (len(own) + prior))
        factors.append(torch.linalg.cholesky(covariance))
    return EmotionSpace.of(torch.stack(means), torch.stack(factors), [" ".join(cell) for cell in cells])


def show(rows: list[dict], gains: list[dict]) -> None:
    """Print every seed's figures, their means and ranges, and the paired differences."""
    table = pd.DataFrame(rows)
    print(table.to_markdown(index=False, floatfmt=".3f"))
    kept = table.drop(columns="seed").groupby(["vectors", "strength"], sort=False).agg(["mean", "min", "max"])
    titles = list(METRICS)
    ranges = {title: ["{:.3f} ({:.3f} to {:.3f})".format(*row) for row in kept[title].to_numpy()] for title in titles}
    print(
        f"\nmean (least to most) of the seeds\n\n{pd.DataFrame(ranges, kept.index).reset_index().to_markdown(index=False)}"
    )
    print(f"\npaired\n\n{pd.DataFrame(gains).to_markdown(index=False)}", flush=True)


if __name__ == "__main__":
    run(main)
