"""Show that no policy earns more than chance without looking at the images: scripted ones, and the best that reads the text.

    python understanding/blind_check.py --config config/demo.yaml

The questions are those that a training with the same config would be asked. The best blind policy is fitted on one drawing
of them and tried on another. Writes `<run>/blind_check/blind.csv`, and ends with an error where one earns more than chance.
"""

import re
import sys
from collections import defaultdict
from collections.abc import Callable

import numpy as np
import pandas as pd

from config.errors import UserError
from runtime.run_folder import log, open_run_folder
from runtime.script import run
from config.settings import Settings

from emoset.labels import EMOTIONS
from emoset.reading import read_emoset
from understanding.confusable import confusability_of
from understanding.questions import KINDS, LETTERS, Question, draw_questions
from understanding.rewards import rewards_of

CHANCE = dict(binary=0.5, multiple=1 / len(EMOTIONS), misleading=0.5)
SCORES = range(0, 101, 5)  # that the best policy chooses from
Policy = Callable[[Question], str]  # -> the answer, without the format around it


def main(settings: Settings) -> None:
    folder = open_run_folder(settings, "blind_check")
    index = read_emoset(settings.data, folder).index
    images, matrix = index[index["split"] == "train"], confusability_of(settings)
    fitting, trying = (draw_questions(images, settings.questions, matrix, settings.seed + offset) for offset in (1, 0))
    table = blind_table(fitting, trying, settings, matrix)
    table.to_csv(folder / "blind.csv", index=False)
    log.info(f"{len(trying):,} questions; mean rewards without looking at the images\n\n{as_markdown(table)}\n")
    caught = table[table["reward"] - table["chance"] > table["tolerance"]]
    if len(caught):
        worst = caught.iloc[0]
        raise UserError(
            f"{worst['policy']}: earns {worst['reward']:.3f} on {worst['kind']} questions without looking at the images,"
            f" a coin {worst['chance']:.3f}; a training with these questions would teach it"
        )
    log.info("no policy earns more than chance without looking")


def blind_table(
    fitting: list[Question], trying: list[Question], settings: Settings, confusability: np.ndarray | None
) -> pd.DataFrame:
    """Return the mean reward of every blind policy on the questions `trying`, a row for each policy and kind.

    Columns: policy, kind, reward, n, chance, tolerance (three standard errors of a coin's reward). chance: what a coin, or
    always 50, earns; for multiple an answer at random.
    """
    policies = scripted_policies(fitting) | {"the best that reads the text": best_policy(fitting, settings, confusability)}
    rows = []
    for name, policy in policies.items():
        earned = defaultdict(list)
        for question in trying:
            earned[question.kind].append(_reward(question, policy(question), settings, confusability))
        for kind in (kind for kind in KINDS if kind in earned):
            chance = _chance(kind, settings, confusability)
            tolerance = 3 * np.sqrt(chance * (1 - chance) / len(earned[kind]))
            rows.append((name, kind, np.mean(earned[kind]), len(earned[kind]), chance, tolerance))
    return pd.DataFrame(rows, columns=["policy", "kind", "reward", "n", "chance", "tolerance"])


def as_markdown(table: pd.DataFrame) -> str:
    """Return what blind_table returns with a row for each policy and a column for each kind, a coin's reward on top."""
    kinds = table.drop_duplicates("kind").set_index("kind")
    rows = {"a coin, or always 50": kinds["chance"], "more than that by chance, at most": kinds["tolerance"]}
    rows |= {policy: own.set_index("kind")["reward"] for policy, own in table.groupby("policy", sort=False)}
    wide = pd.DataFrame(rows).T.reindex(columns=kinds.index)
    wide.columns = [f"{kind} (n = {n:,})" for kind, n in kinds["n"].items()]
    return wide.to_markdown(floatfmt=".3f")


def scripted_policies(questions: list[Question]) -> dict[str, Policy]:
    """Return policies that say one thing whatever they are asked, or repeat what the question says."""
    truths = [question.emotion for question in questions]
    commonest = max(EMOTIONS, key=truths.count)
    fixed = {f"always {answer}": answer for answer in ("yes", "no", "0", "50", "100")}
    return {name: lambda question, answer=answer: answer for name, answer in fixed.items()} | {
        f"always {commonest}, the commonest": lambda question: _named(question, commonest),
        "the asked emotion, or the first option": lambda question: question.asked or _named(question, question.options[0]),
    }


def best_policy(questions: list[Question], settings: Settings, confusability: np.ndarray | None) -> Policy:
    """Return the policy that gives to each prompt what earned most with it in `questions`; it sees the prompt alone.

    Prompts of the same words in another order are one to it, as those are whose options are shuffled; of these it may
    choose one by its place.
    """
    groups = defaultdict(list)
    for question in questions:
        groups[_words(question)].append(question)
    places = [f"place {place}" for place in range(len(EMOTIONS))]
    answers = {"binary": ["yes", "no"], "misleading": [str(score) for score in SCORES], "multiple": [*EMOTIONS, *places]}

    def said(question: Question, answer: str) -> str:
        if question.kind != "multiple":
            return answer
        return _named(question, question.options[int(answer[-1])] if answer in places else answer)

    best = {}
    for words, group in groups.items():
        candidates = answers[group[0].kind]
        earned = [np.mean([_reward(q, said(q, answer), settings, confusability) for q in group]) for answer in candidates]
        best[words] = candidates[int(np.argmax(earned))]
    return lambda question: said(question, best.get(_words(question), answers[question.kind][0]))


def _words(question: Question) -> tuple[str, ...]:
    return tuple(sorted(re.findall(r"\w+", question.prompt)))


def _named(question: Question, emotion: str) -> str:
    """Return the answer that means `emotion`: its name and, where there are options, its letter."""
    return f"{LETTERS[question.options.index(emotion)]}: {emotion}" if question.options else emotion


def _reward(question: Question, answer: str, settings: Settings, confusability: np.ndarray | None) -> float:
    if question.kind == "multiple" and settings.questions.answer_by == "name":
        answer = answer.partition(": ")[2] or answer
    completion = f"<think>.</think><answer>{answer}</answer>" if settings.questions.reasoning else answer
    asked = settings.questions
    return rewards_of(question, completion, asked.reasoning, asked.answer_by, settings.rewards, confusability)[question.kind]


def _chance(kind: str, settings: Settings, confusability: np.ndarray | None) -> float:
    """Return what an answer at random earns; for the graded reward that of the emotion which earns most on average."""
    if kind != "multiple" or not settings.rewards.graded:
        return CHANCE[kind]
    earned = 0.5 * confusability / confusability.max(1, keepdims=True) + np.eye(len(EMOTIONS))
    return float(earned.mean(0).max())


if __name__ == "__main__":
    run(main, __doc__)
