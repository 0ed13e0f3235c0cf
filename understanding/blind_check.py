"""Show that no policy earns more than chance without looking at the images, nor by looking at these alone.

    python understanding/blind_check.py --config config/demo.yaml

The questions are those that a training with the same config asks, and the rewards those that it maximises. Where it samples
answers, policies give answers. Where it scores all answers (grpo.answers: exact), policies also give distributions over all
of them (blind_distributions.py). With rewards.scoring=log, which is of distributions, they give these alone.

The script tries scripted policies, the best one that reads the text, and the best one that knows the emotion of the image
and ignores what is asked about it. The best ones are fitted on one drawing of the questions and tried on another. No policy
gives a reasoning. It writes `<run>/blind_check/blind.csv`, and ends with an error if a policy earns more than chance.
"""

from runtime.script import read_settings, run

read_settings(__name__, __doc__, "data", "machine", "questions", "answers", "rewards", "grpo")

import re
from collections import defaultdict
from collections.abc import Callable

import numpy as np
import pandas as pd

from config.errors import UserError
from config.settings import Settings
from config.taxonomy import Taxonomy
from config.understanding_settings import Answers, Rewards
from emoset.reading import read_emoset
from runtime.checking import stops_here
from runtime.files import write_atomically
from runtime.run_folder import log, open_run_folder
from understanding import kinds
from understanding.blind_distributions import Distribution, always, best_distribution, distribution_table, even, halves
from understanding.objective import Objective
from understanding.question import Question
from understanding.questions import draw_questions, needed_confusability
from understanding.rewards import kind_reward

OF_THE_TEXT = "the best that reads the text"
OF_THE_IMAGE = "the best that sees the image alone"
Policy = Callable[[Question], str]  # -> the answer, without the format around it


def main(settings: Settings) -> None:
    kinds.check_kinds(settings.questions, settings.rewards)
    taxonomy, answers = settings.data.taxonomy, settings.answers
    folder = open_run_folder(settings, "blind_check")
    index = read_emoset(settings.data, folder, settings.machine.processes, settings.check).index
    images = index[index["split"] == "train"]
    matrix = needed_confusability(settings.questions, settings.rewards, taxonomy, settings.run)
    fitting, trying = (
        draw_questions(images, taxonomy, settings.questions, answers, matrix, settings.seed + offset) for offset in (1, 0)
    )
    if stops_here(settings, {"questions": f"{len(trying):,}, and as many that the best policy is fitted on"}):
        return
    tables = blind_tables(fitting, trying, settings, matrix)
    table = pd.concat([each.assign(about=about) for about, each in tables.items()])
    write_atomically(folder / "blind.csv", lambda beside: table.to_csv(beside, index=False))
    for about, each in tables.items():
        log.info(f"{len(trying):,} questions; mean rewards of {about}s, without looking\n\n{as_markdown(each)}\n")
    too_good = table[table["reward"] - table["chance"] > table["tolerance"]]
    if len(too_good):
        worst = too_good.iloc[0]
        raise UserError(
            f"{worst['policy']}: its {worst['about']} earns {worst['reward']:.3f} on {worst['kind']} questions,"
            f" a coin {worst['chance']:.3f}; a training with these questions would teach it"
        )
    log.info("no policy earns more than chance")


def blind_tables(
    fitting: list[Question], trying: list[Question], settings: Settings, confusability: np.ndarray | None
) -> dict[str, pd.DataFrame]:
    """Return the tables of what a training by these settings maximises: of every answer, every distribution, or both."""
    taxonomy, answers, rewards, found = settings.data.taxonomy, settings.answers, settings.rewards, {}
    if rewards.scoring != "log":  # no single answer has that score
        found["answer"] = blind_table(fitting, trying, taxonomy, answers, rewards, confusability)
    if "exact" in settings.grpo.ways or not found:
        objective = Objective(taxonomy, answers, rewards, kinds.weights(settings.questions, rewards))
        found["distribution"] = distribution_table(trying, blind_distributions(fitting, objective), objective)
    return found


def blind_table(
    fitting: list[Question],
    trying: list[Question],
    taxonomy: Taxonomy,
    answers: Answers,
    rewards: Rewards,
    confusability: np.ndarray | None,
) -> pd.DataFrame:
    """Return the mean reward of every blind policy on the questions `trying`, a row for each policy and kind.

    Columns: policy, kind, reward, n, chance, tolerance (three standard errors of a coin's reward). chance: what a coin, or
    always 50, earns; for multiple choice an answer at random. fitting: the questions that the best policy is fitted on.
    """

    def earned(question: Question, answer: str) -> float:
        completion = f"<think></think><answer>{answer}</answer>" if answers.reasoning else answer
        return kind_reward(question, completion, taxonomy, answers, rewards, confusability)

    policies = scripted_policies(fitting, taxonomy, answers)
    policies[OF_THE_TEXT] = best_policy(fitting, taxonomy, answers, earned, _words)
    policies[OF_THE_IMAGE] = best_policy(fitting, taxonomy, answers, earned, _image)
    rows = []
    for name, policy in policies.items():
        found = defaultdict(list)
        asked = (question for question in trying if name != OF_THE_IMAGE or question.asked)  # other kinds are of it alone
        for question in asked:
            found[question.kind].append(earned(question, policy(question)))
        for kind in (kind for kind in kinds.KINDS if kind.NAME in found):
            own, chance = found[kind.NAME], kind.chance(taxonomy, rewards, confusability)
            tolerance = 3 * np.sqrt(chance * (1 - chance) / len(own))
            rows.append((name, kind.NAME, np.mean(own), len(own), chance, tolerance))
    return pd.DataFrame(rows, columns=["policy", "kind", "reward", "n", "chance", "tolerance"])


