"""What training/export.py writes is a textual inversion to diffusers, and makes the images of our pipeline."""

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from config.errors import UserError
from config.loading import load
from training.export import main
from training.pipeline import EmotionPipeline


def show(pipe, **options) -> np.ndarray:
    pipe.set_progress_bar_config(disable=True)
    seed, noise = (
        torch.Generator().manual_seed(1),
        torch.ones(1, 12),
    )  # given, it does not move the seed's noise of later steps
    own = {"emotion_noise": noise} if "emotion" in options else {}
    return pipe(num_inference_steps=2, output_type="np", generator=[seed], **own, **options).images


def test_a_textual_inversion_makes_the_image_of_our_pipeline(generator, models, tmp_path):
    mix = {"awe": 0.7, "fear": 0.3}
    given = (f"run={tmp_path}", f"generate.generator={generator}", "generate.emotions=awe,sadness")
    main(load([*given, "generate.mixes=[{awe: 0.7, fear: 0.3}]"]))
    written = {"awe": "awe", "sadness": "sadness", "awe-0.7+fear-0.3": mix}
    assert {file.stem for file in (tmp_path / "textual_inversion").glob("*.safetensors")} == written.keys()
    ours = EmotionPipeline.from_pretrained(generator)
    stock = StableDiffusionPipeline.from_pretrained(models / "stable_diffusion", safety_checker=None)
    for name, emotion in written.items():
        file = tmp_path / "textual_inversion" / f"{name}.safetensors"
        ((token, embeddings),) = load_file(file).items()
        assert (token, embeddings.shape) == (f"<{name}>", (2, 32))
        stock.load_textual_inversion(str(file))
        theirs = show(stock, prompt=f"a photo of a {token} tree")
        acting = dict(emotion=emotion, emotion_spread=0.0, emotion_strength=1.0)
        expected = show(ours, prompt="a photo of a <emotion> tree", **acting)
        assert np.allclose(theirs, expected, atol=1e-5)
        assert abs(expected - show(ours, prompt="a photo of a tree")).max() > 1e-3


def test_what_is_no_generator_is_told_and_nothing_written(tmp_path):
    with pytest.raises(UserError, match="no generator there"):
        main(load([f"run={tmp_path / 'run'}", f"generate.generator={tmp_path}/nowhere"]))
    assert not (tmp_path / "run").exists()
