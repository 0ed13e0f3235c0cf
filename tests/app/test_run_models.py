"""What the page takes from a run folder, without the page."""

import json
from types import SimpleNamespace

from asked import FIRST
from PIL import Image

from app.run_models import RunModels
from config.loading import load
from config.taxonomy import DEFAULT, read_taxonomy


def test_no_example_lies_outside_the_data_set(tmp_path):
    root = tmp_path / "data"
    (root / "image").mkdir(parents=True)
    for path in (tmp_path / "private.png", root / "image/own.png"):
        Image.new("RGB", (8, 8)).save(path)
    images = (f"{tmp_path}/private.png", "image/../../private.png", "../private.png", "image/own.png")
    for split in ("train", "val", "test"):
        rows = [[FIRST, f"image {number}", image, ""] for number, image in enumerate(images)] if split == "val" else []
        (root / f"{split}.json").write_text(json.dumps(rows))
    models = SimpleNamespace(settings=load([f"data.emoset={root}"]), run=tmp_path, taxonomy=read_taxonomy(DEFAULT))
    assert RunModels.examples.func(models) == [root / "image/own.png"]