def as_markdown(table: pd.DataFrame) -> str:
    """Return what blind_table returns with a row for each policy and a column for each kind, a coin's reward on top."""
    columns = table.drop_duplicates("kind").set_index("kind")
    columns = columns.loc[[kind.NAME for kind in kinds.KINDS if kind.NAME in columns.index]]
    most = table.groupby("kind")["tolerance"].max()
    rows = {"a coin, or always 50": columns["chance"], "more than that by chance, at most": most}
    rows |= {policy: own.set_index("kind")["reward"] for policy, own in table.groupby("policy", sort=False)}
    wide = pd.DataFrame(rows).T.reindex(columns=columns.index)
    wide.columns = [f"{kind} (n = {n:,})" for kind, n in columns["n"].items()]
    cells = wide.map(lambda value: "" if pd.isna(value) else f"{value:.3f}")  # not every policy is of every kind
    return cells.to_markdown(disable_numparse=True, colalign=["left", *["right"] * len(columns)])


def scripted_policies(questions: list[Question], taxonomy: Taxonomy, answers: Answers) -> dict[str, Policy]:
    """Return policies that say one thing whatever the question is, or repeat what the question says."""
    true = [question.emotion for question in questions]
    commonest = max(taxonomy.emotions, key=true.count)
    blind = {name: kinds.kind_named(name).blind_answers(taxonomy, answers) for name in {each.kind for each in questions}}
    words = dict.fromkeys(word for kind in kinds.KINDS if kind.NAME in blind for word in kind.ALWAYS)

    def say_commonest(question: Question) -> str:
        own = blind[question.kind]
        return own[commonest](question) if commonest in own else commonest

    def say_first(question: Question) -> str:
        own = blind[question.kind]
        return own["place 0"](question) if "place 0" in own else str(question.asked)

    def say_all(question: Question) -> str:
        return " or ".join(kinds.kind_named(question.kind).allowed(question, taxonomy, answers))

    return {f"always {word}": lambda question, word=word: word for word in words} | {
        "nothing": lambda question: "",
        "all that the question allows": say_all,
        f"always {commonest}, the commonest": say_commonest,
        "the asked emotion, or the first option": say_first,
    }


def blind_distributions(fitting: list[Question], objective: Objective) -> dict[str, Distribution]:
    """Return the distributions by policy: sure of what a scripted one answers, the same whatever is asked, and the best."""
    scripted = scripted_policies(fitting, objective.taxonomy, objective.answers)
    found = {name: always(policy, objective) for name, policy in scripted.items()}
    found["all that the question allows"] = lambda question: even(question, objective)
    found["the first and the last answer, half each"] = lambda question: halves(question, objective)
    found[OF_THE_TEXT] = best_distribution(fitting, objective, _words)
    of_image = best_distribution([question for question in fitting if question.asked], objective, _image)
    found[OF_THE_IMAGE] = lambda question: of_image(question) if question.asked else None
    return found


def best_policy(
    questions: list[Question],
    taxonomy: Taxonomy,
    answers: Answers,
    earned: Callable[[Question, str], float],
    seen: Callable[[Question], tuple[str, ...]],
) -> Policy:
    """Return the policy that answers what earned most in `questions` with what is seen of the question, and nothing else is.

    earned: what an answer to a question earns. Of the options in a prompt it may choose one by its place.
    """
    groups = defaultdict(list)
    for question in questions:
        groups[seen(question)].append(question)
    tried = {kind.NAME: list(kind.blind_answers(taxonomy, answers).values()) for kind in kinds.KINDS}
    best = {}
    for group in groups.values():
        policies = tried[group[0].kind]
        means = [np.mean([earned(question, policy(question)) for question in group]) for policy in policies]
        best[seen(group[0])] = policies[int(np.argmax(means))]
    return lambda question: best.get(seen(question), tried[question.kind][0])(question)


def _image(question: Question) -> tuple[str, ...]:
    """Return the kind of a question and the emotion of its image."""
    return question.kind, question.emotion


def _words(question: Question) -> tuple[str, ...]:
    """Return the words of a prompt, in an order of their own: prompts whose options are shuffled are one."""
    return tuple(sorted(re.findall(r"\w+", question.prompt)))


if __name__ == "__main__":
    run(main)
