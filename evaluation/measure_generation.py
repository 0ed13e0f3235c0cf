"""Measures generators, and any folder of images in <emotion>/, beside prompts to plain Stable Diffusion and real images."""

import time
from functools import partial
from itertools import islice
from pathlib import Path

import diffusers
import numpy as np
import pandas as pd
from accelerate.utils import gather_object
from PIL import ImageOps
from torch import Tensor

from config.settings import Settings
from config.taxonomy import Taxonomy
from emoset.reading import read_emoset
from emoset.selection import equal_emotions
from evaluation import networks
from evaluation.columns import Comparison, by_emotion, confusion, judged_table
from evaluation.completeness import by_warning, gaps, mark, unknown_folders
from evaluation.content_judge import first_contents, judges_of, load_content_judge
from evaluation.curves import write_curves
from evaluation.features import feature_cache, image_or_none, seen_by_all
from evaluation.generators import check_enough, generators_of, images_of_methods, is_generator
from evaluation.image_metrics import attributes_shown, kernel_sums, too_few_for_fid
from evaluation.judge import check_judge, load_judge
from evaluation.metric_labels import generation_metrics, markdown_table, marked, pair_name, told, told_judges
from evaluation.perceptual import Lpips, load_lpips
from evaluation.photograph_curve import ROW
from evaluation.plans import CURVES
from evaluation.published_networks import networks_used, not_emogen
from evaluation.second_judge import second_judge
from evaluation.skipped import Skipped, left_out_of_data, skipped_of, together
from evaluation.strength_and_weight import curve_gaps
from evaluation.viewers import Viewers, load_viewers
from evaluation.views import Views
from runtime.files import write_atomically, write_json
from runtime.hub import hide_loading
from runtime.processes import start_process
from runtime.run_folder import is_first_process, log

SHOWN = 8  # images of each emotion, real ones and other methods', that are copied beside generated ones for the report


def measure_generation(settings: Settings, folder: Path) -> dict:
    """Make the images and measure them; write generation.json, curves.json, matrices and what is judged into `folder`.

    Returns images, tables (columns image_id, emotion, path, content) by row, and those named transfer and fusion; judged,
    the judge's probabilities (N, K), by the same; and, on the first process, what generation.json holds.
    """
    started, evaluate, clip = time.monotonic(), settings.evaluate, settings.models.clip
    taxonomy, cache = settings.data.taxonomy, feature_cache(settings.data, settings.evaluate, settings.machine.processes)
    named = generators_of(settings)
    doubts = {row: check_judge(evaluate, clip, path) for row, path in named.items()}
    state = start_process()
    hide_loading(diffusers)

    # 1. The images: the data set's, and those of every method. Networks come first, so that a missing one ends the run now.
    train, real, reference, everything, left_out = images_of_emoset(settings, folder)
    check_enough({"real": real})
    viewers = load_viewers(evaluate, clip, cache)
    viewers.see_data(train, reference, everything)
    judge = load_judge(evaluate.judge, clip, train, taxonomy.emotions, cache)
    load_lpips(evaluate.lpips_network)
    images, others = images_of_methods(named, train, real, folder / "images", settings)
    images, left_out = images | {"real": real}, left_out | others
    rows = [name for name in images if name not in CURVES]

    # 2. What the networks see in them, all processes together. What one of them cannot see is left out.
    comparison, skipped = load_comparison(settings, viewers, train, reference, everything)
    viewers.see_rows(images, judge.network, rows)
    views = {name: viewers.views(each, name) for name, each in images.items() if name != "fusion"}
    all_squeezed = {row: cache.features_of(viewers.squeezed, images[row], f"{row}, squeezed") for row in rows}
    judged = {name: judge(each, f"judging {name}") for name, each in images.items()}
    skipped = together(left_out, skipped | leave_out_unseen(images, views, all_squeezed, judged))
    check_enough({row: images[row] for row in rows})

    # 3. The figures, the rows shared out over the processes.
    share = rows[state.process_index :: state.num_processes]
    own = {row: figures_of_row(comparison, views[row], all_squeezed[row], judged[row]) for row in share}
    computed = {row: figures for each in gather_object([own]) for row, figures in each.items()}
    figures = {row: computed[row] for row in rows}
    others = {name: each for name, each in images.items() if name != ROW}  # no model is asked about images of photographs
    if not is_first_process():
        return {"images": others, "judged": judged}
    for row in rows:
        write_judged(folder, row, images[row], judged[row], taxonomy.emotions)
    if "ours" in images and (at_one := write_curves(folder, images, views, judged, comparison, settings)):
        figures["transfer"] = {"corrected": at_one, "emogen": {}}

    # 4. All of it.
    for row in rows:
        if not images[row]["path"].iloc[0].is_relative_to(folder):
            copy_first(images[row], folder / "images" / row, settings.models.resolution)
    about = about_of(settings, images, comparison, skipped)
    about |= {"content_judges": content_judges(views), "processes": state.num_processes}
    about["seconds"] = round(time.monotonic() - started, 1)
    about["warnings"] = warnings_of(settings, images, views, comparison.training, doubts)
    gains = comparison.gains({row: views[row] for row in rows}, judged, "attribute_prompt")
    write_generation(folder, about, figures, gains, taxonomy)
    return {"images": others, "judged": judged, "about": about, "figures": figures, "paired": gains}


