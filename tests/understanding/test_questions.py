"""Questions that tell nothing: balance, determinism, and who gets asked about what."""

from collections import Counter, defaultdict
from functools import partial

import numpy as np
import pandas as pd
import pytest

from config.errors import UserError
from config.taxonomy import DEFAULT, read_taxonomy
from config.understanding_settings import Answers, Questions, Rewards
from understanding.kinds import kind_named
from understanding.questions import draw_questions, multiple_choice, needed_confusability

TAXONOMY = read_taxonomy(DEFAULT)
EMOTIONS = TAXONOMY.emotions

IMAGES = pd.DataFrame(
    [(f"{emotion}_{number:05d}", emotion) for emotion in EMOTIONS for number in range(30)], columns=["image_id", "emotion"]
)
CONFUSABILITY = np.roll(np.eye(8), 1, axis=1)  # each emotion is taken for the next


def drawn(images, questions, confusability, seed, answers=None, taxonomy=TAXONOMY):
    return draw_questions(images, taxonomy, questions, answers or Answers(), confusability, seed)


@pytest.fixture(scope="module")
def questions():
    return drawn(IMAGES, Questions(count=3000), CONFUSABILITY, seed=0)


def of_kind(questions, kind):
    return [question for question in questions if question.kind == kind]


@pytest.mark.parametrize("kind", ["binary", "misleading"])
def test_half_of_the_questions_are_true_for_every_emotion_and_phrasing(questions, kind):
    cells = defaultdict(list)
    for question in of_kind(questions, kind):
        cells[question.asked, question.phrasing].append(question.is_true)
    assert len(cells) == len(EMOTIONS) * len(kind_named(kind).PHRASINGS)
    assert {(len(cell), sum(cell)) for cell in cells.values()} == {(30, 15)}


def test_multiple_choice_has_every_emotion_equally_often(questions):
    truths = Counter((question.emotion, question.phrasing) for question in of_kind(questions, "multiple"))
    assert len(truths) == 32
    assert set(truths.values()) == {31}


def test_the_truth_never_stands_in_a_prompt_unless_it_is_asked_about(questions):
    for question in questions:
        named = {emotion for emotion in EMOTIONS if emotion in question.prompt}
        assert named == (set(EMOTIONS) if question.kind == "multiple" else {question.asked})
        assert question.image_id not in question.prompt


def test_options_are_shuffled(questions):
    places = Counter(question.options.index(question.emotion) for question in of_kind(questions, "multiple"))
    assert min(places.values()) > 0.7 * max(places.values())
    assert all(sorted(question.options) == sorted(EMOTIONS) for question in of_kind(questions, "multiple"))


def test_a_share_of_the_wrong_images_is_confusable():
    questions = drawn(IMAGES, Questions(count=6000, confusable_share=0.6), CONFUSABILITY, seed=0)
    wrong = [question for question in of_kind(questions, "binary") if not question.is_true]
    before = {emotion: EMOTIONS[place - 1] for place, emotion in enumerate(EMOTIONS)}
    share = np.mean([question.emotion == before[question.asked] for question in wrong])
    assert share == pytest.approx(0.6 + 0.4 / 7, abs=0.04)
    assert all(question.emotion != question.asked for question in wrong)


def test_few_questions_have_the_share_of_confusable_images_too():
    """One wrong question to a cell: none of them is half confusable, but half of them are."""
    settings = Questions(count=64, binary=1, multiple=0, misleading=0, confusable_share=0.5)
    before = {emotion: EMOTIONS[place - 1] for place, emotion in enumerate(EMOTIONS)}
    several = [drawn(IMAGES, settings, CONFUSABILITY, seed) for seed in range(20)]
    assert several[0] == drawn(IMAGES, settings, CONFUSABILITY, 0)
    assert all(sum(question.is_true for question in questions) == 32 for questions in several)
    wrong = [question for questions in several for question in questions if not question.is_true]
    share = np.mean([question.emotion == before[question.asked] for question in wrong])
    assert share == pytest.approx(0.5 + 0.5 / 7, abs=0.06)


def test_all_wrong_emotions_appear_without_confusability():
    questions = drawn(IMAGES, Questions(count=6000, confusable_share=0), None, seed=0)
    pairs = Counter((q.asked, q.emotion) for q in of_kind(questions, "misleading") if not q.is_true)
    assert len(pairs) == 8 * 7
    assert min(pairs.values()) > 0.5 * max(pairs.values())


def test_the_same_seed_asks_the_same_and_another_does_not():
    settings = Questions(count=600)
    first, again, other = (drawn(IMAGES, settings, CONFUSABILITY, seed) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_images_are_used_equally(questions):
    times = Counter(question.image_id for question in questions)
    assert len(times) == len(IMAGES)
    assert max(times.values()) < 2 * min(times.values())


def test_answers_by_letter_list_letters():
    questions = drawn(IMAGES, Questions(count=600), CONFUSABILITY, 0, Answers(by="letter"))
    for question in of_kind(questions, "multiple"):
        assert f"(A) {question.options[0]}, (B) {question.options[1]}" in question.prompt
        assert "its letter" in question.prompt


def test_reasoning_is_asked_for_or_not():
    for reasoning in (True, False):
        questions = drawn(IMAGES, Questions(count=600), CONFUSABILITY, 0, Answers(reasoning=reasoning))
        assert all(("<think>" in question.prompt) == reasoning for question in questions)


def test_kinds_can_be_left_out():
    questions = drawn(IMAGES, Questions(count=640, multiple=0, misleading=0), CONFUSABILITY, seed=0)
    assert {question.kind for question in questions} == {"binary"}
    assert len(questions) == 640


def test_confusability_is_asked_for_by_questions_that_name_an_emotion(tmp_path):
    needed = partial(needed_confusability, taxonomy=TAXONOMY, run=tmp_path)
    alone = Questions(binary=0, misleading=0)
    assert needed(alone, Rewards()) is None
    assert needed(Questions(confusable_share=0), Rewards()) is None
    for asked, rewards in ((Questions(multiple=0), Rewards()), (alone, Rewards(graded=True))):
        with pytest.raises(UserError, match=r"confusability\.json is not there"):
            needed(asked, rewards)


def test_too_few_questions_and_missing_emotions_are_refused():
    with pytest.raises(UserError, match=r"questions.count: 100 leave binary with fewer than 64"):
        drawn(IMAGES, Questions(count=100), CONFUSABILITY, seed=0)
    with pytest.raises(UserError, match="no image of awe"):
        drawn(IMAGES[IMAGES["emotion"] != "awe"], Questions(), CONFUSABILITY, seed=0)


def test_the_evaluation_asks_about_every_image_once():
    questions = multiple_choice(IMAGES, TAXONOMY, Answers(), seed=0)
    assert [question.image_id for question in questions] == IMAGES["image_id"].tolist()
    assert [question.emotion for question in questions] == IMAGES["emotion"].tolist()
