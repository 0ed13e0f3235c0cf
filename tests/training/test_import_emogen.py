import json
import os
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from config.data_settings import Data
from config.errors import UserError
from config.generation_settings import EmotionSpace
from config.section import ROOT
from config.settings import Settings
from config.taxonomy import DEFAULT, read_taxonomy
from emoset.confusability import read_confusability
from training import published_encoder
from training.emotion_encoder import EmotionEncoder
from training.import_emogen import main
from training.imported_space import write_imported_confusability

EMOTIONS = read_taxonomy(DEFAULT).emotions
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'6' * 64}\nsize 108913577\n"
PUBLISHED = Path(os.environ.get("EMOGEN_METADATA", ROOT / "../shared/emogen"))


@pytest.fixture
def emogen(tmp_path):
    """Return a function that imports a published folder into tmp_path/imported."""

    def run(folder):
        space = EmotionSpace(published=folder, imported=tmp_path / "imported")
        main(Settings(emotion_space=space, run=tmp_path / "run"))

    return run


def test_the_published_files_are_imported(script, tmp_path):
    if not (PUBLISHED / "awe_mean_v2.pt").is_file():
        pytest.skip(f"no published emotion space in {PUBLISHED} (set EMOGEN_METADATA)")
    places = (f"emotion_space.published={PUBLISHED}", f"emotion_space.imported={tmp_path}/imported", f"run={tmp_path}/run")
    shown = script("training/import_emogen.py", *places).stdout
    gaussians = load_file(tmp_path / "imported/gaussians.safetensors")
    assert gaussians["mean"].shape == gaussians["factor"].shape == (8, 768)
    mean = functional.normalize(gaussians["mean"], dim=1)
    # FACTS, part 2
    for pair, cosine in {
        "amusement-contentment": 0.56, "awe-contentment": 0.51, "amusement-excitement": 0.50,
        "disgust-fear": 0.40, "amusement-awe": 0.38, "anger-fear": 0.32,
    }.items():  # fmt: skip
        one, other = map(EMOTIONS.index, pair.split("-"))
        assert (mean[one] @ mean[other]).item() == pytest.approx(cosine, abs=0.01)
        assert f"{pair} {cosine:.2f}" in shown
    classifier = load_file(tmp_path / "imported/emotion_classifier.safetensors")
    assert classifier["weight"].shape == (8, 768)
    assert classifier["bias"].shape == (8,)


def test_a_clone_of_the_repository_will_do_and_a_second_run_changes_nothing(emogen, write_published, tmp_path, capsys):
    layer = write_published(tmp_path / "EmoGen")
    emogen(tmp_path / "EmoGen")
    gaussians = load_file(tmp_path / "imported/gaussians.safetensors")
    assert gaussians["mean"][:, 0].tolist() == list(range(8))
    assert gaussians["factor"][:, 0].tolist() == [label + 0.5 for label in range(8)]
    classifier = load_file(tmp_path / "imported/emotion_classifier.safetensors")
    assert torch.equal(classifier["weight"], layer.weight)
    assert "nothing has changed" not in capsys.readouterr().out
    emogen(tmp_path / "EmoGen")
    assert "nothing has changed" in capsys.readouterr().out


def test_a_classifier_in_a_checkpoint_is_imported(emogen, write_published, tmp_path):
    layer = write_published(tmp_path / "EmoGen")
    file = next((tmp_path / "EmoGen").rglob("Clip_emotion_classifier/*.pth"))
    state = torch.load(file, weights_only=True)
    torch.save({"epoch": 3, "state_dict": {f"module.{name}": each for name, each in state.items()}}, file)
    emogen(tmp_path / "EmoGen")
    assert torch.equal(load_file(tmp_path / "imported/emotion_classifier.safetensors")["weight"], layer.weight)


class Bottleneck(nn.Module):
    """torchvision's, by its names."""

    def __init__(self, before: int, planes: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(before, planes, 1, bias=False), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False), nn.BatchNorm2d(planes)
        self.conv3, self.bn3 = nn.Conv2d(planes, 4 * planes, 1, bias=False), nn.BatchNorm2d(4 * planes)
        self.downsample = None
        if stride > 1 or before != 4 * planes:
            self.downsample = nn.Sequential(nn.Conv2d(before, 4 * planes, 1, stride, bias=False), nn.BatchNorm2d(4 * planes))

    def forward(self, x):
        out = self.bn1(self.conv1(x)).relu()
        out = self.bn3(self.conv3(self.bn2(self.conv2(out)).relu()))
        return (out + (self.downsample(x) if self.downsample else x)).relu()


