"""The tiny models know content and no emotions, and are small enough to be committed."""

import json
from pathlib import Path
from random import Random

import pytest

from config.section import ROOT
from demo.drawn.render import LIGHTS
from demo.drawn.world import EMOTIONS, TAXONOMY
from demo.making.captions import caption, draw_content

MODELS = ROOT / "demo" / "models"
SCENES_WITH_AN_EMOTIONS_NAME = ("amusement park",)


def test_captions_name_no_emotion():
    rng = Random(0)
    for _ in range(3000):
        text = caption(draw_content(rng), rng)
        for place in SCENES_WITH_AN_EMOTIONS_NAME:
            text = text.replace(place, "")
        assert not set(text.split()) & set(EMOTIONS), text


def test_captions_say_what_is_there():
    rng = Random(1)
    for _ in range(500):
        cues = draw_content(rng)
        text = caption(cues, rng, detail=1.0)
        assert cues.light in text
        for name in (cues.object, cues.scene):
            assert name is None or name.lower().replace("_", " ") in text


def test_content_and_light_are_drawn_apart():
    """So that a model of these captions learns nothing of which light an emotion's things are shown in."""
    rng, pairs = Random(2), {}
    for _ in range(40_000):
        cues = draw_content(rng)
        if cues.object:
            pairs[cues.object, cues.light] = pairs.get((cues.object, cues.light), 0) + 1
    counts = sorted(pairs.values())
    assert len(pairs) == 31 * len(LIGHTS)
    assert counts[-1] < 2 * counts[0]


def test_the_committed_models_are_small_and_half_precision():
    from safetensors import safe_open

    files = list(MODELS.rglob("*.safetensors"))
    base = [path for path in files if {"stable_diffusion", "clip"} & set(path.parts)]
    assert len(base) == 4
    assert sum(path.stat().st_size for path in base) <= 10e6
    for path in files:
        with safe_open(path, "pt") as file:
            floats = {str(file.get_slice(name).get_dtype()) for name in file.keys()} - {"I64"}  # noqa: SIM118
        assert floats <= {"F16"}, path


def test_stable_diffusions_text_encoder_is_clips_text_tower():
    import torch
    from transformers import CLIPModel, CLIPTextModel

    clip = CLIPModel.from_pretrained(MODELS / "clip")
    tower = CLIPTextModel.from_pretrained(MODELS / "stable_diffusion", subfolder="text_encoder")
    theirs = clip.text_model.state_dict()
    assert all(torch.equal(weight, theirs[name]) for name, weight in tower.state_dict().items())


def test_the_committed_autoencoder_repeats_drawings():
    """As demo/making/measure.py measures it, on fewer drawings: sharp, and in their colours."""
    from diffusers import AutoencoderKL

    from demo.drawn.render import render
    from demo.making.measure import reconstructions

    rng = Random(3)
    vae = AutoencoderKL.from_pretrained(MODELS / "stable_diffusion", subfolder="vae")
    _, decibels, hue = reconstructions(vae, [render(draw_content(rng), 64, rng) for _ in range(48)])
    assert decibels > 26
    assert hue < 8  # degrees


def test_drawings_whose_list_was_cut_off_are_drawn_again(tmp_path, monkeypatch):
    from demo.making.small_models import draw_images

    def killed(path, text, **options):
        path.write_bytes(text[:9].encode())
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        draw_images(tmp_path / "few", 2, 32, 0, True, processes=1)
    monkeypatch.undo()
    assert draw_images(tmp_path / "few", 2, 32, 0, True, processes=1).emotions == list(EMOTIONS[:2])


@pytest.mark.parametrize(("folder", "labels"), [("judge", list(EMOTIONS)), ("content", None), ("backbone", None)])
def test_the_classifiers_name_their_labels(folder, labels):
    names = json.loads((MODELS / folder / "config.json").read_text())["id2label"]
    names = [names[str(number)] for number in range(len(names))]
    assert names == labels if labels else {"object: Tree", "scene: park", "light: night"} <= set(names)


def test_an_emotion_is_no_content_of_the_base(tmp_path):
    """The tokenizer splits or knows the emotions' names, and the prompt of the baseline fits."""
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(MODELS / "clip")
    for emotion in EMOTIONS:
        ids = tokenizer(f"an image of {emotion}").input_ids
        assert len(ids) <= tokenizer.model_max_length
        assert tokenizer.decode(ids, skip_special_tokens=True) == f"an image of {emotion}"


def test_the_vision_language_model_is_small():
    assert sum(path.stat().st_size for path in (MODELS / "vision_language").iterdir()) <= 6e6


@pytest.mark.slow
def test_the_vision_language_model_knows_content_and_but_a_little_of_emotions(tmp_path, monkeypatch):
    """As demo/making/measure_vlm.py measures it, on fewer drawings. What it knows of emotions leaves room for GRPO."""
    import numpy as np
    import pandas as pd

    from config.loading import load
    from demo.making import measure_vlm
    from demo.making.small_models import SIZE, draw_images
    from understanding.asking import load_asker
    from understanding.kinds import multiple
    from understanding.questions import multiple_choice

    monkeypatch.setattr(measure_vlm, "CONTENTS", 200)
    settings = load(["understanding.dtype=float32", "answers.reasoning=false", "answers.tokens=24"])
    answers = settings.answers
    model = MODELS / "vision_language"
    asker = load_asker(settings.understanding, answers, TAXONOMY, model, "understanding.model")
    contents = draw_images(tmp_path / "new_contents", 200, SIZE, 0, False, processes=2)
    found = measure_vlm.content_figures(asker, contents, seed=0)
    assert np.mean(found["right, all"]) >= 0.9

    emotions = draw_images(tmp_path / "new_emotions", 200, SIZE, 0, True, processes=2)
    table = pd.DataFrame({"image_id": range(200), "emotion": emotions.emotions})
    questions = multiple_choice(table, TAXONOMY, answers, 0)
    said = [
        multiple.read(answer, (), TAXONOMY, answers) for (answer,) in measure_vlm.ask(asker, questions, emotions, range(200))
    ]
    assert 0.40 <= np.mean(np.array(said) == emotions.emotions) <= 0.55
