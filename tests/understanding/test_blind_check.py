"""No policy earns more than a coin without looking at the images, and one that could is found out."""

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest

from config.loading import load
from config.taxonomy import DEFAULT, read_taxonomy
from emoset.confusability import write_confusability
from understanding.blind_check import as_markdown, blind_table
from understanding.question import Question
from understanding.questions import draw_questions

TAXONOMY = read_taxonomy(DEFAULT)
EMOTIONS = TAXONOMY.emotions

IMAGES = pd.DataFrame(
    [(f"{emotion}_{number}", emotion) for emotion in EMOTIONS for number in range(20 if emotion == "fear" else 60)],
    columns=["image_id", "emotion"],
)
CONFUSABILITY = np.random.default_rng(0).dirichlet([0.3] * 8, size=8) * (1 - np.eye(8))  # some emotions for most others
CONFUSABILITY /= CONFUSABILITY.sum(1, keepdims=True)


@cache
def tried(*changed: str, fault=lambda question: question, count: int = 6000) -> pd.DataFrame:
    """Return the table of questions as the settings draw them, each as `fault` leaves it; None: dropped."""
    settings = load([f"questions.count={count}", *changed])

    def drawn(seed: int) -> list[Question]:
        questions = draw_questions(IMAGES, TAXONOMY, settings.questions, settings.answers, CONFUSABILITY, seed)
        return [kept for question in questions if (kept := fault(question))]

    fitting, trying = drawn(1), drawn(0)
    return blind_table(fitting, trying, TAXONOMY, settings.answers, settings.rewards, CONFUSABILITY)


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


def test_what_is_asked_about_more_often_when_true_is_found_out():
    """The prior that a policy could learn: half of the questions are true, but not half of those about each emotion."""

    def half_as_often(question):
        rare = question.asked and question.is_true == (question.asked in EMOTIONS[:4])
        return None if rare and int(question.image_id.split("_")[1]) % 2 else question

    table = tried(fault=half_as_often)
    assert caught(table) == {"binary", "misleading"}
    too_good = table[table["reward"] - table["chance"] > table["tolerance"]]
    assert "the best that reads the text" in set(too_good["policy"])


def test_an_emotion_that_is_shown_more_often_when_it_is_asked_about_is_found_out():
    """What a policy could learn that sees the image and ignores the question: rare is wrong, or common is."""

    def half_as_often(question):
        rare = question.asked and question.is_true == (question.emotion in EMOTIONS[:4])
        return None if rare and int(question.image_id.split("_")[1]) % 2 else question

    table = tried(fault=half_as_often)
    too_good = table[table["reward"] - table["chance"] > table["tolerance"]]
    assert {"the best that sees the image alone"} <= set(too_good["policy"])
    assert set(too_good["kind"]) == {"binary", "misleading"}


def test_saying_nothing_or_everything_earns_the_least():
    table = tried().set_index(["policy", "kind"])["reward"]
    for policy in ("nothing", "all that the question allows"):
        assert table[policy].to_dict() == {"binary": 0.0, "multiple": 0.0, "misleading": -1.0}


def test_an_option_that_stands_first_when_it_is_true_is_found_out():
    def first(question):
        others = [option for option in question.options if option != question.emotion]
        return replace(question, options=(question.emotion, *others)) if question.kind == "multiple" else question

    assert caught(tried(fault=first)) == {"multiple"}


def test_a_side_that_is_shown_more_often_is_found_out():
    def fewer_positive(question):
        is_rare = question.kind == "valence" and TAXONOMY.side_of(question.emotion) == "positive"
        return None if is_rare and int(question.image_id.split("_")[1]) % 2 else question

    assert caught(tried("questions.valence=1", fault=fewer_positive)) == {"valence"}


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
    assert len(table) == 3 * 10 + 2
    missing = script("understanding/blind_check.py", *arguments[:-2], check=False)
    assert missing.returncode == 1
    assert "emotion_space/confusability.json is not there; training/main.py makes it" in missing.stderr.strip()
    assert len(missing.stderr.strip().splitlines()) == 1
