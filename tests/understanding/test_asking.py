"""Answers and likelihoods: the same whatever the batch, the processes and the way they are computed."""

import logging
from dataclasses import fields, replace

import pandas as pd
import pytest
import torch
from tiny_trainers import intern, llava, processor_of, qwen3
from tiny_trainers import questions as tiny_questions

from config.errors import UserError
from config.taxonomy import DEFAULT, read_taxonomy
from emoset.reading import read_emoset
from understanding.answer_tree import pack_trees
from understanding.answering import answer_all, by_image
from understanding.asking import Asker, load_asker
from understanding.image_rows import TOGETHER, image_rows
from understanding.question import OwnChoice
from understanding.questions import draw_questions, multiple_choice

TAXONOMY = read_taxonomy(DEFAULT)
EMOTIONS = TAXONOMY.emotions


def asker_of(settings, model) -> Asker:
    return load_asker(settings.understanding, settings.answers, settings.data.taxonomy, model, "understanding.model")


@pytest.fixture
def asked(quick, tmp_path):
    """An asker, multiple-choice questions about 24 images, and the images' files."""

    def ask(**changed):
        settings = quick(**changed)
        index = read_emoset(settings.data, tmp_path, 2).index
        images = index[index["split"] == "val"].head(24)
        paths = {image_id: settings.data.emoset / path for image_id, path in images[["image_id", "image"]].to_numpy()}
        questions = multiple_choice(images, settings.data.taxonomy, settings.answers, 0)
        return asker_of(settings, settings.understanding.model), questions, paths

    return ask


def test_a_model_is_not_asked_for_answers_that_would_be_cut_off(asked, tmp_path):
    asker, questions, paths = asked(answers={"reasoning": True, "tokens": 4})
    with pytest.raises(
        UserError, match=r"answers.tokens: 4 cut off <think></think><answer>amusement</answer>, which takes 5; set that many"
    ):
        answer_all(asker, questions, paths, tmp_path, 8)


