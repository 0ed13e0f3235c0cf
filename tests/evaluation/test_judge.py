import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from config.errors import UserError
from config.section import ROOT
from config.taxonomy import DEFAULT, read_taxonomy
from evaluation import judge as judges
from evaluation.features import feature_cache
from evaluation.measure_generation import measure_generation
from evaluation.networks import clip_network
from runtime.hub import network_digest, sha256
from training.generator_folder import networks_seen
from training.pipeline import GENERATOR, EmotionPipeline

EMOTIONS = read_taxonomy(DEFAULT).emotions


def check_judge(settings, generator):
    return judges.check_judge(settings.evaluate, settings.models.clip, generator)


def load_judge(settings, train):
    return judges.load_judge(
        settings.evaluate.judge, settings.models.clip, train, EMOTIONS, feature_cache(settings.data, settings.evaluate)
    )


@pytest.fixture
def train(drawn):
    rows = [(path.stem, path.parent.name, path) for path in sorted((drawn / "image").rglob("*.jpg"))]
    return pd.DataFrame(rows, columns=["image_id", "emotion", "path"]).iloc[::4].reset_index(drop=True)


def recorded(generator, folder, seen: dict):
    """Return a copy of the generator that says it was trained with `seen`."""
    copy = shutil.copytree(generator, folder / "trained")
    about = json.loads((copy / GENERATOR).read_text())
    (copy / GENERATOR).write_text(json.dumps(about | {"trained_with": seen}))
    return copy


def test_a_judge_that_training_saw_is_refused_unless_forced(quick, generator, tmp_path):
    judge = str(ROOT / "demo/models/judge")
    copy = recorded(generator, tmp_path, {"models.backbone": network_digest(judge)})
    with pytest.raises(UserError, match=r"evaluate\.judge: .*judge is models\.backbone, with which trained/ was trained"):
        check_judge(quick(), copy)
    assert "the judge is models.backbone" in check_judge(quick(force_judge=True), copy)
    assert "does not say what it was trained with" in check_judge(quick(), generator)
    assert check_judge(quick(), recorded(generator, tmp_path / "other", {"models.backbone": "another"})) is None
    assert check_judge(quick(), tmp_path) is None, "another method's images"


def test_the_judge_is_checked_before_an_image_is_seen(quick, generator, tmp_path):
    copy = recorded(generator, tmp_path, {"models.backbone": network_digest(str(ROOT / "demo/models/judge"))})
    settings = quick(generators=[str(copy)])
    with pytest.raises(UserError, match=r"evaluate\.judge: .*with which trained/ was trained"):
        measure_generation(settings, tmp_path / "evaluation")
    assert not (tmp_path / "evaluation").exists()
    assert not settings.data.cache.exists()


@pytest.mark.parametrize("judge", [None, "linear", str(ROOT / "demo/models/judge")])
def test_a_judge_that_reads_the_clip_that_training_saw_is_warned_of(quick, generator, tmp_path, judge):
    if judge == "linear":
        judge = str(tmp_path / "linear.pth")
        torch.save({"fc.weight": torch.zeros(8, 64), "fc.bias": torch.zeros(8)}, judge)
    settings = quick(judge=judge)
    found = check_judge(settings, recorded(generator, tmp_path, networks_seen(settings)))
    assert found is None if judge and "demo" in judge else "models.clip, which training saw" in found
    assert check_judge(settings, recorded(generator, tmp_path / "other", {"models.clip": "another"})) is None


def test_what_save_pretrained_writes_tells_what_training_saw(quick, generator, tmp_path):
    copy = recorded(generator, tmp_path, {"models.backbone": network_digest(str(ROOT / "demo/models/judge"))})
    EmotionPipeline.from_pretrained(copy).save_pretrained(tmp_path / "saved")
    EmotionPipeline.from_pretrained(tmp_path / "saved").save_pretrained(tmp_path / "again")
    for folder in ("saved", "again"):
        with pytest.raises(UserError, match=f"with which {folder}/ was trained"):
            check_judge(quick(), tmp_path / folder)


