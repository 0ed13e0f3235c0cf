"""What answers earn, case by case."""

import numpy as np
import pytest

from config.taxonomy import DEFAULT, read_taxonomy
from config.understanding_settings import Answers, Questions, Rewards
from understanding.question import Question
from understanding.rewards import format_reward, kind_reward, length_reward, reward_functions
from understanding.warmup import right_answer

TAXONOMY = read_taxonomy(DEFAULT)
EMOTIONS = TAXONOMY.emotions

NEXT = np.roll(np.eye(8), 1, axis=1)  # each emotion is taken for the next


def question(kind: str, asked: str | None = None) -> Question:
    """Return a question about an image of fear; letters run backwards: (A) is sadness, (B) fear."""
    return Question(kind, "fear_1", "fear", asked, tuple(reversed(EMOTIONS)) if kind == "multiple" else (), 0, "?")


def earned(asked: Question, answer: str, answer_by: str = "name", matrix=None, **rewards) -> float:
    completion = f"<think>It is dark.</think><answer>{answer}</answer>"
    return kind_reward(asked, completion, TAXONOMY, Answers(by=answer_by), Rewards(**rewards), matrix)


@pytest.mark.parametrize(
    ("asked", "answer", "reward"),
    [("fear", "yes", 1), ("fear", "no", 0), ("awe", "no", 1), ("awe", "yes", 0), ("awe", "fear", 0), ("fear", "yes no", 0)],
)
def test_binary(asked, answer, reward):
    assert earned(question("binary", asked), answer) == reward


@pytest.mark.parametrize(
    ("answer_by", "answer", "reward"),
    [
        ("name", "Fear.", 1),
        ("name", "awe", 0),
        ("name", "B", 0),
        ("letter", "(b)", 1),
        ("letter", "A", 0),
        ("letter", "I", 0),
    ],
)
def test_multiple(answer_by, answer, reward):
    assert earned(question("multiple"), answer, answer_by) == reward


@pytest.mark.parametrize(
    ("asked", "answer", "brier", "published"),
    [
        ("fear", "100", 1, 1),
        ("fear", "0", -1, 0),
        ("fear", "70", 1 - 2 * 0.3**2, 0.7),
        ("awe", "0", 1, 1),
        ("awe", "100", -1, 0),
        ("awe", "70", 1 - 2 * 0.7**2, 0.3),
        ("fear", "50", 0.5, 0.5),
        ("awe", "50", 0.5, 0.5),
        ("awe", "101", -1, 0),
        ("awe", "little", -1, 0),
    ],
)
def test_misleading(asked, answer, brier, published):
    assert earned(question("misleading", asked), answer) == pytest.approx(brier)
    assert earned(question("misleading", asked), answer, scoring="published") == pytest.approx(published)


@pytest.mark.parametrize(
    ("answer", "reward"), [("negative", 1), ("Negative.", 1), ("positive", 0), ("negative or positive", 0), ("fear", 0)]
)
def test_valence(answer, reward):
    assert earned(question("valence"), answer) == reward


@pytest.mark.parametrize("belief", [0.1, 0.25, 0.5, 0.8])
def test_brier_pays_most_for_what_is_believed_and_the_published_reward_for_extremes(belief):
    def best(scoring: str) -> int:
        true, wrong = (
            [earned(question("misleading", asked), str(score), scoring=scoring) for score in range(101)]
            for asked in ("fear", "awe")
        )
        return int(np.argmax(belief * np.array(true) + (1 - belief) * np.array(wrong)))

    assert best("brier") == round(100 * belief)
    assert best("published") == (100 if belief > 0.5 else 0)


@pytest.mark.parametrize("kind", ["binary", "multiple", "misleading", "valence"])
def test_only_the_reward_of_its_kind_applies_beside_the_format(kind):
    asked = None if kind in ("multiple", "valence") else "awe"
    settings = Questions(binary=1.0, multiple=1.0, misleading=1.0, valence=1.0)
    functions = reward_functions([question(kind, asked)], TAXONOMY, settings, Answers(), Rewards(), None)
    said = {"completions": [[{"content": "no"}]], "completion_ids": [[1, 2]], "question": [0], "log_metric": lambda *_: None}
    earned_by = {name: function(**said)[0] for name, function in functions.items()}
    assert {name for name, reward in earned_by.items() if reward is not None} == {kind, "format"}


@pytest.mark.parametrize(
    ("completion", "reasoning", "reward"),
    [("<think>x</think><answer>no</answer>", True, 1), ("no", True, 0), ("no", False, 1), ("<answer>no</answer>", False, 0)],
)
def test_without_the_format_neither_it_nor_the_answer_earns(completion, reasoning, reward):
    form = Answers(reasoning=reasoning)
    assert format_reward(completion, 9, form, Rewards()) == reward
    assert kind_reward(question("binary", "awe"), completion, TAXONOMY, form, Rewards(), None) == reward


def test_a_graded_reward_pays_half_for_what_the_truth_is_taken_for_most_easily():
    matrix = NEXT.copy()
    matrix[EMOTIONS.index("fear")] = 0
    matrix[EMOTIONS.index("fear"), [EMOTIONS.index("awe"), EMOTIONS.index("anger")]] = 0.2, 0.8
    given = {
        answer: earned(question("multiple"), answer, matrix=matrix, graded=True)
        for answer in ("fear", "anger", "awe", "disgust", "nothing")
    }
    assert given == pytest.approx({"fear": 1, "anger": 0.5, "awe": 0.125, "disgust": 0, "nothing": 0})
    assert earned(question("multiple"), "anger", matrix=matrix) == 0, "it is off by default"


def test_length_costs_from_the_limit_to_twice_as_much():
    limit = Rewards(length_limit=100)
    assert [length_reward("", n, Answers(), limit) for n in (0, 100, 150, 200, 1000)] == [0, 0, -0.5, -1, -1]


@pytest.mark.parametrize("answer_by", ["name", "letter"])
@pytest.mark.parametrize("reasoning", [True, False])
def test_the_warm_ups_answers_earn_the_most(reasoning, answer_by):
    asked = {"binary": ("fear", "awe"), "multiple": (None,), "misleading": ("fear", "awe"), "valence": (None,)}
    for kind, named in asked.items():
        for each in (question(kind, name) for name in named):
            answers = Answers(reasoning=reasoning, by=answer_by)
            answer = right_answer(each, TAXONOMY, answers)
            assert kind_reward(each, answer, TAXONOMY, answers, Rewards(), None) >= 0.99
            assert format_reward(answer, 9, answers, Rewards()) == 1
