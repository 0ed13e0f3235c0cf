"""A kind of question is one file: everybody knows one that is added, and what a kind lacks raises where it is used."""

import inspect
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from config.errors import UserError
from config.section import ROOT, question_kinds
from config.taxonomy import DEFAULT, read_taxonomy
from config.understanding_settings import Answers, Questions, Rewards
from evaluation.answers_by_question import reliability
from runtime.figures import Metric, share
from understanding import kinds
from understanding.answering import _answered
from understanding.asking import Asker
from understanding.blind_check import blind_table
from understanding.kinds import binary, check_kinds, multiple, valence
from understanding.objective import Objective
from understanding.question import Question
from understanding.questions import draw_questions, evaluation_questions
from understanding.rewards import reward_functions, reward_weights
from understanding.scoring import curves, figures, metrics, read_answers
from understanding.warmup import right_answer

EMOSET, EKMAN = read_taxonomy(DEFAULT), read_taxonomy("config/taxonomies/ekman6.yaml")
ANSWERS = Answers(reasoning=False)
ALONE = Questions(count=640, confusable_share=0.0, binary=0.0, multiple=0.0, misleading=0.0)


def images(taxonomy, each: int = 30) -> pd.DataFrame:
    rows = [(f"{emotion}_{number}", emotion) for emotion in taxonomy.emotions for number in range(each)]
    return pd.DataFrame(rows, columns=["image_id", "emotion"])


def initial_kind(**names) -> SimpleNamespace:
    """Return a kind of question that asks for the first letter of the emotion. names: what differs; None: what it lacks."""
    kind = dict(
        NAME="initial",
        SHARE=1.0,
        WEIGHT=0.5,
        PHRASINGS=("Which letter does the emotion begin with?", "Name the first letter of the emotion."),
        COLUMN="said_initial",
        CURVES={"initial_accuracy": "initial"},
        ALWAYS=("a",),
        cases=len,
        draw=lambda rounds, taxonomy, *_: [(None, emotion) for emotion in taxonomy.emotions for _ in range(rounds)],
        options=lambda taxonomy, rng: (),
        text=lambda phrasing, *_: kind["PHRASINGS"][phrasing],
        truth=lambda question, taxonomy: question.emotion[0],
        allowed=lambda question, taxonomy, answers: tuple(sorted({emotion[0] for emotion in taxonomy.emotions})),
        right_answer=lambda question, *_: question.emotion[0],
        read=lambda answer, *_: answer if len(answer) == 1 else None,
        reward=lambda question, said, *_: float(said == question.emotion[0]),
        score=lambda question, probabilities, *_: probabilities[
            kind["allowed"](question, EMOSET, None).index(question.emotion[0])
        ],
        likely_columns=lambda taxonomy: ("p_right",),
        likely=lambda question, probabilities, *_: (
            probabilities[kind["allowed"](question, EMOSET, None).index(question.emotion[0])],
        ),
        stated=lambda table, taxonomy: (
            table["p_right"].to_numpy(float),
            np.ones(len(table), dtype=bool),
        ),
        chance=lambda taxonomy, *_: (
            Counter(emotion[0] for emotion in taxonomy.emotions).most_common(1)[0][1] / len(taxonomy)
        ),
        blind_answers=lambda taxonomy, answers: {"a": lambda question: "a"},
        logged=lambda asked, rewards, taxonomy: {"initial/right": sum(rewards) / len(rewards)},
        statistics=lambda table, taxonomy: {"initial_accuracy": share(table["said_initial"] == table["emotion"].str[0])},
        metrics=lambda taxonomy: {"initial_accuracy": Metric("Initial", "↑", "right first letters", 1 / 8)},
    )
    return SimpleNamespace(**{name: value for name, value in (kind | names).items() if value is not None})


def rewarded(questions: list[Question], settings: Questions) -> dict[str, tuple[list, dict]]:
    """Return, by name, what TRL's reward functions give right answers to questions, and log."""
    functions, found = reward_functions(questions, EMOSET, settings, ANSWERS, Rewards(), None), {}
    said = [[{"content": right_answer(question, EMOSET, ANSWERS)}] for question in questions]
    for name, function in functions.items():
        logged = {}
        numbers = list(range(len(questions)))
        rewards = function(
            completions=said, question=numbers, completion_ids=[[1]] * len(numbers), log_metric=logged.__setitem__
        )
        found[name] = rewards, logged
    return found


def table_of(questions: list[Question]) -> pd.DataFrame:
    rows = [(q.kind, q.image_id, q.emotion, q.asked, list(q.options), right_answer(q, EMOSET, ANSWERS)) for q in questions]
    table = pd.DataFrame(rows, columns=["kind", "image_id", "emotion", "asked", "options", "completion"])
    return read_answers(table, EMOSET, ANSWERS)


def blind(questions: list[Question]) -> pd.DataFrame:
    return blind_table(questions, questions, EMOSET, ANSWERS, Rewards(), None)


