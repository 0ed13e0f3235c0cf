"""GRPO's step: its arithmetic, its data and rewards, and a killed training."""

import re
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_trainers import G, by_length, make_trainer, scored

import understanding.showing
from config.errors import UserError
from config.section import ROOT
from config.taxonomy import DEFAULT, read_taxonomy
from config.understanding_settings import Answers, Questions, Rewards
from understanding.grpo import plan, training_arguments
from understanding.question import Question
from understanding.rewards import reward_functions, reward_weights
from understanding.trainers import question_data

TAXONOMY = read_taxonomy(DEFAULT)
VLM = ROOT / "demo" / "models" / "vision_language"


@pytest.mark.parametrize(("processes", "accumulation"), [(1, 8), (2, 4), (8, 1)])
def test_an_update_is_the_same_questions_on_any_number_of_processes(quick, monkeypatch, processes, accumulation):
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    shared = plan(quick(grpo={"questions_per_step": 32}).grpo, questions=1000, limit=None)
    assert (shared.processes, shared.accumulation, shared.steps) == (processes, accumulation, 31)


@pytest.mark.parametrize(
    ("grpo", "questions", "message"),
    [
        ({"questions_per_step": 30}, 400, "30 cannot be shared out over 2 processes of grpo.batch_size 4; the nearest.* 32"),
        ({"questions_per_step": 2}, 400, "2 cannot be shared out .* the nearest that can is 8"),
        ({"questions_per_step": 64}, 40, "64, but there are 40 questions; the most that can be is 40"),
        ({"questions_per_step": 64}, 7, "64, but there are 7 questions; ask more questions: questions.count"),
    ],
)
def test_impossible_arithmetic_is_refused_with_the_nearest_possible(quick, monkeypatch, grpo, questions, message):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match=f"grpo.questions_per_step: {message}"):
        plan(quick(grpo=grpo).grpo, questions, None)


def test_rewards_in_use_have_weights_in_the_same_order():
    for rewards in (Rewards(), Rewards(length=0.5), Rewards(binary=0.0, format=2.0)):
        for questions in (Questions(), Questions(valence=1.0, binary=0.0)):
            functions = reward_functions([], TAXONOMY, questions, Answers(), rewards, None)
            assert list(functions) == list(reward_weights(questions, rewards))
            assert ("valence" in functions, "binary" in functions) == (bool(questions.by_kind), not questions.by_kind)


def test_an_advantage_is_what_an_answer_earns_above_its_group(quick, tmp_path, monkeypatch):
    """Divided by its group's deviation, a score's error of 5 among good ones would count as one of 50 among bad ones."""
    arguments = training_arguments(quick(), "step_one", questions=400, steps=1, folder=tmp_path)
    trainer = make_trainer(tmp_path, share=True, scale_rewards=arguments.scale_rewards)
    batch, *_ = scored(trainer, monkeypatch)
    said = trainer.processing_class.batch_decode(batch["completion_ids"], skip_special_tokens=True)
    rewards = torch.tensor(by_length([[{"content": text}] for text in said])).view(-1, G)
    assert rewards.std(1).min() > 1, "or a division would hardly show"
    assert torch.allclose(batch["advantages"].view(-1, G), rewards - rewards.mean(1, keepdim=True), atol=1e-5)


@pytest.fixture
def killed(quick, python, tmp_path):
    """Return a function that trains in one go, and killed by kill -9 wherever killed_runs.py says: both files of weights."""

    def train(file: str, *points: str, **changed) -> list[dict[str, torch.Tensor]]:
        grpo = {"steps_one": 3, "steps_two": 0, "batch_size": 8} | changed.pop("grpo")
        for name in ("whole", "killed"):
            quick(name, grpo=grpo, tuning={"checkpoint_every": 1}, **changed)
        script = Path(__file__).with_name("killed_runs.py")
        command = [python, script, tmp_path / "whole.yaml", tmp_path / "killed.yaml", *points]
        result = subprocess.run(command, capture_output=True, text=True, timeout=500)
        assert result.returncode == 0, result.stderr[-3000:]
        return [load_file(tmp_path / name / "understanding" / "model" / file) for name in ("whole", "killed")]

    return train


@pytest.mark.slow
def test_an_adapter_whose_training_is_killed_ends_with_the_same_weights(killed, tmp_path):
    points = ["in sampling", "while a checkpoint is saved"]
    points += ["while images are mined", "in a step's second update"]  # that is in Step II: Step I is done by then
    points += ["terminated in a step's second update"]  # of those that are left, after checkpoint-1
    whole, again = killed("adapter_model.safetensors", *points, grpo={"steps_two": 4})
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert any(weight.any() for name, weight in whole.items() if "lora_B" in name), "something was learned"
    resumed = re.findall(r"step_two: .* resumed from (\S+)", (tmp_path / "killed/understanding/log.txt").read_text())
    assert resumed == ["checkpoint-1", "checkpoint-3"], "SIGTERM saved the update that it struck"


@pytest.mark.slow
def test_full_weights_whose_training_is_killed_end_the_same(killed):
    grpo = {"learning_rate": 1e-4, "beta": 0.5}  # with another reference after the kill it would lead elsewhere
    points = ["while the warm-up's checkpoint is saved", "in the update", "while the result is saved"]
    full = {"understanding": {"lora_rank": 0}, "warmup": {"steps": 2, "batch_size": 2}}
    whole, again = killed("model.safetensors", *points, grpo=grpo, **full)
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    base = load_file(VLM / "model.safetensors")
    same = {name for name in whole if torch.equal(whole[name].float(), base[name].float())}
    assert same == {name for name in whole if "visual" in name}, "the vision tower is frozen, all else is trained"


def test_a_questions_image_is_decoded_once_for_its_group(quick, drawn, monkeypatch):
    decoded = []
    load = understanding.showing.load_image
    monkeypatch.setattr(understanding.showing, "load_image", lambda path: decoded.append(path) or load(path))
    image = next((drawn / "image" / "awe").iterdir())
    question = Question("binary", image.stem, "awe", "awe", (), 0, "Is it awe?")
    rows = question_data([question], {image.stem: image}, max_pixels=10**6)
    assert [rows[0]["image"].size for _ in range(8)] == [(32, 32)] * 8
    assert decoded == [image]
    assert question_data([question], {image.stem: image}, max_pixels=100)[0]["image"].size == (10, 10)


def test_checkpointing_changes_no_gradient_and_keeps_them_out_of_the_frozen_tower(trainer):
    made, rows = trainer
    made.current_gradient_accumulation_steps = 1
    batch = made._prepare_inputs(rows)
    batch["advantages"] = torch.linspace(-1, 1, len(rows))
    seen = []
    tower = made.model.get_base_model().model.visual
    tower.register_forward_hook(lambda module, inputs, output: seen.append(output.pooler_output.requires_grad))

    def gradients() -> dict[str, torch.Tensor]:
        made.model.zero_grad()
        made.compute_loss(made.model, batch).backward()
        return {name: weight.grad for name, weight in made.model.named_parameters() if weight.grad is not None}

    plain = gradients()
    made.model.enable_input_require_grads()  # as TRL does
    made.model.gradient_checkpointing_enable({"use_reentrant": False})
    checkpointed = gradients()
    assert made.model.is_gradient_checkpointing
    assert plain.keys() == checkpointed.keys()
    for name, gradient in plain.items():
        assert torch.equal(gradient, checkpointed[name]), name
    assert any(gradient.any() for gradient in plain.values())
    assert seen
    assert not any(seen)
