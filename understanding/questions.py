"""Questions about the emotion of an image, drawn so that nothing but the image tells their answers.

Three kinds: binary ("does it belong to awe?"), multiple (which of the eight) and misleading (how much, from 0 to 100). For
binary and misleading the asked emotion is drawn first and the image after, so that P(true | asked emotion, phrasing) is 1/2
exactly: how often an emotion is asked about says nothing. One question to a prompt; the truth never stands in it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Literal

import numpy as np
import pandas as pd

from config.errors import UserError
from config.understanding_settings import Questions
from emoset.labels import EMOTIONS

KINDS = ("binary", "multiple", "misleading")
LETTERS = "ABCDEFGH"

PHRASINGS = dict(
    binary=(
        "Does this image belong to {asked} or not? Answer yes or no.",
        "Is {asked} the emotion that this image evokes? Answer yes or no.",
        "Would most viewers feel {asked} when they see this image? Answer yes or no.",
        "Someone says that this image shows {asked}. Is that right? Answer yes or no.",
    ),
    multiple=(
        "Which of these emotions does this image represent: {options}? Answer with {how}.",
        "What does this image make its viewers feel? Choose from {options}. Answer with {how}.",
        "Here are eight emotions: {options}. Which one fits this image best? Answer with {how}.",
        "Name the emotion of this image. It is one of {options}. Answer with {how}.",
    ),
    misleading=(
        "To what extent, from 0 to 100, do you think this image belongs to {asked}? Answer with a number.",
        "How strongly does this image evoke {asked}? Answer with a number from 0 (not at all) to 100 (certainly).",
        "Rate from 0 to 100 how well {asked} describes this image. Answer with the number.",
        "How sure are you, from 0 to 100, that the emotion of this image is {asked}? Answer with a number.",
    ),
)
REASONING = "First think about what is to be seen, between <think> and </think>, then answer between <answer> and </answer>."
ANSWER_ALONE = "Give nothing but the answer."


@dataclass(frozen=True)
class Question:
    """A question about one image.

    emotion: the true one. asked: the emotion that the question names; None for multiple. options: the eight in the order
    that the prompt lists them; empty for the others. phrasing: which of PHRASINGS[kind].
    """

    kind: Literal["binary", "multiple", "misleading"]
    image_id: str
    emotion: str
    asked: str | None
    options: tuple[str, ...]
    phrasing: int
    prompt: str

    @property
    def is_true(self) -> bool:
        """Whether the asked emotion is that of the image."""
        return self.asked == self.emotion


def draw_questions(
    images: pd.DataFrame,
    settings: Questions,
    confusability: np.ndarray | None,
    seed: int,
    setting: str = "questions.count",
) -> list[Question]:
    """Draw `settings.count` questions about images (columns image_id, emotion), shared out over the kinds by their weights.

    Each kind gets a multiple of its cells, an equal number of each: 64 for binary and misleading (8 asked emotions x 4
    phrasings x true or not), 32 for multiple (8 emotions x 4 phrasings). Of the wrong half the share
    `settings.confusable_share` shows images of an emotion that is easily taken for the asked one.
    confusability: (8, 8), row i, column j: how easily an image of emotion i is taken for j; None where that share is 0.
    setting: which one the count comes from, for the error.
    Raises UserError for an emotion without images, and where a kind gets fewer questions than it has cells.
    """
    rng = Random(f"{seed} questions")
    missing = [emotion for emotion in EMOTIONS if not (images["emotion"] == emotion).any()]
    if missing:
        raise UserError(f"questions: no image of {', '.join(missing)}; they need images of all eight emotions")
    supply = {emotion: _endless(images.loc[images["emotion"] == emotion, "image_id"].tolist(), rng) for emotion in EMOTIONS}
    shares = {kind: getattr(settings, kind) for kind in KINDS}
    questions = []
    for kind, share in shares.items():
        if not share:
            continue
        cells = (1 if kind == "multiple" else 2) * len(EMOTIONS) * len(PHRASINGS[kind])
        rounds = int(settings.count * share / sum(shares.values())) // cells
        if not rounds:
            raise UserError(
                f"{setting}: {settings.count} leave {kind} with fewer than {cells}, an equal number for each emotion"
                f" and phrasing; raise it, or set questions.{kind}=0"
            )
        for phrasing in range(len(PHRASINGS[kind])):
            for emotion in EMOTIONS:
                if kind == "multiple":
                    shown = [emotion] * rounds
                else:
                    shown = [emotion] * rounds + _wrong_emotions(
                        emotion, rounds, settings.confusable_share, confusability, rng
                    )
                for truth in shown:
                    asked = None if kind == "multiple" else emotion
                    questions.append(_question(kind, next(supply[truth]), truth, asked, phrasing, settings, rng))
    rng.shuffle(questions)
    return questions


def multiple_choice(images: pd.DataFrame, settings: Questions, seed: int) -> list[Question]:
    """Return one multiple-choice question about each image: those of the evaluation."""
    rng = Random(f"{seed} multiple choice")
    return [
        _question("multiple", image_id, emotion, None, rng.randrange(len(PHRASINGS["multiple"])), settings, rng)
        for image_id, emotion in zip(images["image_id"], images["emotion"], strict=True)
    ]


def evaluation_questions(images: pd.DataFrame, settings: Questions, seed: int) -> list[Question]:
    """Return the questions of an evaluation: multiple choice about each image, and about as many of the other two kinds.

    Wrong emotions are asked about uniformly, whatever is confusable. Where the images are too few for an equal number of
    every case, or not of all eight emotions, only multiple choice is asked.
    """
    questions = multiple_choice(images, settings, seed)
    if len(images) < 64 or images["emotion"].nunique() < len(EMOTIONS):
        return questions
    rest = {"binary": 1.0, "multiple": 0.0, "misleading": 1.0, "confusable_share": 0.0, "count": 2 * len(images)}
    return questions + draw_questions(images, settings.model_copy(update=rest), None, seed)


def _wrong_emotions(asked: str, count: int, share: float, confusability: np.ndarray | None, rng: Random) -> list[str]:
    """Return the true emotions of `count` images for which `asked` is wrong, on average a share of them confusable."""
    others = [emotion for emotion in EMOTIONS if emotion != asked]
    confusable = int(count * share + rng.random()) if share else 0  # so that few of many cells have their share too
    shown = [others[number % len(others)] for number in range(count - confusable)] if confusable < count else []
    shown = rng.sample(others, len(others))[: len(shown)] if len(shown) < len(others) else shown
    if confusable:
        column = confusability[:, EMOTIONS.index(asked)]
        weights = column if column.any() else np.array([emotion != asked for emotion in EMOTIONS], dtype=float)
        shown += rng.choices(EMOTIONS, weights.tolist(), k=confusable)
    return shown


def _question(
    kind, image_id: str, emotion: str, asked: str | None, phrasing: int, settings: Questions, rng: Random
) -> Question:
    options = tuple(rng.sample(EMOTIONS, len(EMOTIONS))) if kind == "multiple" else ()
    by_letter = settings.answer_by == "letter"
    listed = [f"({letter}) {option}" if by_letter else option for letter, option in zip(LETTERS, options, strict=False)]
    text = PHRASINGS[kind][phrasing].format(
        asked=asked, options=", ".join(listed), how="its letter" if by_letter else "its name"
    )
    prompt = f"{text} {REASONING if settings.reasoning else ANSWER_ALONE}"
    return Question(kind, image_id, emotion, asked, options, phrasing, prompt)


def _endless(items: list[str], rng: Random) -> Iterator[str]:
    """Yield the items in shuffled rounds: none twice before all have been."""
    while True:
        yield from rng.sample(items, len(items))