def test_everybody_knows_a_kind_that_is_added(monkeypatch):
    monkeypatch.setattr(kinds, "KINDS", (*kinds.KINDS, initial_kind()))
    check_kinds(Questions(initial=2.0), Rewards(initial=1.0))
    questions = draw_questions(images(EMOSET), EMOSET, ALONE, ANSWERS, None, 0)
    assert Counter((q.kind, q.emotion, q.phrasing) for q in questions) == {
        ("initial", emotion, phrasing): 40 for emotion in EMOSET.emotions for phrasing in (0, 1)
    }
    assert questions[0].prompt.endswith("Give nothing but the answer.")

    found = rewarded(questions, ALONE)
    assert list(found) == ["initial", "format"]
    assert found["initial"] == ([1.0] * len(questions), {"initial/right": 1.0})
    assert reward_weights(ALONE, Rewards()) == {"initial": 0.5, "format": 0.2}

    assert figures(table_of(questions), EMOSET)["initial_accuracy"]["value"] == 1
    assert metrics(EMOSET)["initial_accuracy"].label == "Initial"
    assert curves()["initial_accuracy"] == "initial"
    table = blind(questions).set_index("policy")
    assert set(table["kind"]) == {"initial"}
    assert table.loc[["always a", "the best that reads the text"], "reward"].tolist() == [3 / 8, 3 / 8]
    evaluated = evaluation_questions(images(EMOSET, 8), EMOSET, Questions(), ANSWERS, 0)
    assert Counter(q.kind for q in evaluated) == dict.fromkeys(("multiple", "binary", "misleading", "initial"), 64)


def asker() -> Asker:
    """Return as much of an asker as is needed to say which answers a question allows."""
    bare = Asker.__new__(Asker)
    bare.taxonomy, bare.form = EMOSET, ANSWERS
    return bare


def uses(name: str) -> Callable:
    """Return a function of questions of the kind that uses what the kind calls `name`."""
    answering = asker()
    answering.answers_with_likelihoods, answering.obstacle = (
        lambda *_: (["a"], torch.full((1, 6), 1 / 6)),
        lambda image: None,
    )
    one = Question("initial", "awe_1", "awe", None, (), 0, "?")
    exactly = Objective(EMOSET, ANSWERS, Rewards(), {"initial": 1.0})
    return {
        "draw": lambda: draw_questions(images(EMOSET), EMOSET, ALONE, ANSWERS, None, 0),
        "rewards": lambda: rewarded([one], ALONE),
        "figures": lambda: figures(table_of([one]), EMOSET),
        "reliability": lambda: reliability(table_of([one]).assign(p_right=0.5), kinds.KINDS[-1], EMOSET),
        "metrics": lambda: metrics(EMOSET),
        "curves": curves,
        "blind": lambda: blind([one]),
        "evaluated": lambda: evaluation_questions(images(EMOSET), EMOSET, Questions(), ANSWERS, 0),
        "right": lambda: right_answer(one, EMOSET, ANSWERS),
        "likelihoods": lambda: asker().allowed(one),
        "exact": lambda: exactly.score(one, torch.zeros(6)),
        "answered": lambda: list(_answered(answering, [one], [None], True)),
    }[name]


@pytest.mark.parametrize(
    ("lacks", "used_by"),
    [
        ("NAME", ("draw", "rewards", "figures")),
        ("SHARE", ("draw", "rewards", "evaluated")),
        ("WEIGHT", ("rewards",)),
        ("PHRASINGS", ("draw", "evaluated")),
        ("COLUMN", ("figures",)),
        ("likely_columns", ("answered",)),
        ("likely", ("answered",)),
        ("score", ("exact",)),
        ("stated", ("reliability",)),
        ("CURVES", ("curves",)),
        ("ALWAYS", ("blind",)),
        ("cases", ("draw", "evaluated")),
        ("draw", ("draw", "evaluated")),
        ("options", ("draw", "evaluated")),
        ("text", ("draw", "evaluated")),
        ("allowed", ("likelihoods",)),
        ("right_answer", ("right", "rewards")),
        ("read", ("rewards", "figures", "blind")),
        ("reward", ("rewards", "blind")),
        ("chance", ("blind",)),
        ("blind_answers", ("blind",)),
        ("logged", ("rewards",)),
        ("statistics", ("figures",)),
        ("metrics", ("metrics",)),
    ],
)
def test_what_a_kind_lacks_raises_wherever_it_is_used(monkeypatch, lacks, used_by):
    monkeypatch.setattr(kinds, "KINDS", (*kinds.KINDS, initial_kind(**{lacks: None})))
    for name in used_by:
        with pytest.raises(AttributeError, match=f"has no attribute '{lacks}'"):
            uses(name)()


