"""Questions about the emotion of an image, drawn so that nothing but the image tells their answers.

Every question is of one of the kinds in understanding/kinds/. One question goes to a prompt, and the truth never stands in
it.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import ModuleType

import numpy as np
import pandas as pd

from config.errors import UserError
from config.taxonomy import Taxonomy
from config.understanding_settings import Answers, Questions, Rewards
from emoset.confusability import read_confusability
from runtime.run_folder import log
from understanding import kinds
from understanding.kinds import multiple
from understanding.question import Question

REASONING = "First think about what is to be seen, between <think> and </think>, then answer between <answer> and </answer>."
ANSWER_ALONE = "Give nothing but the answer."


def draw_questions(
    images: pd.DataFrame,
    taxonomy: Taxonomy,
    questions: Questions,
    answers: Answers,
    confusability: np.ndarray | None,
    seed: int,
    setting: str = "questions.count",
) -> list[Question]:
    """Draw `questions.count` questions about images (columns image_id, emotion), shared out over the kinds.

    A kind whose share is 0 is not drawn. Each other gets a multiple of its cases, an equal number of every case, for each
    of its phrasings.
    confusability: (K, K), row i, column j: how easily an image of emotion i is taken for j; None where
    `questions.confusable_share` is 0.
    setting: which one the count comes from, for the error.
    Raises UserError for an emotion without images, and where a kind gets fewer questions than it has cases.
    """
    rng, emotions, counts = Random(f"{seed} questions"), taxonomy.emotions, question_counts(taxonomy, questions, setting)
    missing = [emotion for emotion in emotions if not (images["emotion"] == emotion).any()]
    if missing:
        raise UserError(f"questions: no image of {', '.join(missing)}; they need images of every emotion")
    supply = {emotion: _endless(images.loc[images["emotion"] == emotion, "image_id"].tolist(), rng) for emotion in emotions}
    drawn = []
    for name, count in counts.items():
        kind = kinds.kind_named(name)
        rounds = count // _cases(kind, taxonomy)
        for phrasing in range(len(kind.PHRASINGS)):
            for asked, emotion in kind.draw(rounds, taxonomy, questions, confusability, rng):
                drawn.append(_question(kind, next(supply[emotion]), emotion, asked, phrasing, taxonomy, answers, rng))
    rng.shuffle(drawn)
    return drawn


def question_counts(
    taxonomy: Taxonomy, questions: Questions, setting: str = "questions.count", each: int = 1
) -> dict[str, int]:
    """Return how many questions of each kind that has a share `questions.count` gives: a multiple of its cases.

    Raises UserError, naming `setting`, with all kinds that get fewer questions than they have cases. each: of how many
    questions the setting counts the multiples.
    """
    shares = {name: share for name, share in kinds.shares(questions).items() if share}
    cases = {name: _cases(kinds.kind_named(name), taxonomy) for name in shares}
    counts = {
        name: int(questions.count * share / sum(shares.values())) // cases[name] * cases[name]
        for name, share in shares.items()
    }
    if few := [name for name, count in counts.items() if not count]:
        enough = max(math.ceil(cases[name] * sum(shares.values()) / shares[name] / each) for name in few)
        count = f"{questions.count // each} x {each} questions" if each > 1 else questions.count
        short = ", ".join(f"{name} with fewer than {cases[name]}" for name in few)
        others = f", or set {' and '.join(f'questions.{name}=0' for name in few)}" if len(few) < len(shares) else ""
        raise UserError(
            f"{setting}: {count} leave {short}, an equal number for each emotion and phrasing; raise it to {enough}{others}"
        )
    return counts


def multiple_choice(images: pd.DataFrame, taxonomy: Taxonomy, answers: Answers, seed: int) -> list[Question]:
    """Return one multiple-choice question about each image (columns image_id, emotion): those of the evaluation."""
    rng = Random(f"{seed} multiple choice")
    return [
        _question(multiple, image_id, emotion, None, rng.randrange(len(multiple.PHRASINGS)), taxonomy, answers, rng)
        for image_id, emotion in zip(images["image_id"], images["emotion"], strict=True)
    ]


def question_about(kind: ModuleType, asked: str | None, taxonomy: Taxonomy, answers: Answers, seed: int) -> Question:
    """Return a question of a kind about an image whose emotion nobody knows. asked: the emotion that it names, if one."""
    rng = Random(f"{seed} {kind.NAME} {asked}")
    return _question(kind, "", "", asked, rng.randrange(len(kind.PHRASINGS)), taxonomy, answers, rng)


def evaluation_questions(
    images: pd.DataFrame, taxonomy: Taxonomy, questions: Questions, answers: Answers, seed: int
) -> list[Question]:
    """Return the questions of an evaluation: multiple choice about each image, and about as many of each other kind.

    These are the kinds that are asked by default, whatever a training asks, and those with a share in the settings. Wrong
    emotions are asked about uniformly, whatever is confusable. A kind is left out, and the log says so, where the images are
    too few for an equal number of its cases, or not of every emotion.
    """
    about_each = multiple_choice(images, taxonomy, answers, seed)
    shares = kinds.shares(questions)
    wanted = [kind for kind in kinds.KINDS if kind is not multiple and (kind.SHARE or shares[kind.NAME])]
    has_every_emotion = images["emotion"].nunique() == len(taxonomy)
    others = [kind for kind in wanted if has_every_emotion and len(images) >= _cases(kind, taxonomy)]
    if left_out := [kind.NAME for kind in wanted if kind not in others]:
        why = "too few for an equal number of every case" if has_every_emotion else "not of every emotion"
        log.info(f"no questions of the kinds {', '.join(left_out)}: {len(images)} images are {why}")
    if not others:
        return about_each
    equal = {kind.NAME: float(kind in others) for kind in kinds.KINDS}
    rest = questions.model_copy(update=equal | {"confusable_share": 0.0, "count": len(others) * len(images)})
    return about_each + draw_questions(images, taxonomy, rest, answers, None, seed)


def instructed(text: str, answers: Answers) -> str:
    """Return a question's prompt: its text, and in which form to answer it."""
    return f"{text} {REASONING if answers.reasoning else ANSWER_ALONE}"