@pytest.mark.parametrize("reasoning", [False, True])
@pytest.mark.parametrize("answer_by", ["name", "letter"])
def test_likelihoods_are_those_of_the_answers_one_by_one(asked, reasoning, answer_by):
    asker, questions, paths = asked(answers={"reasoning": reasoning, "by": answer_by, "tokens": 24})
    questions = questions[:6]
    shown = [paths[question.image_id] for question in questions]
    completions = ["<think>a tree</think><answer>awe</answer>" if reasoning else "awe", "no format", "", "<think>", "x", "y"]
    packed = asker.likelihoods(questions, shown, completions)
    assert asker._compared
    assert asker._together, "the model can share, and the comparison found it so"
    asker._together = 0
    torch.testing.assert_close(packed, asker.likelihoods(questions, shown, completions), rtol=1e-3, atol=1e-5)
    asker._together = TOGETHER
    torch.testing.assert_close(packed.sum(1), torch.ones(6))
    alone = torch.cat([asker.likelihoods([q], [s], [c]) for q, s, c in zip(questions, shown, completions, strict=True)])
    torch.testing.assert_close(alone, packed, rtol=1e-3, atol=1e-5)

    start = "<think>a tree</think><answer>" if reasoning else ""
    end = ("</answer>" if reasoning else "") + asker.processor.tokenizer.eos_token
    said = {emotion: "ABCDEFGH"[questions[0].options.index(emotion)] for emotion in EMOTIONS}
    choices = [said[emotion] if answer_by == "letter" else emotion for emotion in EMOTIONS]
    torch.testing.assert_close(packed[0], by_hand(asker, questions[0], shown[0], start, end, choices), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("together", [TOGETHER, 1, 0])
def test_questions_that_allow_unequally_many_answers_are_scored_together(asked, together):
    asker, questions, paths = asked()
    asker._together = together
    first = questions[0]
    about = {"asked": "awe", "options": ()}
    mixed = [replace(first, kind=kind, prompt=f"{kind}?", **about) for kind in ("binary", "misleading")] + [first]
    shown = [paths[first.image_id]] * 3
    found = asker.likelihoods(mixed, shown, [""] * 3)
    assert found.shape == (3, 21)
    torch.testing.assert_close(found.sum(1), torch.ones(3))
    for row, (question, allowed) in enumerate(zip(mixed, (2, 21, 8), strict=True)):
        assert not found[row, allowed:].any()
        alone = asker.likelihoods([question], shown[:1], [""])
        torch.testing.assert_close(found[row, :allowed], alone[0], rtol=1e-3, atol=1e-5)


def test_an_image_is_seen_once_for_all_questions_about_it(asked, monkeypatch):
    """And nothing else changes: each question has the answer and the likelihoods that it has by itself, to 1e-5."""
    asker, questions, paths = asked(answers={"reasoning": False, "tokens": 6})
    kinds = ({}, {"kind": "binary", "asked": "awe", "options": ()}, {"kind": "misleading", "asked": "awe", "options": ()})
    mixed = [replace(each, **own, prompt=f"{own} {each.prompt}") for own in kinds for each in questions[:4]]
    shown, seen, inputs = [paths[each.image_id] for each in mixed], [], asker._inputs
    asker.answers_with_likelihoods(mixed, shown)  # compares ways to ask
    monkeypatch.setattr(asker, "_inputs", lambda asked, images, *rest: seen.extend(images) or inputs(asked, images, *rest))
    monkeypatch.setattr(asker, "answers", lambda batch, images: [[None]] * len(batch))  # of what is no allowed answer
    said, together = asker.answers_with_likelihoods(mixed, shown)
    assert seen == shown[:4]
    assert said.count(None) < len(said)
    for place, (question, image) in enumerate(zip(mixed, shown, strict=True)):
        (word,), (alone,) = asker.answers_with_likelihoods([question], [image])
        torch.testing.assert_close(together[place, : len(alone)], alone, rtol=0, atol=1e-5)
        assert word == said[place]


def test_questions_run_by_themselves_where_a_shared_row_is_something_else_to_the_model(asked, monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="emotion")
    asker, questions, paths = asked()
    two = [questions[0], replace(questions[0], prompt="And this?")]
    shown = [paths[questions[0].image_id]] * 2

    def misled(images, asked, together):
        rows = image_rows(images, asked, together)
        flat = [replace(row, tree=replace(row.tree, parents=[0] * len(row.tree.parents))) for row in rows]
        return rows if together == 1 else flat

    monkeypatch.setattr("understanding.asking.image_rows", misled)
    found = asker.likelihoods(two, shown, ["", ""])
    assert asker._together == 1
    said = [record.getMessage() for record in caplog.records]
    assert any("each question runs its own prompt (log-probabilities differ by" in each for each in said)
    torch.testing.assert_close(found[:1], asker.likelihoods(two[:1], shown[:1], [""]), rtol=0, atol=1e-5)


def test_questions_are_asked_image_by_image_and_answered_in_their_own_order(asked, tmp_path):
    asker, questions, paths = asked(answers={"reasoning": False, "tokens": 6})
    twice = [*questions[:3], *(replace(each, prompt=f"Now: {each.prompt}") for each in reversed(questions[:3]))]
    assert by_image(twice) == [0, 5, 1, 4, 2, 3]
    answers = answer_all(asker, twice, paths, tmp_path, 4, forced=True)
    assert answers["image_id"].tolist() == [each.image_id for each in twice]
    assert answers.index.tolist() == [*range(6)]


def by_hand(asker, question, image, start, end, choices) -> torch.Tensor:
    """Return the likelihoods (8,) of the choices: the whole text of each, run by itself."""
    before, totals = asker._inputs([question], [image], [start])["input_ids"].size(1), []
    for choice in choices:
        inputs = asker._inputs([question], [image], [start + choice + end])
        with torch.no_grad():
            logits = asker.model(**inputs).logits[0, before - 1 : -1].log_softmax(-1)
        totals.append(logits.gather(1, inputs["input_ids"][0, before:, None]).sum())
    return torch.stack(totals).softmax(0)


@pytest.mark.parametrize(
    ("completion", "kept"),
    [
        ("<think>a spider</think><answer>fear</answer>", True),
        ("\n<think>a spider</think> <answer>fear</answer>", True),
        ("<think>a spider</think><answer>fear, and more than fits in an answer", True),  # the reasoning is whole
        ("<think>a spider</think> so <answer>fear</answer>", False),
        ("Well, <think>a spider</think><answer>fear</answer>", False),
        ("<think>a <think>spider</think><answer>fear</answer>", False),
        ("<think>a spider</answer></think><answer>fear</answer>", False),
        ("<think>a spider</think>", False),
        ("fear", False),
    ],
)
def test_the_likelihoods_follow_the_models_own_reasoning_where_the_parser_takes_it(quick, vlm, completion, kept):
    asker = asker_of(quick(answers={"reasoning": True}), vlm)
    start = completion.partition("<answer>")[0] if kept else "<think></think>"
    assert asker._around(completion) == (f"{start}<answer>", "</answer>")


@pytest.mark.parametrize("fault", [None, "raises", "mask ignored"])
@pytest.mark.parametrize("architecture", [qwen3, llava, intern])
def test_likelihoods_are_right_with_other_architectures_and_where_none_can_share(
    quick, monkeypatch, caplog, architecture, fault
):
    caplog.set_level(logging.INFO, logger="emotion")
    torch.manual_seed(0)
    model = architecture()
    settings = quick()
    asker = Asker(model, processor_of(model), settings.understanding, settings.answers, TAXONOMY)
    shown = [row["image"] for row in tiny_questions(3)]
    table = pd.DataFrame({"image_id": ["a", "b", "c"], "emotion": EMOTIONS[:3]})
    questions = multiple_choice(table, TAXONOMY, settings.answers, 0)

    def faulty(*args):
        packed = pack_trees(*args)
        if fault == "raises":
            raise NotImplementedError("no such mask")
        packed["attention_mask"] = torch.ones_like(packed["attention_mask"]).tril()
        return packed

    if fault:
        monkeypatch.setattr("understanding.answer_tree.pack_trees", faulty)
    found = asker.likelihoods(questions, shown, ["awe", "", "x"])
    assert (asker._together > 0) is (fault is None)
    said = [record.getMessage() for record in caplog.records if "forced choice" in record.getMessage()]
    assert len(said) == (1 if fault else 0)
    assert not fault or ("no such mask" if fault == "raises" else "log-probabilities differ by") in said[0]
    end = asker.processor.tokenizer.eos_token
    alone = [by_hand(asker, *each, "", end, EMOTIONS) for each in zip(questions, shown, strict=True)]
    # Their logarithms: of a random model, one of the eight is nearly certain.
    torch.testing.assert_close(found.log(), torch.stack(alone).log(), rtol=1e-3, atol=1e-3)
    assert (found[0].log() - found[1].log()).abs().max() > 0.1, "the image or the question shows"


def test_the_blind_see_the_same_whatever_the_image(asked, tmp_path):
    asker, questions, paths = asked()
    other = dict(zip(paths, reversed(paths.values()), strict=True))
    blind, still_blind = (
        answer_all(asker, questions, shown, tmp_path, 8, blind=True, forced=True) for shown in (paths, other)
    )
    pd.testing.assert_frame_equal(blind, still_blind)
    seeing = answer_all(asker, questions, paths, tmp_path, 8, forced=True)
    assert not seeing["p_awe"].equals(blind["p_awe"])


def test_answers_do_not_depend_on_the_batch(asked, tmp_path):
    asker, questions, paths = asked()
    one, many = (answer_all(asker, questions, paths, tmp_path, size, forced=True) for size in (1, 24))
    assert one["completion"].tolist() == many["completion"].tolist()
    assert one["image_id"].tolist() == [question.image_id for question in questions]
    columns = [f"p_{emotion}" for emotion in EMOTIONS]
    torch.testing.assert_close(*(torch.tensor(table[columns].to_numpy()) for table in (one, many)), rtol=1e-3, atol=1e-5)


def test_answers_are_kept_apart_by_precision_and_attention(asked, tmp_path):
    for number, understanding in enumerate([{}, {"dtype": "bfloat16"}, {"attention": "eager"}, {"lora_rank": 8}]):
        asker, questions, paths = asked(understanding=understanding)
        answer_all(asker, questions, paths, tmp_path, 24)
        assert len(list((tmp_path / "answers").iterdir())) == min(number + 1, 3), "an adapter's rank changes no answer"


@pytest.mark.parametrize("shares", [True, False])
def test_one_forward_pass_gives_the_greedy_answer_and_the_likelihoods(asked, monkeypatch, shares):
    """Answers that no question allows are asked for again; what is allowed is read from the likelihoods' own pass."""
    asker, questions, paths = asked(answers={"reasoning": False, "tokens": 6})
    asker._together = TOGETHER if shares else 0
    questions = questions[:6]
    shown, again, answers = [paths[each.image_id] for each in questions], [], asker.answers
    greedy = [completion for (completion,) in answers(questions, shown)]

    def allowing(other: str | None) -> list[OwnChoice]:
        own = [{field.name: getattr(each, field.name) for field in fields(each)} for each in questions]
        return [OwnChoice(**each, answers=("neither", other or said)) for each, said in zip(own, greedy, strict=True)]

    monkeypatch.setattr(asker, "answers", lambda batch, images: again.extend(batch) or answers(batch, images))
    inside, outside = allowing(None), allowing("nor")
    for batch, asked_again in ((inside, 0), (outside, 6), (inside[:4] + outside[4:], 2)):
        again.clear()
        completions, found = asker.answers_with_likelihoods(batch, shown)
        assert completions == greedy
        torch.testing.assert_close(found, asker.likelihoods(batch, shown, [""] * 6))
        assert len(again) == (asked_again if shares else 6)


def test_a_killed_run_asks_only_what_is_missing(asked, tmp_path, monkeypatch):
    asker, questions, paths = asked()
    whole = answer_all(asker, questions, paths, tmp_path / "a", 8)
    assert len(whole) == len(questions)
    calls = []
    answers = asker.answers

    def dying(batch, *rest):
        calls.append(len(batch))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return answers(batch, *rest)

    monkeypatch.setattr(asker, "answers", dying)
    with pytest.raises(KeyboardInterrupt):
        answer_all(asker, questions, paths, tmp_path / "b", 8)
    calls.clear()
    pd.testing.assert_frame_equal(answer_all(asker, questions, paths, tmp_path / "b", 8), whole)
    assert calls == [8], "two of three batches were kept"


def test_each_kind_keeps_what_it_needs_of_the_distribution(asked, quick, drawn, tmp_path):
    asker, *_ = asked()
    settings = quick()
    index = read_emoset(settings.data, tmp_path, 2).index
    images = index[index["split"] == "train"]
    few = settings.questions.model_copy(update={"count": 192})
    drawn_questions = draw_questions(images, TAXONOMY, few, settings.answers, None, 0)
    of_kind = {kind: [q for q in drawn_questions if q.kind == kind] for kind in ("binary", "multiple", "misleading")}
    questions = [question for own in of_kind.values() for question in own[:8]]
    paths = {image_id: drawn / path for image_id, path in images[["image_id", "image"]].to_numpy()}
    answers = answer_all(asker, questions, paths, tmp_path, 32, forced=True)
    assert answers["kind"].value_counts().to_dict() == dict.fromkeys(of_kind, 8)
    for column, kind, most in (("p_awe", "multiple", 1), ("p_yes", "binary", 1), ("expected_score", "misleading", 100)):
        assert (answers[column].notna() == (answers["kind"] == kind)).all()
        assert answers[column].dropna().between(0, most, inclusive="neither").all()