class PublishedEncoder(nn.Module):
    """EmoGen's image encoder in small, with the names of its checkpoint."""

    def __init__(self, dimension: int = 6):
        super().__init__()
        self.cnn = nn.Sequential()
        for name, module in {"conv1": nn.Conv2d(3, 8, 7, 2, 3, bias=False), "bn1": nn.BatchNorm2d(8), "relu": nn.ReLU(),
                             "maxpool": nn.MaxPool2d(3, 2, 1)}.items():  # fmt: skip
            self.cnn.add_module(name, module)
        before = 8
        for stage, (planes, depth) in enumerate([(2, 2), (3, 1), (4, 2), (5, 1)]):
            blocks = [Bottleneck(before if not n else 4 * planes, planes, 2 if stage and not n else 1) for n in range(depth)]
            self.cnn.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
            before = 4 * planes
        self.cnn.add_module("fc", nn.Linear(before, 10))
        self.backbone = nn.Sequential(*list(self.cnn.children())[:-1])
        self.fc_1 = nn.Linear(before, dimension)
        self.fc_2 = nn.Sequential(nn.ReLU(), nn.Dropout(0.5), nn.Linear(dimension, 8))
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                for values in (module.running_mean, module.bias.data):
                    nn.init.normal_(values, std=0.3)
                for values in (module.running_var, module.weight.data):
                    nn.init.uniform_(values, 0.5, 1.5)
        self.eval()

    def forward(self, images):
        """images: in [0, 1]."""
        vectors = self.fc_1(self.backbone((images - 0.5) / 0.5).mean((2, 3)))
        return vectors, self.fc_2(vectors)


@pytest.fixture
def whole_publication(write_published, tmp_path):
    """A publication with an image encoder and emotion confidences; return its folder and the encoder."""
    folder = tmp_path / "EmoGen"
    write_published(folder, features=24)
    torch.manual_seed(3)
    encoder = PublishedEncoder()
    (folder / "weights/image_encoder").mkdir()
    torch.save(encoder.state_dict(), folder / "weights/image_encoder/2023-08-22-best.pth")
    for kind in ("object", "scene"):
        shares = torch.softmax(torch.arange(8.0), 0).tolist()
        lines = ["attribute,sadness," + ",".join(EMOTIONS[:-1]), f"Alarm_{kind}," + ",".join(map(str, shares))]
        (folder / f"emotion_confidence_{kind}.csv").write_text("\n".join(lines) + "\n")
    return folder, encoder


def test_the_image_encoder_and_the_confidences_are_imported(whole_publication, emogen, tmp_path, capsys):
    folder, encoder = whole_publication
    emogen(folder)
    imported = tmp_path / "imported"
    again = EmotionEncoder.from_pretrained(imported / "encoder")
    pixels = torch.randint(0, 256, (3, 3, 224, 224), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    with torch.no_grad():
        for ours, theirs in zip(again(pixels), encoder(pixels / 255), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    table = pd.read_csv(imported / "emotion_confidence.csv")
    assert table[["kind", "attribute"]].values.tolist() == [["object", "alarm object"], ["scene", "alarm scene"]]
    assert table["sadness"][0] == pytest.approx(torch.softmax(torch.arange(8.0), 0)[0].item())
    (imported / "gaussians.safetensors").write_bytes(b"")
    emogen(folder)  # is made again
    assert load_file(imported / "gaussians.safetensors")["mean"].shape == (8, 6)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (
            "weights/image_encoder/2023-08-22-best.pth",
            POINTER,
            r"best\.pth is a Git LFS pointer to 108,913,577 bytes.*lfs pull",
        ),
        ("emo_space/awe_mean_v2.pt", POINTER, r"awe_mean_v2\.pt is a Git LFS pointer"),
        ("emotion_confidence_scene.csv", POINTER, r"confidence_scene\.csv is a Git LFS pointer"),
        ("emotion_confidence_scene.csv", "attribute,awe\ntree,1\n", r"expected a CSV with attribute and amusement"),
        ("emotion_confidence_scene.csv", "", r"expected a CSV with attribute"),
        ("weights/image_encoder/2023-08-22-best.pth", {"fc_1.weight": torch.zeros(6, 4)}, r"holds no ResNet with fc_1"),
        ("weights/image_encoder/2023-08-22-best.pth", PublishedEncoder(7).state_dict(), r"makes vectors of 7 dim.* have 6"),
    ],
)
def test_a_file_that_cannot_be_imported_is_named(whole_publication, emogen, tmp_path, file, content, message):
    path = whole_publication[0] / file
    path.write_text(content) if isinstance(content, str) else torch.save(content, path)
    with pytest.raises(UserError, match=message) as error:
        emogen(whole_publication[0])
    assert "\n" not in str(error.value)
    assert not (tmp_path / "imported").exists()


