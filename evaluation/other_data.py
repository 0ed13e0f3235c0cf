"""How well models tell the emotions of another data set: by its own names, and by the votes of people where there are some.

    <run>/other_data/<data set>/    figures.json, answers and confusion matrices, as of the run's own images

One multiple-choice question about each image offers the names that the class map gives. A model is read by what it says and
by how likely it finds each name. What maps to nothing is not asked about, and is told.
"""

import re
import time
from pathlib import Path

import pandas as pd

from config.errors import UserError
from config.evaluation_settings import Evaluate
from config.section import relative_to_root
from config.settings import Settings
from config.taxonomy import Taxonomy
from emoset.class_map import ClassMap, own_names, read_class_map, read_classes
from emoset.reading import read_emoset
from emoset.selection import equal_emotions
from emoset.votes import read_votes
from evaluation.baselines import choices, clip_answers, probe_images
from evaluation.completeness import by_warning, mark
from evaluation.features import feature_cache
from evaluation.measure_understanding import batch_size_of, gains_of, write_answers
from evaluation.metric_labels import markdown_table, marked, pair_name, told
from evaluation.skipped import skipped_of
from evaluation.soft_labels import soft_metrics, soft_statistics
from runtime.checking import stops_here
from runtime.figures import Metric, figure_of
from runtime.files import write_json
from runtime.hub import model_digest
from runtime.processes import free_memory
from runtime.recipe import RECIPE, Recipe, read_recipe, settings_of
from runtime.run_folder import is_first_process, log, open_run_folder
from understanding.answering import answer_all
from understanding.asking import load_asker
from understanding.kinds import multiple
from understanding.model_check import check_extras, check_model
from understanding.questions import multiple_choice
from understanding.scoring import figures, read_answers

FOLDER, FIGURES = "other_data", "figures.json"  # of the run folder, and of each data set


def evaluate_other_data(settings: Settings, models: dict[str, str]) -> None:
    """Ask models, by label, about the images in evaluate.folder, by the names of its class map.

    Raises UserError where there is no model, or no image of a class that the map knows, or where figures of other images
    would be replaced.
    """
    evaluate = settings.evaluate
    if not models:
        raise UserError("evaluate.models: names no model, and the run folder holds none; name one: evaluate.models=...")
    class_map = named_map(evaluate, settings.data.taxonomy)
    folder = open_run_folder(settings, f"{FOLDER}/{slug(class_map.name)}")
    check_earlier(evaluate, class_map, folder)
    check_extras(settings.understanding)
    for label, name in models.items():
        check_model(settings.understanding, name, f"evaluate.models: {label}", not settings.check)
    images, about = images_of_folder(evaluate.folder, evaluate.votes, class_map)
    images = equal_emotions(images, evaluate.images, settings.seed).reset_index(drop=True)
    answers = len(images) * (len(models) + evaluate.blind)
    takes = {"images": f"{len(images):,} of {class_map.name}", "answers": f"{answers:,}"}
    if stops_here(settings, takes):
        return
    recipe = Recipe(
        f"figures of {class_map.name}",
        {"seed": settings.seed} | settings_of("evaluate", evaluate) | settings_of("answers", settings.answers),
        {f"model {label}": model_digest(name) for label, name in models.items()} | {"classes": class_map.classes},
    )
    if is_first_process():
        recipe.start(folder / RECIPE)
    measure(settings, models, class_map, images, about, folder)
    if is_first_process():
        recipe.finish(folder / RECIPE)


def named_map(evaluate: Evaluate, taxonomy: Taxonomy) -> ClassMap:
    """Return the class map of the settings; without one, that of classes called like the emotions of `taxonomy`."""
    return read_class_map(evaluate.class_map) if evaluate.class_map else own_names(evaluate.folder, taxonomy)


def check_earlier(evaluate: Evaluate, class_map: ClassMap, folder: Path) -> None:
    """Raise UserError where `folder` holds figures of other images, or votes, of a data set that is called the same."""
    earlier = read_recipe(folder / RECIPE) if (folder / FIGURES).is_file() else None
    if earlier is None:
        return
    for key in ("evaluate.folder", "evaluate.votes"):
        was, now = earlier["settings"].get(key), settings_of("evaluate", evaluate)[key]
        if was != now:
            raise UserError(
                f"{key}: {folder} holds figures by {was or 'null'}, and those by {now or 'null'} would replace them, for"
                f" both are called {class_map.name}; name another run and its models, run=... evaluate.models=..., or an"
                " evaluate.class_map with another name in it"
            )


