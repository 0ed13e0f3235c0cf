import math
import os
import shutil
import subprocess
import sys
from contextlib import suppress

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import Dataset

from config.errors import UserError
from config.generation_settings import EmotionSpace, Models
from config.loading import dump
from config.section import ROOT
from config.settings import Settings
from config.taxonomy import DEFAULT, read_taxonomy
from runtime.metrics import MetricsFile, read_metrics
from training import encoder_training
from training.accelerator import start_accelerator
from training.emotion_encoder import EmotionEncoder, encode_images, new_encoder
from training.encoder_training import best_epoch, fit_encoder, supervised_contrastive

SIZE = 32
EMOTIONS = read_taxonomy(DEFAULT).emotions


class Coloured(Dataset):
    """Noisy images whose colour and brightness tell the emotion; mirror images differ."""

    def __init__(self, emotions):
        generator = torch.Generator().manual_seed(1)
        self.pixels = torch.randint(0, 80, (len(emotions), 3, SIZE, SIZE), generator=generator, dtype=torch.uint8)
        for image, emotion in zip(self.pixels, emotions, strict=True):
            label = EMOTIONS.index(emotion)
            for channel in range(3):
                image[channel, :, : SIZE // 2] += 150 * (label >> channel & 1)

    def __len__(self):
        return len(self.pixels)

    def __getitem__(self, row):
        return {"pixels": self.pixels[row]}


@pytest.fixture
def accelerator():
    return start_accelerator()


@pytest.fixture(scope="session")
def index():
    emotions = [EMOTIONS[place % 8] for place in range(72)]
    splits = ["train"] * 48 + ["val"] * 16 + ["test"] * 8
    ids = [f"{emotion}_{place:05d}" for place, emotion in enumerate(emotions)]
    return pd.DataFrame({"image_id": ids, "emotion": emotions, "split": splits})


@pytest.fixture
def pixels(index):
    return Coloured(index["emotion"])


@pytest.fixture
def make(models):
    """Return a function that makes settings of the emotion space, over the tiny ResNet unless told otherwise."""

    def settings(backbone=models / "backbone", **changes):
        space = {"dimension": 12, "image_size": SIZE, "epochs": 3, "batch_size": 8, "learning_rate": 3e-3} | changes
        return Settings(models=Models(backbone=str(backbone)), emotion_space=EmotionSpace(**space))

    return settings


def new(settings, emotions=8):
    return new_encoder(settings.models.backbone, settings.emotion_space, emotions, settings.seed)


def fit(settings, index, pixels, folder, accelerator):
    folder.mkdir(exist_ok=True)
    space, made_from = settings.emotion_space, {"data": "of this test"}
    return fit_encoder(new(settings), index, pixels, EMOTIONS, space, settings.seed, 0, folder, accelerator, made_from)


def same(one, other):
    return all(torch.equal(weight, other.state_dict()[name]) for name, weight in one.state_dict().items())


@pytest.fixture(scope="session")
def backbones(models, tmp_path_factory):
    from transformers import Dinov2Config, Dinov2Model

    folder = tmp_path_factory.mktemp("backbones")
    size = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    torch.manual_seed(0)  # not whatever the tests before have left
    Dinov2Model(Dinov2Config(image_size=SIZE, patch_size=8, **size)).save_pretrained(folder / "dinov2")
    return {"resnet": models / "backbone", "clip": models / "clip", "dinov2": folder / "dinov2"}


@pytest.mark.parametrize("name", ["resnet", "clip", "dinov2"])
def test_any_vision_backbone_encodes_and_reloads_without_the_original(name, backbones, make, pixels, tmp_path):
    backbone = shutil.copytree(backbones[name], tmp_path / "original")
    (backbone / "preprocessor_config.json").write_text('{"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.6, 0.7]}')
    encoder = new(make(backbone)).eval()
    images = pixels.pixels[:5]
    vectors, logits = encoder(images)
    assert vectors.shape == (5, 12)
    assert logits.shape == (5, 8)
    assert vectors.std(0).min() > 0
    encoder.save_pretrained(tmp_path / "saved")
    shutil.rmtree(backbone)
    again = EmotionEncoder.from_pretrained(tmp_path / "saved")
    assert torch.equal(again(images)[1], logits)
    # Normalised by the backbone's own preprocessor: its mean colour is seen as zero.
    grey = again.mean.expand(3, SIZE, SIZE)
    assert grey[:, 0, 0].tolist() == pytest.approx([0.1, 0.2, 0.3])


@pytest.mark.parametrize("name", ["resnet", "clip", "dinov2"])
def test_it_learns_the_emotions(name, backbones, make, index, pixels, tmp_path, accelerator):
    settings = make(backbones[name], epochs=12, dropout=0.1)
    encoder = fit(settings, index, pixels, tmp_path / "space", accelerator)
    metrics = read_metrics(tmp_path / "space")
    assert len(metrics) == 12
    assert metrics[-1]["train_loss"] < metrics[0]["train_loss"]
    assert best_epoch(metrics)["val_accuracy"] > 0.4
    test = np.flatnonzero(index["split"] == "test")
    _, probabilities = encode_images(encoder, pixels, test, accelerator, flip=False)
    assert (probabilities.argmax(1) == torch.arange(8)).double().mean() > 0.4


def test_the_best_epoch_by_val_is_kept(make, index, pixels, tmp_path, accelerator):
    encoder = fit(make(epochs=6, learning_rate=0.03), index, pixels, tmp_path / "space", accelerator)
    metrics = read_metrics(tmp_path / "space")
    best = max(epoch["val_accuracy"] for epoch in metrics)
    val = np.flatnonzero(index["split"] == "val")
    _, probabilities = encode_images(encoder, pixels, val, accelerator, flip=False)
    accuracy = (probabilities.argmax(1) == torch.arange(16) % 8).double().mean().item()
    assert accuracy == best
    assert best_epoch(metrics)["val_accuracy"] == best


def test_of_equal_accuracies_the_lower_loss_wins():
    results = ((0.5, 2), (0.6, 1.5), (0.6, 1.2), (0.6, 1.4))
    epochs = [{"val_accuracy": accuracy, "val_loss": loss} for accuracy, loss in results]
    assert best_epoch(epochs) is epochs[2]


def test_an_epoch_without_a_finite_val_loss_is_never_the_best(tmp_path):
    """The file of metrics holds no such number, so its line has no val_loss."""
    file = MetricsFile(tmp_path, by="epoch")
    diverged = {"val_accuracy": 0.9, "val_loss": math.nan}
    file.write(1, diverged)
    for metrics in ([diverged], read_metrics(tmp_path)):
        with pytest.raises(UserError, match=r"^emotion_space\.learning_rate: .*; set a lower one$"):
            best_epoch(metrics)
    file.write(2, {"val_accuracy": 0.2, "val_loss": 2.0})
    assert best_epoch(read_metrics(tmp_path))["epoch"] == 2


def test_the_test_split_has_no_influence(make, index, pixels, tmp_path, accelerator):
    one = fit(make(epochs=1), index, pixels, tmp_path / "one", accelerator)
    pixels.pixels[64:] = 0
    other = fit(make(epochs=1), index, pixels, tmp_path / "other", accelerator)
    assert same(one, other)


@pytest.mark.parametrize("killed_after", [1, 2])
def test_a_killed_training_goes_on_to_the_same_weights(
    make, index, pixels, tmp_path, accelerator, monkeypatch, killed_after
):
    settings = make(contrastive_weight=0.1)
    whole = fit(settings, index, pixels, tmp_path / "whole", accelerator)
    save, order = encoder_training._save, encoder_training._order

    def killed(folder, state, epochs):
        if epochs > killed_after:  # the line of an epoch is written, and its checkpoint is not
            raise KeyboardInterrupt
        save(folder, state, epochs)

    monkeypatch.setattr(encoder_training, "_save", killed)
    with pytest.raises(KeyboardInterrupt):
        fit(settings, index, pixels, tmp_path / "killed", accelerator)
    monkeypatch.undo()
    torch.manual_seed(99)  # whatever random state the process is in
    epochs = []
    monkeypatch.setattr(encoder_training, "_order", lambda *given: (epochs.append(given[-1]), order(*given))[1])
    resumed = fit(settings, index, pixels, tmp_path / "killed", accelerator)
    assert epochs == list(range(killed_after, 3))
    assert same(whole, resumed)
    assert read_metrics(tmp_path / "killed") == read_metrics(tmp_path / "whole")


@pytest.mark.parametrize("batch", [1, 9, 12])  # of 6 in each of 3 epochs
def test_sigterm_saves_the_batch_and_the_same_command_ends_with_the_same_weights(
    make, index, pixels, tmp_path, accelerator, monkeypatch, capfd, sigterm, batch
):
    settings, schedule = make(contrastive_weight=0.1), encoder_training._schedule
    whole = fit(settings, index, pixels, tmp_path / "whole", accelerator)

    def terminated(step, steps):
        if step == batch - 1:
            sigterm()
        return schedule(step, steps)

    monkeypatch.setattr(encoder_training, "_schedule", terminated)
    with pytest.raises(SystemExit) as ended:
        fit(settings, index, pixels, tmp_path / "ended", accelerator)
    assert ended.value.code == 143
    told = f"after batch {(batch - 1) % 6 + 1} of 6 in epoch {(batch - 1) // 6 + 1}"
    assert f"terminated: the encoder's checkpoint was saved {told}" in capfd.readouterr().err
    steps = []
    monkeypatch.setattr(encoder_training, "_schedule", lambda step, steps_: (steps.append(step), schedule(step, steps_))[1])
    resumed = fit(settings, index, pixels, tmp_path / "ended", accelerator)
    assert steps == list(range(batch, 18))
    assert same(whole, resumed)
    assert read_metrics(tmp_path / "ended") == read_metrics(tmp_path / "whole")


@pytest.mark.parametrize("place", ["checkpoint.pt", "encoder/model.safetensors"])
@pytest.mark.parametrize("damage", ["cut off", "flipped", "empty"])
def test_what_is_damaged_is_trained_anew(make, index, pixels, tmp_path, accelerator, monkeypatch, caplog, place, damage):
    settings, save = make(epochs=2), encoder_training._save

    def killed(folder, state, epochs):
        save(folder, state, epochs)
        if place == "checkpoint.pt":
            raise KeyboardInterrupt

    monkeypatch.setattr(encoder_training, "_save", killed)
    with suppress(KeyboardInterrupt):
        fit(settings, index, pixels, tmp_path / "space", accelerator)
    file = tmp_path / "space" / place
    content = file.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    file.write_bytes({"cut off": content[:middle], "flipped": flipped, "empty": b""}[damage])
    monkeypatch.undo()
    monkeypatch.setattr(encoder_training.log, "propagate", True)
    with caplog.at_level("INFO", "emotion"):
        again = fit(settings, index, pixels, tmp_path / "space", accelerator)
    assert "emotion encoder: its file is cut off or damaged, so it is trained again" in caplog.messages
    assert same(again, fit(settings, index, pixels, tmp_path / "fresh", accelerator))


def test_an_epoch_shows_its_progress(make, index, pixels, tmp_path, accelerator, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    fit(make(epochs=2), index, pixels, tmp_path / "space", accelerator)
    shown = capsys.readouterr().err
    assert [f"emotion encoder, epoch {epoch}: " in shown for epoch in (1, 2, 3)] == [True, True, False]
    assert "/6 [" in shown


def test_a_checkpoint_of_other_settings_is_not_resumed(make, index, pixels, tmp_path, accelerator, caplog, monkeypatch):
    fit(make(epochs=1), index, pixels, tmp_path / "space", accelerator)
    fresh = fit(make(epochs=1, batch_size=12), index, pixels, tmp_path / "fresh", accelerator)
    monkeypatch.setattr(encoder_training.log, "propagate", True)
    with caplog.at_level("INFO", "emotion"):
        again = fit(make(epochs=1, batch_size=12), index, pixels, tmp_path / "space", accelerator)
    assert same(fresh, again)
    assert "emotion encoder: batch of all processes 8 → 12; the data are the same" in caplog.messages
    assert not (tmp_path / "space/checkpoint.pt").exists()  # whole, nothing is left to resume


def test_the_head_has_an_output_for_each_emotion(make, pixels):
    vectors, logits = new(make(), emotions=6)(pixels.pixels[:5])
    assert vectors.shape == (5, 12)
    assert logits.shape == (5, 6)


def test_vectors_come_in_the_order_of_rows_and_flips_are_of_the_image(make, pixels, accelerator):
    encoder = new(make()).eval()
    rows = np.array([5, 3, 3, 60, 0])
    vectors, probabilities = encode_images(encoder, pixels, rows, accelerator, flip=False)
    flipped, _ = encode_images(encoder, pixels, rows, accelerator, flip=True)
    with torch.no_grad():
        wanted, logits = encoder(pixels.pixels[rows])
        mirrored, _ = encoder(pixels.pixels[rows].flip(-1))
    torch.testing.assert_close(vectors, wanted)
    torch.testing.assert_close(probabilities, logits.softmax(1))
    torch.testing.assert_close(flipped, mirrored)
    assert not torch.allclose(vectors, flipped)


def test_batch_norm_keeps_its_pretrained_statistics(make, index, pixels, tmp_path, accelerator):
    before = {name: value.clone() for name, value in new(make()).named_buffers() if "running" in name}
    after = dict(fit(make(epochs=1), index, pixels, tmp_path / "space", accelerator).named_buffers())
    assert before
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_supervised_contrastive_is_the_papers():
    vectors, labels = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 0, 1, 1, 1, 2])
    normal = vectors / vectors.norm(dim=1, keepdim=True)
    losses = []
    for anchor in range(5):  # the sixth has no positive
        others = [place for place in range(6) if place != anchor]
        total = sum(math.exp(normal[anchor] @ normal[other] / 0.3) for other in others)
        positives = [place for place in others if labels[place] == labels[anchor]]
        shares = [math.log(math.exp(normal[anchor] @ normal[place] / 0.3) / total) for place in positives]
        losses.append(-sum(shares) / len(shares))
    assert supervised_contrastive(vectors, labels, 0.3).item() == pytest.approx(sum(losses) / 5, rel=1e-5)
    assert supervised_contrastive(vectors, torch.arange(6), 0.3) == 0


