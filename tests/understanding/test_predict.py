"""What understanding/predict.py says of a user's own images, and the one line that it ends with where it cannot."""

import json
import shutil

import pytest

from config.errors import UserError
from config.loading import load
from config.taxonomy import DEFAULT, read_taxonomy
from understanding import predict
from understanding.asking import Asker

TAXONOMY = read_taxonomy(DEFAULT)
EMOTIONS = TAXONOMY.emotions


@pytest.fixture
def photos(drawn, tmp_path):
    """A folder with two images, one of them deeper, and a file that is none."""
    first, second, *_ = sorted((drawn / "image" / "awe").iterdir())
    (tmp_path / "photos" / "deeper").mkdir(parents=True)
    shutil.copy(first, tmp_path / "photos" / "a.jpg")
    shutil.copy(second, tmp_path / "photos" / "deeper" / "b.JPG")
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    return tmp_path / "photos"


def test_each_image_gets_an_answer_and_likelihoods(quick, photos, vlm, monkeypatch, capsys):
    monkeypatch.setattr(
        Asker, "answers", lambda self, asked, shown, *_: [[" Awe.\n"] if len(shown) > 1 else ["?"]] * len(asked)
    )
    images = [str(photos), str(photos / "a.jpg")]
    settings = quick(predict={"images": images, "model": str(vlm)}, evaluate={"batch_size": 2})
    monkeypatch.chdir(photos.parent)
    predict.main(settings)
    lines = [json.loads(line) for line in (settings.run / "predict" / "predictions.jsonl").read_text().splitlines()]
    assert [line["image"] for line in lines] == ["photos/a.jpg", "photos/deeper/b.JPG", "photos/a.jpg"]
    assert [line["emotion"] for line in lines] == ["awe", "awe", None]
    for line in lines:
        assert set(line["likelihoods"]) == set(EMOTIONS)
        assert sum(line["likelihoods"].values()) == pytest.approx(1)
        assert list(line["likelihoods"].values()) == sorted(line["likelihoods"].values(), reverse=True)
    printed = capsys.readouterr().out
    assert "b.JPG: awe (" in printed
    assert "a.jpg: no emotion named (" in printed


def test_a_path_is_told_as_it_was_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for given in ("a.jpg", "deeper/a.jpg", "../a.jpg", "/elsewhere/a.jpg"):
        (path,) = load([f"predict.images={given}"]).predict.images
        assert predict.as_given(path) == given
    (tmp_path / "mine.yaml").write_text("predict: {images: [data/a.jpg]}")
    (path,) = load(["--config", "mine.yaml"]).predict.images
    assert predict.as_given(path) == "data/a.jpg"


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "predict.images: names no image"),
        (["empty"], "predict.images: .*/empty has no images"),
        (["nowhere.jpg"], "nowhere.jpg: cannot be read: no such file"),
        (["broken.jpg"], "broken.jpg: cannot be"),
        (["photos/notes.txt"], "notes.txt: not an image"),
    ],
)
def test_images_that_are_none_are_refused_before_a_model_is_loaded(
    quick, photos, vlm, tmp_path, monkeypatch, images, message
):
    monkeypatch.setattr("understanding.asking.load_asker", lambda *_: pytest.fail("a model was loaded"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.jpg").write_bytes((photos / "a.jpg").read_bytes()[:300])
    given = [str(tmp_path / image) for image in images]
    with pytest.raises(UserError, match=message) as error:
        predict.main(quick(predict={"images": given, "model": str(vlm)}))
    assert "\n" not in str(error.value)


def test_a_model_that_is_not_there(quick, photos, tmp_path):
    with pytest.raises(UserError, match=r"run/understanding/model is not there; understanding\.py makes it"):
        predict.main(quick(predict={"images": [str(photos)]}))
    with pytest.raises(UserError, match=r"predict\.model: '.*/nowhere' is neither a folder") as error:
        predict.main(quick(predict={"images": [str(photos)], "model": str(tmp_path / "nowhere")}))
    assert "\n" not in str(error.value)


def test_an_adapter_without_its_base(quick, photos, adapter):
    about = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(about | {"base_model_name_or_path": "/gone"}))
    with pytest.raises(
        UserError, match=r"adapter/adapter_config\.json: base_model_name_or_path: '/gone' is neither a folder"
    ):
        predict.main(quick(predict={"images": [str(photos)], "model": str(adapter)}))
