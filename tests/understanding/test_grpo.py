"""GRPO's step: its arithmetic, its data and rewards, and that a killed training ends where the whole one ends."""

import os

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

import understanding.curves
import understanding.grpo
from config.loading import UserError
from config.settings import Rewards
from understanding.grpo import plan, question_data, reward_functions, reward_weights


class Killed(Exception):
    pass


def fine_tune(settings):
    """Run understanding.py's stages in this process."""
    import importlib.util

    from config.script import open_run_folder
    from config.settings import ROOT

    spec = importlib.util.spec_from_file_location("understanding_script", ROOT / "understanding.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.fine_tune(settings, open_run_folder(settings, "understanding"))


def weights(settings, name: str = "adapter_model") -> dict[str, torch.Tensor]:
    return load_file(settings.run / "understanding" / "model" / f"{name}.safetensors")


@pytest.mark.parametrize(("processes", "accumulation"), [(1, 8), (2, 4), (8, 1)])
def test_an_update_is_the_same_questions_on_any_number_of_processes(quick, monkeypatch, processes, accumulation):
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    shared = plan(quick(grpo={"questions_per_step": 32}), questions=1000, limit=None)
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
        plan(quick(grpo=grpo), questions, None)


def test_rewards_in_use_have_weights_in_the_same_order(quick):
    for rewards in (Rewards(), Rewards(length=0.5), Rewards(binary=0.0, format=2.0)):
        settings = quick().model_copy(update={"rewards": rewards})
        assert list(reward_functions(settings, [], None)) == list(reward_weights(rewards))


def test_lora_resumes_to_the_same_weights(quick, monkeypatch):
    whole, killed = quick("whole"), quick("killed")
    fine_tune(whole)
    monkeypatch.setattr(understanding.curves.Curves, "on_step_end", _kill_at(3))
    with pytest.raises(Killed):
        fine_tune(killed)
    monkeypatch.undo()
    assert (killed.run / "understanding/step_one/checkpoints/checkpoint-2").is_dir()
    fine_tune(killed)
    first, second = weights(whole), weights(killed)
    assert any(weight.abs().sum() > 0 for name, weight in first.items() if "lora_B" in name), "nothing was learned"
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_full_weights_resume_to_the_same_weights_and_the_same_reference(quick, monkeypatch):
    full = {"understanding": {"lora_rank": 0}, "grpo": {"steps_two": 0, "learning_rate": 1e-4, "beta": 0.5}}
    whole, killed = quick("whole", **full), quick("killed", **full)
    fine_tune(whole)
    monkeypatch.setattr(understanding.curves.Curves, "on_step_end", _kill_at(3))
    with pytest.raises(Killed):
        fine_tune(killed)
    monkeypatch.undo()
    references = []
    train = understanding.grpo.Trainer.train

    def watched(trainer, *args, **kwargs):
        references.append({name: weight.clone() for name, weight in trainer.ref_model.state_dict().items()})
        return train(trainer, *args, **kwargs)

    monkeypatch.setattr(understanding.grpo.Trainer, "train", watched)
    fine_tune(killed)
    first, second = weights(whole, "model"), weights(killed, "model")
    assert all(torch.equal(first[name], second[name]) for name in first)
    base = load_file(os.path.join(whole.understanding.model, "model.safetensors"))
    vision = [name for name in first if "visual" in name]
    assert vision
    assert all(torch.equal(first[name].float(), base[name].float()) for name in vision), "the vision tower is frozen"
    moved = [name for name in first if not torch.equal(first[name].float(), base[name].float())]
    assert len(moved) > len(first) - len(vision) - 8, "all other weights are trained"
    start = AutoModelForImageTextToText.from_pretrained(whole.understanding.model, dtype=torch.float32).state_dict()
    assert len(references) == 1
    assert references[0].keys() == start.keys()
    assert all(torch.equal(references[0][name], start[name]) for name in start), "the reference is where the step started"


def _kill_at(step: int):
    on_step_end = understanding.curves.Curves.on_step_end

    def killing(self, args, state, control, **kwargs):
        on_step_end(self, args, state, control, **kwargs)
        if state.global_step == step:
            raise Killed

    return killing


def test_a_questions_image_is_decoded_once_for_its_group(quick, drawn, monkeypatch):
    from understanding.questions import Question

    decoded = []
    load = understanding.grpo.load_image
    monkeypatch.setattr(understanding.grpo, "load_image", lambda path: decoded.append(path) or load(path))
    image = next((drawn / "image" / "awe").iterdir())
    question = Question("binary", image.stem, "awe", "awe", (), 0, "Is it awe?")
    rows = question_data([question], {image.stem: image}, max_pixels=10**6)
    assert [rows[0]["image"].size for _ in range(8)] == [(32, 32)] * 8
    assert decoded == [image]
    assert question_data([question], {image.stem: image}, max_pixels=100)[0]["image"].size == (10, 10)
