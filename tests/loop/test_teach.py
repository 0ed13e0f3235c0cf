"""loop/teach.py in parts: what it refuses before it makes images, whom it teaches, and data that lack something."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from mapper_runs import arguments

import loop.teach
import loop.teaching
from config.errors import UserError
from config.loading import load
from config.settings import Settings
from emoset.reading import read_emoset
from emoset.selection import equal_emotions

FEW = {"questions.binary": 0, "questions.misleading": 0, "questions.confusable_share": 0, "loop.teach_updates": 1}
FEW |= {"grpo.questions_per_step": 32, "grpo.batch_size": 32, "tuning.gradient_checkpointing": "false"}


@pytest.fixture
def settings(loop_settings, loop_run):
    """Return a function that gives the settings of a new run, of few questions."""
    run = loop_run()
    return lambda **changed: load(arguments(loop_settings | FEW, run=run, **changed))


def test_what_would_end_it_later_is_told_before_anything_is_made(settings, base_and_adapter, monkeypatch):
    def unread(*given):
        raise AssertionError("the data set is read")

    monkeypatch.setattr(loop.teach, "read_emoset", unread)
    run = settings().run
    shutil.rmtree(run / "generator")
    shutil.rmtree(run / "training" / "emotion_space" / "encoder")
    broken = base_and_adapter[0]
    (broken / "model.safetensors").unlink()
    with pytest.raises(UserError) as error:
        loop.teach.main(settings(models__clip=run / "none", loop__understanding=broken, grpo__questions_per_step=40))
    lines = str(error.value).splitlines()
    told = (
        "generator: no generator there",
        "loop.understanding",
        "encoder: is not there",
        "models.clip",
        "grpo.questions_per",
    )
    assert len(lines) == len(told)
    assert all(part in line for part, line in zip(told, lines, strict=True)), lines


@pytest.mark.parametrize("way", ["taught", "teach_control"])
def test_it_does_not_teach_a_model_that_it_would_write_over(settings, base_and_adapter, way):
    run = settings().run
    model = shutil.copytree(base_and_adapter[0], run / "loop" / way / "step_two" / "model")
    told = r"^loop\.understanding: .* is what this script writes; copy it to another folder, and name that$"
    with pytest.raises(UserError, match=told):
        loop.teach.main(settings(loop__understanding=model, check="true"))
    (run / "understanding" / "model").unlink()
    (run / "understanding" / "model").symlink_to(model)
    with pytest.raises(UserError, match=told):
        loop.teach.main(settings(check="true"))
    loop.teach.main(settings(loop__understanding=base_and_adapter[0], check="true"))


def test_all_weights_of_an_adapters_base_are_not_taught(settings, base_and_adapter):
    """Its checkpoints would hold the adapter alone, and the base's weights be lost."""
    own = settings(loop__understanding=base_and_adapter[1], understanding__lora_rank=0, check="true")
    with pytest.raises(UserError, match=r"^understanding\.lora_rank: 0 trains all weights, and .*adapter is an adapter; me"):
        loop.teach.main(own)


def test_rewards_of_sampled_answers_are_refused_for_it_takes_exact_ones(settings):
    sampled = {"grpo__answers": "sampled", "rewards__scoring": "reward", "check": "true"}
    with pytest.raises(UserError) as error:
        loop.teach.main(settings(**sampled, rewards__graded="true", rewards__length=0.1, rewards__length_limit=4))
    assert [line.partition(":")[0] for line in str(error.value).splitlines()] == ["rewards.graded", "rewards.length"]


@pytest.mark.parametrize("is_whole", [True, False], ids=["a whole model", "an adapter on another base"])
def test_what_is_taught_names_the_model_that_it_began_with(settings, base_and_adapter, tmp_path, is_whole):
    base, adapter = base_and_adapter
    own: Settings = settings(understanding__lora_rank=2)
    emoset = read_emoset(own.data, tmp_path, 1)
    index = emoset.index.assign(path=[own.data.emoset / image for image in emoset.index["image"]])
    train = index[index["split"] == "train"].reset_index(drop=True)
    made = equal_emotions(train, 32, 0).reset_index(drop=True)
    ways, start = ("taught", "teach_control"), base if is_whole else adapter
    found = loop.teaching.learned(own, emoset, train, made, start, tmp_path / "loop", ways, "1a2b")
    assert list(found) == ["taught", "teach_control"]
    for model in found.values():
        assert Path(json.loads((model / "adapter_config.json").read_text())["base_model_name_or_path"]) == base


