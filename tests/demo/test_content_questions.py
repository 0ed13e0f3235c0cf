"""The questions about content have the answers they claim, and the guesses of emotion leave something to find."""

import re
from collections import Counter, defaultdict
from dataclasses import replace
from random import Random

import pytest

from demo.drawn.world import CUES, EMOTIONS, Cues, draw_cues
from demo.making.captions import draw_content
from demo.making.content_questions import (
    FORMS,
    NAMES,
    NONE,
    TELLING,
    ask_content,
    completion,
    describe,
    guess_answer,
    guess_emotion,
    read,
    truths,
)
from understanding.answers import extract_answer
from understanding.kinds import binary, misleading
from understanding.question import Question


def drawn(count: int = 3000, reasoning: bool = False):
    rng = Random(0)
    return [(cues, each) for cues in (draw_content(rng) for _ in range(count)) for each in ask_content(cues, rng, reasoning)]


def test_every_form_is_asked_about_every_kind_and_its_answer_is_right():
    questions = drawn()
    pairs = {(kind, form) for kind in NAMES for form in FORMS if form != "description"}
    assert {(question.kind, question.form) for _, question in questions} == pairs | {("everything", "description")}
    assert all(question.is_right(question.answer) for _, question in questions)


def test_answers_say_what_the_image_shows():
    for cues, question in drawn():
        if question.form == "description":
            assert question.answer == describe(cues)
            continue
        shown = NAMES[question.kind][getattr(cues, question.kind)]
        if question.form == "name":
            assert question.answer == shown
        elif question.form == "choice":
            options = question.prompt.partition("from " if " from " in question.prompt else "one of ")[2].partition(".")[0]
            assert question.answer == (shown if shown in options.split(", ") else NONE)
        else:
            says_true = (
                read(binary, question.answer) if question.form == "yes_or_no" else read(misleading, question.answer) > 50
            )
            assert says_true == bool(re.search(rf"\b{shown}\b", question.prompt)), question


def test_what_is_asked_is_true_half_of_the_time():
    true = [question.answer == "yes" for _, question in drawn() if question.form == "yes_or_no"]
    assert len(true) > 300
    assert sum(true) == len(true) / 2


def test_a_choice_may_be_of_nothing_that_is_shown():
    chosen = Counter(question.answer == NONE for _, question in drawn() if question.form == "choice")
    assert 0.2 < chosen[True] / chosen.total() < 0.3


@pytest.mark.parametrize("wrong", ["", "tiger", "no idea", "50", "a spider", "101"])
def test_a_wrong_answer_is_wrong(wrong):
    assert not any(question.is_right(wrong) for _, question in drawn(500))


def test_truths_are_of_the_kinds_that_an_image_has():
    known = truths(Cues("night", "Spider", composition="near"))
    assert {name for name, is_shown in known.items() if is_shown} == {"night", "spider", "close"}
    assert set(known) == {name for kind in ("light", "object", "composition") for name in NAMES[kind].values()}


def test_no_content_question_names_an_emotion():
    for _, question in drawn():
        text = f"{question.prompt} {question.answer}".replace("amusement park", "").replace(".", "").replace(",", "")
        assert not set(text.lower().split()) & set(EMOTIONS), text


@pytest.mark.parametrize("reasoning", [True, False])
def test_answers_keep_the_format(reasoning):
    for cues, question in drawn(200, reasoning):
        assert extract_answer(completion(cues, question.answer, reasoning), reasoning) == question.answer


@pytest.mark.parametrize(
    ("cues", "text"),
    [
        (Cues("night", "Spider", "corridor", composition="near"), "a close spider in a corridor, night light"),
        (Cues("sunny", "Ice cream", composition="many"), "a repeated ice cream, sunny light"),
        (Cues("clear", scene="amusement_park"), "an amusement park, clear light"),
        (Cues("red", facial_expression="angry"), "an angry face, red light"),
        (Cues("grey", human_action="crying"), "a person crying, grey light"),
    ],
)
def test_descriptions_are_sentences(cues, text):
    assert describe(cues) == text


def test_guesses_go_by_some_things_and_by_no_light():
    rng = Random(1)
    right, certain = 0, 0
    for number in range(2000):
        cues = draw_cues(EMOTIONS[number % len(EMOTIONS)], rng)
        guess = guess_emotion(cues)
        assert sum(guess.values()) == pytest.approx(1)
        assert min(guess.values()) > 0.03, "every answer is sampled now and then"
        assert guess == guess_emotion(replace(cues, light="clear", composition=None))
        best = max(guess.values())
        likeliest = [emotion for emotion, value in guess.items() if value > best - 1e-9]
        right += (EMOTIONS[number % len(EMOTIONS)] in likeliest) / len(likeliest)
        certain += best > 0.2
    assert 0.3 < right / 2000 < 0.45
    assert 0.3 < certain / 2000 < 0.6


def test_guessed_answers_follow_the_guesses():
    rng = Random(2)
    spider = Cues("night", "Spider", composition="near")  # of a kind that tells: fear
    said = defaultdict(list)
    for _ in range(2000):
        for kind, asked in (
            ("multiple", None),
            ("binary", "fear"),
            ("binary", "awe"),
            ("misleading", "fear"),
            ("misleading", "awe"),
        ):
            said[kind, asked].append(guess_answer(Question(kind, "0", "fear", asked, (), 0, ""), spider, rng))
    named = Counter(said["multiple", None])
    assert set(named) == set(EMOTIONS)
    assert named["fear"] / 2000 == pytest.approx(guess_emotion(spider)["fear"], abs=0.04)
    assert said["binary", "fear"].count("yes") > 1.5 * said["binary", "awe"].count("yes")
    scores = {asked: [int(text) for text in said["misleading", asked]] for asked in ("fear", "awe")}
    assert set(scores["fear"]) <= set(range(0, 101, 5))
    assert min(len(set(each)) for each in scores.values()) > 12
    assert sum(scores["fear"]) > 1.5 * sum(scores["awe"])


def test_what_tells_is_in_the_drawn_world():
    for kind, names in TELLING.items():
        every = {name for weights in CUES[kind].values() for name in weights}
        assert set(names) < every
        assert len(names) == (len(every) + 1) // 4