def test_emogens_judge_is_refused_where_its_classifier_trained(quick, generator, tmp_path):
    file = tmp_path / "clip_emotion_classifier.pth"
    torch.save({"fc.weight": torch.zeros(8, 64), "fc.bias": torch.zeros(8)}, file)
    copy = recorded(generator, tmp_path, {"emotion_space.imported: clip_emotion_classifier.pth": sha256(file)})
    with pytest.raises(UserError, match="clip_emotion_classifier"):
        check_judge(quick(judge=str(file)), copy)


def test_a_generator_records_what_told_it_of_emotions(quick):
    settings = quick()
    clip = {"models.clip": network_digest(settings.models.clip)}
    assert networks_seen(settings) == {"models.backbone": network_digest(settings.models.backbone)} | clip
    for attribute, emotion in ((0, 0), (0, 0.1), (0.1, 0)):
        mapper = settings.mapper.model_copy(update={"attribute_weight": attribute, "emotion_weight": emotion})
        seen = networks_seen(settings.model_copy(update={"mapper": mapper}))
        assert ("models.clip" in seen) is bool(attribute or emotion), "its texts make these two losses"
    encoder = settings.run / "training" / "emotion_space" / "encoder"
    encoder.mkdir(parents=True)
    assert "the emotion encoder" in networks_seen(settings)


def test_emogens_judge_is_a_linear_layer_on_features_as_projected(quick, train, tmp_path):
    file, rng = tmp_path / "judge.pth", torch.Generator().manual_seed(0)
    weight, bias = torch.randn(8, 64, generator=rng), torch.randn(8, generator=rng)
    torch.save({"fc.weight": weight, "fc.bias": bias}, file)
    settings = quick(judge=str(file))
    images = train.iloc[:5]
    features = feature_cache(settings.data, settings.evaluate).features_of(clip_network(settings.models.clip), images, "")
    expected = (features @ weight.T + bias).softmax(1)
    np.testing.assert_allclose(load_judge(settings, train)(images, ""), expected, atol=1e-5)


def test_the_probe_learns_the_training_images(quick, train):
    said = load_judge(quick(judge=None), train)(train, "")
    assert (np.array(EMOTIONS)[said.argmax(1)] == train["emotion"]).mean() > 0.4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"fc.weight": torch.zeros(7, 64), "fc.bias": torch.zeros(7)}, "no linear layer to 8 emotions"),
        ({"fc.weight": torch.zeros(8, 63), "fc.bias": torch.zeros(8)}, "takes 63 features, models.clip gives 64"),
        (torch.zeros(3), "holds a Tensor"),
    ],
)
def test_what_is_no_judge(quick, train, tmp_path, content, message):
    torch.save(content, tmp_path / "judge.pth")
    with pytest.raises(UserError, match=message):
        load_judge(quick(judge=str(tmp_path / "judge.pth")), train)(train.iloc[:3], "")


def test_a_classifier_of_something_else_is_no_judge(quick, train):
    with pytest.raises(UserError, match=r"content knows .*; it must know amusement, awe, contentment, .*sadness"):
        load_judge(quick(judge=str(ROOT / "demo/models/content")), train)


def test_a_probe_of_one_emotion_is_one_line(quick, train):
    with pytest.raises(
        UserError, match=r"^data\.emoset: the split train has usable images of fear, and a linear probe needs"
    ):
        load_judge(quick(judge=None), train[train["emotion"] == "fear"])


def test_a_probe_gives_an_emotion_without_training_images_no_probability(quick, train):
    said = load_judge(quick(judge=None), train[train["emotion"] != "fear"])(train, "")
    assert said.shape == (len(train), len(EMOTIONS))
    assert not said[:, EMOTIONS.index("fear")].any()
    assert said.sum(1) == pytest.approx(np.ones(len(train)))