def write_judged(folder: Path, row: str, images: pd.DataFrame, judged: np.ndarray, emotions: tuple[str, ...]) -> None:
    """Write what the judge says of a row's images into `folder`: probabilities (N, K), and a matrix of emotions."""
    counts = confusion(judged, images["emotion"].to_numpy(), emotions)
    write_atomically(folder / f"confusion-generation-{row}.csv", counts.to_csv)
    table = judged_table(images, judged, emotions)
    write_atomically(folder / f"judged-{row}.parquet", partial(table.to_parquet, write_page_checksum=True))


def content_judges(views: dict[str, Views]) -> dict[str, int]:
    """Return how many of the contents, of all rows together, each judge tells. views: by row."""
    contents = np.concatenate([seen.images["content"].to_numpy() for seen in views.values()])
    seen = next(iter(views.values()))
    judges = judges_of(contents[contents != ""], seen.object_labels, seen.scene_labels)
    return {judge: [*judges.values()].count(judge) for judge in sorted({*judges.values()})}


def about_of(settings: Settings, images: dict[str, pd.DataFrame], comparison: Comparison, skipped: Skipped) -> dict:
    """Return what the figures are about: how many images of each row, what they are compared with, and the networks."""
    evaluate, emotions = settings.evaluate, settings.data.taxonomy.emotions
    marks = {name: mark(each["emotion"], emotions) for name, each in images.items() if name != "fusion"}
    return {
        "n": {name: len(each) for name, each in images.items()},
        "reference": len(comparison.training.images),
        "published_reference": len(comparison.squeezed),
        "split": evaluate.split,
        "seed": settings.seed,
        "models": networks_used(evaluate, settings.models.clip) | {"second_judge": comparison.second.name},
        "not_emogen": not_emogen(evaluate, settings.models.clip),
        "incomplete": {name: text for name, text in marks.items() if text},
        "skipped": skipped,
    }


def images_of_emoset(settings: Settings, folder: Path) -> tuple:
    """Return tables of the data set's images: the training split, those measured as `real`, and the two references.

    At last also which images reading has left out.

    `corrected` and `emogen` compare with these two. Problems of the data set go to problems.csv in `folder`.
    """
    evaluate, emotions, seed = settings.evaluate, settings.data.taxonomy.emotions, settings.seed
    emoset = read_emoset(settings.data, folder, settings.machine.processes, settings.check)
    index = emoset.index
    index["path"] = [settings.data.emoset / image for image in index["image"]]
    train, real = (index[index["split"] == split].reset_index(drop=True) for split in ("train", evaluate.split))
    real = equal_emotions(real, len(emotions) * evaluate.generated, seed).reset_index(drop=True)
    real["content"] = first_contents(real, settings.data.kinds)
    count = evaluate.reference
    everything = index if count is None else index.sample(min(count, len(index)), random_state=seed)
    reference = equal_reference(train, count, seed)
    return train, real, reference, everything, left_out_of_data(emoset.problems)


def equal_reference(train: pd.DataFrame, count: int | None, seed: int) -> pd.DataFrame:
    """Return the training images that `corrected` compares with: equally many of each emotion, for None all that can be.

    An emotion without training images has none here either.
    """
    counts = train["emotion"].value_counts()
    return equal_emotions(train, count or int(len(counts) * min(counts, default=0)), seed).reset_index(drop=True)


