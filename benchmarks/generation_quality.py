"""How good the demo's generators are, by a judge and a content classifier that training never saw.

    python training/dataset_balance.py --config config/demo.yaml --config config/emogen.yaml run=runs/demo-emogen
    python training/main.py --config config/demo.yaml --config config/emogen.yaml run=runs/demo-emogen mapper.epochs=4
    python training/dataset_balance.py --config config/demo.yaml run=runs/demo-default
    python training/main.py --config config/demo.yaml --config benchmarks/default_mapper.yaml run=runs/demo-default
    python benchmarks/generation_quality.py --config config/demo.yaml

The generator in the run folder, trained with demo.yaml, is compared with those that the published settings and config.yaml's
give with the same tiny models, in four epochs each, with the prompt "an image of {emotion}", and with the prompt "a photo of
{attribute}", its attribute drawn from p(attribute | emotion) of the training images. Then: what the spread of emotion
vectors does to emotion and variety, what strength does to content and emotion, and what the weight of a mix does to the
judge. All of them sample with the `generate` settings of the command: demo.yaml's 10 steps, guidance 5 and, but where the
spread itself is varied, spread 0.5 of the generators' emotion vectors. Results go to `<run>/quality/`.
"""

from runtime.script import read_settings, run

read_settings(__name__, __doc__, "data", "machine", "models", "generate")

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from transformers import ResNetForImageClassification

from config.errors import UserError
from config.section import ROOT
from config.settings import Settings
from demo.drawn.world import EMOTIONS, TAXONOMY
from emoset.attribute_folders import memberships
from emoset.images import load_image
from emoset.labels import attribute_name
from emoset.reading import read_emoset
from evaluation.generators import load_base
from evaluation.plans import WEIGHTS
from runtime.contact_sheet import contact_sheet
from runtime.figures import of_mean
from runtime.files import write_atomically, write_json
from runtime.processes import start_process
from runtime.run_folder import log, open_run_folder, progress
from runtime.seeds import derived_seed
from training.pipeline import EmotionPipeline
from training.sampling import load_generator

IMAGES = 64  # of each emotion, and of each point of a curve for each emotion
BATCH = 64
SPREADS = (0.0, 0.25, 0.5, 0.7, 0.85, 1.0)
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)
GENERATORS = {"emogen.yaml": "-emogen", "config.yaml": "-default", "demo.yaml": ""}  # what follows the run folder's name
REAL = "training images"


def main(settings: Settings) -> None:
    folder = open_run_folder(settings, "quality")
    emoset = read_emoset(settings.data, folder, settings.machine.processes)
    device = start_process().device
    judge, content = (Classifier(ROOT / "demo/models" / name) for name in ("judge", "content"))
    make = Maker(settings)
    pipes = {"plain": load_base(settings.models.stable_diffusion, "models.stable_diffusion", device)}
    for name, path in GENERATORS.items():
        path = Path(f"{settings.run}{path}") / "generator"
        if not path.exists():
            raise UserError(f"{path}: not there; the docstring of this script holds the commands that train it")
        pipes[name], _ = load_generator(path, device)
    ours = pipes["demo.yaml"]

    train = emoset.index[emoset.index["split"] == "train"]
    made = images_of_emotions(train, settings, pipes, make)
    results, share = compare(made, judge, content)
    for name, images in made.items():
        if name != REAL:
            path = folder / f"{re.sub(r'[^a-z]+', '-', name).strip('-')}.png"
            write_atomically(path, contact_sheet({e: images[e][:12] for e in EMOTIONS}, 96).save)
    spread = by_spread(ours, make, judge, content, made[REAL])
    strength = by_strength(ours, make, judge, content, folder)
    fusion = by_weight(ours, make, judge)
    plot(strength, fusion, folder / "curves.png")
    summary = {
        "seed": settings.seed,
        "emotions": results,
        "entropy": {name: dict(zip(EMOTIONS, each, strict=True)) for name, each in share.items()},
        "spread": spread,
        "strength": strength,
        "fusion": fusion,
    }
    write_json(folder / "quality.json", summary)


