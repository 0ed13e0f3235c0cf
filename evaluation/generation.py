"""Measures generators, and any folder of images in <emotion>/, beside prompts to plain Stable Diffusion and real images."""

import json
import time
from pathlib import Path

import diffusers
import pandas as pd
from accelerate.utils import gather_object
from PIL import ImageOps

from config.errors import UserError
from runtime.run_folder import is_first_process, log
from emoset.labels import EMOTIONS
from config.settings import Settings
from emoset.selection import equal_emotions, read_folder
from runtime.hub import hide_loading
from emoset.images import load_image
from emoset.reading import read_emoset
from evaluation import making, metrics, networks
from evaluation.columns import Views, by_emotion, confusion, corrected_column, published_column
from evaluation.curves import strength_curve, weight_curve
from evaluation.features import Network, features_of
from evaluation.judge import check_judge, load_judge
from evaluation.metric_labels import GENERATION
from evaluation.perceptual import load_lpips
from evaluation.tables import figures_table, write_json
from training.generation import load_generator
from training.pipeline import GENERATOR
from understanding.model import start_process

SHOWN = 8  # images of each emotion, real ones and other methods', that are copied beside those made, to be looked at
FEWEST = 2 * metrics.SAMPLES  # images that FID's disjoint samples can be drawn from
TAKEN = {"prompt_only", "attribute_prompt", "real", "transfer", "fusion"}
NETWORKS = ("judge", "fid_network", "lpips_network", "object_classifier", "scene_classifier")


def generators_of(settings: Settings) -> dict[str, Path]:
    """Return what is measured, by the names of the rows: the run folder's generator, where there is one, and the others."""
    own = settings.generate.generator or settings.run / "generator"
    named = {"ours": own} if own.is_dir() else {}
    for path in settings.evaluate.generators:
        if not path.is_dir():
            raise UserError(f"evaluate.generators: no folder {path}")
        name = path.parent.name if path.name in ("generator", "images") else path.name
        if name in TAKEN | named.keys():
            raise UserError(f"evaluate.generators: two rows would be called {name}; rename {path}")
        named[name] = path
    return named


def measure_generation(settings: Settings, folder: Path) -> dict:
    """Make the images and measure them; write generation.json, curves.json and confusion matrices into `folder`.

    Returns images, tables (columns image_id, emotion, path) by row, and those named transfer and fusion; judged, the judge's
    probabilities (N, 8), by the same; and, on the first process, what generation.json holds.
    """
    started, options, seed = time.monotonic(), settings.evaluate, settings.seed
    named = generators_of(settings)
    doubts = {row: check_judge(settings, path) for row, path in named.items()}
    state = start_process()
    hide_loading(diffusers)

    # 1. The images: EmoSet's, and those of every method. Networks come first: what is missing of them is told of at once.
    train, real, reference, everything = images_of_emoset(settings, folder)
    check_enough({"real": real})
    clip = networks.clip_network(settings)
    see, judge = load_views(settings, clip), load_judge(settings, train)
    load_lpips(options.lpips_network)
    images = made_images(named, train, folder / "images", settings) | {"real": real}
    rows = [name for name in images if name not in ("transfer", "fusion")]

    # 2. What the networks see in them, all processes together.
    training = see(reference, "training images")
    memorable = features_of(clip, train, settings, "CLIP of training images")
    views = {name: see(each, name) for name, each in images.items() if name != "fusion"}
    squeezed = networks.fid_network(settings, published=True)
    all_real = features_of(squeezed, everything, settings, "EmoSet, squeezed")
    all_made = {row: features_of(squeezed, images[row], settings, f"{row}, squeezed") for row in rows}
    judged = {name: judge(each, f"judging {name}") for name, each in images.items()}

    # 3. The figures, the rows shared out over the processes.
    black, own = networks.black_clip_network(settings), {}
    for row in rows[state.process_index :: state.num_processes]:
        own[row] = {
            "corrected": corrected_column(views[row], training, memorable, judged[row], settings),
            "emogen": published_column(views[row], (all_real, all_made[row]), black, judged[row], settings),
            "by_emotion": by_emotion(judged[row], views[row].emotions, seed),
        }
        confusion(judged[row], views[row].emotions).to_csv(folder / f"confusion-generation-{row}.csv")
    computed = {row: figures for each in gather_object([own]) for row, figures in each.items()}
    figures = {row: computed[row] for row in rows}
    if not is_first_process():
        return {"images": images, "judged": judged}
    if "transfer" in images:
        strength = strength_curve(views["transfer"], judged["transfer"], settings)
        curves = {"strength": strength, "fusion": weight_curve(images["fusion"], judged["fusion"], seed)}
        write_json(folder / "curves.json", curves)
        figures["transfer"] = {"corrected": strength["1.0"], "emogen": {}}

    # 4. All of it.
    for row in rows:
        if not images[row]["path"].iloc[0].is_relative_to(folder):
            copy_first(images[row], folder / "images" / row, settings)
    warnings: dict[str, list[str]] = {}
    for row in rows:
        for text in filter(None, (doubts.get(row), metrics.too_few_for_fid(training.fid, views[row].fid))):
            warnings.setdefault(text, []).append(row)
    about = {"n": {name: len(each) for name, each in images.items()}}
    about |= {"reference": len(reference), "published_reference": len(everything), "split": options.split, "seed": seed}
    about["models"] = {"clip": settings.models.clip} | {name: getattr(options, name) for name in NETWORKS}
    about |= {"seconds": round(time.monotonic() - started, 1), "processes": state.num_processes, "warnings": warnings}
    write_generation(folder, about, figures)
    return {"images": images, "judged": judged, "about": about, "figures": figures}