def images_of_folder(root: Path, votes: Path | None, class_map: ClassMap) -> tuple[pd.DataFrame, dict]:
    """Return the images below `root`, with shares of votes where there is a table, and what maps to nothing, and log it."""
    if votes:
        found = read_votes(votes, root, class_map)
        if found.unlisted:
            log.info(f"evaluate.votes: columns that are no class: {', '.join(found.unlisted)}")
        unit, left_out = "votes", found.left_out
    else:
        found = read_classes(root, class_map)
        unit, left_out = "images", found.left_out
    if left_out:
        each = ", ".join(f"{name} ({count:g})" for name, count in left_out.items())
        log.info(f"{class_map.name}: {unit} that map to nothing: {each}")
    return found.images, {"left_out": left_out, "left_out_unit": unit}


def measure(
    settings: Settings, models: dict[str, str], class_map: ClassMap, images: pd.DataFrame, about: dict, folder: Path
) -> dict:
    """Ask the models about images (images_of_folder) and write figures.json, answers and matrices; return the first."""
    started, evaluate, seed, taxonomy = time.monotonic(), settings.evaluate, settings.seed, class_map.taxonomy
    paths = dict(zip(images["image_id"], images["path"], strict=True))
    questions = multiple_choice(images, taxonomy, settings.answers, seed)
    size = batch_size_of(evaluate, settings.answers)

    # 1. What each model answers.
    rows, answered, skipped = {}, {}, {}
    for label, name in models.items():
        asker = load_asker(settings.understanding, settings.answers, taxonomy, name, f"evaluate.models: {label}")
        for blind in (False, True) if evaluate.blind and label == list(models)[-1] else (False,):
            answers = answer_all(asker, questions, paths, folder, size, blind=blind, forced=True)
            row, answers = "blind" if blind else label, read_answers(answers, taxonomy, settings.answers)
            answered[row], rows[row] = answers, figures(answers, taxonomy, seed)
            skipped |= skipped_of(row, images[~images["image_id"].isin(answers["image_id"])])
            if evaluate.votes:
                soft = soft_statistics(answers, images, taxonomy.emotions)
                rows[row] |= {name: figure_of(each, seed) for name, each in soft.items()}
            if is_first_process():
                write_answers(folder, row, answers, taxonomy)
        del asker
        free_memory()

    # 2. CLIP, and what the last model gains.
    clip, train = {}, training_images(settings, taxonomy, folder) if evaluate.baselines else None
    if evaluate.baselines:
        cache = feature_cache(settings.data, evaluate)
        clip = clip_answers(images, train, taxonomy.emotions, settings.models.clip, cache)
        rows |= {row: {name: figure_of(each, seed) for name, each in choices(own).items()} for row, own in clip.items()}
    gains = gains_of(list(models)[-1], answered, clip, taxonomy, seed)

    # 3. All of it.
    about = {"name": class_map.name, "n": len(images), "seed": seed, "models": models, **about}
    about |= {"taxonomy": relative_to_root(taxonomy.path), "skipped": skipped}
    about["warnings"] = by_warning({row: warnings_of(images, taxonomy) for row in answered})
    lacking = mark(images["emotion"], taxonomy.emotions, pairs=False)
    about["incomplete"] = dict.fromkeys(rows, lacking) if lacking else {}
    about["seconds"] = round(time.monotonic() - started, 1)
    found = {"about": about, "figures": rows, "paired": gains}
    if is_first_process():
        write_json(folder / FIGURES, found)
        shown = metrics_of(taxonomy)
        log.info(f"\n{markdown_table(marked(rows, about['incomplete']), shown)}\n\nvalue (low to high, 95 %)")
        for pair, apart in gains.items():
            log.info(f"{pair_name(pair)}: {told(apart, shown)}")
        for warning in about["warnings"]:
            log.info(f"warning: {warning}")
    return found


def metrics_of(taxonomy: Taxonomy) -> dict[str, Metric]:
    """Return what the figures of another data set are called."""
    return multiple.metrics(taxonomy) | soft_metrics(taxonomy)


def training_images(settings: Settings, taxonomy: Taxonomy, folder: Path) -> pd.DataFrame | None:
    """Return the training split of the run's own data, for CLIP's probe; None where it has other names or is too little."""
    if taxonomy.emotions != settings.data.taxonomy.emotions:
        log.info("no linear probe, for the data set has other names than the training split")
        return None
    try:
        index = read_emoset(settings.data, folder, settings.machine.processes, settings.check).index
    except UserError as reason:
        log.info(f"no linear probe, for there is no training split: {reason}")
        return None
    return probe_images(index.assign(path=[settings.data.emoset / image for image in index["image"]]))


def warnings_of(images: pd.DataFrame, taxonomy: Taxonomy) -> list[str]:
    """Return in words what keeps the figures from standing beside others'."""
    counts = images["emotion"].value_counts().reindex(list(taxonomy.emotions), fill_value=0)
    missing = list(counts.index[counts == 0])
    return [f"no images of {', '.join(missing)}, which are offered all the same"] if missing else []


def slug(name: str) -> str:
    """Return a data set's name as a folder's: WEBEmo-6 is webemo-6."""
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-.") or "data"
