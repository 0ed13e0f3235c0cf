"""What is said before a stage starts, and what becomes of its result."""

import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import understanding.stages
from emoset import hub
from emoset.confusability import write_confusability
from emoset.images import load_image
from emoset.reading import read_emoset
from understanding.model import bounded, conversation
from understanding.processor import load_processor
from understanding.questions import draw_questions


def test_what_a_step_amounts_to_is_said_before_it_starts(quick, vlm, tmp_path, caplog):
    settings = quick()
    index = read_emoset(settings.data, tmp_path, 2).index
    questions = draw_questions(index[index["split"] == "train"], settings.questions, None, 0)
    paths = {image_id: settings.data.emoset / path for image_id, path in index[["image_id", "image"]].to_numpy()}
    caplog.set_level(logging.INFO, logger="emotion")
    understanding.stages.Stages(settings, tmp_path, "data", paths, None, []).announce(questions)
    said = caplog.records[-1].getMessage()
    assert f"{len(questions)} questions; an update: 8 questions x 4 answers on 1 processes" in said
    assert f"each 2 times 4 x 4 answers; 4 updates in Step I, of {len(questions) // 8} to a pass over the questions" in said

    processor = load_processor(str(vlm))
    text = processor.apply_chat_template(conversation(questions[0].prompt), add_generation_prompt=True, tokenize=False)
    image = bounded(load_image(paths[questions[0].image_id]), settings.understanding.max_pixels)
    ids = processor(images=[[image]], text=[text], return_tensors="pt").input_ids[0]
    shown = int((ids == processor.image_token_id).sum())
    assert shown > 1
    assert f"a prompt: {len(ids)} tokens, {shown} of them the image; an answer: up to 6" in said


@pytest.fixture
def untrained(monkeypatch, adapter):
    """GRPO takes no time, and its checkpoint is the adapter."""

    def train(settings, name, start, *rest):
        shutil.copytree(adapter, rest[-1] / "checkpoints" / f"checkpoint-{rest[-2]}")

    monkeypatch.setattr(understanding.stages, "train", train)


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
    for shift in (1, 1, 2):
        write_confusability(tmp_path / "confusability.json", np.roll(np.eye(8), shift, axis=1), "by hand")
        fine_tune(settings)
        assert (settings.run / "understanding" / "step_one.old").exists() == (shift == 2)


def test_a_run_that_ends_while_it_replaces_the_result_leaves_one(quick, fine_tune, untrained, monkeypatch):
    settings = quick(grpo={"steps_one": 1, "steps_two": 0})
    fine_tune(settings)
    rename = Path.rename

    def full(path, target):
        if path.name == ".model.new":
            raise OSError("the disk is full")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OSError, match="the disk is full"):
        fine_tune(settings)
    assert (settings.run / "understanding" / "model" / "adapter_model.safetensors").exists()
