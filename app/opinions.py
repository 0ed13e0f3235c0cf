"""What the judge and the understanding model say of an image."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from app.run_models import RunModels
from config.errors import UserError
from emoset.images import ImageError, check_regular, load_image, reporting
from evaluation.features import features_or_nan
from understanding.answers import TAGS
from understanding.asking import Asker
from understanding.kinds import binary, misleading, multiple
from understanding.question import Question
from understanding.questions import question_about

MOST_PIXELS = 50 * 10**6  # of an uploaded image: more than any phone's camera makes by default
AT_ONCE = 16  # images of a table that the model is asked about at once
ASKED = ("Which emotion is it?", "Is it the emotion that you ask about?", "How much is it that emotion?")
SEED = 0  # of the words of questions, and of the order of their options: the same for every image


@dataclass(frozen=True)
class Opinion:
    """What a model says of an image, about one emotion in particular.

    emotions: how likely it finds each. yes: how likely "yes" is as the answer to whether the image shows the emotion.
    scores: how likely each score from 0 to 100 is, and `score` their mean. reasoning: by question; empty of a model that
    gives none.
    """

    emotions: dict[str, float]
    yes: float
    scores: dict[int, float]
    score: float
    reasoning: str


def check_upload(path: str | Path | None) -> Path:
    """Return the path of an image that was uploaded or made; raise UserError where it cannot be used."""
    if not path:
        raise UserError("There is no image yet. Upload one, or click an example.")
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path.name}: is gone, for this page keeps images for an hour. Upload it, or make it, again.")
    try:
        with reporting(path):
            check_regular(path)
            with Image.open(path) as image:
                width, height = image.size
        if width * height > MOST_PIXELS:
            raise UserError(
                f"{path.name}: has {width} x {height} pixels, more than the {MOST_PIXELS // 10**6} million that this page "
                "takes. Make it smaller first."
            )
        load_image(path)
    except ImageError as error:
        raise UserError(f"{path.name}: {error.reason}. Try a JPEG, PNG or WebP file.") from None
    return path


def judged(models: RunModels, path: Path) -> dict[str, float]:
    """Return how likely the judge of the run's evaluation finds each emotion."""
    judge = models.judge
    seen = features_or_nan(judge.network, [path])
    if seen.isnan().any():
        raise UserError(f"{path.name}: is too narrow for the judge.")
    return dict(zip(models.taxonomy.emotions, judge.read(seen)[0].tolist(), strict=True))


def distance(models: RunModels, first: Path, second: Path) -> float:
    """Return how different two images of one size look: LPIPS, 0 for the same image."""
    both = [torch.from_numpy(np.array(load_image(path))).permute(2, 0, 1)[None] / 127.5 - 1 for path in (first, second)]
    with torch.no_grad():
        return float(models.lpips(*both))


def opinion(asker: Asker, path: Path, emotion: str) -> Opinion:
    """Return what a model says of an image, asked which emotion it is, and whether and how much it is `emotion`."""
    kinds = {multiple: None, binary: emotion, misleading: emotion}
    questions = [question_about(kind, asked, asker.taxonomy, asker.form, SEED) for kind, asked in kinds.items()]
    (names, words, numbers), said = _answers(asker, questions, [path] * len(questions))
    scores = {int(score): p for score, p in numbers.items()}
    return Opinion(
        emotions=dict(zip(asker.taxonomy.emotions, names.values(), strict=True)),
        yes=words["yes"],
        scores=scores,
        score=sum(score * p for score, p in scores.items()),
        reasoning="\n\n".join(f"{asked}\n{in_words(text)}" for asked, text in zip(ASKED, said, strict=True) if text),
    )


def in_words(completion: str) -> str:
    """Return what a model that reasons has said, without the tags of its format."""
    text = completion.replace("<answer>", "\nIts answer: ")
    for tag in TAGS:
        text = text.replace(tag, "")
    return text.strip()


def emotions_of(asker: Asker, paths: Sequence[Path]) -> list[dict[str, float]]:
    """Return how likely a model finds each emotion of images, all of which it is asked about in the same words."""
    question = question_about(multiple, None, asker.taxonomy, asker.form, SEED)
    rows, _ = _answers(asker, [question] * len(paths), paths)
    return [dict(zip(asker.taxonomy.emotions, row.values(), strict=True)) for row in rows]


def views(models: RunModels, path: Path) -> tuple[dict[str, float] | None, dict[str, float] | None]:
    """Return how likely the judge and the understanding model find each emotion of an image; None where a run has none."""
    return (
        judged(models, path) if models.judges else None,
        emotions_of(models.after, [path])[0] if models.understands else None,
    )


def table_of(asker: Asker, paths: Sequence[Path]) -> Iterator[list[dict]]:
    """Yield rows for some images at a time: file, emotion, how likely each emotion is, and why an image cannot be used."""
    for first in range(0, len(paths), AT_ONCE):
        rows, usable = [], {}
        for path in paths[first : first + AT_ONCE]:
            rows.append({"file": path.name, "emotion": ""} | dict.fromkeys(asker.taxonomy.emotions) | {"problem": ""})
            try:
                usable[check_shown(asker, check_upload(path))] = rows[-1]
            except UserError as error:
                rows[-1]["problem"] = str(error).removeprefix(f"{path.name}: ")
        for row, likely in zip(usable.values(), emotions_of(asker, [*usable]) if usable else [], strict=True):
            row |= {name: round(p, 4) for name, p in likely.items()} | {"emotion": max(likely, key=likely.get)}
        yield rows


def check_shown(asker: Asker, path: Path) -> Path:
    """Return the path of an image; raise UserError where the model cannot be shown it."""
    if reason := asker.obstacle(path):
        raise UserError(f"{path.name}: {reason}.")
    return path


def _answers(asker: Asker, questions: list[Question], paths: Sequence[Path]) -> tuple[list[dict[str, float]], list[str]]:
    """Return how likely each allowed answer to each question is, after the model's own reasoning; and that."""
    said = [""] * len(questions)
    if asker.form.reasoning:
        said = [answers[0] for answers in asker.answers(questions, paths)]
    rows = asker.likelihoods(questions, paths, said).tolist()
    return [dict(zip(asker.allowed(each), row, strict=False)) for each, row in zip(questions, rows, strict=True)], said
