"""What understanding/predict.py says of a user's own images, and the one line that it ends with where it cannot."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from config.errors import UserError
from config.loading import load
from config.taxonomy import DEFAULT, read_taxonomy
from runtime.built_folder import lock
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
    settings = quick(predict={"images": images, "model": str(vlm), "batch_size": 2})
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


def test_what_is_said_of_an_image_does_not_depend_on_those_beside_it(quick, photos, vlm):
    first, second = photos / "a.jpg", photos / "deeper/b.JPG"
    said = {}
    for name, given in {"both": (first, second), "turned": (second, first), "alone": (first,)}.items():
        settings = quick(name, predict={"images": list(map(str, given)), "model": str(vlm), "batch_size": 1})
        predict.main(settings)
        lines = (settings.run / "predict/predictions.jsonl").read_text().splitlines()
        said[name] = {Path(line["image"]).name: line["likelihoods"] for line in map(json.loads, lines)}
    assert said["both"] == said["turned"]
    assert said["alone"]["a.jpg"] == said["both"]["a.jpg"]


def test_one_process_at_a_time_writes_predictions(quick, photos, vlm, monkeypatch):
    settings = quick(predict={"images": [str(photos)], "model": str(vlm)})
    with lock(settings.run / "predict"), pytest.raises(UserError, match="predict: another process is at work there"):
        predict.main(settings)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match=r"^understanding/predict\.py: runs as one process; start it with python, "):
        predict.main(settings)
    assert not (settings.run / "predict" / "predictions.jsonl").exists()


def test_a_path_is_told_as_it_was_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for given in ("a.jpg", "deeper/a.jpg", "../a.jpg", "/elsewhere/a.jpg"):
        (path,) = load([f"predict.images={given}"]).predict.images
        assert predict.as_given(path) == given
    (tmp_path / "mine.yaml").write_text("predict: {images: [data/a.jpg]}")
    (path,) = load(["--config", "mine.yaml"]).predict.images
    assert predict.as_given(path) == "data/a.jpg"


@pytest.fixture
def mixed(photos):
    """A folder as people have them: images of any name, hidden files, a cut-off one, broken pixels, a pipe, and others."""
    image = Image.open(photos / "a.jpg")
    for name, kind in (("b.jpg", "PNG"), ("no suffix", "JPEG"), ("e.txt", "WEBP"), ("Ünï;,.jpeg", "GIF")):
        image.save(photos / name, kind)
    Image.new("RGB", (2000, 8), "red").save(photos / "long.png")
    Image.new("RGB", (1, 1), "red").save(photos / "one.png")
    for name in (".DS_Store", "._a.jpg", "Thumbs.db", ".hidden/x.jpg"):
        (photos / name).parent.mkdir(exist_ok=True)
        (photos / name).write_bytes((photos / "a.jpg").read_bytes())
    (photos / "cut.jpg").write_bytes((photos / "a.jpg").read_bytes()[:300])
    noise = np.random.default_rng(0).integers(0, 255, (99, 99, 3), dtype=np.uint8)
    Image.fromarray(noise).save(photos / "pixels.png")
    data = bytearray((photos / "pixels.png").read_bytes())
    data[len(data) // 2] ^= 255
    (photos / "pixels.png").write_bytes(data)
    (photos / "empty.png").write_bytes(b"")
    os.mkfifo(photos / "pipe.jpg")
    (photos / "circle").symlink_to(photos)
    image.save(os.fsencode(photos) + b"/caf\xe9.jpg", "JPEG")
    return photos


USABLE = ["a.jpg", "b.jpg", "deeper/b.JPG", "e.txt", "no suffix", "one.png", "Ünï;,.jpeg"]
UNUSABLE = [
    "cut.jpg: cannot be read",
    "empty.png: empty file",
    "notes.txt: no image",
    "long.png: 2000 x 8 pixels, more than 100 times as long as wide",
    "pipe.jpg: ",
    "pixels.png: cannot",
    "circle: a linked folder, which is not followed",
    r"caf\xe9.jpg: its name is not UTF-8; rename it",
]


def lines_of(settings) -> list[dict]:
    file = settings.run / "predict" / "predictions.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


@pytest.fixture
def quick_answers(monkeypatch):
    """Stand in for the model: all answers are awe, but every image is loaded and bounded as it is for the processor."""
    monkeypatch.setattr(Asker, "answers", lambda self, asked, shown, *_: [["awe"]] * len(asked))
    monkeypatch.setattr(Asker, "likelihoods", lambda self, asked, *_: torch.full((len(asked), len(EMOTIONS)), 0.125))


def test_what_opens_is_predicted_and_the_rest_is_named(quick, mixed, vlm, capsys, monkeypatch):
    monkeypatch.chdir(mixed)
    images = [str(mixed), str(mixed / "gone.jpg"), str(mixed / ".hidden" / "x.jpg")]
    settings = quick(predict={"images": images, "model": str(vlm), "batch_size": 3})
    predict.main(settings)
    assert [line["image"] for line in lines_of(settings)] == [*sorted(USABLE), ".hidden/x.jpg"]
    assert all(sum(line["likelihoods"].values()) == pytest.approx(1) for line in lines_of(settings))
    printed = capsys.readouterr().out
    for said in [*UNUSABLE, "gone.jpg: cannot be read: no such file"]:
        assert printed.count(said) == 1, said
    assert not {".DS_Store", "Thumbs.db", "._a.jpg"} & set(printed.replace("/", " ").split())
    assert "8 images predicted, 9 files left out" in printed


def test_predictions_are_written_as_they_come_and_a_killed_run_resumes(quick, photos, vlm, quick_answers, monkeypatch):
    for number in range(6):
        Image.new("RGB", (40, 40 + number), "red").save(photos / f"{number}.png")
    settings = quick(predict={"images": [str(photos)], "model": str(vlm), "batch_size": 2})
    answers, asked = Asker.answers, []

    def killed(self, questions, shown, *rest):
        asked.extend(path.name for path in shown)
        if len(asked) > 5:
            raise KeyboardInterrupt
        return answers(self, questions, shown, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Asker, "answers", killed)
        with pytest.raises(KeyboardInterrupt):
            predict.main(settings)
    file = settings.run / "predict" / "predictions.jsonl"
    assert [Path(line["image"]).name for line in lines_of(settings)] == [f"{number}.png" for number in range(4)]
    with file.open("a") as lines:
        lines.write('{"image": "cut o')
    (photos / "5.png").write_bytes((photos / "5.png").read_bytes())  # as it was, but written anew
    os.utime(photos / "5.png", ns=(0, 0))
    asked.clear()
    with monkeypatch.context() as patch:  # that is another image, so all begins anew; then it is killed again
        patch.setattr(Asker, "answers", killed)
        with pytest.raises(KeyboardInterrupt):
            predict.main(settings)
    assert asked == ["0.png", "1.png", "2.png", "3.png", "4.png", "5.png"]
    with file.open("a") as lines:
        lines.write('{"image": "cut o')
    asked.clear()
    monkeypatch.setattr(Asker, "answers", lambda self, q, shown, *r: asked.extend(shown) or answers(self, q, shown, *r))
    predict.main(settings)
    assert [path.name for path in asked] == ["4.png", "5.png", "a.jpg", "b.JPG"]
    assert [Path(line["image"]).name for line in lines_of(settings)] == [f"{n}.png" for n in range(6)] + ["a.jpg", "b.JPG"]
    asked.clear()
    predict.main(settings)
    assert len(asked) == len(lines_of(settings)) == 8, "a finished run begins anew"


def test_an_image_that_goes_after_it_was_found_is_named(quick, photos, vlm, quick_answers, monkeypatch, capsys):
    settings = quick(predict={"images": [str(photos)], "model": str(vlm)})
    load = predict.load_asker
    monkeypatch.setattr(predict, "load_asker", lambda *given: (photos / "a.jpg").unlink() or load(*given))
    predict.main(settings)
    assert [Path(line["image"]).name for line in lines_of(settings)] == ["b.JPG"]
    assert "a.jpg: cannot be read: no such file or directory; it is left out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "predict.images: is empty"),
        (["empty"], "predict.images: .*/empty has no images"),
        (["nowhere.jpg"], "nowhere.jpg: cannot be read: no such file"),
        (["broken.jpg"], "broken.jpg: cannot be"),
        (["photos/notes.txt"], "notes.txt: no image"),
        (["photos/notes.txt", "broken.jpg", "empty"], "notes.txt: no image.*; .*broken.jpg: .*; .*empty has no images"),
    ],
)
def test_where_no_image_can_be_read_it_is_one_line_before_a_model_is_loaded(
    quick, photos, vlm, tmp_path, monkeypatch, images, message
):
    monkeypatch.setattr("understanding.predict.load_asker", lambda *_: pytest.fail("a model was loaded"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.jpg").write_bytes((photos / "a.jpg").read_bytes()[:300])
    given = [str(tmp_path / image) for image in images]
    with pytest.raises(UserError, match=message) as error:
        predict.main(quick(predict={"images": given, "model": str(vlm)}))
    assert "\n" not in str(error.value)


def test_with_check_nothing_is_loaded_or_written(quick, mixed, vlm, monkeypatch, capsys):
    monkeypatch.setattr("understanding.predict.load_asker", lambda *_: pytest.fail("a model was loaded"))
    (mixed / "pixels.png").unlink()
    settings = quick(check=True, predict={"images": [str(mixed)], "model": str(vlm)})
    predict.main(settings)
    printed = capsys.readouterr().out
    assert "All checks passed. The run would take:\n    images: 7\n" in printed
    assert "7 files are left out: " in printed
    assert not settings.run.exists()


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
