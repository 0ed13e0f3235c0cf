"""Tell the emotion of your own images: what the model answers, how likely it finds each emotion, and its reasoning.

    python understanding/predict.py predict.images=photo.jpg
    python understanding/predict.py predict.images=holiday/,photo.jpg predict.model=path/to/model

The script prints a line or two for each image and appends it to `<run>/predict/predictions.jsonl` at once. If you kill it,
the same command resumes. Otherwise the file holds the last run alone. Every file that opens as an image counts, whatever
its suffix. Hidden files do not. Files that cannot be read are named and left out.
"""

from runtime.script import read_settings, run

MODEL = ("understanding.dtype", "understanding.attention", "understanding.four_bit", "understanding.max_pixels")
read_settings(__name__, __doc__, "data.taxonomy", "answers", *MODEL, "predict")

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from config.errors import UserError
from config.section import ROOT
from config.settings import Settings
from emoset.selection import usable_images, visible_files
from runtime.built_folder import alone_in
from runtime.checking import in_words, stops_here
from runtime.files import file_states, naming, write_atomically
from runtime.hub import model_digest
from runtime.recipe import RECIPE, Recipe, digest, settings_of
from runtime.run_folder import log, open_run_folder
from understanding.answers import extract_answer
from understanding.asking import Asker, load_asker
from understanding.kinds import multiple
from understanding.model_check import check_extras, check_model
from understanding.question import Question
from understanding.questions import question_about

SHOWN = 20  # files that were left out, named in the log


def main(settings: Settings) -> None:
    predict = settings.predict
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("understanding/predict.py: runs as one process; start it with python, without accelerate launch")
    if not predict.images:
        raise UserError("predict.images: is empty; name images or folders, such as predict.images=photo.jpg,holiday/")
    model = predict.model or str(settings.run / "understanding" / "model")
    if not predict.model and not Path(model).is_dir():
        raise UserError(f"{model} is not there; understanding.py makes it, or name one: predict.model=...")
    folder = open_run_folder(settings, "predict")
    check_extras(settings.understanding)
    about = check_model(settings.understanding, model, "predict.model", not settings.check)
    paths, left_out = find_images(predict.images)
    if not paths:
        raise UserError(f"predict.images: none can be read: {_named(left_out)}")
    if left_out:
        log.warning(f"{len(left_out):,} files are left out: {_named(left_out)}")
    if stops_here(settings, {"images": f"{len(paths):,}", "memory": f"{in_words(about.bytes)} of weights"}):
        return
    with alone_in(folder):
        broken = answer(settings, model, paths, folder)
    if len(broken) == len(paths):
        raise UserError(f"predict.images: none can be shown to the model: {_named(broken)}")
    if left_out or broken:
        log.info(f"{len(paths) - len(broken):,} images predicted, {len(left_out) + len(broken):,} files left out")


def answer(settings: Settings, model: str, paths: list[Path], folder: Path) -> list[str]:
    """Write what the model says of the images into `folder`. Return those that it cannot be shown, each with the reason."""
    answers, taxonomy, batch_size = settings.answers, settings.data.taxonomy, settings.predict.batch_size
    # The same question about each, so that what is said of an image does not depend on those beside it.
    question = question_about(multiple, None, taxonomy, answers, settings.seed)
    asked = [(replace(question, image_id=str(path)), path) for path in paths]
    recipe = _recipe(settings, model, paths, question.prompt)
    asker = load_asker(settings.understanding, answers, taxonomy, model, "predict.model")
    asker.check_lengths([question])
    file, made_from = folder / "predictions.jsonl", folder / RECIPE
    done = start_file(file, made_from, recipe)
    if done:
        log.info(f"{len(done):,} images were answered about before; the rest follows")

    # Answers, written as they come.
    broken: list[str] = []
    for first in range(0, len(asked), batch_size):
        batch = []
        for question, path in asked[first : first + batch_size]:
            if done and done[0] == as_given(path):
                done.pop(0)
            elif reason := asker.obstacle(path):
                broken.append(f"{as_given(path)}: {reason}")
                log.warning(f"{broken[-1]}; it is left out")
            else:
                batch.append((question, path))
        for line in predictions(asker, *zip(*batch, strict=True)) if batch else ():
            with naming(file), file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(line) + "\n")
            likely = ", ".join(f"{name} {p:.2f}" for name, p in line["likelihoods"].items())
            said = " ".join(line["completion"].split())
            name = " ".join(Path(line["image"]).name.split())
            log.info(f"{name}: {line['emotion'] or 'no emotion named'} ({likely})\n    {said}")
    recipe.finish(made_from)
    return broken