def images_of_emotions(train: pd.DataFrame, settings: Settings, pipes: dict, make: "Maker") -> dict[str, dict[str, list]]:
    """Return {method: {emotion: images}}, with training images for the last method."""
    attributes = memberships(train, settings.data.kinds)
    rng = np.random.default_rng(settings.seed)
    shown = {e: rng.choice(train.loc[train["emotion"] == e, "image"], IMAGES, replace=False) for e in EMOTIONS}
    drawn = {e: rng.choice(attributes[attributes["emotion"] == e]["attribute"], IMAGES) for e in EMOTIONS}
    jobs = {
        "prompt: an image of {emotion}": {e: [dict(prompt=f"an image of {e}")] * IMAGES for e in EMOTIONS},
        "prompt: a photo of {attribute}": {e: [dict(prompt=f"a photo of {a}") for a in drawn[e]] for e in EMOTIONS},
    }
    made = {name: make(pipes["plain"], each) for name, each in jobs.items()}
    for name in GENERATORS:
        made[name] = make(pipes[name], {e: [dict(emotion=e, prompt="<emotion>")] * IMAGES for e in EMOTIONS})
    return made | {REAL: {e: [load_image(settings.data.emoset / path) for path in shown[e]] for e in EMOTIONS}}


def compare(made: dict, judge: "Classifier", content: "Classifier") -> tuple[dict, dict]:
    """Return emotion accuracy, and the entropy of attributes by emotion as a share of that of training images, by method."""
    results, entropies = {}, {}
    for name, images in made.items():
        right = {e: judge(images[e]).argmax(1) == EMOTIONS.index(e) for e in EMOTIONS}
        by_emotion = {e: each.mean() for e, each in right.items()}
        results[name] = interval(np.concatenate(list(right.values()))) | {"by_emotion": by_emotion}
        entropies[name] = [entropy(content.attributes(images[e])) for e in EMOTIONS]
    share = {name: np.divide(each, entropies[REAL]) for name, each in entropies.items()}
    table = pd.DataFrame({
        "emotion accuracy": {n: f"{r['value']:.3f} ({r['low']:.3f} to {r['high']:.3f})" for n, r in results.items()},
        "n": {n: r["n"] for n, r in results.items()},
        "attribute entropy, of that of training images": {n: each.mean() for n, each in share.items()},
        "the same, least of an emotion": {n: each.min() for n, each in share.items()},
    })  # fmt: skip
    log.info(f"\n{table.to_markdown(floatfmt='.2f')}\n")
    return results, share


def by_spread(pipe, make: "Maker", judge: "Classifier", content: "Classifier", real: dict) -> dict[str, dict]:
    """Return, by spread of the emotion vectors, what `compare` finds."""
    jobs = {e: [dict(emotion=e, prompt="<emotion>")] * IMAGES for e in EMOTIONS}
    made = {f"spread {value}": make(pipe, jobs, emotion_spread=value) for value in SPREADS}
    results, share = compare(made | {REAL: real}, judge, content)
    return {name: results[name] | {"entropy": share[name].tolist()} for name in made}


def by_strength(pipe, make: "Maker", judge: "Classifier", content: "Classifier", folder: Path) -> dict[float, dict]:
    """Return, by strength, how often the thing that the prompt names is in the image, and how often the emotion."""
    things = [f"object: {name}" for name in ("Tree", "Car", "House", "Chair", "Cat", "Boat", "Umbrella", "Balloon")]
    prompts = [f"a photo of a <emotion> {attribute_name(thing.split(': ')[1])}" for thing in things]
    each = IMAGES // len(prompts)
    wanted = np.repeat([content.place[thing] for thing in things], each)
    found = {}
    for value in STRENGTHS:
        jobs = {e: [dict(emotion=e, prompt=prompt) for prompt in prompts for _ in range(each)] for e in EMOTIONS}
        images = make(pipe, jobs, emotion_strength=value)
        found[value] = {
            "content": interval(np.concatenate([content.objects(images[e]) == wanted for e in EMOTIONS])),
            "emotion": interval(np.concatenate([judge(images[e]).argmax(1) == EMOTIONS.index(e) for e in EMOTIONS])),
        }
        log.info(f"strength {value}: content {found[value]['content']['value']:.3f}, "
                 f"emotion {found[value]['emotion']['value']:.3f}, n {found[value]['emotion']['n']}")  # fmt: skip
        write_atomically(folder / f"strength-{value}.png", contact_sheet({e: images[e][::each] for e in EMOTIONS}, 96).save)
    return found


