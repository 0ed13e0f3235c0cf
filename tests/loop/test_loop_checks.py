"""What the loop refuses before it trains or makes anything, and what it takes over from the generator that it trains."""

import shutil
from types import SimpleNamespace

import pytest
import torch
from accelerate.state import AcceleratorState
from mapper_runs import arguments

import loop.inference
import loop.main
from config.errors import UserError
from config.loading import load
from loop.loop_checks import check_space
from loop.loop_items import LoopItems
from loop.rounds import Rounds
from loop.scores import network_key
from runtime.files import read_json, write_json
from training.emotion_space import EmotionSpace
from training.mapper_data import MapperItems


class Reached(Exception):
    """The first round begins."""


@pytest.fixture
def begin(loop_settings, monkeypatch):
    """Return a function that runs loop/main.py up to its first round, which raises Reached."""

    def rounds(*given):
        raise Reached

    monkeypatch.setattr(loop.main, "train_rounds", rounds)

    def main(run, **changed) -> None:
        AcceleratorState._reset_state(reset_partial_state=True)  # else the first run's precision is that of all
        loop.main.main(load(arguments(loop_settings, run=run, **changed)))

    return main


def about(run, **changed) -> None:
    """Change what a run's generator says of itself."""
    file = run / "generator" / "generator.json"
    write_json(file, read_json(file) | changed)


def test_an_emotion_space_of_other_settings_is_refused_and_not_made_anew(begin, loop_run):
    run = loop_run()
    vectors = run / "training" / "emotion_space" / "vectors.safetensors"
    before = vectors.stat().st_mtime_ns
    told = r"emotion_space: was made otherwise \(emotion_space\.epochs 1 → 2; .*\); run training/main\.py again"
    with pytest.raises(UserError, match=told):
        begin(run, emotion_space__epochs=2)
    assert vectors.stat().st_mtime_ns == before
    (vectors.parent / "recipe.json").unlink()
    with pytest.raises(UserError, match=r"encoder: is not there; training/main\.py, .* makes it"):
        begin(run)


def test_an_emotion_space_of_another_precision_is_taken(begin, loop_run):
    with pytest.raises(Reached):
        begin(loop_run(), mapper__mixed_precision="bf16")


def test_a_generator_of_another_emotion_space_is_refused(begin, loop_run):
    run = loop_run()
    place = run / "generator" / "emotion_space"
    space = EmotionSpace.from_pretrained(place)
    check_space(run / "generator", space)
    mean, factor = space.state_dict().values()
    EmotionSpace.of(mean + 1, factor, space.emotions).save_pretrained(place)
    with pytest.raises(UserError, match=r"generator: was trained with another emotion space than the run has now"):
        begin(run)


def test_another_resolution_is_refused_and_rounds_have_the_generators_own(begin, loop_settings, loop_run, tmp_path):
    run, of_loop = loop_run(), {"loop__reward": "encoder"}
    about(run, resolution=64)
    with pytest.raises(UserError, match=r"models\.resolution: .* at 64 pixels; set models\.resolution=64"):
        begin(run, check="true")
    begin(run, check="true", models__resolution=64)
    inputs = SimpleNamespace(accelerator=SimpleNamespace(device=torch.device("cpu")))
    rounds = Rounds(load(arguments(loop_settings, run=run, **of_loop)), tmp_path, run / "generator", inputs)
    assert rounds.sample(run / "generator", "a round", 1, 2).tensors["latents"].shape == (2, 4, 16, 16)
    about(run, resolution=32)
    assert rounds.sample(run / "generator", "a round", 1, 2).tensors["latents"].shape == (2, 4, 8, 8)


def test_contents_cannot_be_rewarded_where_the_generator_knows_none(begin, loop_settings, loop_run):
    run, told = loop_run(), r"^loop\.content_weight: .* knows no contents that it could reward; set loop\.content_weight=0$"
    begin(run, check="true", loop__content_weight=0.2)
    about(run, contents={})
    with pytest.raises(UserError, match=told):
        begin(run, check="true", loop__content_weight=0.2)
    given = {"generate.emotions": "awe", "generate.images": 1, "generate.prompts": "<emotion>", "generate.mixes": "[]"}
    with pytest.raises(UserError, match=told):
        loop.inference.main(load(arguments(loop_settings | given, run=run, loop__content_weight=0.2)))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda place: (place / "generator.json").write_text("{"), r"generator\.json: cannot be read"),
        (lambda place: (place / "generator.json").write_text("[" * 10**5), r"generator\.json: cannot be read"),
        (lambda place: about(place.parent, contents={"awe": 3}), r"what training/main\.py wrote \(contents\.awe: "),
        (lambda place: about(place.parent, emotions="awe"), r"what training/main\.py wrote \(emotions: "),
        (lambda place: about(place.parent, base=str(place / "gone")), r"generator\.json: base: .*gone' is neither"),
        (lambda place: about(place.parent, lora_rank=4), r"generator: has no unet_lora/, and was trained with a LoRA"),
        (lambda place: shutil.rmtree(place / "mapper"), r"generator: has no mapper/, so it is no whole generator"),
        (lambda place: (place / "mapper/config.json").write_text("{"), r"generator: .*mapper' .*config\.json is damaged"),
        (lambda place: next(place.glob("emotion_space/*.safetensors")).write_bytes(b""), r"emotion_space' .* is damaged"),
    ],
)
def test_a_generator_that_is_not_whole_is_one_line_before_anything_else(begin, loop_run, damage, told):
    run = loop_run()
    damage(run / "generator")
    with pytest.raises(UserError, match=told) as error:
        begin(run, check="true")
    assert "\n" not in str(error.value)


def test_an_epoch_takes_other_real_rows_than_the_one_before(loop_settings):
    real = MapperItems.__new__(MapperItems)
    real.seed, real.content_share, real.images, real.emotions = 0, 0.5, range(6), torch.arange(6)

    def of_epochs(generated: int) -> list[list[int]]:
        items = LoopItems(real, {}, ["<emotion>"] * generated, torch.ones(generated), load([]).loop, 1)
        rows = [items.order(epoch).view(-1, 2) for epoch in range(8)]
        assert all(sorted(each[:, 0].tolist()) == list(range(generated)) for each in rows)
        return [(each[:, 1] - generated).tolist() for each in rows]

    few = of_epochs(2)
    assert len({tuple(sorted(rows)) for rows in few}) > 1
    assert {row for rows in few for row in rows} == set(range(6))
    many = of_epochs(14)  # more than twice as many as there are real rows
    assert all(min(rows.count(row) for row in range(6)) == 2 for rows in many)
    assert len({tuple(rows) for rows in many}) == len(many)


def test_the_key_of_a_network_holds_what_its_numbers_depend_on(loop_settings, loop_run, base_and_adapter):
    run, (base, adapter) = loop_run(), base_and_adapter

    def key(name: str = "understanding", **changed) -> str:
        return network_key(load(arguments(loop_settings, run=run, **changed)), name)

    whole, taught = key(), key(loop__understanding=adapter)
    changed = [{"understanding__max_pixels": 2048}, {"understanding__dtype": "bfloat16"}, {"answers__by": "letter"}]
    keys = [whole, taught, *(key(**each) for each in changed)]
    assert len(set(keys)) == len(keys)
    assert whole == key(understanding__lora_rank=2)
    assert key("encoder") == key("encoder", understanding__max_pixels=2048)
    weights = base / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert key(loop__understanding=adapter) != taught
