"""Tell the emotion of your own images: what the model answers, how likely it finds each of the eight, and its reasoning.

    python understanding/predict.py predict.images=photo.jpg
    python understanding/predict.py predict.images=holiday/,photo.jpg predict.model=path/to/model

Prints a line or two for each image and writes `<run>/predict/predictions.jsonl`.
"""

import json
import sys
from pathlib import Path

from config.errors import UserError
from runtime.files import write_atomically
from runtime.run_folder import log, open_run_folder
from runtime.script import run
from config.section import ROOT
from config.settings import Settings

from emoset.selection import SUFFIXES
from emoset.images import check_image
from emoset.labels import EMOTIONS
from understanding.answers import extract_answer, read_emotion


def main(settings: Settings) -> None:
    # Imported here, so that --help and an error in the config answer at once.
    import pandas as pd

    from understanding.asking import load_asker
    from understanding.questions import multiple_choice

    if not settings.predict.images:
        raise UserError("predict.images: names no image; predict.images=photo.jpg")
    paths = [path for given in settings.predict.images for path in images_at(given)]
    model = settings.predict.model or settings.run / "understanding" / "model"
    if not settings.predict.model and not model.is_dir():
        raise UserError(f"{model} is not there; understanding.py makes it, or name one: predict.model=...")
    folder, asked = open_run_folder(settings, "predict"), settings.questions
    asker = load_asker(settings, model, "predict.model")
    # A question needs a true emotion, which stands nowhere in its prompt; here nobody knows it.
    unknown = pd.DataFrame({"image_id": [str(path) for path in paths], "emotion": ""})
    questions, lines = multiple_choice(unknown, asked, settings.seed), []
    for first in range(0, len(questions), settings.evaluate.batch_size):
        batch = questions[first : first + settings.evaluate.batch_size]
        shown = paths[first : first + len(batch)]
        completions = [answers[0] for answers in asker.answers(batch, shown)]
        for path, question, completion, likelihoods in zip(
            shown, batch, completions, asker.likelihoods(batch, shown, completions).tolist(), strict=True
        ):
            answer = extract_answer(completion, asked.reasoning)
            emotion = answer and read_emotion(answer, question.options, asked.answer_by)
            likely = dict(sorted(zip(EMOTIONS, likelihoods, strict=True), key=lambda pair: -pair[1]))
            told = ", ".join(f"{name} {p:.2f}" for name, p in likely.items())
            log.info(f"{path.name}: {emotion or 'no emotion named'} ({told})\n    {' '.join(completion.split())}")
            lines.append({"image": as_given(path), "emotion": emotion, "likelihoods": likely, "completion": completion})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    write_atomically(folder / "predictions.jsonl", lambda path: path.write_text(text, encoding="utf-8"))


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
        except (ValueError, OSError) as reason:
            raise UserError(f"predict.images: {each}: {reason}") from None
    return found


if __name__ == "__main__":
    run(main, __doc__)
