"""Checkpoints that resume: the newest that is whole, and full weights: all of them, or an error."""

import os
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

from config.errors import UserError
from runtime.sealed import seal
from understanding.trl_checkpoints import WholeCheckpoints, newest_checkpoint


@pytest.fixture
def resuming(vlm, tmp_path):
    """A trainer's part that loads checkpoints, and a checkpoint, and the model that it was saved of."""
    trainer = WholeCheckpoints()
    trainer.model = AutoModelForImageTextToText.from_pretrained(vlm, dtype=torch.float32)
    trained = AutoModelForImageTextToText.from_pretrained(vlm, dtype=torch.float32)
    with torch.no_grad():
        for weight in trained.parameters():
            weight.add_(1)
    trained.save_pretrained(tmp_path / "checkpoint-1")
    return trainer, tmp_path / "checkpoint-1", trained


def test_all_weights_are_those_of_the_checkpoint(resuming):
    trainer, checkpoint, trained = resuming
    assert not any("lm_head" in name for name in load_file(checkpoint / "model.safetensors")), "it is tied"
    trainer._load_from_checkpoint(str(checkpoint))
    found = trainer.model.state_dict()
    assert all(torch.equal(found[name], weight) for name, weight in trained.state_dict().items())


def test_a_checkpoint_that_lacks_a_weight_is_refused(resuming):
    trainer, checkpoint, _ = resuming
    saved = load_file(checkpoint / "model.safetensors")
    lost = next(name for name in saved if "q_proj.weight" in name)
    save_file({name: saved[name] for name in saved if name != lost}, checkpoint / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"checkpoint-1 lacks weights \(.*q_proj\.weight\); remove it"):
        trainer._load_from_checkpoint(str(checkpoint))


@pytest.fixture
def checkpoints(tmp_path):
    for step in (2, 9, 10):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text(f'{{"global_step": {step}}}')
        save_file({"weight": torch.ones(400)}, folder / "adapter_model.safetensors")
        seal(folder)
    return tmp_path


@pytest.mark.parametrize("name", ["trainer_state.json", "adapter_model.safetensors", "files.json"])
@pytest.mark.parametrize("damage", ["empty", "cut off", "flipped", "gone"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(checkpoints, caplog, name, damage):
    arguments = SimpleNamespace(output_dir=str(checkpoints))
    assert newest_checkpoint(arguments) == str(checkpoints / "checkpoint-10")
    file = checkpoints / "checkpoint-10" / name
    content = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        flipped = content[:-5] + bytes([content[-5] ^ 1]) + content[-4:]
        file.write_bytes({"empty": b"", "cut off": content[: len(content) // 2], "flipped": flipped}[damage])
    with caplog.at_level("INFO", "emotion"):
        assert newest_checkpoint(arguments) == str(checkpoints / "checkpoint-9")
    told = "checkpoint-10 is cut off or damaged, so it is removed. The run resumes from the one before, if any"
    if (damage, name) == ("gone", "files.json"):
        told = (
            "checkpoint-10 has no files.json, so nothing tells whether it is whole; it is moved to set-aside-checkpoint-10"
        )
        assert (checkpoints / "set-aside-checkpoint-10" / "adapter_model.safetensors").is_file()
    assert caplog.messages == [told]
    assert not (checkpoints / "checkpoint-10").exists()


def test_without_a_whole_one_it_begins_anew(checkpoints):
    for folder in checkpoints.glob("checkpoint-*"):
        for file in folder.iterdir():
            file.write_bytes(b"")
    assert newest_checkpoint(SimpleNamespace(output_dir=str(checkpoints))) is None
    assert newest_checkpoint(SimpleNamespace(output_dir=str(checkpoints / "none"))) is None


def test_what_others_may_read_of_ours_they_may_read_of_a_checkpoint(tmp_path):
    before = os.umask(0o022)
    try:
        save_file({"weight": torch.ones(4)}, tmp_path / "model.safetensors")
        seal(tmp_path)
    finally:
        os.umask(before)
    assert {oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()} == {"0o644"}