def load_comparison(
    settings: Settings,
    viewers: Viewers,
    train: pd.DataFrame,
    reference: pd.DataFrame,
    everything: pd.DataFrame,
) -> tuple[Comparison, Skipped]:
    """Return what all methods are compared with, and what was skipped.

    train, reference, everything: as images_of_emoset returns them.
    """
    evaluate, clip = settings.evaluate, settings.models.clip
    cache, training = viewers.cache, viewers.views(reference, "training images")
    memorable = cache.features_of(viewers.clip, train, "CLIP of training images")
    published = cache.features_of(viewers.squeezed, everything, "the data set, squeezed")
    skipped = skipped_of("reference", pd.concat([reference[~training.whole], everything[~seen_by_all(published)]]))
    training = training.of(training.whole)
    comparison = Comparison(
        settings.data.taxonomy,
        settings.seed,
        evaluate.pairs,
        Lpips(evaluate.lpips_network, settings.models.resolution, cache),
        training=training,
        within_training=kernel_sums(training.fid),
        memorable=memorable[seen_by_all(memorable)],
        squeezed=published[seen_by_all(published)],
        black_clip=networks.black_clip_network(clip),
        content=load_content_judge(train, settings.data.kinds, evaluate.contents, clip),
        second=second_judge(evaluate.judge, training),
    )
    return comparison, skipped


def leave_out_unseen(images: dict, views: dict[str, Views], squeezed: dict, judged: dict) -> Skipped:
    """Leave the images that some network cannot see out of all four, each by row; return them with why, by row."""
    skipped = {}
    for name in images:
        others = [each[name] for each in (squeezed, judged) if name in each]
        seen = np.logical_and(seen_by_all(*others), views[name].whole if name in views else True)
        if seen.all():
            continue
        skipped |= skipped_of(name, images[name][~seen])
        images[name] = images[name][seen].reset_index(drop=True)
        for each in (squeezed, judged):
            if name in each:
                each[name] = each[name][seen]
        if name in views:
            views[name] = views[name].of(seen)
    return skipped


def figures_of_row(comparison: Comparison, seen: Views, squeezed: Tensor, judged: np.ndarray) -> dict:
    """Return both columns of a method's figures, and some by emotion. squeezed, judged: as of Comparison."""
    shown = attributes_shown(seen.objects, seen.scenes)
    return {
        "corrected": comparison.corrected(seen, judged),
        "emogen": comparison.published(seen, squeezed, judged),
        "by_emotion": by_emotion(judged, shown, seen.emotions, comparison.taxonomy, comparison.seed),
    }


def warnings_of(settings: Settings, images: dict, views: dict, training: Views, doubts: dict) -> dict[str, list[str]]:
    """Return the rows that each warning is about.

    images, views: by row. training: the real images of `corrected`. doubts: what check_judge says of rows.
    """
    emotions, named, found = settings.data.taxonomy.emotions, generators_of(settings), {}
    absent = ", ".join(name for name in emotions if name not in set(training.emotions))
    lacking = absent and f"no training images of {absent}, so FID, KID, precision and recall compare with the other emotions"
    for row in (name for name in images if name not in CURVES):
        found[row] = [*filter(None, (doubts.get(row), lacking, too_few_for_fid(training.fid, views[row].fid)))]
        found[row] += gaps(images[row]["emotion"], emotions)
        if row in named and not is_generator(named[row]):
            found[row] += unknown_folders(named[row], emotions)
    if "transfer" in images:
        contents = list(settings.evaluate.contents)
        found["transfer"] = curve_gaps(images["transfer"], emotions, contents)
    return by_warning(found)


def write_generation(
    folder: Path, about: dict, figures: dict[str, dict], gains: dict[str, dict], taxonomy: Taxonomy
) -> None:
    """Write generation.json into `folder`, and log its tables, gains and warnings."""
    write_json(folder / "generation.json", {"about": about, "figures": figures, "paired": gains})
    for column in ("corrected", "emogen"):
        rows = {row: each[column] for row, each in figures.items() if each[column]}
        warnings = about["not_emogen"] if column == "emogen" else {}
        table = markdown_table(marked(rows, about["incomplete"]), generation_metrics(taxonomy), warnings)
        log.debug(f"\n{column}\n\n{table}\n\nvalue (low to high, 95 %)")
    log.debug(f"content is told by {told_judges(about['content_judges'])}")
    for pair, differences in gains.items():
        log.debug(f"{pair_name(pair)}: {told(differences, generation_metrics(taxonomy))}")
    for warning, rows in about["warnings"].items():
        log.info(f"warning: {', '.join(rows)}: {warning}")


def copy_first(images: pd.DataFrame, folder: Path, resolution: int) -> None:
    """Copy the first images of each emotion into `folder`, cut to the size of generated ones; remove all others there."""
    copies = set()
    for emotion, own in images.groupby("emotion"):
        (folder / emotion).mkdir(parents=True, exist_ok=True)
        shown = filter(None, map(image_or_none, own["path"]))  # one may be gone by now
        for number, image in enumerate(islice(shown, SHOWN)):
            copies.add(path := folder / emotion / f"{number:05d}.png")
            write_atomically(path, ImageOps.fit(image, (resolution, resolution)).save)
    for old in {*folder.glob("*/*.png")} - copies:
        old.unlink()