def test_a_backbone_that_does_not_fit_gets_one_line(make, models, tmp_path):
    for settings, message in (
        (make(models / "clip", image_size=40), "image_size 40: .*40"),
        (make(models / "stable_diffusion/text_encoder"), "gives no features of images"),
        (make(tmp_path), "models.backbone: .* is neither a folder with such a model nor a name on the Hub"),
    ):
        with pytest.raises(UserError, match=message) as error:
            new(settings)
        assert "\n" not in str(error.value)


def test_two_processes_learn_what_one_with_twice_the_batch_does(
    make, backbones, index, pixels, python, tmp_path, accelerator
):
    changes = {"epochs": 2, "dropout": 0.0, "contrastive_weight": 0.5, "learning_rate": 1e-3}
    alone = fit(make(backbones["dinov2"], batch_size=12, **changes), index, pixels, tmp_path / "alone", accelerator)
    (tmp_path / "settings.yaml").write_text(dump(make(backbones["dinov2"], batch_size=6, **changes)))
    index.to_parquet(tmp_path / "index.parquet")
    torch.save(pixels.pixels, tmp_path / "pixels.pt")
    launch = [python, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launch, str(ROOT / "tests/training/two_processes_encoder.py"), str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=200)
    assert result.returncode == 0, result.stderr[-3000:]
    assert (tmp_path / "processes.txt").read_text() == "2 MULTI_CPU"
    together = EmotionEncoder.from_pretrained(tmp_path / "together/encoder")
    for name, weight in alone.state_dict().items():
        torch.testing.assert_close(together.state_dict()[name], weight, rtol=1e-3, atol=2e-4, msg=name)
    one, two = read_metrics(tmp_path / "alone"), read_metrics(tmp_path / "together")
    assert [epoch["train_loss"] for epoch in two] == pytest.approx([epoch["train_loss"] for epoch in one], rel=1e-3)
    # Rows shared out over processes come back in order, and so do the shards of a cache.
    rows = np.arange(0, 71)
    wanted = encode_images(together, pixels, rows, accelerator, flip=True)
    for encoded, expected in zip(torch.load(tmp_path / "encoded.pt", weights_only=True), wanted, strict=True):
        torch.testing.assert_close(encoded, expected, rtol=1e-4, atol=1e-5)
    cached = torch.load(tmp_path / "cached.pt", weights_only=True)
    assert torch.equal(cached, pixels.pixels)
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) == 8
