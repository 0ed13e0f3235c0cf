"""Images that cannot be measured, and folders that lack an emotion: skipped, counted, named, and marked; never an end."""

import html
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from config.errors import UserError
from config.taxonomy import DEFAULT, read_taxonomy
from emoset.images import ImageError
from emoset.selection import read_folder
from evaluation import features
from evaluation.evaluate import main
from evaluation.measure_generation import measure_generation
from evaluation.skipped import left_out_of_folder

pytestmark = pytest.mark.usefixtures("few_resamples")
EMOTIONS = read_taxonomy(DEFAULT).emotions


@pytest.fixture
def theirs(tmp_path):
    """Another method's folder: three images of each emotion, those of sadness in `sad/`, and some that are none."""
    rng = np.random.default_rng(0)
    for emotion in (*EMOTIONS[:-1], "sad"):
        (tmp_path / "theirs" / emotion).mkdir(parents=True)
        for number in range(3):
            pixels = rng.integers(0, 256, (32, 40, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "theirs" / emotion / f"{number}.png")
    whole = (tmp_path / "theirs/awe/0.png").read_bytes()
    (tmp_path / "theirs/awe/half.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "theirs/awe/empty.jpg").touch()
    Image.new("RGB", (4000, 20)).save(tmp_path / "theirs/awe/wide.png")
    Image.new("RGB", (1, 1)).save(tmp_path / "theirs/awe/dot.png")
    return tmp_path / "theirs"


def without_generator(settings):
    return settings.model_copy(update={"generate": settings.generate.model_copy(update={"generator": None})})


def measured(settings) -> tuple[dict, Path]:
    main(settings)
    return json.loads((settings.run / "evaluation/generation.json").read_text()), settings.run / "report"


def flip(file) -> None:
    content = bytearray(file.read_bytes())
    for place in np.random.default_rng(0).integers(0, len(content), 20):
        content[place] ^= 16
    file.write_bytes(content)


def test_no_image_ends_an_evaluation_and_what_is_left_out_is_told(quick, theirs, monkeypatch, capsys):
    """Broken, extreme and tiny ones, one that is gone when it is measured; then kept results that are damaged."""
    seen, load = [], features.load_image

    def vanishing(path):
        if path.name == "1.png" and path.parent.name == "fear":
            seen.append(path)
            if len(seen) > 9:  # while it is measured: some networks have seen it
                raise ImageError(path, "cannot be read: no such file or directory")
        return load(path)

    monkeypatch.setattr(features, "load_image", vanishing)
    settings = without_generator(quick(generators=[str(theirs)], reference=40))
    found, report = measured(settings)
    about = found["about"]
    assert about["n"]["theirs"] == found["figures"]["theirs"]["corrected"]["fid"]["n"] in (20, 21)
    skipped = " ".join(about["skipped"]["theirs"]["images"])
    assert about["skipped"]["theirs"]["n"] == 24 - 3 + 4 - about["n"]["theirs"]
    for name in ("half.png", "empty.jpg", "wide.png", "dot.png"):
        assert f"awe/{name} (" in skipped
    assert about["incomplete"] == {"theirs": "7 of 8 emotions"}
    warnings = [text for text, rows in about["warnings"].items() if rows == ["theirs"]]
    assert any(text.startswith("no images of sadness, so its means are over 7 of 8 emotions") for text in warnings)
    assert "sad/ is no emotion: did you mean sadness?" in warnings
    assert json.loads((report / "metrics.json").read_text())["incomplete"] == {"generation": about["incomplete"]}
    page, said = html.unescape((report / "index.html").read_text()), capsys.readouterr().out
    assert "theirs (7 of 8 emotions)" in (settings.run / "evaluation/log.txt").read_text()
    assert "theirs (7 of 8 emotions)" in page
    for text in (page, said):
        assert "sad/ is no emotion: did you mean sadness?" in text
        assert "awe/dot.png" in text
    assert not re.search(r'<th scope="col">theirs</th>', page)

    # Damaged kept results are made again: the same figures. The image that was gone is back.
    monkeypatch.setattr(features, "load_image", load)
    before = measure_generation(settings, settings.run / "evaluation")
    assert before["about"]["n"]["theirs"] == 21
    kept = [file for suffix in ("safetensors", "npy") for file in settings.data.cache.rglob(f"*.{suffix}")]
    assert len(kept) > 10
    for number, file in enumerate(kept):
        flip(file) if number % 2 else file.write_bytes(b"")
    assert measure_generation(settings, settings.run / "evaluation")["figures"] == before["figures"]


def test_only_images_are_skipped_ones(theirs):
    """What a desktop left behind, and a text that is not called an image, are none that a figure lacks."""
    for name in ("awe/Thumbs.db", "awe/notes.txt", "awe/.cache/0.png"):
        (theirs / name).parent.mkdir(exist_ok=True)
        (theirs / name).write_text("none")
    (theirs / "awe/0.png").rename(theirs / "awe" / os.fsdecode(b"caf\xe9.png"))
    images = read_folder(theirs, EMOTIONS)
    told = left_out_of_folder("theirs", theirs, images, EMOTIONS)["theirs"]
    names = [r"awe/caf\xe9.png", "awe/empty.jpg", "awe/half.png", "awe/wide.png"]
    assert sorted(name.partition(" ")[0] for name in told["images"]) == names
    assert r"awe/caf\xe9.png (its name is not UTF-8; rename it)" in told["images"]
    assert told["n"] == 4


def test_a_row_of_too_few_usable_images_is_one_line(quick, theirs):
    for emotion in EMOTIONS[2:-1]:
        for file in (theirs / emotion).iterdir():
            file.write_bytes(b"")
    with pytest.raises(UserError, match="theirs: fewer than 12 images"):
        measured(without_generator(quick(generators=[str(theirs)])))
