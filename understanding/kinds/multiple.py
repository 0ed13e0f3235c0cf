"""Multiple-choice questions: which of the K emotions is it? They are answered by a name, or by the letter of an option.

Every emotion is the true one equally often, and the options stand in random order.
"""

import re
import string
from collections.abc import Callable, Iterator, Sequence
from math import log
from random import Random

import numpy as np
import pandas as pd
from torch import Tensor

from config.errors import UserError
from config.taxonomy import Taxonomy
from config.understanding_settings import Answers, Questions, Rewards
from runtime.figures import Metric, Statistic, balanced_share, share
from understanding.answers import bare, plain, the_one
from understanding.proper_scores import of_choice
from understanding.question import Question
from understanding.statistics import LEAST, calibration_error, fitted_temperature, is_measured, tempered

NAME = "multiple"
SHARE = 1.0
WEIGHT = 1.0
PHRASINGS = (
    "Which of these emotions does this image represent: {options}? Answer with {how}.",
    "What does this image make its viewers feel? Choose from {options}. Answer with {how}.",
    "Here are {count} emotions: {options}. Which one fits this image best? Answer with {how}.",
    "Name the emotion of this image. It is one of {options}. Answer with {how}.",
)
COLUMN = "said_emotion"
CURVES = {"multiple_accuracy": "multiple choice", "multiple_forced_accuracy": "forced choice"}
ALWAYS = ()
LETTERS = string.ascii_uppercase
BETWEEN = r"[\s):.,=>→-]+"  # a letter and its name
IS_RIGHT = r"(?:\s+is(?:\s+the)?(?:\s+(?:correct|right|best|final))?(?:\s+(?:one|answer|option|choice|letter))?)"
LETTER = re.compile(rf"(?P<letter>[a-z])(?:{IS_RIGHT}|{BETWEEN}(?:the\s+emotion\s+)?(?P<name>\w.*))?", re.DOTALL)
LETTER_LAST = re.compile(r"(?P<name>\w[^():,]*?)\s*(?:\(|[:,]\s)\s*(?:option\s+)?(?P<letter>[a-z])", re.DOTALL)
NUMBERS = "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen"
NUMBERS = dict(enumerate([*NUMBERS.split(), "nineteen", "twenty"], start=2))


def cases(taxonomy: Taxonomy) -> int:
    """Return K: each true emotion."""
    return len(taxonomy)


def draw(
    rounds: int, taxonomy: Taxonomy, questions: Questions, confusability: np.ndarray | None, rng: Random
) -> Iterator[tuple[None, str]]:
    """Yield (None, true emotion)."""
    for emotion in taxonomy.emotions:
        for _ in range(rounds):
            yield None, emotion


def options(taxonomy: Taxonomy, rng: Random) -> tuple[str, ...]:
    """Return all emotions in random order."""
    return tuple(rng.sample(taxonomy.emotions, len(taxonomy)))


def text(phrasing: int, asked: None, options: tuple[str, ...], answers: Answers) -> str:
    """Return the question, which lists the options, with their letters where one answers by letter.

    Raises UserError where there are more options than letters.
    """
    by_letter = answers.by == "letter"
    if by_letter and len(options) > len(LETTERS):
        raise UserError(
            f"answers.by: letter allows at most {len(LETTERS)} emotions, and data.taxonomy lists {len(options)};"
            " set answers.by=name"
        )
    listed = [f"({letter}) {option}" for letter, option in zip(LETTERS, options, strict=False)] if by_letter else options
    return PHRASINGS[phrasing].format(
        options=", ".join(listed),
        count=NUMBERS.get(len(options), len(options)),
        how="its letter" if by_letter else "its name",
    )


def truth(question: Question, taxonomy: Taxonomy) -> str:
    """Return the true emotion."""
    return question.emotion


def said_as(question: Question, emotion: str, answers: Answers) -> str:
    """Return the answer that means an emotion: its name, or the letter of that option."""
    return LETTERS[question.options.index(emotion)] if answers.by == "letter" else emotion


def allowed(question: Question, taxonomy: Taxonomy, answers: Answers) -> tuple[str, ...]:
    """Return the K names or letters, in the order of the taxonomy's emotions."""
    return tuple(said_as(question, emotion, answers) for emotion in taxonomy.emotions)


def right_answer(question: Question, taxonomy: Taxonomy, answers: Answers) -> str:
    """Return the true emotion's name or letter."""
    return said_as(question, truth(question, taxonomy), answers)


