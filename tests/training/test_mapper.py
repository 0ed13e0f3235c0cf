"""The mapper, the emotion space and the items for training."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from config.errors import UserError
from config.taxonomy import DEFAULT, read_taxonomy
from emoset.images import ImageError
from training.attributes import AttributeTexts, alpha_of, fit_emotion_classifier
from training.emotion_space import EmotionSpace, emotion_weights
from training.mapper import EmotionMapper
from training.mapper_data import MapperItems, Share, batches
from training.mapper_training import rate_at

EMOTIONS = read_taxonomy(DEFAULT).emotions


@pytest.mark.parametrize(
    ("hidden_layers", "kinds"),
    [
        (0, ["Linear"]),
        (1, ["Linear", "ReLU", "Linear"]),
        (2, ["Linear", "LayerNorm", "ReLU", "Dropout"] * 2 + ["Linear"]),
    ],
)
def test_the_published_mappers(hidden_layers, kinds):
    mapper = EmotionMapper(16, 24, tokens=3, hidden_layers=hidden_layers, hidden_size=32)
    assert [type(layer).__name__ for layer in mapper.layers] == kinds
    assert mapper(torch.randn(5, 16)).shape == (5, 3, 24)


def test_the_mapper_starts_among_words():
    torch.manual_seed(0)
    vocabulary = torch.randn(200, 24) * 0.02 + 0.5
    space = EmotionSpace.of(torch.randn(8, 16) * 20 + 50, torch.rand(8, 16) + 5)
    vectors = space.sample(torch.eye(8).repeat(50, 1), torch.randn(400, 16))
    mapper = EmotionMapper(16, 24)
    mapper.start_from(space, vocabulary)
    out = mapper(vectors)
    assert (out.mean(0) - vocabulary.mean(0)).abs().max() < 0.02
    assert out.std() < 0.05


@pytest.mark.parametrize("full", [False, True])
def test_the_mapper_standardises_vectors(full):
    torch.manual_seed(0)
    factor = torch.randn(8, 6, 6).tril() * 3 if full else torch.rand(8, 6) * 9
    space = EmotionSpace.of(torch.randn(8, 6) * 20 + 50, factor)
    mapper = EmotionMapper(6, 24)
    mapper.start_from(space, torch.randn(10, 24))
    vectors = space.sample(torch.eye(8).repeat(5000, 1), torch.randn(40_000, 6))
    assert torch.allclose(mapper.vector_mean, vectors.mean(0), atol=0.3)
    assert torch.allclose(mapper.vector_scale, vectors.std(0), rtol=0.02)


def test_a_mapper_comes_back_from_disk(tmp_path):
    mapper = EmotionMapper(16, 24, tokens=2, hidden_layers=2, hidden_size=8)
    mapper.start_from(gaussians(False, 16), torch.randn(10, 24))
    mapper.save_pretrained(tmp_path)
    again = EmotionMapper.from_pretrained(tmp_path)
    vectors = torch.randn(3, 16)
    assert torch.equal(mapper.eval()(vectors), again.eval()(vectors))


def gaussians(full: bool, dimension: int = 6) -> EmotionSpace:
    torch.manual_seed(0)
    factor = torch.randn(8, dimension, dimension).tril() if full else torch.rand(8, dimension) + 0.1
    return EmotionSpace.of(torch.randn(8, dimension), factor)


@pytest.mark.parametrize("full", [False, True])
def test_samples_have_the_gaussians_moments(full):
    space = gaussians(full)
    samples = space.sample(emotion_weights("disgust", EMOTIONS).expand(40_000, 8), torch.randn(40_000, 6))
    factor = space.factor[5] if full else torch.diag(space.factor[5])
    assert torch.allclose(samples.mean(0), space.mean[5], atol=0.06)
    assert torch.allclose(torch.cov(samples.T), factor @ factor.T, atol=0.2)


@pytest.mark.parametrize("full", [False, True])
def test_a_mix_lies_on_the_line_between_its_emotions(full):
    space, noise = gaussians(full), torch.randn(3, 6)
    awe, fear, mix = (
        space.sample(emotion_weights(each, EMOTIONS).expand(3, 8), noise) for each in ("awe", "fear", {"fear": 1, "awe": 3})
    )
    assert torch.allclose(mix, 0.75 * awe + 0.25 * fear, atol=1e-6)


def test_a_space_knows_its_emotions_on_disk_too(tmp_path):
    emotions = ("joy", "fear", "calm")
    space = EmotionSpace.of(torch.randn(3, 6), torch.rand(3, 6), emotions)
    space.save_pretrained(tmp_path / "three")
    again = EmotionSpace.from_pretrained(tmp_path / "three")
    assert again.emotions == space.emotions == emotions
    assert torch.equal(again.mean, space.mean)
    with pytest.raises(ValueError, match=r"do not fit 3 emotions: joy, fear, calm"):
        EmotionSpace.of(torch.randn(8, 6), torch.rand(8, 6), emotions)


def test_a_space_of_an_earlier_version_has_emosets_emotions(tmp_path):
    gaussians(False).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config.pop("emotions")
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert EmotionSpace.from_pretrained(tmp_path).emotions == EMOTIONS


def test_emotion_weights():
    assert emotion_weights("awe", EMOTIONS).tolist() == [0, 1, 0, 0, 0, 0, 0, 0]
    assert emotion_weights({"amusement": 2, "sadness": 6}, EMOTIONS).tolist() == [0.25, 0, 0, 0, 0, 0, 0, 0.75]
    with pytest.raises(
        UserError, match="choose from amusement, awe, contentment, excitement, anger, disgust, fear, sadness"
    ):
        emotion_weights("happiness", EMOTIONS)


ROWS = pd.DataFrame(
    {
        "image_id": ["awe_1", "fear_1", "awe_1", "fear_2", "awe_2", "fear_2"] * 4,
        "emotion": ["awe", "fear"] * 12,
        "kind": "object",
        "attribute": ["tree", "spider", "tree", "skull", "tree", "skull"] * 4,
    }
)
IDS = ["awe_1", "awe_2", "fear_1", "fear_2"]


@pytest.fixture
def items():
    def make(content_share: float = 0.5, seed: int = 0) -> MapperItems:
        images = [{"mean": torch.full((2, 4, 2, 2), float(i)), "std": torch.zeros(2, 4, 2, 2)} for i in range(4)]
        vectors = torch.arange(4.0)[:, None, None].expand(4, 2, 6) + 100
        names, alpha = ["skull", "spider", "tree"], np.linspace(0.1, 1, len(ROWS))
        return MapperItems(ROWS, images, IDS, vectors, gaussians(False), names, alpha, (4, 2, 2), content_share, seed)

    return make


def test_a_mirrored_image_has_the_vector_that_the_config_says(items):
    """The second vector of each image, that of its mirror image, is one above the first."""
    made = items(content_share=0.0)
    made.vectors = torch.stack([made.vectors[:, 0], made.vectors[:, 0] + 1], 1)
    of_image = made.vectors[made.image_of_row[0], 0]
    seen = {(made[epoch, 0, 0]["vectors"] - of_image).mean().item() for epoch in range(20)}
    assert seen == {0, 1}
    made.mirrored_vectors = False
    assert {(made[epoch, 0, 0]["vectors"] - of_image).mean().item() for epoch in range(20)} == {0}


def test_an_item_is_its_own_images(items):
    made = items(content_share=0.0)
    for row in range(len(ROWS)):
        item, image = made[0, row, row], IDS.index(ROWS["image_id"][row])
        assert (item["latents"] == image).all()
        assert (item["vectors"] == 100 + image).all()
        assert item["prompt"] == "<emotion>"
        assert item["alpha"].item() == pytest.approx(made.alpha[row])
        assert made.names[item["attributes"]] == ROWS["attribute"][row]
        assert item["emotions"].item() == {"awe": 1, "fear": 6}[ROWS["emotion"][row]]


class Broken(list):
    def __getitem__(self, place):
        if place in self.broken:
            raise ImageError(IDS[place], "empty file")
        return super().__getitem__(place)


@pytest.mark.parametrize("loaders", [0, 1])
def test_an_error_of_a_process_that_loads_items_is_one_line(items, loaders):
    made = items()
    made.images, made.images.broken = Broken(made.images), {0, 1, 2, 3}
    loader = batches(made, Share(4, 1, 1, 0), 0, 2, None, 1, 1000, 1.0, loaders)
    with pytest.raises(UserError, match=r"^\w+: empty file; and no image that could take its place can be read$"):
        next(loader)


def test_an_image_that_broke_gives_way_to_the_next_draw(items):
    sound, made = items(content_share=0.5), items(content_share=0.5)
    made.images, made.images.broken = Broken(sound.images), {IDS.index(ROWS["image_id"][1])}
    for row in range(len(ROWS)):
        taken = row if ROWS["image_id"][row] != ROWS["image_id"][1] else (row + 1) % len(ROWS)
        item, wanted = made[2, row, row], sound[2, row, taken]
        assert all(torch.equal(item[name], wanted[name]) for name in wanted if name != "prompt")
        assert item["prompt"] == wanted["prompt"]
    made.images.broken = {0, 1, 2, 3}
    with pytest.raises(UserError, match="empty file; and no image that could take its place can be read"):
        made[0, 0, 0]


def test_words_say_the_content_beside_the_images_own_vector(items):
    made = items(content_share=1.0)
    item = made[0, 0, 1]
    assert item["prompt"] == "a photo of a <emotion> spider"
    assert item["alpha"] == 0
    assert (item["vectors"] == 100 + IDS.index(ROWS["image_id"][1])).all()


def test_the_share_of_prompts_with_content(items):
    prompts = [items(0.25)[0, position, 0]["prompt"] for position in range(2000)]
    assert np.mean([prompt != "<emotion>" for prompt in prompts]) == pytest.approx(0.25, abs=0.03)


def test_randomness_follows_from_seed_epoch_and_position_alone(items):
    first, again, later, other = items()[1, 7, 3], items()[1, 7, 3], items()[2, 7, 3], items(seed=1)[1, 7, 3]
    assert all(torch.equal(first[name], again[name]) for name in ("noise", "timesteps", "vectors", "latents"))
    assert not torch.equal(first["noise"], later["noise"])
    assert not torch.equal(first["noise"], other["noise"])
    assert sorted(items().order(0).tolist()) == list(range(24))
    assert not torch.equal(items().order(0), items().order(1))


def test_the_timesteps_of_an_update_are_spread_evenly(items):
    made = items()
    for epoch, first in ((0, 0), (0, 160), (3, 100_000)):
        update = np.sort([made.timestep(epoch, first + i) for i in range(16)])
        gaps = np.diff([*update, update[0] + 1])
        assert 0.02 < gaps.min() <= 1 / 16 <= gaps.max() < 0.1
    starts = [made.timestep(epoch, 0) for epoch in range(400)]
    assert np.histogram(starts, 4, (0, 1))[0] == pytest.approx(100, abs=35)


@pytest.mark.parametrize(("batch_size", "accumulation", "processes"), [(8, 1, 1), (2, 4, 1), (2, 2, 2), (1, 1, 8)])
def test_however_an_update_is_shared_out_it_has_the_same_items(items, models, batch_size, accumulation, processes):
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(models / "clip")
    shares = [Share(batch_size, accumulation, processes, process) for process in range(processes)]
    whole = list(batches(items(), Share(8, 1, 1, 0), 1, 5, tokenizer, 1, 1000, 0.5, loaders=0))
    parts = [list(batches(items(), share, 1, 5, tokenizer, 1, 1000, 0.5, loaders=0)) for share in shares]
    for update in range(4):
        micro = [parts[p][update * accumulation + turn] for turn in range(accumulation) for p in range(processes)]
        for name in ("latents", "noise", "timesteps", "vectors", "attributes", "emotions", "alpha"):
            assert torch.equal(torch.cat([getattr(batch, name) for batch in micro]), getattr(whole[update], name)), name
        assert torch.equal(torch.cat([batch.prompts.input_ids for batch in micro]), whole[update].prompts.input_ids)


def test_alpha_is_the_confidence_of_the_draws_emotion():
    confidence = pd.DataFrame(
        {"kind": "object", "attribute": ["tree", "spider"], "images": [9, 4]}
        | {emotion: [0.0, 0.1] for emotion in ("amusement", "contentment", "excitement", "anger", "disgust", "sadness")}
        | {"awe": [0.8, 0.1], "fear": [0.2, 0.3]}
    )
    assert alpha_of(ROWS[:4], confidence, EMOTIONS, 0.0).tolist() == [0.8, 0.3, 0.8, 0.0]
    assert alpha_of(ROWS[:4], confidence, EMOTIONS, 0.5).tolist() == [0.8, 0.0, 0.8, 0.0]


def test_the_text_classifier_learns_the_confidences():
    names = [f"attribute {number}" for number in range(16)]
    features = torch.randn(16, 24, generator=torch.Generator().manual_seed(0)) * 7
    columns = {e: np.where(np.arange(16) % 8 == i, 0.93, 0.01) for i, e in enumerate(EMOTIONS)}
    confidence = pd.DataFrame({"kind": "object", "attribute": names, "images": 50} | columns)
    weight, bias = fit_emotion_classifier(AttributeTexts(names, features, torch.eye(24), ""), confidence, EMOTIONS)
    probabilities = (features @ weight.T + bias).softmax(1)
    assert probabilities.argmax(1).tolist() == [number % 8 for number in range(16)]
    assert probabilities.amax(1).mean() > 0.7


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_the_learning_rate(schedule):
    rates = [rate_at(step, 100, 10, schedule) for step in range(100)]
    assert rates[0] == pytest.approx(1 / 11)
    assert np.all(np.diff(rates[:10]) > 0)
    assert rates[10] == 1
    assert rates[99] == pytest.approx(1 if schedule == "constant" else 0, abs=1e-3)
