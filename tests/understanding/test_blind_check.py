"""No policy earns more than a coin without looking at the images, and one that could is found out."""

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest

from config.loading import load
from config.settings import Settings
from config.taxonomy import DEFAULT, read_taxonomy
from emoset.confusability import write_confusability
from understanding.blind_check import as_markdown, blind_table, blind_tables
from understanding.question import Question
from understanding.questions import draw_questions

TAXONOMY = read_taxonomy(DEFAULT)
EMOTIONS = TAXONOMY.emotions


def images_of(emotions: tuple[str, ...]) -> pd.DataFrame:
    rows = [(f"{emotion}_{n}", emotion) for emotion in emotions for n in range(20 if emotion == "fear" else 60)]
    return pd.DataFrame(rows, columns=["image_id", "emotion"])


def confusability_of(count: int) -> np.ndarray:
    """Some emotions are taken for most others."""
    found = np.random.default_rng(0).dirichlet([0.3] * count, size=count) * (1 - np.eye(count))
    return found / found.sum(1, keepdims=True)


CONFUSABILITY = confusability_of(len(TAXONOMY))


def drawn_twice(settings: Settings, fault) -> tuple[list[Question], list[Question]]:
    """Return the questions that policies are fitted on, and those that they are tried on, each as `fault` leaves it."""
    emotions = settings.data.taxonomy.emotions
    images, matrix = images_of(emotions), confusability_of(len(emotions))
    return tuple(
        [
            kept
            for question in draw_questions(
                images, settings.data.taxonomy, settings.questions, settings.answers, matrix, seed
            )
            if (kept := fault(question))
        ]
        for seed in (1, 0)
    )


@cache
def tried(*changed: str, fault=lambda question: question, count: int = 6000) -> pd.DataFrame:
    """Return the table of answers to questions as the settings draw them, each as `fault` leaves it; None: dropped."""
    settings = load([f"questions.count={count}", *changed])
    fitting, trying = drawn_twice(settings, fault)
    return blind_table(fitting, trying, TAXONOMY, settings.answers, settings.rewards, CONFUSABILITY)


def distributions(*changed: str, fault=lambda question: question, count: int = 1600) -> pd.DataFrame:
    """Return the table of distributions over the answers to such questions."""
    settings = load([f"questions.count={count}", *changed, "grpo.answers=exact"])
    return blind_tables(*drawn_twice(settings, fault), settings, CONFUSABILITY)["distribution"]


def caught(table: pd.DataFrame) -> set[str]:
    return set(table[table["reward"] - table["chance"] > table["tolerance"]]["kind"])


@pytest.mark.parametrize(
    "changed",
    [
        (),
        ("answers.by=letter", "answers.reasoning=false"),
        ("questions.confusable_share=1", "rewards.scoring=published"),
        ("questions.confusable_share=0", "rewards.graded=true", "grpo.answers=sampled"),
        ("questions.valence=1",),
    ],
)
def test_no_policy_earns_more_than_a_coin_without_looking(changed):
    table = tried(*changed)
    valence = {"valence"} & {name.removeprefix("questions.").partition("=")[0] for name in changed}
    policies = 12 if valence else 10  # always positive, always negative
    expected = dict.fromkeys({"multiple"} | valence, policies) | dict.fromkeys(("binary", "misleading"), policies + 1)
    assert table["kind"].value_counts().to_dict() == expected, (
        "that of the image alone is of kinds that ask about an emotion"
    )
    assert not caught(table)
    coin = table[(table["policy"] == "always yes") & (table["kind"] == "binary")]
    assert coin["reward"].item() == 0.5, "exactly, half of the questions are true"
    fifty = table[(table["policy"] == "always 50") & (table["kind"] == "misleading")]
    assert fifty["reward"].item() == 0.5


def rarer_when_asked(question: Question) -> Question | None:
    rare = question.asked and question.is_true == (question.asked in EMOTIONS[:4])
    return None if rare and int(question.image_id.split("_")[1]) % 2 else question