def find_images(given: list[Path]) -> tuple[list[Path], list[str]]:
    """Return the images among what is given, in order, and the other files, each with the reason why it is left out.

    A folder stands for all files below it but hidden ones. What opens is an image, whatever its suffix says.
    """
    images, left_out = [], []
    for path in given:
        files, root = (visible_files(path), path) if path.is_dir() else ([path], path.parent)
        usable, others = usable_images(files, root)
        images += usable
        left_out += [f"{as_given(root / name)}: {reason}" for name, reason in others]
        if not files:
            left_out.append(f"{as_given(path)} has no images")
    return images, left_out


def start_file(file: Path, made_from: Path, recipe: Recipe) -> list[str]:
    """Return the images that an unfinished run by the same recipe has answered about; else let the file begin anew."""
    kept, images = b"", []
    if recipe.is_started(made_from) and not recipe.is_finished(made_from) and file.is_file():
        for line in file.read_bytes().splitlines(keepends=True):
            with suppress(ValueError, KeyError, TypeError):  # a kill has cut it off
                images.append(json.loads(line)["image"])
                kept += line.rstrip(b"\n") + b"\n"
    recipe.start(made_from)
    write_atomically(file, lambda beside: beside.write_bytes(kept))
    return images


def _recipe(settings: Settings, model: str, paths: list[Path], prompt: str) -> Recipe:
    """Return what the predictions follow from."""
    read = {name.partition(".")[2] for name in MODEL}
    own = settings_of("understanding", settings.understanding, set(type(settings.understanding).model_fields) - read)
    own |= settings_of("answers", settings.answers) | {"seed": settings.seed}
    inputs = {"model": model_digest(model), "emotions": settings.data.taxonomy.emotions, "question": digest([prompt])}
    images = [[as_given(path), *state] for path, state in zip(paths, file_states(paths), strict=True)]
    return Recipe("predictions", own, inputs | {"images": digest(images)})


def _named(left_out: list[str]) -> str:
    """Return the first of the files that are left out, with their reasons."""
    return "; ".join(left_out[:SHOWN]) + ("; ..." if len(left_out) > SHOWN else "")


def predictions(asker: Asker, questions: list[Question], paths: list[Path]) -> Iterator[dict]:
    """Yield what the model says of each image: image, emotion or None, likelihoods by emotion, completion."""
    completions = [answers[0] for answers in asker.answers(questions, paths)]
    likelihoods = asker.likelihoods(questions, paths, completions).tolist()
    for path, question, completion, likely in zip(paths, questions, completions, likelihoods, strict=True):
        answer = extract_answer(completion, asker.form.reasoning)
        emotion = answer and multiple.read(answer, question.options, asker.taxonomy, asker.form)
        by_emotion = dict(sorted(zip(asker.taxonomy.emotions, likely, strict=True), key=lambda pair: -pair[1]))
        yield {"image": as_given(path), "emotion": emotion, "likelihoods": by_emotion, "completion": completion}


def as_given(path: Path) -> str:
    """Return an image's path as the user wrote it: counted from where they stand or, in YAML, from the project's folder."""
    starts = [start for start in (Path.cwd(), ROOT) if path.is_relative_to(start)]
    return str(path.relative_to(starts[0]) if starts else path)


if __name__ == "__main__":
    run(main)