def test_every_kind_has_the_same_names_which_the_package_lists():
    def is_own(kind, name: str) -> bool:
        value = getattr(kind, name)
        return not name.startswith("_") and not inspect.ismodule(value) and getattr(value, "__module__", kind.__name__) in (
            kind.__name__, None)  # fmt: skip

    shared = set(vars(initial_kind()))
    for kind in kinds.KINDS:
        assert shared <= {name for name in vars(kind) if is_own(kind, name)}, kind.NAME
    documented = {name for name in shared if name in kinds.__doc__}
    assert documented == shared


def test_the_kinds_are_the_files_and_the_config_states_their_defaults():
    assert sorted(kind.NAME for kind in kinds.KINDS) == question_kinds()
    assert all(kind.__name__ == f"understanding.kinds.{kind.NAME}" for kind in kinds.KINDS)
    stated = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    for section, default in (("questions", "SHARE"), ("rewards", "WEIGHT")):
        assert {kind.NAME: stated[section][kind.NAME] for kind in kinds.KINDS} == {
            kind.NAME: getattr(kind, default) for kind in kinds.KINDS
        }


def test_a_share_or_a_weight_of_an_unknown_kind_is_refused():
    with pytest.raises(UserError, match=r"^questions\.colour: no such kind of question; there are binary, multiple"):
        check_kinds(Questions(colour=1.0), Rewards())
    with pytest.raises(UserError, match=r"^rewards\.colour: no such kind"):
        check_kinds(Questions(), Rewards(colour=1.0))
    with pytest.raises(UserError, match="the share of every kind is 0"):
        check_kinds(ALONE, Rewards())


@pytest.mark.parametrize("taxonomy", [EMOSET, EKMAN])
def test_half_of_the_valence_questions_are_positive_whatever_the_sides(taxonomy):
    settings = Questions(count=1000, confusable_share=0.0, binary=0.0, multiple=0.0, misleading=0.0, valence=1.0)
    questions = draw_questions(images(taxonomy), taxonomy, settings, ANSWERS, None, 0)
    for phrasing in range(len(valence.PHRASINGS)):
        own = [question.emotion for question in questions if question.phrasing == phrasing]
        assert sum(taxonomy.side_of(emotion) == "positive" for emotion in own) == len(own) / 2 > 100
        for side in taxonomy.sides.values():
            assert len({own.count(emotion) for emotion in side}) == 1, "spread evenly over the side's emotions"
    first = [text.index("positive") < text.index("negative") for text in valence.PHRASINGS]
    assert sum(first) == len(first) / 2


def test_valence_is_evaluated_only_where_it_is_asked():
    asked = [{q.kind for q in evaluation_questions(images(EMOSET, 8), EMOSET, Questions(**share), ANSWERS, 0)}
             for share in ({}, {"valence": 1.0}, {"binary": 0.0})]  # fmt: skip
    default = {"multiple", "binary", "misleading"}
    assert asked == [default, default | {"valence"}, default]


def test_prompts_say_how_many_emotions_there_are():
    for count, words in {2: "two", 8: "eight", 20: "twenty", 21: "21"}.items():
        options = tuple(f"emotion{number}" for number in range(count))
        assert multiple.text(2, None, options, ANSWERS).startswith(f"Here are {words} emotions: ")
    six = draw_questions(images(EKMAN), EKMAN, Questions(count=600, confusable_share=0.0), ANSWERS, None, 0)
    assert {"Here are six emotions:" in q.prompt for q in six if (q.kind, q.phrasing) == ("multiple", 2)} == {True}
    assert not any("eight" in q.prompt for q in six)


def test_letters_suffice_for_26_emotions_and_no_more():
    letters, names = Answers(by="letter"), tuple(f"emotion{number}" for number in range(27))
    assert "(Z) emotion25" in multiple.text(0, None, names[:26], letters)
    assert multiple.read("z", names[:26], EMOSET, letters) == "emotion25"
    with pytest.raises(UserError, match=r"^answers\.by: letter allows at most 26 emotions, and data\.taxonomy lists 27;"):
        multiple.text(0, None, names, letters)


def test_every_answer_that_is_allowed_says_something_and_one_of_them_is_the_best():
    matrix = np.roll(np.eye(8), 1, axis=1)
    for kind in kinds.KINDS:
        settings = ALONE.model_copy(update={kind.NAME: 1.0})
        for answers in (ANSWERS, Answers(by="letter", reasoning=False)):
            question = draw_questions(images(EMOSET), EMOSET, settings, answers, None, 0)[0]
            said = [kind.read(a, question.options, EMOSET, answers) for a in kind.allowed(question, EMOSET, answers)]
            assert None not in said
            assert len(set(said)) == len(said)
            rewards = [kind.reward(question, each, EMOSET, Rewards(), matrix) for each in said]
            assert said[int(np.argmax(rewards))] == kind.truth(question, EMOSET)
            assert max(rewards) == 1
    assert binary.allowed(question, EMOSET, ANSWERS) == ("yes", "no")
