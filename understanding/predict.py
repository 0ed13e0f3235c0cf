"""Tell the emotion of your own images: what the model answers, how likely it finds each emotion, and its reasoning.

    python understanding/predict.py predict.images=photo.jpg
    python understanding/predict.py predict.images=holiday/,photo.jpg predict.model=path/to/model

Prints a line or two for each image and writes `<run>/predict/predictions.jsonl`.
"""

from runtime.script import read_settings, run

MODEL = ("understanding.dtype", "understanding.attention", "understanding.four_bit", "understanding.max_pixels")
read_settings(__name__, __doc__, "data.taxonomy", "answers", *MODEL, "predict")

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from config.errors import UserError
from config.section import ROOT
from config.settings import Settings
from emoset.images import ImageError, check_image
from emoset.selection import SUFFIXES
from runtime.files import write_atomically
from runtime.run_folder import log, open_run_folder
from understanding.answers import extract_answer
from understanding.asking import Asker, load_asker
from understanding.kinds import multiple
from understanding.question import Question
from understanding.questions import multiple_choice


def main(settings: Settings) -> None:
    predict, answers, taxonomy = settings.predict, settings.answers, settings.data.taxonomy

    # 1. The images, and the model.
    if not predict.images:
        raise UserError("predict.images: names no image; predict.images=photo.jpg")
    paths = [path for given in predict.images for path in images_at(given)]
    model = predict.model or settings.run / "understanding" / "model"
    if not predict.model and not model.is_dir():
        raise UserError(f"{model} is not there; understanding.py makes it, or name one: predict.model=...")
    folder = open_run_folder(settings, "predict")
    asker = load_asker(settings.understanding, answers, taxonomy, model, "predict.model")

    # 2. A question about each. It needs a true emotion, which stands nowhere in its prompt; here nobody knows it.
    unknown = pd.DataFrame({"image_id": [str(path) for path in paths], "emotion": ""})
    questions, lines = multiple_choice(unknown, taxonomy, answers, settings.seed), []
    for first in range(0, len(questions), predict.batch_size):
        batch = slice(first, first + predict.batch_size)
        for line in predictions(asker, questions[batch], paths[batch]):
            likely = ", ".join(f"{name} {p:.2f}" for name, p in line["likelihoods"].items())
            said = " ".join(line["completion"].split())
            log.info(f"{Path(line['image']).name}: {line['emotion'] or 'no emotion named'} ({likely})\n    {said}")
            lines.append(line)

    # 3. All of them in a file.
    text = "".join(json.dumps(line) + "\n" for line in lines)
    write_atomically(folder / "predictions.jsonl", lambda path: path.write_text(text, encoding="utf-8"))


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


def images_at(path: Path) -> list[Path]:
    """Return the image that `path` is, or those in the folder that it is; raises UserError where there is none."""
    found = sorted(each for each in path.rglob("*") if each.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
    if not found:
        raise UserError(f"predict.images: {path} has no images")
    for each in found:
        try:
            check_image(each, decode=True)
        except ImageError as error:
            raise UserError(f"predict.images: {error}") from None
    return found


if __name__ == "__main__":
    run(main)
