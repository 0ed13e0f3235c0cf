"""Which round's generator is the best, when the rounds end, what an update is made of, and what the reward tells apart."""

import shutil
from types import SimpleNamespace

import pytest
import torch
from mapper_runs import arguments
from safetensors.torch import load_file, save_file

import loop.scores
from config.errors import UserError
from config.loading import load
from loop.apart import seen_by
from loop.loop_items import LoopItems
from loop.main import train_rounds
from loop.scores import ContentScore, check_network
from runtime.files import read_json, write_json
from runtime.hub import network_digest, weights_digest
from training.choosing import Condition


class ThreeRounds:
    """Stands in for Rounds: the gate finds the images of each generator as likely as `gates` says, and a little noise."""

    def __init__(self, **gates: float):
        self.settings, self.start, self.gates, self.trained = load(["loop.rounds=3"]), "start", gates, []
        self.noise = torch.randn(64, generator=torch.Generator().manual_seed(0))

    def held_out(self, generator):
        return self.gates[generator] + 0.1 * self.noise

    def round(self, number, generator):
        self.trained.append(generator)
        return f"round_{number}", {}


@pytest.mark.parametrize(
    ("gates", "best", "trained_from"),
    [
        ({"round_1": 1.0, "round_2": 3.0, "round_3": 2.9}, ("round_2", 2), ["start", "round_1", "round_2"]),
        ({"round_1": 1.0, "round_2": -5.0}, ("round_1", 1), ["start", "round_1"]),
        ({"round_1": -5.0}, ("start", 0), ["start"]),
    ],
)
def test_the_best_round_is_the_gates_and_rounds_end_where_images_get_worse(gates, best, trained_from, monkeypatch):
    rounds = ThreeRounds(start=0.0, **gates)
    if "round_3" in gates:  # -0.1 of all images alike would be a fall
        rounds.held_out = lambda generator: rounds.gates[generator] + rounds.noise.roll(int(generator[-1], 36))
    *found, history = train_rounds(rounds)
    assert (tuple(found), rounds.trained) == (best, trained_from)
    assert [each["round"] for each in history] == list(range(len(trained_from) + 1))


def test_an_item_is_generated_with_its_pull_or_real_with_the_weight_of_the_data():
    class Real(SimpleNamespace):
        def timestep(self, epoch, position):
            return epoch + position / 100

        def __getitem__(self, key):
            return {"key": key}

    real, options = Real(seed=0, content_share=0.5, images=range(6)), load(["loop.data_weight=0.3"]).loop
    samples = {"latents": torch.arange(3.0).view(3, 1, 1, 1), "vectors": torch.eye(3), "emotions": torch.tensor([4, 5, 6])}
    items = LoopItems(real, samples, ["a", "b", "c"], torch.tensor([0.5, -1.0, 0.0]), options, 1)
    found = items[1, 3, 5]
    assert (found["key"], found["pull"].item(), found["scale"].item()) == ((1, 3, 2), 1.0, pytest.approx(0.6))
    made = items[1, 4, 1]
    assert (made["pull"].item(), made["scale"].item(), made["prompt"], made["emotions"].item()) == (-1.0, 2.0, "b", 5)
    assert (made["latents"].item(), made["vectors"].tolist()) == (1.0, [0.0, 1.0, 0.0])
    assert made["timesteps"].item() == 1.02
    assert made["noise"].item() != items[1, 2, 1]["noise"].item()


def test_a_network_is_known_again_in_other_files(tmp_path, loop_settings):
    judge = loop_settings["loop.judge"]
    copy = shutil.copytree(judge, tmp_path / "copy")
    config, weights = copy / "config.json", copy / "model.safetensors"
    write_json(config, read_json(config) | {"a": "note"})
    tensors = load_file(weights)
    save_file({name: tensor.float() for name, tensor in reversed(tensors.items())}, weights, {"format": "pt", "a": "note"})
    assert weights_digest(str(copy)) != weights_digest(str(judge))
    assert network_digest(str(copy)) == network_digest(str(judge))
    name = next(iter(tensors))
    save_file(tensors | {name: tensors[name] + 1}, weights)
    assert network_digest(str(copy)) != network_digest(str(judge))
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"copy: model\.safetensors is damaged"):
        network_digest(str(copy))


def test_what_an_earlier_loop_trained_by_is_kept_beside_what_this_one_does(loop_settings, loop_run):
    run = loop_run()
    settings, file = load(arguments(loop_settings, run=run)), run / "generator/generator.json"
    write_json(file, read_json(file) | {"trained_with": {"the loop's reward": "1a2b", "models.clip": "3c4d"}})
    found = seen_by(settings, run / "generator")
    assert {"1a2b", "3c4d"} < set(found.values())
    assert found["the loop's reward"] == network_digest(str(run / "understanding/model"))


def test_an_encoder_that_is_left_over_is_no_gate(loop_settings, loop_run):
    run = loop_run()
    settings = load(arguments(loop_settings, run=run))
    check_network(settings, "encoder")
    (run / "training/emotion_space/recipe.json").unlink()
    with pytest.raises(UserError, match=r"encoder: is not there; training/main\.py"):
        check_network(settings, "encoder")


def test_a_content_has_the_generators_contents_for_rivals_and_itself(monkeypatch):
    monkeypatch.setattr(loop.scores, "clip_network", lambda clip: None)
    monkeypatch.setattr(loop.scores, "clip_texts", lambda clip, texts: texts)
    score = ContentScore("clip", ["bag", "tree"], 8, ["tree", "owl", "dragon"])
    assert score.texts[2:] == ["a photo of a dragon", "a photo of a owl"]
    logits = torch.tensor([[1.0, 2.0, 3.0, 9.0]]).repeat(4, 1).log()
    asked = [Condition("awe", "", content) for content in ("tree", "dragon", None, "owl")]
    assert torch.allclose(score.of_contents(logits, asked).exp(), torch.tensor([2 / 3, 3 / 6, 1.0, 9 / 12]))