def needed_confusability(questions: Questions, rewards: Rewards, taxonomy: Taxonomy, run: Path) -> np.ndarray | None:
    """Return the (K, K) matrix of `questions.confusability`, or of the run folder's emotion space; None if none is needed.

    Raises UserError where it is needed and not there.
    """
    shares = kinds.shares(questions)
    names_one = any("{asked}" in kind.PHRASINGS[0] for kind in kinds.KINDS if shares[kind.NAME])
    if not (questions.confusable_share and names_one) and not rewards.graded:
        return None
    path = questions.confusability or run / "training" / "emotion_space" / "confusability.json"
    if not path.exists():
        raise UserError(
            f"{path} is not there; training/main.py makes it. You can also name another one as questions.confusability, or"
            " set questions.confusable_share=0"
        )
    return read_confusability(path, taxonomy.emotions)


def _cases(kind: ModuleType, taxonomy: Taxonomy) -> int:
    """Return of how many questions of a kind there must be an equal number: its cases, in each phrasing."""
    return kind.cases(taxonomy) * len(kind.PHRASINGS)


def _question(
    kind: ModuleType,
    image_id: str,
    emotion: str,
    asked: str | None,
    phrasing: int,
    taxonomy: Taxonomy,
    answers: Answers,
    rng: Random,
) -> Question:
    options = kind.options(taxonomy, rng)
    prompt = instructed(kind.text(phrasing, asked, options, answers), answers)
    return Question(kind.NAME, image_id, emotion, asked, options, phrasing, prompt)


def _endless(items: list[str], rng: Random) -> Iterator[str]:
    """Yield the items in shuffled rounds: none twice before all have been."""
    while True:
        yield from rng.sample(items, len(items))