def test_check_imports_nothing(whole_publication, tmp_path, capsys):
    space = EmotionSpace(published=whole_publication[0], imported=tmp_path / "imported")
    main(Settings(emotion_space=space, run=tmp_path / "run", check=True))
    assert not (tmp_path / "imported").exists()
    assert not (tmp_path / "run").exists()
    assert "files read: 20, with an image encoder and emotion confidences" in capsys.readouterr().out


def test_training_takes_the_imported_encoders_vectors(whole_publication, emogen, run, tmp_path, monkeypatch):
    monkeypatch.setattr(published_encoder, "IMAGE_SIZE", 32)
    emogen(whole_publication[0])
    published = {"emotion_space.imported": tmp_path / "imported", "mapper.resize": "squeeze", "mapper.emotion_weight": 0}
    published |= {"mapper.mirrored_vectors": "false", "mapper.max_gradient_norm": "null"}
    listed = tmp_path / "useful.txt"
    listed.write_text("tree\n")
    trained = run("by_encoder", **published, **{"mapper.attributes": listed})
    made = load_file(next((trained / "training/emotion_space").glob("imported-vectors-*")))
    assert made["vectors"].shape[1:] == (2, 6)
    assert made["vectors"].std(0).min() > 0
    assert "encoding" in (trained / "training/log.txt").read_text()
    encoder = json.loads((trained / "generator/generator.json").read_text())["trained_with"]
    assert "the emotion encoder" in encoder
    (tmp_path / "imported/encoder/model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match=r"imported/encoder: holds no whole emotion encoder"):
        run("by_encoder", **published)


class Evil:
    def __reduce__(self):
        return (os.mkdir, ("ran",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Evil(), "fear_mean_v2.pt is no file of tensors"),
        ({"mean": torch.zeros(6)}, "fear_mean_v2.pt holds a dict, expected a Tensor"),
        (torch.zeros(5), r"fear_mean_v2.pt: expected 6 numbers, found a tensor of shape \(5,\)"),
        (None, "emotion_space.published: no fear_mean_v2.pt below"),
    ],
)
def test_bad_files_get_one_line_and_run_nothing(emogen, write_published, tmp_path, monkeypatch, content, message):
    write_published(tmp_path / "EmoGen")
    target = tmp_path / "EmoGen/emo_space/fear_mean_v2.pt"
    target.unlink() if content is None else torch.save(content, target)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message) as error:
        emogen(tmp_path / "EmoGen")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "imported").exists()


def test_both_folders_must_be_named(emogen):
    with pytest.raises(UserError, match=r"set emotion_space.published, .* and emotion_space.imported"):
        emogen(None)


def test_other_emotions_than_emosets_are_refused(tmp_path):
    data = Data(taxonomy="config/taxonomies/ekman6.yaml")
    space = EmotionSpace(published=tmp_path, imported=tmp_path / "imported")
    with pytest.raises(UserError, match=r"data\.taxonomy: EmoGen's files are of EmoSet's emotions") as error:
        main(Settings(data=data, emotion_space=space, run=tmp_path / "run"))
    assert "\n" not in str(error.value)


def test_emotions_are_taken_for_those_whose_means_lie_near(tmp_path):
    mean = 3 * torch.eye(8)
    mean[1, :2] = torch.tensor([6.0, 8.0])
    mean[2] = -mean[0]
    mean[7] = 0
    (tmp_path / "recipe.json").write_text("{}")
    write_imported_confusability(tmp_path, mean, EMOTIONS)
    matrix = read_confusability(tmp_path / "confusability.json", EMOTIONS)
    assert matrix[0].tolist() == pytest.approx([0, 0.6 / 0.66, *[0.01 / 0.66] * 6], abs=1e-5)
    assert matrix[7].tolist() == pytest.approx([*[1 / 7] * 7, 0], abs=1e-5)
    assert not (tmp_path / "recipe.json").exists()  # so that a space trained here is not taken for whole
