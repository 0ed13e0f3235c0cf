"""The faults of the reference code: each is planted, and the check that shows its absence finds it."""

import json
from contextlib import suppress
from dataclasses import replace

import pandas as pd
import pytest
import torch

import understanding.questions
import understanding.shared_prefix
from config.errors import UserError
from config.loading import load
from config.taxonomy import DEFAULT, read_taxonomy
from understanding.blind_check import blind_table
from understanding.kinds import misleading
from understanding.questions import draw_questions
from understanding.rewards import kind_reward

TAXONOMY = read_taxonomy(DEFAULT)
EMOTIONS = TAXONOMY.emotions

IMAGES = pd.DataFrame(
    [(f"{emotion}_{n}", emotion) for emotion in EMOTIONS for n in range(40)], columns=["image_id", "emotion"]
)


# The questions and rewards.


def caught_blind() -> set[str]:
    """Return the kinds of question that a policy answers better than a coin without looking at the images."""
    settings = load(["questions.count=3000", "questions.confusable_share=0"])
    fitting, trying = (draw_questions(IMAGES, TAXONOMY, settings.questions, settings.answers, None, seed) for seed in (1, 0))
    table = blind_table(fitting, trying, TAXONOMY, settings.answers, settings.rewards, None)
    return set(table[table["reward"] - table["chance"] > table["tolerance"]]["kind"])


def test_the_truth_stands_in_no_prompt(monkeypatch):
    assert not caught_blind()
    make = understanding.questions._question

    def leaking(*args):
        question = make(*args)
        return replace(question, prompt=f"{question.prompt} Explain why it shows {question.emotion}.")

    monkeypatch.setattr(understanding.questions, "_question", leaking)
    assert caught_blind() == {"binary", "multiple", "misleading"}


@pytest.mark.parametrize(("kind", "always_true"), [("binary", True), ("misleading", False)])
def test_what_is_asked_about_is_not_always_true_nor_always_wrong(monkeypatch, kind, always_true):
    assert not caught_blind()
    make = understanding.questions._question

    def one_sided(of, image_id, emotion, asked, *rest):
        other = EMOTIONS[EMOTIONS.index(emotion) - 1]
        return make(of, image_id, emotion, (emotion if always_true else other) if kind == of.NAME else asked, *rest)

    monkeypatch.setattr(understanding.questions, "_question", one_sided)
    assert caught_blind() == {kind}


@pytest.mark.parametrize("scoring", ["brier", "published"])
def test_the_best_answer_earns_the_most(monkeypatch, scoring):
    """0 for a wrong emotion, 100 for the true one."""

    def best() -> dict[str, float]:
        settings = load(["questions.count=640", "questions.confusable_share=0", f"rewards.scoring={scoring}"])
        earned = {"0": set(), "100": set()}
        for question in draw_questions(IMAGES, TAXONOMY, settings.questions, settings.answers, None, 0):
            if question.kind == "misleading":
                answer = "100" if question.is_true else "0"
                completion = f"<think></think><answer>{answer}</answer>"
                reward = kind_reward(question, completion, TAXONOMY, settings.answers, settings.rewards, None)
                earned[answer].add(reward)
        return earned

    assert best() == {"0": {1.0}, "100": {1.0}}
    read = misleading.read
    monkeypatch.setattr(misleading, "read", lambda *given: read(*given) or None)  # as the reference: 0 < score
    assert best() != {"0": {1.0}, "100": {1.0}}


# The images, and the two steps.


@pytest.fixture
def asked(quick, fine_tune, understanding_script, monkeypatch):
    """Return a function that runs understanding.py with stages that train nothing: the images that each was given."""

    def run(**changed) -> dict[str, set[str]]:
        images = {}

        def warm_up(settings, folder, start, questions, data):
            images["warm_up"], images["val"] = ids(questions), ids(data.val_questions)

        def train_by_grpo(settings, name, folder, start, questions, data, limit):
            images[name] = ids(questions)

        def mine(train, folder, settings):
            images["mined"] = set(train["image_id"])
            return train

        def hard_images(errors, *_):
            hard = errors.groupby("emotion").head(2)
            images["hard"] = set(hard["image_id"])
            return hard

        for stage in (warm_up, train_by_grpo, mine, hard_images):
            monkeypatch.setattr(understanding_script, stage.__name__, stage)
        for name in ("check_and_announce", "save"):
            monkeypatch.setattr(understanding_script, name, lambda *_: {})
        fine_tune(quick("run", **changed))
        return images

    def ids(questions) -> set[str]:
        return {question.image_id for question in questions}

    return run


