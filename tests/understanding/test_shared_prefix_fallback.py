"""Where a group does not share its image and prompt: it falls back to TRL's own way and says so, or refuses the batch."""

import logging
from functools import partial

import pytest
import torch
from tiny_trainers import Counting, G, assert_same_numbers, gemma3, make_trainer, questions, scored, windowed

from understanding.packing import pack, sharing_obstacle


@pytest.fixture
def trainer(tmp_path):
    return partial(make_trainer, tmp_path)


@pytest.fixture
def said(caplog):
    """Return a function that gives what the project's log has said so far."""
    caplog.set_level(logging.INFO, logger="emotion")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "emotion"]


@pytest.mark.parametrize("kernel", ["flash_attention_2", "flex_attention"])
def test_a_kernel_without_a_mask_falls_back_and_says_so_once(trainer, said, monkeypatch, kernel):
    def obstacle_of(model):  # as if that kernel were installed here
        model.config.get_text_config()._attn_implementation = kernel
        return sharing_obstacle(model)

    monkeypatch.setattr("understanding.shared_prefix.sharing_obstacle", obstacle_of)
    plain = trainer(True)
    assert not plain.shares_prefix
    assert [line for line in said() if "share" in line] == [said()[0]]
    assert kernel in said()[0]


def test_a_model_with_a_window_falls_back(trainer, said):
    assert not trainer(True, windowed).shares_prefix
    assert "sliding_attention" in said()[0]


def test_a_model_whose_image_tokens_see_one_another_falls_back(trainer, said, monkeypatch):
    plain = scored(trainer(False, gemma3), monkeypatch, 4)
    fallen = trainer(True, gemma3)
    numbers = scored(fallen, monkeypatch, 4)
    assert not fallen.shares_prefix
    assert len(said()) == 1
    assert_same_numbers(plain, numbers)


@pytest.fixture
def plant(monkeypatch):
    """Return a function that plants a fault in how answers are packed behind their prompt."""

    def planted(fault: str) -> None:
        def faulty(*args):
            packed = pack(*args)
            if fault == "raises":
                raise NotImplementedError("no such mask")
            if fault == "mask ignored":
                packed["attention_mask"] = torch.ones_like(packed["attention_mask"]).tril()
            else:
                packed["position_ids"] = torch.arange(packed["input_ids"].size(1)).expand_as(packed["position_ids"])
            return packed

        monkeypatch.setattr("understanding.shared_prefix.pack", faulty)

    return planted


@pytest.mark.parametrize("fault", ["mask ignored", "wrong positions", "raises"])
def test_a_model_that_gives_other_numbers_falls_back(trainer, said, monkeypatch, plant, fault):
    """The comparison on the first question finds what no list of models could; then all is as in the plain trainer."""
    plain = scored(trainer(False), monkeypatch, 4)
    fallen = trainer(True)
    plant(fault)
    numbers = scored(fallen, monkeypatch, 4)
    assert not fallen.shares_prefix
    assert len(said()) == 1
    assert "cannot share" in said()[0]
    assert_same_numbers(plain, numbers)


@pytest.mark.parametrize("fault", ["mask ignored", "wrong positions"])
@pytest.mark.parametrize("half", ["weights", "autocast"])
def test_half_precision_hides_no_fault(trainer, said, plant, half, fault):
    """Rounding differs by more than in float32, and a fault by more than rounding."""
    fallen = trainer(True, lora=True, bf16=half == "autocast")
    if half == "weights":
        fallen.model.to(torch.bfloat16)
    plant(fault)
    fallen.train()
    assert not fallen.shares_prefix
    assert ("an answer changes another's" if fault == "mask ignored" else "log-probabilities differ by") in said()[0]


def test_the_switch_leaves_trls_trainer(trainer, said):
    off = trainer(False, per_device_train_batch_size=2, gradient_accumulation_steps=2)  # half a group: TRL's business
    Counting.images.clear()
    off.train()
    assert Counting.images == [G, G], "TRL's own: each answer's image, twice"
    assert not said()


def test_a_batch_that_splits_a_group_is_refused(trainer):
    with pytest.raises(ValueError, match="per_device_train_batch_size: 6 answers split a group of 4; the nearest"):
        trainer(True, per_device_train_batch_size=6, gradient_accumulation_steps=2)


def test_rows_that_are_not_whole_groups_are_refused(trainer):
    with pytest.raises(ValueError, match="each question 4 times in a row"):
        trainer(True)._generate_and_score_completions(questions(2) * G)
