import json

import numpy as np
import pandas as pd
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image
from safetensors.torch import load_file

from config.data_settings import Data, Machine
from config.errors import UserError
from config.generation_settings import EmotionSpace, Models
from config.settings import Settings
from config.taxonomy import DEFAULT, read_taxonomy
from emoset.confusability import read_confusability
from emoset.reading import read_emoset
from training import emotion_statistics
from training.accelerator import start_accelerator
from training.caches import pixels_of
from training.emotion_encoder import EmotionEncoder
from training.emotion_statistics import build_emotion_space, emotion_confidence, emotion_gaussians, plot_emotion_space

TAXONOMY = read_taxonomy(DEFAULT)
EMOTIONS = TAXONOMY.emotions


def clouds(images=400, dimension=5):
    """Return vectors around eight corners, with a known covariance, and their labels."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(8).repeat_interleave(images)
    mix = torch.randn(dimension, dimension, generator=generator)
    corners = 4 * torch.randn(8, dimension, generator=generator)
    return corners[labels] + torch.randn(len(labels), dimension, generator=generator) @ mix.T, labels, corners, mix @ mix.T


def test_gaussians_find_means_and_spreads():
    vectors, labels, corners, covariance = clouds(4000)
    mean, std = emotion_gaussians(vectors, labels, EMOTIONS, "diagonal", 0.1)
    torch.testing.assert_close(mean, corners, atol=0.15, rtol=0)
    torch.testing.assert_close(std, covariance.diagonal().sqrt().expand(8, -1), rtol=0.05, atol=0)
    same_mean, factor = emotion_gaussians(vectors, labels, EMOTIONS, "full", 0.25)
    assert torch.equal(mean, same_mean)
    assert torch.equal(factor, factor.tril())
    shrunk = 0.75 * covariance + 0.25 * covariance.diagonal().diag()
    torch.testing.assert_close(factor @ factor.mT, shrunk.expand(8, -1, -1), atol=0.06 * shrunk.max().item(), rtol=0)
    _, alone = emotion_gaussians(vectors, labels, EMOTIONS, "full", 1.0)
    torch.testing.assert_close(alone.diagonal(dim1=1, dim2=2), std, rtol=1e-4, atol=0)


def test_a_full_covariance_of_fewer_images_than_dimensions_still_has_a_factor():
    vectors, labels, *_ = clouds(3, 20)
    for shrinkage in (0.0, 0.1):
        assert emotion_gaussians(vectors, labels, EMOTIONS, "full", shrinkage)[1].isfinite().all()


def test_an_emotion_without_images_is_named():
    vectors, labels, *_ = clouds(4)
    with pytest.raises(UserError, match="fewer than two images of awe, sadness"):
        emotion_gaussians(vectors, labels.where((labels != 1) & (labels != 7), 0), EMOTIONS, "diagonal", 0.1)


def test_confidence_is_the_mean_over_training_images_of_an_attribute():
    index = pd.DataFrame(
        {
            "image_id": list("abcd"),
            "split": ["train", "train", "val", "train"],
            "object": [["tree", "dog"], ["tree"], ["tree"], None],
            "scene": [None, "park", "park", "park"],
            "facial_expression": None,
            "human_action": None,
        }
    )
    probabilities = torch.rand(4, 8, generator=torch.Generator().manual_seed(0)).softmax(1)
    table = emotion_confidence(index, probabilities, EMOTIONS, ["object", "scene"]).set_index(["kind", "attribute"])
    assert list(table.columns) == ["images", *EMOTIONS]
    assert table["images"].to_dict() == {("object", "dog"): 1, ("object", "tree"): 2, ("scene", "park"): 2}
    for attribute, rows in {("object", "dog"): [0], ("object", "tree"): [0, 1], ("scene", "park"): [1, 3]}.items():
        wanted = probabilities[rows].mean(0).tolist()
        assert table.loc[attribute, list(EMOTIONS)].tolist() == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_the_plot_shows_all_eight(tmp_path, covariance):
    vectors, labels, *_ = clouds(50)
    gaussians = emotion_gaussians(vectors, labels, EMOTIONS, covariance, 0.1)
    plot_emotion_space(vectors, labels, *gaussians, TAXONOMY, tmp_path / "space.png")
    with Image.open(tmp_path / "space.png") as picture:
        assert picture.width > 800
        colours = {colour for _, colour in picture.convert("RGB").getcolors(10**6)}
    for colour in TAXONOMY.colours:
        assert tuple(bytes.fromhex(colour[1:])) in colours


@pytest.fixture
def build(drawn, models, tmp_path):
    """Give a function that runs the stage on the drawn EmoSet, everything it writes going to tmp_path."""
    emoset = read_emoset(Data(emoset=drawn, cache=tmp_path), tmp_path, 2)
    index = emoset.index[emoset.index["split"] != "test"].reset_index(drop=True)

    def run(precision="no", **changes):
        space = {"dimension": 12, "image_size": 32, "epochs": 2, "learning_rate": 3e-3} | changes
        settings = Settings(
            data=Data(emoset=drawn, cache=tmp_path / "cache"),
            models=Models(backbone=str(models / "backbone")),
            emotion_space=EmotionSpace(**space),
            machine=Machine(processes=2, loaders=0),
        )
        AcceleratorState._reset_state()  # else the first precision is that of all
        accelerator = start_accelerator(precision)
        sections = settings.data, settings.caches, settings.machine
        pixels = pixels_of(index, *sections, 32, None, emoset.fingerprint)
        return build_emotion_space(settings, index, pixels, tmp_path / "space", accelerator, emoset.fingerprint)

    run.index = index
    yield run
    AcceleratorState._reset_state()


def test_the_stage_leaves_a_whole_emotion_space(build, tmp_path):
    result = build()
    folder, index = tmp_path / "space", build.index
    assert {path.name for path in folder.iterdir()} == {
        "encoder", "encoder_recipe.json", "metrics.jsonl", "vectors.safetensors", "gaussians.safetensors",
        "emotion_confidence.csv", "confusability.json", "emotion_space.png", "summary.json", "recipe.json", "files.json",
    }  # fmt: skip
    assert result.ids == index["image_id"].tolist()
    assert result.vectors.shape == (len(index), 2, 12)
    train = torch.tensor((index["split"] == "train").to_numpy())
    labels = torch.tensor(index["emotion"].map(EMOTIONS.index).to_numpy())
    mean, std = emotion_gaussians(result.vectors[train, 0], labels[train], EMOTIONS, "diagonal", 0.1)
    assert torch.equal(result.mean, mean)
    assert torch.equal(result.factor, std)
    assert result.summary["val_images"] == (index["split"] == "val").sum()
    assert result.summary["train_images"] == train.sum()
    assert result.summary["best_epoch"] in (1, 2)
    assert np.allclose(result.confidence[list(EMOTIONS)].sum(axis=1), 1, atol=1e-4)
    assert read_confusability(folder / "confusability.json", EMOTIONS).shape == (8, 8)
    # The saved encoder gives the saved vectors.
    encoder = EmotionEncoder.from_pretrained(folder / "encoder")
    pixels = load_file(next((tmp_path / "cache").glob("pixels-32-*/00000.safetensors")))["pixels"][:3]
    with torch.no_grad():
        torch.testing.assert_close(encoder(pixels)[0], result.vectors[:3, 0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(encoder(pixels.flip(-1))[0], result.vectors[:3, 1], rtol=1e-4, atol=1e-5)


def test_unchanged_it_is_only_read_and_changed_it_is_built_anew(build, tmp_path, monkeypatch):
    first = build()
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "space").rglob("*") if path.is_file()}
    with monkeypatch.context() as patch:
        patch.setattr(emotion_statistics, "fit_encoder", None)
        again = build()
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert torch.equal(again.vectors, first.vectors)
    assert again.summary == first.summary
    pd.testing.assert_frame_equal(again.confidence, first.confidence)
    assert build(covariance="full").factor.shape == (8, 12, 12)
    trained = tmp_path / "space/encoder/model.safetensors"
    assert trained.stat().st_mtime_ns == times[trained]  # other Gaussians need no other encoder
    assert build(epochs=1).summary["epochs"] == 1


def test_another_precision_trains_another_encoder(build, tmp_path):
    first = build(epochs=1)
    again = build("bf16", epochs=1)
    assert json.loads((tmp_path / "space/recipe.json").read_text())["inputs"]["precision"] == "bf16"
    assert not torch.equal(first.vectors, again.vectors)


def test_killed_while_it_writes_the_next_run_finishes_without_training_again(build, tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(emotion_statistics, "plot_emotion_space", killed)
    with pytest.raises(KeyboardInterrupt):
        build()
    monkeypatch.undo()
    before = (tmp_path / "space/encoder/model.safetensors").stat().st_mtime_ns
    assert build().summary["best_epoch"] in (1, 2)
    assert (tmp_path / "space/encoder/model.safetensors").stat().st_mtime_ns == before
    assert json.loads((tmp_path / "space/summary.json").read_text())["seed"] == 0


def test_a_damaged_file_is_made_again(build, tmp_path):
    first, folder = build(), tmp_path / "space"
    for number, name in enumerate(("emotion_confidence.csv", "vectors.safetensors", "emotion_space.png", "summary.json")):
        content = (folder / name).read_bytes()
        spoilt = bytearray(content)
        spoilt[-len(content) // 2] ^= 1
        (folder / name).unlink()  # what is read from it is mapped
        (folder / name).write_bytes(bytes(spoilt) if number % 2 else b"")
        again = build()
        assert (folder / name).read_bytes() == content
        assert torch.equal(again.vectors, first.vectors)
        pd.testing.assert_frame_equal(again.confidence, first.confidence)