def read(answer: str, options: tuple[str, ...], taxonomy: Taxonomy, answers: Answers) -> str | None:
    """Return the one emotion that an answer names, or gives the letter of, or None.

    options: the emotions in the order of their letters. By name, "The emotion is awe." is read. By letter, "B", "(b)", "The
    answer is B." and, where they agree, "B: awe" and "awe (B)" are.
    """
    if answers.by == "name":
        return the_one(answer, taxonomy.emotions)
    text = bare(answer)
    found = LETTER.fullmatch(text) or LETTER_LAST.fullmatch(text)
    place = LETTERS.casefold().find(found["letter"]) if found else -1
    if not 0 <= place < len(options) or plain(found["name"] or "") not in ("", options[place]):
        return None
    return options[place]


def reward(
    question: Question, said: str | None, taxonomy: Taxonomy, rewards: Rewards, confusability: np.ndarray | None
) -> float:
    """Return 1 for the true emotion, else 0.

    With `rewards.graded` a wrong emotion earns half of how easily the true one is taken for it, of the easiest, by
    `confusability` (K, K).
    """
    true = truth(question, taxonomy)
    if said is None or said == true or not rewards.graded:
        return float(said is not None and said == true)
    row = confusability[taxonomy.emotions.index(true)]
    return float(0.5 * row[taxonomy.emotions.index(said)] / row.max())


def score(question: Question, log_q: Tensor, scoring: str, taxonomy: Taxonomy, answers: Answers) -> Tensor:
    """Return the score (proper_scores.of_choice) of the log-probabilities (A,) of the allowed answers."""
    right = allowed(question, taxonomy, answers).index(right_answer(question, taxonomy, answers))
    return of_choice(log_q, right, scoring)


def likely_columns(taxonomy: Taxonomy) -> tuple[str, ...]:
    """Return p_<emotion> of each emotion."""
    return tuple(likelihood_columns(taxonomy.emotions))


def likely(question: Question, probabilities: Sequence[float], taxonomy: Taxonomy, answers: Answers) -> tuple[float, ...]:
    """Return p_<emotion> of each emotion: the probabilities (K,) of the allowed answers, which have the same order."""
    return tuple(probabilities)