def images_of_emoset(settings: Settings, folder: Path) -> tuple[pd.DataFrame, ...]:
    """Return tables of EmoSet's images: the training split, those that are measured as `real`, and the two references.

    These are what `corrected` and `emogen` compare with.
    """
    options, seed = settings.evaluate, settings.seed
    index = read_emoset(settings.data, folder).index
    index["path"] = [settings.data.emoset / image for image in index["image"]]
    train, real = (index[index["split"] == split].reset_index(drop=True) for split in ("train", options.split))
    real = equal_emotions(real, len(EMOTIONS) * options.generated, seed).reset_index(drop=True)
    everything = index if options.reference is None else index.sample(min(options.reference, len(index)), random_state=seed)
    return train, real, equal_reference(train, options.reference, seed), everything


def equal_reference(train: pd.DataFrame, count: int | None, seed: int) -> pd.DataFrame:
    """Return the training images that `corrected` compares with: equally many of each emotion, for None all that can be."""
    rarest = train["emotion"].value_counts().reindex(list(EMOTIONS), fill_value=0).min()
    return equal_emotions(train, count or len(EMOTIONS) * int(rarest), seed).reset_index(drop=True)


def made_images(named: dict[str, Path], train: pd.DataFrame, folder: Path, settings: Settings) -> dict[str, pd.DataFrame]:
    """Make every method's images below `folder`; return them by row, and those of transfer and fusion."""
    device, images = start_process().device, {}
    given = {row: read_folder(path, "evaluate.generators") for row, path in named.items() if not _is_generator(path)}
    check_enough(given)

    def make(pipe, about, plans):
        for name, plan in plans.items():
            making.make_images(pipe, about, plan, folder, settings, f"making {name}")
            images[name] = making.as_table(plan, folder)

    for row, path in named.items():
        if row in given:
            count = len(EMOTIONS) * settings.evaluate.generated
            images[row] = equal_emotions(given[row], count, settings.seed).reset_index(drop=True)
            continue
        pipe, about = load_generator(path, device)
        make(pipe, about, {row: making.plan_emotions(row, settings)})
        if row == "ours":
            make(pipe, about, {"transfer": making.plan_transfer(settings), "fusion": making.plan_fusion(settings)})
            file = path / GENERATOR
            base = json.loads(file.read_text("utf-8"))["base"] if file.is_file() else settings.models.stable_diffusion
            pipe = making.load_base(base, str(file), device)
            about = {name: about[name] for name in ("scheduler", "resolution", "dtype", "base_hashes")}
            plans = {"prompt_only": making.plan_prompts(settings)}
            make(pipe, about, plans | {"attribute_prompt": making.plan_attributes(settings, train)})
    return images


def check_enough(images: dict[str, pd.DataFrame]) -> None:
    """Raise UserError where a row has too few images for FID."""
    if few := [row for row, each in images.items() if len(each) < FEWEST]:
        raise UserError(f"{', '.join(few)}: fewer than {FEWEST} images; FID cannot be told of so few")


def write_generation(folder: Path, about: dict, figures: dict[str, dict]) -> None:
    """Write generation.json into `folder`, and say what is in it."""
    write_json(folder / "generation.json", {"about": about, "figures": figures})
    for column in ("corrected", "emogen"):
        table = figures_table({row: each[column] for row, each in figures.items() if each[column]}, GENERATION)
        log.info(f"\n{column}\n\n{table}\n\nvalue (low to high, 95 %)")
    for warning, rows in about["warnings"].items():
        log.info(f"warning: {', '.join(rows)}: {warning}")


def load_views(settings: Settings, clip: Network):
    """Return a function that gives the Views of images, once and for all processes; it takes them and what to call them."""
    fid = networks.fid_network(settings, published=False)
    objects = networks.classifier(settings.evaluate.object_classifier, "evaluate.object_classifier")
    scenes = networks.classifier(settings.evaluate.scene_classifier, "evaluate.scene_classifier")

    def see(images: pd.DataFrame, what: str) -> Views:
        object_logits = features_of(objects, images, settings, f"{what}, objects")
        scene_logits = features_of(scenes, images, settings, f"{what}, scenes")
        return Views(
            images,
            features_of(clip, images, settings, f"{what}, CLIP"),
            networks.probabilities(objects, object_logits, "object"),
            networks.probabilities(scenes, scene_logits, "scene"),
            features_of(fid, images, settings, f"{what}, FID"),
            networks.labels(objects, "object"),
        )

    return see


def _is_generator(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (GENERATOR, "model_index.json"))


def copy_first(images: pd.DataFrame, folder: Path, settings: Settings) -> None:
    """Copy the first images of each emotion into `folder`, cut to the size of those made."""
    size = (settings.models.resolution,) * 2
    for emotion, own in images.groupby("emotion"):
        (folder / emotion).mkdir(parents=True, exist_ok=True)
        for number, path in enumerate(own["path"].iloc[:SHOWN]):
            ImageOps.fit(load_image(path), size).save(folder / emotion / f"{number:05d}.png")
