"""Measures how well vision-language models tell the emotion of images, beside a grey image and CLIP."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from config.errors import UserError
from config.evaluation_settings import Evaluate
from config.section import ROOT
from config.settings import Settings
from config.taxonomy import Taxonomy
from config.understanding_settings import Answers
from emoset.reading import read_emoset
from emoset.selection import equal_emotions, read_folder
from evaluation.answers_by_emotion import accuracy_by_emotion, confusions
from evaluation.answers_by_question import by_phrasing, by_place
from evaluation.baselines import PROBE, choices, clip_answers, differences_from, probe_images
from evaluation.completeness import by_warning, gaps, mark, unknown_folders
from evaluation.features import feature_cache
from evaluation.metric_labels import markdown_table, marked, pair_name, told
from evaluation.skipped import left_out_of_data, left_out_of_folder, skipped_of, together
from runtime.figures import figure_of
from runtime.files import write_atomically, write_json
from runtime.processes import free_memory
from runtime.run_folder import is_first_process, log
from understanding import kinds
from understanding.answering import answer_all
from understanding.asking import Asker, load_asker
from understanding.question import Question
from understanding.questions import evaluation_questions
from understanding.scoring import differences, figures, metrics, read_answers

ALONE = "_alone"  # ends the names of rows that answer without a thought, of models that reason


def models_of(settings: Settings) -> dict[str, str]:
    """Return the models by their labels: those that the config names, else before and after; {}: no result is there.

    Raises UserError where two models would have the same label.
    """
    if named := {Path(name): name for name in settings.evaluate.models}:  # a/b, a/b/ and ./a/b are one model
        words = {path: [part for part in path.parts if part != "/"] for path in named}
        for parts in range(3, max(map(len, words.values())) + 3):
            labels = {"-".join(words[path][-parts:]): name for path, name in named.items()}
            if len(labels) == len(named):
                return labels
        raise UserError(f"evaluate.models: two rows would have one name, of {', '.join(named.values())}; rename one folder")
    result = settings.run / "understanding" / "model"
    if not result.is_dir():
        return {}
    named = result.relative_to(ROOT) if result.is_relative_to(ROOT) else result
    return {"before": settings.understanding.model, "after": str(named)}


@dataclass(frozen=True)
class Asked:
    """Questions in one form of answer. suffix: of the rows' names. images: whom they are about, a table."""

    suffix: str
    form: Answers
    images: pd.DataFrame
    questions: list[Question]


def questions_of(settings: Settings, images: pd.DataFrame) -> list[Asked]:
    """Return the questions about images (columns image_id, emotion), one of each kind as far as they can be equally many.

    Where models reason, they do about evaluate.reasoned images, and answer without about all.
    """
    seed, form = settings.seed, settings.answers
    forms = {"": (form, images)}
    if form.reasoning:
        few = equal_emotions(images, settings.evaluate.reasoned, seed)
        forms = {"": (form, few), ALONE: (form.model_copy(update={"reasoning": False}), images)}
    return [
        Asked(suffix, form, own, evaluation_questions(own, settings.data.taxonomy, settings.questions, form, seed))
        for suffix, (form, own) in forms.items()
    ]


def measure_understanding(settings: Settings, folder: Path) -> dict:
    """Ask the models and write understanding.json, confusion matrices and all answers into `folder`; return the former."""
    started, taxonomy, evaluate, seed = time.monotonic(), settings.data.taxonomy, settings.evaluate, settings.seed

    # 1. The images, and the questions about them.
    models = models_of(settings)
    images, train, left_out = images_of(settings, folder)
    asking = questions_of(settings, images)
    asked_of = {f"{row}{asked.suffix}": asked for asked in asking for row in (*models, "blind")}
    count = sum(len(asked.questions) for asked in asking)
    log.info(f"{len(images):,} images, {count:,} questions")

    # 2. What each model answers.
    rows, by, answered, skipped = {}, {}, {}, {}
    for row, answers in answers_of_models(settings, models, asking, folder):
        answered[row], own = answers, asked_of[row].images
        skipped |= skipped_of(row, own[~own["image_id"].isin(answers["image_id"])])
        rows[row] = figures(answers, taxonomy, seed)
        rows[row] |= accuracy_by_emotion(answers, taxonomy, seed, known=rows[row])
        by[row] = {"phrasing": by_phrasing(answers, taxonomy, seed), "place": by_place(answers, taxonomy)}
        if is_first_process():
            write_answers(folder, row, answers, taxonomy)

    # 3. The baselines, and what the last model gains over them and over the others.
    clip = {}
    if evaluate.baselines:
        cache = feature_cache(settings.data, settings.evaluate, settings.machine.processes)
        clip = clip_answers(images, train, taxonomy.emotions, settings.models.clip, cache)
        rows |= {row: {name: figure_of(each, seed) for name, each in choices(own).items()} for row, own in clip.items()}
    gains = {}
    for asked in asking:
        own = {row: answers for row, answers in answered.items() if asked_of[row] is asked}
        gains |= gains_of(f"{list(models)[-1]}{asked.suffix}", own, clip, taxonomy, seed)

    # 4. All of it.
    shown = {row: answered[row]["emotion"] if row in answered else images["emotion"] for row in rows}
    marks = {row: mark(emotions, taxonomy.emotions, pairs=False) for row, emotions in shown.items()}
    n = int(images["image_id"].isin(pd.concat(list(answered.values()))["image_id"]).sum())
    about = {"n": n, "questions": count, "seed": seed}
    about["split"] = f"folder {evaluate.folder.name}" if evaluate.folder else evaluate.split
    about |= {"models": models, "seconds": round(time.monotonic() - started, 1), "skipped": together(left_out, skipped)}
    about["warnings"] = warnings_of(settings, answered, asked_of)
    about["incomplete"] = {row: text for row, text in marks.items() if text}
    found = {"about": about, "figures": rows, "paired": gains, "by": by}
    if is_first_process():
        write_json(folder / "understanding.json", found)
        tell(found, taxonomy)
    return found