def rarer_when_shown(question: Question) -> Question | None:
    rare = question.asked and question.is_true == (question.emotion in EMOTIONS[:4])
    return None if rare and int(question.image_id.split("_")[1]) % 2 else question


def test_what_is_asked_about_more_often_when_true_is_found_out():
    """The prior that a policy could learn: half of the questions are true, but not half of those about each emotion."""
    table = tried(fault=rarer_when_asked)
    assert caught(table) == {"binary", "misleading"}
    too_good = table[table["reward"] - table["chance"] > table["tolerance"]]
    assert "the best that reads the text" in set(too_good["policy"])


def test_an_emotion_that_is_shown_more_often_when_it_is_asked_about_is_found_out():
    """What a policy could learn that sees the image and ignores the question: rare is wrong, or common is."""
    table = tried(fault=rarer_when_shown)
    too_good = table[table["reward"] - table["chance"] > table["tolerance"]]
    assert {"the best that sees the image alone"} <= set(too_good["policy"])
    assert set(too_good["kind"]) == {"binary", "misleading"}


def test_saying_nothing_or_everything_earns_the_least():
    table = tried().set_index(["policy", "kind"])["reward"]
    for policy in ("nothing", "all that the question allows"):
        assert table[policy].to_dict() == {"binary": 0.0, "multiple": 0.0, "misleading": -1.0}


def first(question: Question) -> Question:
    others = [option for option in question.options if option != question.emotion]
    return replace(question, options=(question.emotion, *others)) if question.kind == "multiple" else question


def test_an_option_that_stands_first_when_it_is_true_is_found_out():
    assert caught(tried(fault=first)) == {"multiple"}


def test_a_side_that_is_shown_more_often_is_found_out():
    def fewer_positive(question):
        is_rare = question.kind == "valence" and TAXONOMY.side_of(question.emotion) == "positive"
        return None if is_rare and int(question.image_id.split("_")[1]) % 2 else question

    assert caught(tried("questions.valence=1", fault=fewer_positive)) == {"valence"}


EKMAN = "data.taxonomy=config/taxonomies/ekman6.yaml"


@pytest.mark.parametrize(
    ("changed", "even"),
    [
        ((), {"binary": 1 / 2, "multiple": 1 / 8, "misleading": 1 / 2}),
        (("rewards.scoring=reward", "answers.score_step=20"), {"binary": 1 / 2, "multiple": 1 / 8, "misleading": 1 / 2}),
        (("rewards.scoring=log",), {"binary": np.log(1 / 2), "multiple": np.log(1 / 8), "misleading": np.log(1 / 2)}),
        ((EKMAN, "answers.by=letter"), {"binary": 1 / 2, "multiple": 1 / 6, "misleading": 1 / 2}),
        ((EKMAN, "rewards.scoring=log", "questions.valence=1", "questions.binary=0"), {"valence": np.log(1 / 2)}),
    ],
)
def test_no_distribution_scores_more_than_an_even_one_without_looking(changed, even):
    table = distributions(*changed)
    assert not caught(table)
    chance = table.groupby("kind")["chance"].first()
    assert all(chance[kind] == pytest.approx(value) for kind, value in even.items())
    of_both = table.set_index(["policy", "kind"])["reward"]
    for kind in set(table["kind"]):
        assert of_both["all that the question allows", kind] == pytest.approx(chance[kind])
    assert {"the best that reads the text", "the best that sees the image alone"} <= set(table["policy"])
    assert not ({"multiple", "valence"} & set(table[table["policy"] == "the best that sees the image alone"]["kind"]))


def test_a_sure_distribution_has_the_score_of_its_answer_by_hand():
    """Half of the questions are true: a sure yes scores 1 or -1, a sure 50 always 1/2, and a sure emotion -1 in 7 of 8."""
    found = distributions(count=640).set_index(["policy", "kind"])["reward"]
    assert found["always yes", "binary"] == pytest.approx(0)
    assert found["always 50", "misleading"] == pytest.approx(1 / 2)
    assert found["the first and the last answer, half each", "misleading"] == pytest.approx(1 / 2)
    assert found.filter(like="the commonest")[:, "multiple"].item() == pytest.approx(1 / 8 - 7 / 8)
    assert ("always yes", "multiple") not in found


