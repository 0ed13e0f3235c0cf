"""The parser: strict about the format, generous about the rest, and never an exception."""

import csv
from pathlib import Path
from random import Random

import pytest

from config.taxonomy import DEFAULT, SIDES, read_taxonomy
from config.understanding_settings import Answers
from understanding.answers import LONGEST, extract_answer
from understanding.kinds import KINDS, binary, misleading, multiple, valence

TAXONOMY = read_taxonomy(DEFAULT)
EMOTIONS = TAXONOMY.emotions


def answered(answer: str) -> str:
    return f"<think>It is dark.</think><answer>{answer}</answer>"


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        (answered("awe"), "awe"),
        (answered("  awe \n"), "awe"),
        ("\n <think>a < b > c</think>\n\n<answer>awe</answer>\n", "awe"),
        ("<think></think><answer>awe</answer>", "awe"),
        ("awe", None),
        ("<answer>awe</answer>", None),
        ("<think>x</think>awe", None),
        ("<think>x</think><answer>awe", None),
        ("<think>x<answer>awe</answer>", None),
        ("<think>x</think> so <answer>awe</answer>", None),
        ("Well, <think>x</think><answer>awe</answer>", None),
        ("<think>x</think><answer>awe</answer>!", None),
        ("<answer>awe</answer><think>x</think>", None),
        ("<think>x</think><answer>awe</answer><answer>fear</answer>", None),
        ("<think>x<think></think><answer>awe</answer>", None),
        ("<think>the <answer>fear</answer></think><answer>awe</answer>", None),
        ("<THINK>x</THINK><ANSWER>awe</ANSWER>", None),
        (answered(""), None),
        (answered("   "), None),
        (answered("a" * LONGEST), "a" * LONGEST),
        (answered("a" * (LONGEST + 1)), None),
        ("", None),
    ],
)
def test_the_format_with_reasoning(completion, answer):
    assert extract_answer(completion, reasoning=True) == answer


@pytest.mark.parametrize(
    ("completion", "answer"),
    [(" awe\n", "awe"), ("", None), ("  ", None), (answered("awe"), None), ("</answer>", None), ("a" * 100_000, None)],
)
def test_the_format_without_reasoning(completion, answer):
    assert extract_answer(completion, reasoning=False) == answer


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("yes", True),
        ("Yes.", True),
        ("**YES**", True),
        ('"no"', False),
        ("No!", False),
        ("\u201cYes\u201d", True),
        ("\u2018No\u2019", False),
        ("\xabyes\xbb", True),
        ("- no", False),
        ("yes and no", None),
        ("yes no", None),
        ("Yes, it does.", True),
        ("No, it does not belong to awe", False),
        ("The answer is yes.", True),
        ("\\boxed{no}", False),
        ("Yes it does.", True),
        ("Yes this image is about awe", True),
        ("No it doesn't", False),
        ("I think the answer is yes", True),
        ("It is not \\boxed{yes}", None),
        ("yes it is not", None),
        ("Yes, there is no doubt", True),
        ("Yes, no doubt about it.", True),
        ("Yes; no other emotion fits.", True),
        ("Yes, without a doubt", True),
        ("Yes, there is no awe", None),
        ("Yes, I don't think so", None),
        ("Yes, it evokes awe, not fear", True),
        ("Yes. I don't think it is fear.", True),
        ("Yes, it does. It is not fear.", True),
        ("Yes (not fear)", True),
        ("Yes, it cannot be denied", True),
        ("Yes, it isn't awe", None),
        ("No. It is not awe.", False),
        ("yes - not really", None),
        ("No. No awe is visible", False),
        ("No, not really", False),
        ("No, yes", None),
        ("\u2039Yes\u203a", True),
        ("\u300cNo\u300d", False),
        ("\uff39\uff45\uff53", True),
        ("\xa1Yes!", True),
        ("It is not awe", None),
        ("I cannot say yes", None),
        ("I would not say no", None),
        ("yes/no", None),
        ("yes or no", None),
        ("no-one", None),
        ("no idea", None),
        ("no emotion fits", None),
        ("The answer is yes, since it is high", True),
        ("yesno", None),
        ("not", None),
        ("1", None),
        ("да", None),
        ("", None),
    ],
)
def test_binary_answers(answer, value):
    assert binary.read(answer, (), TAXONOMY, Answers()) is value


