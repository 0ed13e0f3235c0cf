"""Full weights that resume: all of them, from a checkpoint, or an error."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

from config.errors import UserError
from understanding.trl_checkpoints import WholeCheckpoints


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
