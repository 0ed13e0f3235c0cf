import shutil

import pandas as pd
import pytest
from PIL import Image, ImageEnhance

from config.errors import UserError
from emoset.near_duplicates import near_duplicates
from runtime.run_folder import log


@pytest.fixture
def images(tmp_path):
    """Four distinct images, and for two of them a near-duplicate: re-encoded in test, brighter in val."""
    rows = []

    def add(name, split, image, quality=95):
        image.save(tmp_path / f"{name}.jpg", quality=quality)
        rows.append((name, split, f"{name}.jpg"))

    noise = [Image.effect_noise((16, 16), 90).resize((128, 128)).convert("RGB") for _ in range(4)]
    for number, image in enumerate(noise):
        add(f"train_{number}", "train", image)
    add("small_copy", "test", noise[1].resize((96, 96)), quality=40)
    add("brighter", "val", ImageEnhance.Brightness(noise[2]).enhance(1.15))
    add("another", "val", Image.effect_noise((16, 16), 90).resize((128, 128)).convert("RGB"))
    shutil.copy(tmp_path / "train_3.jpg", tmp_path / "same_split.jpg")
    rows.append(("same_split", "train", "same_split.jpg"))
    (tmp_path / "broken.jpg").write_text("no image")
    rows.append(("broken", "test", "broken.jpg"))
    return pd.DataFrame(rows, columns=["image_id", "split", "image"])


def test_pairs_across_splits_are_found_and_no_others(images, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(log, "info", said.append)
    pairs = near_duplicates(images, tmp_path, bits=6, processes=2)
    assert said == ["1 images cannot be used and are left out of the search: broken.jpg (not an image)"]
    assert set(zip(pairs["image_id"], pairs["other_id"], strict=True)) == {
        ("train_1", "small_copy"),
        ("train_2", "brighter"),
    }
    assert pairs["bits"].is_monotonic_increasing
    assert set(zip(pairs["split"], pairs["other_split"], strict=True)) == {("train", "test"), ("train", "val")}


def test_too_many_pairs_end_the_search(images, tmp_path, monkeypatch):
    monkeypatch.setattr("emoset.near_duplicates.MOST_PAIRS", 0)
    with pytest.raises(UserError, match=r"data\.near_duplicates: more than 0 pairs differ in at most 16 bits; lower it"):
        near_duplicates(images, tmp_path, bits=16, processes=1)


def test_an_exact_copy_differs_in_no_bit(images, tmp_path):
    shutil.copy(tmp_path / "train_0.jpg", tmp_path / "another.jpg")
    pairs = near_duplicates(images, tmp_path, bits=0, processes=1)
    assert ("train_0", "another", 0) in set(zip(pairs["image_id"], pairs["other_id"], pairs["bits"], strict=True))
