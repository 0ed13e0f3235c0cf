"""Each fault of the published metrics, kept in the column `emogen`, and what it does to a figure (docs/metrics.md)."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image, ImageOps

from config.evaluation_settings import Evaluate
from config.taxonomy import DEFAULT, read_taxonomy
from emoset.images import load_image
from emoset.reading import read_emoset
from evaluation import image_metrics, networks
from evaluation.features import feature_cache
from evaluation.measure_generation import measure_generation
from evaluation.perceptual import Lpips, load_lpips
from evaluation.published_networks import not_emogen

TAXONOMY = read_taxonomy(DEFAULT)
EMOTIONS = TAXONOMY.emotions


def lpips_of(settings) -> Lpips:
    return Lpips(
        settings.evaluate.lpips_network, settings.models.resolution, feature_cache(settings.data, settings.evaluate)
    )


def test_figures_by_emogen_s_networks_alone_have_no_warning():
    theirs = dict(
        judge="data/clip_emotion_classifier.pth",
        object_classifier="data/resnet50-0676ba61.pth",
        scene_classifier="data/resnet50_places365.pth.tar",
    )
    clip = "openai/clip-vit-large-patch14"
    assert not_emogen(Evaluate(**theirs), clip) == {}
    others = not_emogen(Evaluate(**theirs | {"object_classifier": "microsoft/resnet-50"}), clip)
    assert others == {"semantic_clarity": "not EmoGen's: microsoft/resnet-50"}
    probed = not_emogen(Evaluate(**theirs | {"judge": None, "fid_network": "a/vit"}), clip)
    assert probed["emotion_accuracy"] == "not EmoGen's: a linear probe"
    assert probed.keys() == {"emotion_accuracy", "emotion_accuracy_two_way", "fid", "fid_half"}


def test_an_imported_judge_is_found_below_the_project_wherever_you_are(tmp_path, monkeypatch):
    (tmp_path / "data/emogen").mkdir(parents=True)
    (tmp_path / "data/emogen/emotion_classifier.safetensors").touch()
    judge = Evaluate(judge="data/emogen")
    assert "emotion_accuracy" in not_emogen(judge, "openai/clip-vit-large-patch14")
    monkeypatch.setattr("evaluation.published_networks.ROOT", tmp_path)
    assert "emotion_accuracy" not in not_emogen(judge, "openai/clip-vit-large-patch14")


@pytest.fixture
def pictures(tmp_path):
    """Eight images of noise, 64 pixels, brighter from one to the next, as a table; the last is twice as wide as high."""
    rng, rows = np.random.default_rng(0), []
    for number, emotion in enumerate(EMOTIONS):
        path = tmp_path / f"{number}.png"
        size = (64, 128, 3) if number == 7 else (64, 64, 3)
        Image.fromarray((rng.integers(0, 100, size) + 20 * number).astype(np.uint8)).save(path)
        rows.append((path.name, emotion, path))
    return pd.DataFrame(rows, columns=["image_id", "emotion", "path"])


def opened(pictures):
    return [Image.open(path) for path in pictures["path"]]


def test_clip_sees_black(quick, pictures):
    """Numbers from 0 to 1 are divided by 255 once more: all images look alike, and semantic diversity vanishes."""
    pairs = np.array([[0, 6], [1, 5]])
    with torch.no_grad():
        name = quick().models.clip
        right, black = (make(name)(opened(pictures)) for make in (networks.clip_network, networks.black_clip_network))
    assert image_metrics.mean_squares(black, pairs).mean() < image_metrics.mean_squares(right, pairs).mean() / 100


def test_lpips_is_fed_half_of_its_range(quick, pictures):
    pairs = np.array([[0, 6], [1, 5]])
    lpips = lpips_of(quick())
    published, corrected = (lpips.distances(pictures, pairs, published) for published in (True, False))
    assert (published < corrected * 0.9).all()


def test_pairs_mix_emotions():
    """The pool grows from emotion to emotion, so most pairs of the last ones are of different emotions."""
    emotions = np.repeat(list(EMOTIONS), 50)
    pairs = image_metrics.published_pairs(emotions, EMOTIONS, 0)
    assert pairs.shape == (80, 2)
    mixed = emotions[pairs[:, 0]] != emotions[pairs[:, 1]]
    assert not mixed[:10].any()
    assert mixed[40:].mean() > 0.6
    # Emotions that differ from one another and not within make it look diverse.
    features = torch.arange(8.0).repeat_interleave(50)[:, None]
    assert image_metrics.mean_squares(features, pairs).mean() > 1
    assert image_metrics.mean_squares(features, image_metrics.pairs_within(emotions, 2000, 0)).max() == 0


def test_ten_pairs_are_few(quick):
    """With so few pairs the figure depends on the draw: its interval is several times as wide."""
    emotions, features = np.repeat(list(EMOTIONS), 50), torch.randn(400, 8, generator=torch.Generator().manual_seed(0))
    found = []
    for seed in range(20):
        pairs = image_metrics.published_pairs(emotions, EMOTIONS, seed)
        found.append(image_metrics.published_pair_figure(image_metrics.mean_squares(features, pairs), seed)["value"])
    many = [
        image_metrics.mean_squares(features, image_metrics.pairs_within(emotions, 2000, seed)).mean() for seed in range(20)
    ]
    assert np.std(found) > 3 * np.std(many)


def test_images_are_pooled_so_an_emotion_with_more_images_counts_more():
    emotions = np.array(["awe"] * 9 + ["fear"])
    said = np.eye(8)[[EMOTIONS.index("awe")] * 10]
    assert image_metrics.emotion_figures(said, emotions, TAXONOMY, 0, pooled=True)["emotion_accuracy"][
        "value"
    ] == pytest.approx(0.9)
    assert image_metrics.emotion_figures(said, emotions, TAXONOMY, 0)["emotion_accuracy"]["value"] == pytest.approx(0.5)
    sure = np.where(emotions == "awe", 0.9, 0.1)[:, None] * [1.0, 0]
    assert image_metrics.clarity_figure(sure, sure, emotions, 0, pooled=True)["value"] == pytest.approx(0.82)
    assert image_metrics.clarity_figure(sure, sure, emotions, 0)["value"] == pytest.approx(0.5)


def test_real_images_are_squeezed_for_fid(quick, pictures):
    with torch.no_grad():
        name = quick().evaluate.fid_network
        squeezed, cut = (networks.fid_network(name, published)(opened(pictures)) for published in (True, False))
    distance = (squeezed - cut).norm(dim=1)
    assert distance[7] > 3 * distance[:7].max()  # the wide one; square ones differ by interpolation alone


def test_the_images_that_are_measured_are_compared_with_themselves(quick):
    """The published reference is all of EmoSet: real images that are measured are in it, and seem closer than they are."""
    rng = torch.Generator().manual_seed(0)
    train, real = torch.randn(300, 8, generator=rng), torch.randn(100, 8, generator=rng)
    published, corrected = (
        image_metrics.frechet_distances(torch.cat([train, real]), [real]),
        image_metrics.frechet_distances(train, [real]),
    )
    assert published[0] < corrected[0]


@pytest.fixture
def unequal(quick, emoset_copy, tmp_path):
    """Settings that measure a folder of ten images of amusement, one of them wide, and two of each other emotion.

    In the EmoSet that they are compared with, what is not for training is wide and looks otherwise.
    """
    for emotion in EMOTIONS:
        own = sorted((emoset_copy / "image" / emotion).iterdir())
        (tmp_path / "theirs" / emotion).mkdir(parents=True)
        for number, path in enumerate(own[: 10 if emotion == "amusement" else 2]):
            size = (96, 32) if (emotion, number) == ("amusement", 0) else (32, 32)
            Image.open(path).resize(size).save(tmp_path / "theirs" / emotion / f"{number}.png")
    for split in ("val", "test"):
        for _, _, image, *_ in json.loads((emoset_copy / f"{split}.json").read_text()):
            ImageOps.invert(load_image(emoset_copy / image)).resize((96, 32)).save(emoset_copy / image)
    settings = quick(generators=[str(tmp_path / "theirs")], reference=None)
    data = settings.data.model_copy(update={"emoset": emoset_copy})
    generate = settings.generate.model_copy(update={"generator": None})  # no images to make
    return settings.model_copy(update={"data": data, "generate": generate})


def test_every_fault_reaches_the_column(unequal, tmp_path):
    """Each figure of `emogen` is what the parts say when they are put together as published."""
    found = measure_generation(unequal, tmp_path)
    images, judged, figures = found["images"]["theirs"], found["judged"]["theirs"], found["figures"]["theirs"]
    emotions, made = images["emotion"].to_numpy(), [load_image(path) for path in images["path"]]
    index = read_emoset(unequal.data, tmp_path, None).index
    real = [load_image(unequal.data.emoset / image) for image in index["image"]]
    train = [image for image, split in zip(real, index["split"], strict=True) if split == "train"]
    pairs = image_metrics.published_pairs(emotions, EMOTIONS, unequal.seed)

    @torch.no_grad()
    def seen(network, images):
        return network(images).float()

    # Over all images, though two fifths of them are of one emotion.
    right, positive = np.array(EMOTIONS)[judged.argmax(1)] == emotions, np.isin(emotions, TAXONOMY.sides["positive"])
    content = networks.classifier(unequal.evaluate.object_classifier, "")
    tops = [networks.probabilities(content, seen(content, made), kind).max(1) for kind in ("object", "scene")]
    expected = {
        "emotion_accuracy": right.mean(),
        "emotion_accuracy_two_way": (
            (judged[:, np.isin(EMOTIONS, TAXONOMY.sides["positive"])].sum(1) > 0.5) == positive
        ).mean(),
        "semantic_clarity": np.maximum(*tops).mean(),
    }

    # To all of EmoSet, whatever its split and emotion; that and what is measured are squeezed.
    assert found["about"]["published_reference"] == len(index) > found["about"]["reference"]
    squeezed, cut = (networks.fid_network(unequal.evaluate.fid_network, published) for published in (True, False))
    training, whole, measured = (seen(squeezed, each) for each in (train, real, made))
    halves = torch.from_numpy(np.random.default_rng(unequal.seed).permutation(len(measured))).chunk(2)
    expected["fid"], *parts = image_metrics.frechet_distances(whole, [measured, *(measured[half] for half in halves)])
    expected["fid_half"] = np.mean(parts)
    for reference, of in ((training, measured), (seen(cut, real), measured), (whole, seen(cut, made))):
        assert image_metrics.frechet_distances(reference, [of])[0] != pytest.approx(expected["fid"], rel=0.01)

    # Half of LPIPS's range, black images for CLIP, and pairs of the pool that grows.
    pixels = torch.from_numpy(np.stack([ImageOps.fit(image, (32, 32)) for image in made])).permute(0, 3, 1, 2) / 255
    _, distance = load_lpips(unequal.evaluate.lpips_network)
    with torch.no_grad():
        expected["lpips"] = distance(pixels[pairs[:, 0]], pixels[pairs[:, 1]]).mean().item()
    black = seen(networks.black_clip_network(unequal.models.clip), made)
    expected["semantic_diversity"] = image_metrics.mean_squares(black, pairs).mean()

    assert {name: each["value"] for name, each in figures["emogen"].items()} == pytest.approx(expected, rel=1e-3)
    corrected = {name: figures["corrected"][name]["value"] for name in expected}
    assert all(corrected[name] != pytest.approx(value, rel=0.003) for name, value in expected.items()), corrected
    assert corrected["lpips"] > 1.2 * expected["lpips"]
    assert corrected["semantic_diversity"] > 100 * expected["semantic_diversity"]