def stated(table: pd.DataFrame, taxonomy: Taxonomy) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability of the likeliest emotion (n,), and whether it is the true one (n,)."""
    probabilities = table[likelihood_columns(taxonomy.emotions)].to_numpy(float)
    likeliest = np.array(taxonomy.emotions)[probabilities.argmax(1)]
    return probabilities.max(1), likeliest == table["emotion"].to_numpy()


def chance(taxonomy: Taxonomy, rewards: Rewards, confusability: np.ndarray | None) -> float:
    """Return what an answer at random earns; of the graded reward what the emotion earns that earns most on average."""
    if not rewards.graded:
        return 1 / len(taxonomy)
    earned = 0.5 * confusability / confusability.max(1, keepdims=True) + np.eye(len(taxonomy))
    return float(earned.mean(0).max())


def blind_answers(taxonomy: Taxonomy, answers: Answers) -> dict[str, Callable[[Question], str]]:
    """Return the policies that say one emotion, and those that choose an option by its place."""
    by_name = {
        emotion: lambda question, emotion=emotion: said_as(question, emotion, answers) for emotion in taxonomy.emotions
    }
    by_place = {
        f"place {place}": lambda question, place=place: said_as(question, question.options[place], answers)
        for place in range(len(taxonomy))
    }
    return by_name | by_place


def logged(questions: list[Question], rewards: list[float], taxonomy: Taxonomy) -> dict[str, float]:
    """Return the share of right answers about the images of each emotion that is among them."""
    earned: dict[str, list[bool]] = {emotion: [] for emotion in taxonomy.emotions}
    for question, each in zip(questions, rewards, strict=True):
        earned[question.emotion].append(each == 1)
    return {f"accuracy/{emotion}": sum(right) / len(right) for emotion, right in earned.items() if right}


def likelihood_columns(emotions: tuple[str, ...]) -> list[str]:
    """Return the columns of a table of answers that hold how likely each emotion is as the answer."""
    return [f"p_{emotion}" for emotion in emotions]


def choice_statistics(name: str, true: np.ndarray, said: np.ndarray) -> dict[str, Statistic]:
    """Return the accuracy of what is said (n,) of true emotions (n,), and its mean over the true emotions."""
    right = true == said
    return {f"{name}_accuracy": share(right), f"{name}_balanced_accuracy": balanced_share(right, true)}


def statistics(table: pd.DataFrame, taxonomy: Taxonomy) -> dict[str, Statistic]:
    """Return the statistics of multiple-choice answers.

    multiple_accuracy            share of answers that name the true emotion
    multiple_balanced_accuracy   its mean over the true emotions
    multiple_<emotion>           the same for the images of one emotion
    multiple_forced_accuracy     how often the true emotion is the likeliest of all, where likelihoods were measured
    multiple_forced_balanced_accuracy
    multiple_nll                 mean of - ln p(true emotion), in nats, of probabilities that sum to 1 over the emotions
    multiple_brier               mean of Σ (p - y)² over the emotions, y being 1 for the true one
    multiple_ece                 calibration error of the likeliest emotion's probability, in ten bins
    multiple_temperature         what the probabilities must be tempered by to fit best (fitted_temperature)
    multiple_tempered_nll, multiple_tempered_ece   the same of tempered probabilities, by the other half's temperature
    """
    true, said = table["emotion"].to_numpy(), table[COLUMN].fillna("none").to_numpy()
    found = choice_statistics("multiple", true, said)
    for emotion in [emotion for emotion in taxonomy.emotions if (true == emotion).any()]:
        found[f"multiple_{emotion}"] = share(true == said, where=true == emotion)
    columns = likelihood_columns(taxonomy.emotions)
    if is_measured(table, columns):
        probabilities, (sure, came_true) = table[columns].to_numpy(float), stated(table, taxonomy)
        likeliest = np.array(taxonomy.emotions)[probabilities.argmax(1)]
        found |= choice_statistics("multiple_forced", true, likeliest)
        is_true = true[:, None] == np.array(taxonomy.emotions)
        found["multiple_nll"] = share(-np.log(probabilities[is_true].clip(LEAST)))
        found["multiple_brier"] = share(((probabilities - is_true) ** 2).sum(1))
        one_group, scaled = np.zeros(len(table)), tempered(probabilities, is_true)
        for name, stated_as in (("multiple_ece", sure), ("multiple_tempered_ece", scaled.max(1))):
            found[name] = Statistic(
                lambda rows, stated_as=stated_as: calibration_error(stated_as[rows], came_true[rows]),
                one_group,
                is_biased=True,
            )
        found["multiple_tempered_nll"] = share(-np.log(scaled[is_true].clip(LEAST)))
        found["multiple_temperature"] = Statistic(
            lambda rows: fitted_temperature(probabilities[rows], is_true[rows]), one_group
        )
    return found


def metrics(taxonomy: Taxonomy) -> dict[str, Metric]:
    """Return what the figures are called, but for those of single emotions, and what chance gives."""
    chance = 1 / len(taxonomy)
    named, likeliest = "answers that name the true emotion", "images whose true emotion is the likeliest of all names"
    even = "which all emotions alike likely give"
    return {
        "multiple_accuracy": Metric("Multiple choice", "↑", f"share of {named}", chance),
        "multiple_balanced_accuracy": Metric(
            "Multiple choice, balanced", "↑", f"mean over the emotions of the share of {named}", chance
        ),
        "multiple_forced_accuracy": Metric("Forced choice", "↑", f"share of {likeliest}", chance),
        "multiple_forced_balanced_accuracy": Metric(
            "Forced choice, balanced", "↑", f"mean over the emotions of the share of {likeliest}", chance
        ),
        "multiple_nll": Metric("Forced choice, NLL", "↓", f"mean of - ln p(true emotion); chance is {even}", -log(chance)),
        "multiple_brier": Metric("Forced choice, Brier", "↓", f"squared error of all p; chance is {even}", 1 - chance),
        "multiple_ece": Metric(
            "Forced choice, ECE", "↓", "mean gap between the likeliest emotion's probability and how often it is right"
        ),
        "multiple_temperature": Metric(
            "Forced choice, temperature", "", "what its logarithms must be divided by to fit best; above 1 it is too sure"
        ),
        "multiple_tempered_nll": Metric(
            "Forced choice, tempered, NLL",
            "↓",
            "mean of - ln p(true emotion) at the temperature of the other half of images",
        ),
        "multiple_tempered_ece": Metric(
            "Forced choice, tempered, ECE", "↓", "calibration error at the temperature of the other half of images"
        ),
    }