def test_a_split_without_images_of_hard_cells_has_no_figures_of_them(settings, monkeypatch):
    own, names = settings(), list(settings().data.taxonomy.emotions)
    monkeypatch.setattr("runtime.figures.RESAMPLES", 20)
    monkeypatch.setattr(loop.teaching, "distributions", lambda *given: np.log(np.eye(len(names)) * 0.9 + 0.01)[[0, 1, 0]])
    nothing = dict.fromkeys(("scene", "facial_expression", "human_action"))
    real = pd.DataFrame({"image_id": list("abc"), "emotion": names[:3], "object": [["tree"]] * 3}).assign(**nothing)
    errors = pd.Series({(name, "tree"): 0.1 for name in names[:3]} | {(name, "boat"): 0.9 for name in names[3:5]})
    models = {"before": Path("a"), "taught": Path("b"), "teach_control": Path("c")}
    found = loop.teaching.compare(own, models, real, errors, None)
    assert all(set(each) == {"accuracy"} for part in found.values() for each in part.values())
    assert found["figures"]["taught"]["accuracy"]["value"] == pytest.approx(2 / 3)


def test_real_images_that_cannot_be_measured_are_left_out(settings, monkeypatch):
    """The largest of numbers that are none is the first, which would be an answer, and a right one about its emotion."""
    own, names = settings(), list(settings().data.taxonomy.emotions)
    seen = np.log(np.eye(len(names)) * 0.9 + 0.01)[[0, 0, 2]]
    monkeypatch.setattr("runtime.figures.RESAMPLES", 20)
    monkeypatch.setattr(
        loop.teaching, "distributions", lambda *given: np.where([[False], [given[-1] == "taught"], [False]], np.nan, seen)
    )
    nothing = dict.fromkeys(("scene", "facial_expression", "human_action"))
    real = pd.DataFrame({"image_id": list("abc"), "emotion": names[:3], "object": [["tree"]] * 3}).assign(**nothing)
    models = {"before": Path("a"), "taught": Path("b"), "teach_control": Path("c")}
    found = loop.teaching.compare(own, models, real, pd.Series({(name, "tree"): 0.1 for name in names[:3]}), None)
    for name in models:
        accuracy = found["figures"][name]["accuracy"]
        assert (accuracy["value"], accuracy["n"]) == (1.0, 2), "b, of which one model says nothing, counts for none"


def test_images_made_otherwise_have_other_ids_so_that_they_are_learned_from_again(settings, monkeypatch, tmp_path):
    monkeypatch.setattr(loop.teaching, "load_generator", lambda *given: (None, {"generator_hash": "0"}))
    monkeypatch.setattr(loop.teaching, "make_images", lambda *given: None)
    names = settings().data.taxonomy.emotions
    nothing = dict.fromkeys(("scene", "facial_expression", "human_action"))
    train = pd.DataFrame({"image_id": names, "emotion": names, "object": [["tree"]] * len(names)}).assign(**nothing)
    errors = pd.Series({(name, "tree"): 0.5 for name in names})

    def ids(**changed) -> set[str]:
        own = settings(loop__teach_images=16, **changed)
        return set(loop.teaching.make_hard(own, tmp_path, train, errors, tmp_path)["image_id"])

    assert len(ids()) == 16
    assert ids() == ids()
    assert not ids() & ids(generate__strength=0.5)
    assert not ids() & ids(generate__negative_prompt="blurry")


def test_a_training_image_that_cannot_be_measured_hides_no_copy(settings, monkeypatch):
    own = settings()
    names = own.data.taxonomy.emotions
    made = pd.DataFrame({"image_id": ["copy", "new"], "emotion": names[:2]})
    train = pd.DataFrame({"image_id": list("abcdefg"), "emotion": names[0]})
    known = torch.eye(6, 8)
    known = torch.cat([known[:3], torch.full((1, 8), torch.nan), known[3:]])
    seen = {"gate": torch.eye(len(names))[:2], ("CLIP", 2): torch.eye(8)[[2, 7]], ("CLIP", 7): known}

    class Cache:
        def features_of(self, network, images, what):
            return seen.get(what, seen.get((what, len(images))))

    monkeypatch.setattr(loop.teaching, "load_network", lambda *given: SimpleNamespace(log_probabilities=None))
    monkeypatch.setattr(loop.teaching, "clip_network", lambda name: None)
    assert loop.teaching.serving(own, made, train, Cache()).tolist() == [False, True]