def by_weight(pipe, make: "Maker", judge: "Classifier") -> dict[str, list[dict]]:
    """Return, for pairs of emotions, the judge's probability of the second as the weight moves to it."""
    found = {}
    for first, second in TAXONOMY.opposites:
        name = f"{first} to {second}"
        jobs = {w: [dict(emotion={first: 1 - w, second: w}, prompt="<emotion>")] * IMAGES for w in WEIGHTS}
        images = make(pipe, jobs, key=name)
        found[name] = [interval(judge(images[w])[:, EMOTIONS.index(second)]) for w in WEIGHTS]
        shown = [f"{p['value']:.3f} ({p['low']:.3f} to {p['high']:.3f})" for p in found[name]]
        log.info(f"{name}: " + ", ".join(f"{w}: {p}" for w, p in zip(WEIGHTS, shown, strict=True)) + f", n {IMAGES}")
    return found


class Maker:
    """Makes images with seeds of their own, so that every method starts from the same noise."""

    def __init__(self, settings: Settings):
        self.settings = settings

    def __call__(self, pipe, jobs: dict, key: str = "", **options) -> dict[object, list]:
        """Return {name: images} for {name: [arguments of each image]}."""
        spread = {"emotion_spread": self.settings.generate.spread} if isinstance(pipe, EmotionPipeline) else {}
        made = {}
        for name, each in progress(jobs.items(), "making", len(jobs)):
            made[name] = []
            for first in range(0, len(each), BATCH):
                batch = each[first : first + BATCH]
                # In a curve all points start from the same noise, those of a mix and those of a strength.
                seeds = [derived_seed(self.settings.seed, key or str(name), first + i) for i in range(len(batch))]
                made[name] += pipe(
                    **{argument: [one[argument] for one in batch] for argument in batch[0]},
                    generator=[torch.Generator().manual_seed(seed) for seed in seeds],
                    num_inference_steps=self.settings.generate.steps,
                    guidance_scale=self.settings.generate.guidance_scale,
                    **spread | options,
                ).images
        return made


class Classifier:
    """A ResNet of the demo: the judge of emotions, or the classifier of content."""

    def __init__(self, folder: Path):
        self.model = ResNetForImageClassification.from_pretrained(folder, dtype=torch.float32).eval()
        self.place = {name: number for number, name in self.model.config.id2label.items()}

    @torch.no_grad()
    def __call__(self, images: list) -> np.ndarray:
        """Return probabilities (N, labels) of PIL images."""
        pixels = torch.stack([torch.from_numpy(np.asarray(image).copy()) for image in images]).permute(0, 3, 1, 2)
        batches = (pixels.float() / 127.5 - 1).split(256)
        return torch.cat([self.model(batch).logits for batch in batches]).softmax(1).numpy()

    def attributes(self, images: list) -> np.ndarray:
        """Return the likeliest object or scene of each image."""
        return self._likeliest(images, ("object: ", "scene: "))

    def objects(self, images: list) -> np.ndarray:
        """Return the likeliest object of each image."""
        return self._likeliest(images, ("object: ",))

    def _likeliest(self, images: list, kinds: tuple[str, ...]) -> np.ndarray:
        names = [number for name, number in self.place.items() if name.startswith(kinds)]
        return np.array(names)[self(images)[:, names].argmax(1)]


def interval(right: np.ndarray) -> dict:
    """Return the mean of (N,) with its 95 % bootstrap interval."""
    return of_mean(right, np.zeros(len(right)), 0)


def entropy(names: np.ndarray) -> float:
    """Return the entropy of a sample of names, in nats."""
    shares = np.array(list(Counter(names.tolist()).values())) / len(names)
    return float(-(shares * np.log(shares)).sum())


def plot(strength: dict, fusion: dict, path: Path) -> None:
    figure = Figure((11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, style in (("content", "o-"), ("emotion", "s--")):
        values = [strength[s][name] for s in STRENGTHS]
        left.plot(STRENGTHS, [v["value"] for v in values], style, label=f"{name} accuracy")
        left.fill_between(STRENGTHS, [v["low"] for v in values], [v["high"] for v in values], alpha=0.2)
    left.set(xlabel="emotion_strength", ylim=(0, 1), title="A photo of a <emotion> thing")
    for name, values in fusion.items():
        right.plot(WEIGHTS, [v["value"] for v in values], "o-", label=name)
        right.fill_between(WEIGHTS, [v["low"] for v in values], [v["high"] for v in values], alpha=0.2)
    right.set(xlabel="weight of the second emotion", ylabel="the judge's probability of it", ylim=(0, 1), title="Mixes")
    for axis in (left, right):
        axis.legend(frameon=False)
        axis.spines[["top", "right"]].set_visible(False)
    write_atomically(path, lambda beside: figure.savefig(beside, dpi=110))


if __name__ == "__main__":
    run(main)