@pytest.mark.parametrize("scoring", ["quadratic", "log", "reward"])
@pytest.mark.parametrize(
    ("fault", "policy"),
    [(rarer_when_asked, "the best that reads the text"), (rarer_when_shown, "the best that sees the image alone")],
)
def test_a_distribution_finds_out_what_is_true_more_often(scoring, fault, policy):
    """Two of three questions about an emotion are true, or two of three about its images: each as the score has it."""
    table = distributions(f"rewards.scoring={scoring}", "questions.multiple=0", fault=fault, count=2000)
    assert caught(table) == {"binary", "misleading"}
    found = table.set_index(["policy", "kind"])["reward"]
    assert policy in set(table[table["reward"] - table["chance"] > table["tolerance"]]["policy"])
    best = {"quadratic": 1 - 4 / 9, "log": 2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3), "reward": 2 / 3}[scoring]
    assert found[policy, "binary"] == pytest.approx(best, abs=0.03)


@pytest.mark.parametrize("by", ["name", "letter"])
def test_a_distribution_finds_out_an_option_that_stands_first_when_it_is_true(by):
    def mostly_first(question):
        return first(question) if int(question.image_id.split("_")[1]) % 2 else question

    table = distributions(f"answers.by={by}", "rewards.scoring=log", fault=mostly_first, count=3000)
    assert caught(table) == {"multiple"}
    found = table.set_index(["policy", "kind"])["reward"]["the best that reads the text", "multiple"]
    shares = np.array([1 / 2 + 1 / 16, *[1 / 16] * 7])
    assert found == pytest.approx((shares * np.log(shares)).sum(), abs=0.1)


@pytest.mark.parametrize(
    ("changed", "about"),
    [
        (("grpo.answers=sampled",), ["answer"]),
        ((), ["answer", "distribution"]),
        (("grpo.answers_two=sampled",), ["answer", "distribution"]),
        (("rewards.scoring=log",), ["distribution"]),
        (("rewards.scoring=log", "grpo.steps_one=0", "grpo.steps_two=0"), ["distribution"]),
    ],
)
def test_what_is_checked_is_what_a_training_maximises(changed, about):
    settings = load(["questions.count=640", *changed])
    assert list(blind_tables(*drawn_twice(settings, lambda question: question), settings, CONFUSABILITY)) == about


def test_the_table_has_policies_as_rows_and_kinds_as_columns():
    lines = as_markdown(tried(count=640)).splitlines()
    assert [cell.strip() for cell in lines[0].strip("|").split("|")] == [
        "", "binary (n = 192)", "multiple (n = 192)", "misleading (n = 192)"
    ]  # fmt: skip
    assert [cell.strip() for cell in lines[2].strip("|").split("|")] == ["a coin, or always 50", "0.500", "0.125", "0.500"]
    assert len(lines) == 2 + 2 + 11


def test_the_command(script, drawn, tmp_path):
    write_confusability(tmp_path / "confusability.json", CONFUSABILITY, EMOTIONS, "test")
    arguments = [f"data.emoset={drawn}", f"data.cache={tmp_path}/cache", f"run={tmp_path}/run", "questions.count=3000"]
    arguments += [f"questions.confusability={tmp_path}/confusability.json", "answers.by=letter"]
    result = script("understanding/blind_check.py", *arguments, "rewards.scoring=published", "rewards.format=0")
    assert "| always yes" in result.stdout
    assert "no policy earns more than chance" in result.stdout
    table = pd.read_csv(tmp_path / "run" / "blind_check" / "blind.csv")
    assert table.groupby("about").size().to_dict() == {"answer": 3 * 10 + 2, "distribution": 6 + 5 + 7}
    missing = script("understanding/blind_check.py", *arguments[:-2], check=False)
    assert missing.returncode == 1
    assert "emotion_space/confusability.json is not there; training/main.py makes it" in missing.stderr.strip()
    assert len(missing.stderr.strip().splitlines()) == 1