def answers_of_models(
    settings: Settings, models: dict[str, str], asking: list[Asked], folder: Path
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the read answers of each model, of the last one blind too, by row. All processes call it together."""
    taxonomy, evaluate, understanding = settings.data.taxonomy, settings.evaluate, settings.understanding
    for label, name in models.items():
        setting = f"evaluate.models: {label}"
        asker = load_asker(understanding, settings.answers, taxonomy, name, setting)
        for asked in asking:
            paths = dict(zip(asked.images["image_id"], asked.images["path"], strict=True))
            asker = Asker(asker.model, asker.processor, understanding, asked.form, taxonomy, setting)
            is_last = evaluate.blind and label == list(models)[-1] and not asked.suffix
            for blind in (False, True) if is_last else (False,):
                size = batch_size_of(evaluate, asked.form)
                answers = answer_all(asker, asked.questions, paths, folder, size, blind=blind, forced=True)
                row = "blind" if blind else f"{label}{asked.suffix}"
                yield row, read_answers(answers, taxonomy, asked.form)
        del asker
        free_memory()


def batch_size_of(evaluate: Evaluate, form: Answers) -> int:
    """Return how many questions a process asks at once."""
    return evaluate.reasoned_batch_size if form.reasoning else evaluate.batch_size


def tell(found: dict, taxonomy: Taxonomy) -> None:
    """Log the table, the paired differences and the warnings of understanding.json."""
    about = found["about"]
    table = markdown_table(marked(found["figures"], about["incomplete"]), metrics(taxonomy))
    log.debug(f"\n{table}\n\nvalue (low to high, 95 %); n = {about['n']:,} images")
    for pair, apart in found["paired"].items():
        log.debug(f"{pair_name(pair)}: {told(apart, metrics(taxonomy))}")
    for warning, about_rows in about["warnings"].items():
        log.info(f"warning: {', '.join(about_rows)}: {warning}")


def gains_of(
    last: str, answered: dict[str, pd.DataFrame], clip: dict[str, pd.DataFrame], taxonomy: Taxonomy, seed: int
) -> dict[str, dict]:
    """Return what one row's answers have more than each other row's, and than CLIP's probe: "after - before" and so on."""
    gains = {
        f"{last} - {row}": differences(answered[last], own, taxonomy, seed) for row, own in answered.items() if row != last
    }
    if PROBE in clip:
        gains[f"{last} - clip_linear_probe"] = differences_from(clip[PROBE], answered[last], taxonomy.emotions, seed)
    return gains


def warnings_of(settings: Settings, answered: dict[str, pd.DataFrame], asked_of: dict[str, Asked]) -> dict[str, list[str]]:
    """Return the rows that each warning is about. answered, asked_of: read answers and what was asked, by row."""
    emotions, folder, found = settings.data.taxonomy.emotions, settings.evaluate.folder, {}
    shares = kinds.shares(settings.questions)
    wanted = [kind.NAME for kind in kinds.KINDS if kind.SHARE or shares[kind.NAME]]
    for row, answers in answered.items():
        images, questions = asked_of[row].images, len(asked_of[row].questions)
        found[row] = gaps(images["emotion"], emotions, pairs=False) + (unknown_folders(folder, emotions) if folder else [])
        if not_asked := [name for name in wanted if name not in set(answers["kind"])]:
            found[row].append(f"no {', '.join(not_asked)} questions, for which the images are too few or lack an emotion")
        if len(answers) < questions:
            found[row].append(f"{questions - len(answers):,} of {questions:,} questions have no answer, by skipped images")
    return by_warning(found)


def write_answers(folder: Path, row: str, answers: pd.DataFrame, taxonomy: Taxonomy) -> None:
    """Write a row's read answers and their confusion matrices into `folder`."""
    write_atomically(folder / f"answers-{row}.parquet", partial(answers.to_parquet, write_page_checksum=True))
    for kind, counts in confusions(answers, taxonomy).items():
        write_atomically(folder / f"confusion-{kind}-{row}.csv", counts.to_csv)


def images_of(settings: Settings, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame | None, dict]:
    """Return the images of the questions, the training split (columns image_id, emotion, path), and what was left out.

    The training split is None where no probe can be fitted to it, as where evaluate.folder gives the images and there is no
    data set. Raises UserError where there is no image to ask about.
    """
    evaluate, emotions, left_out = settings.evaluate, settings.data.taxonomy.emotions, {}
    try:
        emoset = read_emoset(settings.data, folder, settings.machine.processes, settings.check)
        index, left_out = emoset.index, left_out_of_data(emoset.problems)
        index["path"] = [settings.data.emoset / image for image in index["image"]]
        train = probe_images(index)
    except UserError as reason:
        if not evaluate.folder:
            raise
        log.info(f"no linear probe, for there is no training split: {reason}")
        train = None
    if evaluate.folder:
        images = read_folder(evaluate.folder, emotions)
        left_out = left_out_of_folder("evaluate.folder", evaluate.folder, images, emotions)
    else:
        images = index[index["split"] == evaluate.split]
        if images.empty:
            raise UserError(
                f"data.emoset: {settings.data.emoset} has no usable image in the split {evaluate.split}; see problems.csv"
            )
    return equal_emotions(images.reset_index(drop=True), evaluate.images, settings.seed), train, left_out
