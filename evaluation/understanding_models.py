"""Measures how well vision-language models tell the emotion of images, beside a grey image and CLIP."""

import gc
import time
from pathlib import Path

import pandas as pd
import torch

from config.errors import UserError
from runtime.files import write_atomically
from runtime.run_folder import is_first_process, log
from config.section import ROOT
from config.settings import Settings
from emoset.selection import equal_emotions, read_folder
from emoset.reading import read_emoset
from evaluation.baselines import clip_figures
from evaluation.metric_labels import UNDERSTANDING
from evaluation.tables import figures_table, write_json
from understanding.answering import answer_all
from understanding.asking import load_asker
from understanding.questions import evaluation_questions
from understanding.scoring import confusion, figures, read_answers


def models_of(settings: Settings) -> dict[str, str]:
    """Return the models by what they are called: those that the config names, else before and after; {}: none is there."""
    if named := dict.fromkeys(settings.evaluate.models):
        words = {name: [part for part in Path(name).parts if part != "/"] for name in named}
        longest = max(map(len, words.values()))
        labelled = ({"-".join(words[name][-parts:]): name for name in named} for parts in range(3, longest + 3))
        return next(labels for labels in labelled if len(labels) == len(named))
    result = settings.run / "understanding" / "model"
    if not result.is_dir():
        return {}
    named = result.relative_to(ROOT) if result.is_relative_to(ROOT) else result
    return {"before": settings.understanding.model, "after": str(named)}


def measure_understanding(settings: Settings, folder: Path) -> dict:
    """Ask the models and write understanding.json, confusion matrices and all answers into `folder`; return the former."""
    started, asked = time.monotonic(), settings.questions

    # 1. The images, and the questions about them: one of each kind to an image, as far as they can be equally many.
    models = models_of(settings)
    images, train = images_of(settings, folder)
    paths = dict(zip(images["image_id"], images["path"], strict=True))
    questions = evaluation_questions(images, asked, settings.seed)
    log.info(f"{len(images):,} images, {len(questions):,} questions")

    # 2. What each model answers.
    rows = {}
    for label, name in models.items():
        asker = load_asker(settings, name, f"evaluate.models: {label}")
        for blind in (False, True) if settings.evaluate.blind and label == list(models)[-1] else (False,):
            answers = answer_all(asker, questions, paths, folder, settings.evaluate.batch_size, blind=blind, forced=True)
            answers = read_answers(answers, asked.reasoning, asked.answer_by)
            row = "blind" if blind else label
            rows[row] = figures(answers, settings.seed)
            if is_first_process():
                write_atomically(folder / f"answers-{row}.parquet", answers.drop(columns="said_score").to_parquet)
                write_atomically(folder / f"confusion-{row}.csv", confusion(answers).to_csv)
        del asker
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    # 3. The baselines.
    if settings.evaluate.baselines:
        rows |= clip_figures(images, train, settings)

    # 4. All of it.
    about = {"n": len(images), "questions": len(questions), "seed": settings.seed}
    about["split"] = f"folder {settings.evaluate.folder.name}" if settings.evaluate.folder else settings.evaluate.split
    about |= {"models": models, "seconds": round(time.monotonic() - started, 1)}
    found = {"about": about, "figures": rows}
    if is_first_process():
        write_json(folder / "understanding.json", found)
        log.info(f"\n{figures_table(rows, UNDERSTANDING)}\n\nvalue (low to high, 95 %); n = {len(images):,} images")
    return found


def images_of(settings: Settings, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Return the images that are asked about, and EmoSet's training split: image_id, emotion, path. None: no EmoSet here."""
    options = settings.evaluate
    try:
        index = read_emoset(settings.data, folder).index
        index["path"] = [settings.data.emoset / image for image in index["image"]]
        train = index[index["split"] == "train"]
    except UserError:
        if not options.folder:
            raise
        train = None
    images = read_folder(options.folder) if options.folder else index[index["split"] == options.split]
    return equal_emotions(images.reset_index(drop=True), options.images, settings.seed), train
