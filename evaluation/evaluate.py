"""Measure how well a vision-language model tells the emotion of images: as it answers, and by forced choice.

    python evaluation/evaluate.py --config config/demo.yaml
    python evaluation/evaluate.py evaluate.split=test evaluate.models=runs/a/understanding/model,runs/b/understanding/model
    python evaluation/evaluate.py evaluate.folder=path/to/images                   # a subfolder for each emotion
    accelerate launch evaluation/evaluate.py                                       # as accelerate is configured

Every figure has its n and 95 % interval. Beside the models stand the last of them asked about a grey image (blind), which
must not do better than chance, and CLIP, zero-shot and with a linear probe. To `<run>/evaluation/`: figures.json,
figures.md, a confusion matrix for each model, and all answers, from which the figures can be computed again.
"""

import json
import sys
from pathlib import Path

try:
    from config.loading import UserError
    from config.script import is_first_process, log, open_run_folder, run, write_atomically
    from config.settings import Settings
except ModuleNotFoundError as missing:
    sys.exit(f"error: {missing.name} is not installed; in the project's folder: pip install -r requirements.txt -e .")

import pandas as pd

from emoset.chosen import equal_emotions

SHOWN = {
    "multiple_accuracy": "eight-way",
    "multiple_balanced_accuracy": "balanced",
    "multiple_forced_accuracy": "forced choice",
    "binary_balanced_accuracy": "binary",
    "yes_rate": "says yes",
    "misleading_auroc": "AUROC",
    "misleading_ece": "ECE",
    "format_rate": "format",
}


def main(settings: Settings) -> None:
    # Imported here, so that --help and an error in the config answer at once.
    from understanding.answering import answer_all
    from understanding.asking import load_asker
    from understanding.questions import evaluation_questions
    from understanding.scoring import confusion, figures, read_answers

    # 1. The images, and the questions about them: one of each kind to an image, as far as they can be equally many.
    folder, asked = open_run_folder(settings, "evaluation"), settings.questions
    models = evaluated_models(settings)
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

    # 3. The baselines.
    if settings.evaluate.baselines:
        from evaluation.baselines import clip_figures

        rows |= clip_figures(images, train, settings)

    # 4. All of it.
    if is_first_process():
        table = figures_table(rows)
        about = dict(images=len(images), seed=settings.seed, split=settings.evaluate.split, models=models)
        content = json.dumps({"about": about, "figures": rows}, indent=1) + "\n"
        write_atomically(folder / "figures.json", lambda path: path.write_text(content))
        write_atomically(folder / "figures.md", lambda path: path.write_text(table + "\n"))
        log.info(f"\n{table}\n\nvalue (low-high, 95 %); n = {len(images):,} images")


def images_of(settings: Settings, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Return the images that are asked about, and EmoSet's training split: image_id, emotion, path. None: no EmoSet here."""
    from emoset.chosen import read_folder
    from emoset.reading import read_emoset

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


def evaluated_models(settings: Settings) -> dict[str, str]:
    """Return the models by what they are called: before and after, or by the names that the config gives."""
    if settings.evaluate.models:
        return {"-".join(Path(name).parts[-3:]): name for name in settings.evaluate.models}
    result = settings.run / "understanding" / "model"
    if not result.is_dir():
        raise UserError(f"{result} is not there; understanding.py makes it, or name models: evaluate.models=...")
    return {"before": settings.understanding.model, "after": str(result)}


def figures_table(rows: dict[str, dict]) -> str:
    """Return a Markdown table, a row for each model."""
    table = pd.DataFrame(index=list(rows), columns=list(SHOWN.values()), data="")
    for row, found in rows.items():
        for name, title in SHOWN.items():
            if name in found:
                figure = found[name]
                table.loc[row, title] = f"{figure['value']:.3f} ({figure['low']:.3f}-{figure['high']:.3f})"
    return table.loc[:, (table != "").any()].to_markdown()


if __name__ == "__main__":
    run(main, __doc__)
