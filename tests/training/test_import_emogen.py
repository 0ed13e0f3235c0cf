import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from config.data_settings import Data
from config.errors import UserError
from config.generation_settings import EmotionSpace
from config.section import ROOT
from config.settings import Settings
from config.taxonomy import DEFAULT, read_taxonomy
from emoset.confusability import read_confusability
from training.import_emogen import main
from training.imported_space import write_imported_confusability

EMOTIONS = read_taxonomy(DEFAULT).emotions
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