@pytest.mark.parametrize(
    ("answer", "emotion"),
    [
        ("awe", "awe"),
        ("Awe.", "awe"),
        ("  **FEAR**", "fear"),
        ("awe, fear", None),
        ("awe fear", None),
        ("awesome", None),
        ("the emotion is awe", "awe"),
        ("The emotion is awe.", "awe"),
        ("\\boxed{awe}", "awe"),
        ("$\\boxed{\\text{Awe}}$", "awe"),
        ("The emotion is not \\boxed{awe}", None),
        ("It isn't \\boxed{awe}.", None),
        ("This is not what one fears. So it is \\boxed{awe}", "awe"),
        ("I think it is awe.", "awe"),
        ("This image evokes awe in its viewers", "awe"),
        ("awe, awe", "awe"),
        ("amusement or awe or fear", None),
        ("awe, not fear", None),
        ("It is not awe.", None),
        ("It isn't awe", None),
        ("I can't see awe", None),
        ("I don\u2019t see awe", None),
        ("I can see awe", "awe"),
        ("awe-inspiring", None),
        ("any of them", None),
        ("There is no awe.", None),
        ("no fear at all", None),
        ("No doubt, it is awe.", "awe"),
        ("No, it is awe.", "awe"),
        ("Awe is not the emotion.", None),
        ("Awe isn't it", None),
        ("awe? No.", None),
        ("Awe is wrong", None),
        ("anything but awe", None),
        ("far from awe", None),
        ("It lacks awe", None),
        ("It lacks people. It is awe.", "awe"),
        ("hardly awe", None),
        ("nothing but awe", "awe"),
        ("awe, no doubt", "awe"),
        ("Awe. It is not dark.", "awe"),
        ("\u300eAwe\u300f", "awe"),
        ("\u201cAwe\u201d\u3002", "awe"),
        ("\\boxed{\\mathrm{awe}}", "awe"),
        ("joy", None),
        ("A", None),
        ("", None),
    ],
)
def test_emotions_by_name(answer, emotion):
    assert multiple.read(answer, EMOTIONS, TAXONOMY, Answers()) == emotion


@pytest.mark.parametrize(
    ("answer", "emotion"),
    [
        ("A", "sadness"),
        ("b", "fear"),
        ("(B)", "fear"),
        ("B.", "fear"),
        ("(b) fear", "fear"),
        ("B: fear", "fear"),
        ("The answer is B.", "fear"),
        ("Option (b)", "fear"),
        ("\\boxed{B}", "fear"),
        ("**Answer:** B", "fear"),
        ("I think the answer is (B) fear", "fear"),
        ("I believe that it is B.", "fear"),
        ("The answer is option B.", "fear"),
        ("The correct option is: (b)", "fear"),
        ("It's B", "fear"),
        ("I choose B", "fear"),
        ("B\u2014fear", "fear"),
        ("\uff22", "fear"),
        ("B-52", None),
        ("The answer is not \\boxed{B}", None),
        ("I think", None),
        ("A or B or C", None),
        ("A, B", None),
        ("b: awe", None),
        ("\u201cB\u201d", "fear"),
        ("B\u3002", "fear"),
        ("\\boxed{\\mathrm{B}}", "fear"),
        ("I", None),
        ("AB", None),
        ("A B", None),
        ("fear", None),
        ("", None),
    ],
)
def test_emotions_by_letter(answer, emotion):
    assert multiple.read(answer, tuple(reversed(EMOTIONS)), TAXONOMY, Answers(by="letter")) == emotion


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("0", 0),
        ("100", 100),
        ("70.5", 70.5),
        (" 70 % ", 70),
        ("70/100", 70),
        ("**70**.", 70),
        ("007", 7),
        ("101", None),
        ("999", None),
        ("-5", None),
        ("- 5", None),
        (".7", 0.7),
        ("0.7", 0.7),
        ("about 70", 70),
        ("About 70.", 70),
        ("70 out of 100", 70),
        ("I would say 70 out of 100.", 70),
        ("70 of 100", 70),
        ("70 (out of 100)", 70),
        ("70/100 (70%)", 70),
        ("70 on a scale of 0 to 100", 70),
        ("70 on a scale from 0 to 100.", 70),
        ("not \\boxed{70}", None),
        ("70 (80%)", None),
        ("70 percent", 70),
        ("100/100", 100),
        ("a score of 100", 100),
        ("\\boxed{70}", 70),
        ("Score: 70", 70),
        ("score=70", 70),
        ("Score:70", 70),
        ('{"score":70}', 70),
        ("Score (0-100): 70", 70),
        ("Score (from 0 to 100): 70", 70),
        ("**70**/100", 70),
        ("**70** out of 100", 70),
        ("70 points out of 100", 70),
        ("~70", 70),
        ("\\boxed{\\frac{70}{100}}", 70),
        ("\\frac{70}{10}", None),
        ("\\(70\\)", 70),
        ("70\u2026", 70),
        ("\u301070\u3011", 70),
        ("\uff17\uff10\uff05", 70),
        ("70\xb2", None),
        ("7:30", None),
        ("7*0", None),
        ("0-100", None),
        ("0 (not at all)", 0),
        ("0. It does not evoke awe.", 0),
        ("> 70", None),
        ("\u226570", None),
        ("\u2265 70", None),
        ("<= 70", None),
        ("70 or more", None),
        ("70 at most", None),
        ("70 and above", None),
        ("70 or so", 70),
        ("70, more or less", 70),
        ("70, at least in part", 70),
        ("70 points or more", None),
        ("85: likely awe, not fear", 85),
        ("70. It is likely awe, but not certain", 70),
        ("neither low nor high: 50", 50),
        ("Score -> 70", 70),
        ("=> 70", 70),
        ("\u2192 70", 70),
        ("70\u202680", None),
        ("5*5", None),
        ("12:12", None),
        ("from 70 on", None),
        ("Judging from its light, 70", 70),
        ("cannot be 70", None),
        ("neither 70", None),
        ("70% sure it is not awe", None),
        ("70% sure", 70),
        ("at least 70", None),
        ("more than 70", None),
        ("between 60 and 80", None),
        ("not 70", None),
        ("70 out of 10", None),
        ("70 or so, or 80", None),
        ("+5", None),
        ("70.5.1", None),
        ("..7", None),
        ("1e3", None),
        ("0x10", None),
        ("nan", None),
        ("inf", None),
        ("70 or 80", None),
        ("\u201c70\u201d", 70.0),
        ("$70$", 70.0),
        ("70\\%", 70.0),
        ("\\boxed{70\\%}", 70.0),
        ("70\uff05", 70.0),
        ("70-80", None),
        ("7 0", None),
        ("70/10", None),
        ("\u0667\u0660", None),
        ("1" * 90, None),
        ("seventy", None),
        ("", None),
    ],
)
def test_scores(answer, score):
    assert misleading.read(answer, (), TAXONOMY, Answers()) == score


