"""What becomes of a stage's result, and when a stage is trained again."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import understanding.grpo
from emoset.confusability import write_confusability
from runtime import hub
from runtime.sealed import seal


@pytest.fixture
def untrained(monkeypatch, adapter):
    """GRPO takes no time, and its checkpoint is the adapter."""

    def train(settings, name, start, *rest):
        shutil.copytree(adapter, rest[-1] / "checkpoints" / f"checkpoint-{rest[-2]}")

    monkeypatch.setattr(understanding.grpo, "train", train)


def test_the_result_is_uploaded_where_the_config_says_so(quick, fine_tune, untrained, monkeypatch):
    uploaded = []
    monkeypatch.setattr(hub, "create_repo", lambda name, exist_ok: uploaded.append(name))
    monkeypatch.setattr(hub, "upload_folder", lambda **given: uploaded.append(given))
    settings = quick(grpo={"steps_one": 1, "steps_two": 0}, understanding={"push_to_hub": "somebody/emotions"})
    fine_tune(settings)
    name, given = uploaded
    assert name == given["repo_id"] == "somebody/emotions"
    assert given["folder_path"] == settings.run / "understanding" / "model"
    assert {"README.md", "adapter_model.safetensors", "tokenizer.json"} <= set(os.listdir(given["folder_path"]))


def test_another_confusability_is_another_training(quick, fine_tune, untrained, tmp_path):
    """The graded reward reads it, also where no question does."""
    chosen = {"confusable_share": 0.0, "confusability": str(tmp_path / "confusability.json")}
    settings = quick(questions=chosen, rewards={"graded": True}, grpo={"steps_one": 1, "steps_two": 0})
    emotions = settings.data.taxonomy.emotions
    for shift in (1, 1, 2):
        write_confusability(tmp_path / "confusability.json", np.roll(np.eye(8), shift, axis=1), emotions, "by hand")
        fine_tune(settings)
        assert (settings.run / "understanding" / "step_one.old").exists() == (shift == 2)


@pytest.mark.parametrize("where", ["step_one/model", "model"])
def test_a_result_that_was_cut_off_is_written_again_from_its_checkpoint(quick, fine_tune, untrained, where):
    settings = quick(grpo={"steps_one": 1, "steps_two": 0})
    fine_tune(settings)
    seal(settings.run / "understanding" / "step_one" / "checkpoints" / "checkpoint-1")
    weights = settings.run / "understanding" / where / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    fine_tune(settings)
    assert weights.read_bytes() == whole
    assert (settings.run / "understanding" / "model" / weights.name).read_bytes() == whole


def test_a_run_that_ends_while_it_replaces_the_result_leaves_one(quick, fine_tune, untrained, monkeypatch):
    settings = quick(grpo={"steps_one": 1, "steps_two": 0})
    fine_tune(settings)
    rename = Path.rename

    def full(path, target):
        if path.name == ".model.new":
            raise OSError("the disk is full")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", full)
    changed = settings.grpo.model_copy(update={"learning_rate": 0.5})
    with pytest.raises(OSError, match="the disk is full"):
        fine_tune(settings.model_copy(update={"grpo": changed}))
    assert (settings.run / "understanding" / "model" / "adapter_model.safetensors").exists()
