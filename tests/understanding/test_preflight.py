"""What is said before a model is loaded."""

import logging

import pytest

from config.errors import UserError
from config.loading import load
from config.section import ROOT
from emoset.images import load_image
from emoset.reading import read_emoset
from understanding.grpo import Plan, is_sampling, plan
from understanding.model import bounded, conversation
from understanding.preflight import check_and_announce, warn_of_rate, way
from understanding.processor import load_processor
from understanding.questions import draw_questions, question_counts


def test_what_a_step_amounts_to_is_said_before_it_starts(quick, vlm, tmp_path, caplog):
    settings = quick()
    index = read_emoset(settings.data, tmp_path, 2).index
    images = index[index["split"] == "train"]
    questions = draw_questions(images, settings.data.taxonomy, settings.questions, settings.answers, None, 0)
    paths = {image_id: settings.data.emoset / path for image_id, path in index[["image_id", "image"]].to_numpy()}
    caplog.set_level(logging.INFO, logger="emotion")
    check_and_announce(settings, questions, paths)
    said = "\n".join(record.getMessage() for record in caplog.records)
    assert f"{len(questions)} questions. An update has 8 of them, 2 times 4 (cpu). Step I has 4 updates" in said
    assert f"A pass over the questions has {len(questions) // 8}" in said
    for step in ("Step I, training images", "Step II, hard images"):
        assert f"{step}: GRPO (grpo.answers: sampled): an update compares what 4 sampled answers to" in said

    processor = load_processor(str(vlm))
    text = processor.apply_chat_template(conversation(questions[0].prompt), add_generation_prompt=True, tokenize=False)
    image = bounded(load_image(paths[questions[0].image_id]), settings.understanding.max_pixels)
    ids = processor(images=[[image]], text=[text], return_tensors="pt").input_ids[0]
    shown = int((ids == processor.image_token_id).sum())
    assert shown > 1
    assert f"a prompt: {len(ids)} tokens, {shown} of them the image; an answer: up to 6" in said


@pytest.mark.parametrize(
    ("answers", "steps", "reason"),
    [
        ({"tokens": 2}, 0, "answers.tokens: 2 cut off 100, which takes 3; set that many or more$"),
        (
            {"tokens": 6, "reasoning": True},
            0,
            "6 cut off <think></think><answer>100</answer>, which takes 7; set that many or more$",
        ),
        (
            {"tokens": 8, "reasoning": True},
            1,
            "8 cut off <think>This image evokes .*</think><answer>.*</answer>, which takes .*; set that many or more$",
        ),
    ],
)
def test_answers_that_no_right_one_fits_into_are_refused(quick, tmp_path, answers, steps, reason):
    settings = quick(answers=answers, warmup={"steps": steps})
    index = read_emoset(settings.data, tmp_path, 2).index
    images = index[index["split"] == "train"]
    questions = draw_questions(images, settings.data.taxonomy, settings.questions, settings.answers, None, 0)
    paths = {image_id: settings.data.emoset / path for image_id, path in index[["image_id", "image"]].to_numpy()}
    with pytest.raises(UserError, match=reason):
        check_and_announce(settings, questions, paths)


def test_each_step_says_which_way_it_takes(quick):
    settings = quick(grpo={"answers": "exact", "answers_two": "sampled"})
    exact, sampled = (way(settings, step) for step in ("step_one", "step_two"))
    assert exact.startswith("no sampling (grpo.answers: exact), since the answer alone is asked for: an update")
    assert exact.endswith("raises the quadratic score of the probabilities of all answers that a question allows")
    assert sampled.startswith("GRPO (grpo.answers: sampled): an update compares what 4 sampled answers to each")
    thoughts = settings.model_copy(update={"answers": settings.answers.model_copy(update={"reasoning": True})})
    assert way(thoughts, "step_one").startswith(
        "GRPO of thoughts (grpo.answers: exact), for an answer need not be sampled: an update compares 4 sampled thoughts"
    )
    assert "sampled thoughts and answers" in way(thoughts, "step_two")
    assert [is_sampling(each.answers, each.grpo, "step_one") for each in (settings, thoughts)] == [False, True]
    assert settings.grpo.ways == {"exact", "sampled"}
    assert quick(grpo={"answers": "exact", "steps_two": 0}).grpo.ways == {"exact"}


def test_the_preset_fills_eight_gpus(monkeypatch):
    """In one forward pass each, for one pass over the questions; on fewer GPUs by accumulation."""
    settings = load(["--config", str(ROOT / "config" / "eight_gpus.yaml")])
    questions = sum(question_counts(settings.data.taxonomy, settings.questions).values())
    for processes, accumulation in ((8, 1), (4, 2), (1, 8)):
        monkeypatch.setenv("WORLD_SIZE", str(processes))
        assert plan(settings.grpo, questions, settings.grpo.steps_one) == Plan(processes, accumulation, 187)
    monkeypatch.setenv("WORLD_SIZE", "8")
    whole = settings.grpo.model_copy(update={"steps_one": None})
    assert plan(whole, questions, None).steps == questions // 256


@pytest.mark.parametrize(
    ("rank", "rate", "is_told"), [(0, 1e-5, True), (0, 1e-6, False), (16, 1e-5, False)], ids=["all", "slowly", "adapter"]
)
def test_the_learning_rate_of_an_adapter_is_warned_of_where_all_weights_are_trained(quick, caplog, rank, rate, is_told):
    settings = quick(understanding={"lora_rank": rank}, grpo={"learning_rate": rate})
    with caplog.at_level(logging.WARNING):
        warn_of_rate(settings.understanding, settings.grpo, "step_one")
    assert (
        "grpo.learning_rate: 1e-05 is for an adapter; others train all weights by GRPO at 1e-06" in caplog.text
    ) == is_told