def said_answers() -> list[tuple[str, str, str]]:
    """Return (question, what it says, answer) of what models write beyond the cases above; "" where it says nothing."""
    with (Path(__file__).parent / "said.csv").open(encoding="utf-8", newline="") as file:
        return [tuple(row.values()) for row in csv.DictReader(file)]


@pytest.mark.parametrize(("question", "says", "answer"), said_answers())
def test_what_models_write_around_an_answer(question, says, answer):
    if question == "binary":
        assert binary.read(answer, (), TAXONOMY, Answers()) is {"yes": True, "no": False, "": None}[says]
    elif question == "score":
        assert misleading.read(answer, (), TAXONOMY, Answers()) == (float(says) if says else None)
    else:
        options = tuple(reversed(EMOTIONS))
        assert multiple.read(answer, options, TAXONOMY, Answers(by=question)) == (says or None)


@pytest.mark.parametrize(
    ("answer", "side"),
    [
        ("positive", "positive"),
        ("**Negative**.", "negative"),
        ("positive or negative", None),
        ("not positive", None),
        ("", None),
    ],
)
def test_sides(answer, side):
    assert valence.read(answer, (), TAXONOMY, Answers()) == side


def test_nothing_is_an_exception():
    rng = Random(0)
    pieces = [
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
        "yes",
        "no",
        "awe",
        "50",
        "-",
        "\0",
        "\ud800",
        "é",
        " ",
        "(A)",
        "1e9",
    ]
    completions = ["".join(rng.choices(pieces, k=rng.randrange(12))) for _ in range(3000)]
    completions += ["<think>" * 20_000, "(" * 100_000, answered("9" * 100_000), "<" * 100_000]
    for completion in completions:
        for reasoning in (True, False):
            answer = extract_answer(completion, reasoning)
            for text in {completion, answer or ""}:
                for kind in KINDS:
                    for by in ("name", "letter"):
                        said = kind.read(text, EMOTIONS, TAXONOMY, Answers(by=by))
                        assert said in (True, False, *EMOTIONS, *SIDES, None) or 0 <= said <= 100
