"""The features of images: computed once for each image and network, whatever list the image is in."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from evaluation import features
from evaluation.features import FeatureCache, Network


@pytest.fixture
def images(tmp_path) -> pd.DataFrame:
    """Seven grey images, 10 to 70, of which the last cannot be read."""
    paths = [tmp_path / f"{level}.png" for level in range(10, 80, 10)]
    for path in paths:
        Image.new("RGB", (8, 8), (int(path.stem),) * 3).save(path)
    paths[-1].write_bytes(b"no image")
    return pd.DataFrame({"image_id": [path.stem for path in paths], "path": paths})


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """The names of the images that this process decodes."""
    names, load = [], features.load_image
    monkeypatch.setattr(features, "load_image", lambda path: names.append(path.stem) or load(path))
    return names


def network(name: str, seen: list, **options) -> Network:
    def run(batch):
        levels = [float(np.asarray(image).mean()) for image in batch]
        seen.extend(levels)
        return torch.tensor([[level, len(name)] for level in levels])

    return Network(name, run, **options)


def test_an_image_is_decoded_once_for_all_networks_and_kept_for_itself(images, decoded, tmp_path):
    cache, of_first, of_second = FeatureCache(tmp_path / "kept", 4), [], []
    first, second = network("one", of_first), network("second", of_second)
    cache.fill([(first, images), (second, images.head(3))], "")
    assert sorted(decoded) == list(images["image_id"])
    assert (of_first, of_second) == ([10, 20, 30, 40, 50, 60], [10, 20, 30])
    # Another list of the same images takes what is there, in its own order. Of an image that cannot be read there is none.
    other = images.iloc[[5, 6, 0]]
    decoded.clear()
    found = cache.features_of(first, other, "")
    assert found[[0, 2]].tolist() == [[60, 3], [10, 3]]
    assert found[1].isnan().all()
    assert decoded == ["70"], "it may have come back"
    # Only what a network has not seen is decoded again; an image that was written anew is another one.
    decoded.clear()
    Image.new("RGB", (9, 9), (15,) * 3).save(images["path"][0])
    assert cache.features_of(second, images, "")[:6, 0].tolist() == [15, 20, 30, 40, 50, 60]
    assert decoded == ["10", "40", "50", "60", "70"]


@pytest.mark.parametrize("kill", range(4))
def test_a_killed_run_resumes_with_the_same_batches(images, tmp_path, kill):
    """Whose features differ by rounding where a network sees other images beside them."""
    batches = {"one": [], "second": []}

    def recording(name: str, before: list[int]) -> Network:
        def run(batch):
            before.append(0)
            if len(before) - 1 == kill:
                raise KeyboardInterrupt
            batches[name].append([float(np.asarray(image).mean()) for image in batch])
            return torch.zeros(len(batch), 2)

        return Network(name, run)

    before, images = [], images.iloc[[6, *range(6)]]  # the first one cannot be read, so that it is lacking for ever
    wanted = [(recording("one", before), images), (recording("second", before), images.iloc[::-1])]
    cache = FeatureCache(tmp_path / "kept", 4)
    with pytest.raises(KeyboardInterrupt):
        cache.fill(wanted, "")
    cache.fill(wanted, "")
    assert batches == {"one": [[10, 20, 30], [40, 50, 60]], "second": [[10, 20, 30], [40, 50, 60]]}


def test_other_processes_decode_and_prepare_and_damaged_files_are_made_again(images, decoded, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "WORTH_IT", 2)
    cache, seen = FeatureCache(tmp_path / "kept", 2, decoders=2), []
    found = cache.features_of(network("one", seen, prepare=np.asarray), images, "")
    assert found[:6, 0].tolist() == [10, 20, 30, 40, 50, 60]
    assert decoded == []
    damaged, *_ = (tmp_path / "kept").rglob("*.safetensors")
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    seen.clear()
    torch.testing.assert_close(cache.features_of(network("one", seen), images, ""), found, equal_nan=True)
    assert len(seen) == 2, "those of one batch"