def test_no_test_image_is_trained_on(asked, emoset_copy):
    lists = {split: json.loads((emoset_copy / f"{split}.json").read_text()) for split in ("train", "val", "test")}
    split_of = {image_id: split for split, rows in lists.items() for _, image_id, *_ in rows}
    images = asked(data={"emoset": str(emoset_copy)}, grpo={"evaluate_every": 1})
    for stage in ("warm_up", "step_one", "mined", "step_two"):
        assert {split_of[image_id] for image_id in images[stage]} == {"train"}, stage
    assert {split_of[image_id] for image_id in images["val"]} == {"val"}

    # Planted, as in the reference: the test images are of the training images.
    (emoset_copy / "test.json").write_text(json.dumps(lists["test"] + lists["train"][:50]))
    with pytest.raises(UserError, match=r"is in train\.json too; an image must be in one split"):
        asked(data={"emoset": str(emoset_copy)})


def test_step_two_trains_on_the_hard_images(asked):
    def has_step_two(images) -> bool:
        return images.get("step_two") == images.get("hard", "none") and images["step_two"] < images["mined"]

    assert has_step_two(asked())
    assert not has_step_two(asked(grpo={"steps_two": 0})), "Step II left out"


# The trainer.


def test_a_group_of_equal_rewards_teaches_nothing(trainer, monkeypatch):
    made, rows = trainer
    made.reward_funcs = [lambda completions, **_: [1.0] * len(completions)] * len(made.reward_funcs)

    def gradient() -> float:
        made._buffered_inputs = None
        made.model.zero_grad()
        made.current_gradient_accumulation_steps = 1
        made._compute_loss(made.model, made._prepare_inputs(rows)).backward()
        return sum(weight.grad.abs().sum().item() for weight in made.model.parameters() if weight.grad is not None)

    assert gradient() == 0
    scored = made._generate_and_score_completions

    def random_advantages(inputs):
        batch = scored(inputs)
        return batch | {"advantages": torch.randint(0, 2, batch["advantages"].shape) * 2.0 - 1}

    monkeypatch.setattr(made, "_generate_and_score_completions", random_advantages)
    assert gradient() > 0


def test_log_probabilities_are_of_the_answer_alone(trainer, monkeypatch):
    made, rows = trainer
    batch = made._prepare_inputs(rows)
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    fields = {name: batch[name] for name in ("pixel_values", "image_grid_thw", "mm_token_type_ids") if name in batch}
    answer, temperature = batch["completion_ids"].size(1), made.temperature
    with torch.no_grad():
        logits = made.model(input_ids=ids, attention_mask=mask, **fields).logits[:, -answer - 1 : -1] / temperature
    alone = logits.log_softmax(-1).gather(2, batch["completion_ids"][..., None])[..., 0]

    def agrees() -> bool:
        seen = {}
        original = made._get_per_token_logps_and_entropies
        with monkeypatch.context() as patch:

            def recorded(*args, **kwargs):
                seen["logps"], *_ = result = original(*args, **kwargs)
                return result

            patch.setattr(made, "_get_per_token_logps_and_entropies", recorded)
            made.current_gradient_accumulation_steps = 1
            with suppress(RuntimeError):  # what is longer than the answer does not even fit TRL's mask
                made._compute_loss(made.model, batch)
        kept = batch["completion_mask"].bool()
        return seen["logps"].shape == alone.shape and torch.allclose(seen["logps"][kept], alone[kept], atol=1e-4)

    assert agrees()
    score = made._score
    monkeypatch.setattr(made, "_score", lambda model, rows, answer, *rest: score(model, rows, answer + 3, *rest))
    assert not agrees(), "the prompt's last tokens too"


def test_every_image_of_a_batch_counts(trainer, monkeypatch):
    made, rows = trainer
    take_rows = understanding.shared_prefix.take_rows

    def images() -> int:
        """Return how many different images the batch's answers are about."""
        made._buffered_inputs = None
        batch = made._prepare_inputs(rows)
        parts = batch["pixel_values"].split(batch["image_grid_thw"].prod(-1).tolist())
        return len({part.numpy().tobytes() for part in parts})

    assert images() == 4
    first = lambda fields, counts, chosen: take_rows(fields, counts, [0] * len(chosen))  # noqa: E731
    monkeypatch.setattr(understanding.shared_prefix, "take_rows", first)
    assert images() == 1
