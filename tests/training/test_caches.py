import json
import pickle
import random
from collections import namedtuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from config.data_settings import Data, Machine
from config.errors import UserError
from config.generation_settings import Caches
from emoset.images import ImageError
from emoset.reading import read_emoset
from runtime.tensors import write_tensors
from training import caches
from training.caches import TensorCache, encode_moments, load_pixels, moments_of, pixels_of
from training.shards import StandIns, blank_rows

CACHES = Caches(shard=16, batch_size=5)


@pytest.fixture
def pixels(index, drawn, tmp_path):
    """Return a function that gives the pixels of the first 40 images, all of its arguments being as below."""

    def make(index=index, root=drawn, size=16, shorter_side=None, caches=CACHES, fingerprint="data", allowed=0.1):
        data = Data(emoset=root, cache=tmp_path / "cache", problems_allowed=allowed)
        return pixels_of(index, data, caches, Machine(processes=2), size, shorter_side, fingerprint)

    return make


@pytest.fixture
def moments(index, vae, drawn, tmp_path):
    """Return a function that gives the moments of the first 40 images."""

    def make(vae=vae):
        data = Data(emoset=drawn, cache=tmp_path / "cache")
        return moments_of(index, vae, data, CACHES, Machine(processes=2), 32, "data")

    return make


@pytest.fixture(scope="session")
def index(drawn, tmp_path_factory):
    folder = tmp_path_factory.mktemp("index")
    return read_emoset(Data(emoset=drawn, cache=folder), folder, 2).index.head(40)


@pytest.fixture
def vae(models):
    from diffusers import AutoencoderKL

    return AutoencoderKL.from_pretrained(models / "stable_diffusion", subfolder="vae")


@pytest.fixture
def said(monkeypatch):
    """Return the list of what the log is told."""
    told = []
    monkeypatch.setattr(caches.log, "info", told.append)
    return told


def states(cache):
    return {path.name: path.stat().st_mtime_ns for path in cache.folder.glob("*.safetensors")}


def test_pixels_are_the_centre_at_the_asked_size(tmp_path):
    image = np.zeros((40, 100, 3), np.uint8)
    image[:, 30:70] = (200, 100, 50)
    Image.fromarray(image).save(tmp_path / "wide.png")
    pixels = load_pixels(tmp_path / "wide.png", 20)
    assert pixels.shape == (3, 20, 20)
    assert pixels.dtype == torch.uint8
    assert pixels[:, 5:15, 5:15].flatten(1).float().mean(1).tolist() == pytest.approx([200, 100, 50], abs=1)
    # Scaled to 80, then cut to 40: the half of what is seen at 80.
    assert torch.equal(load_pixels(tmp_path / "wide.png", 40, 80), load_pixels(tmp_path / "wide.png", 80)[:, 20:60, 20:60])


def test_a_picture_narrower_than_its_rounded_side_is_still_whole(tmp_path):
    Image.new("RGB", (33, 71)).save(tmp_path / "odd.png")
    assert load_pixels(tmp_path / "odd.png", 17).shape == (3, 17, 17)


def test_cached_pixels_are_the_decoded_ones(pixels):
    cached = pixels(size=24, shorter_side=28)
    decoded = pixels(size=24, shorter_side=28, caches=Caches(use=False))
    assert isinstance(cached, TensorCache)
    assert not isinstance(decoded, TensorCache)
    assert len(cached) == len(decoded) == 40
    for row in (0, 15, 16, 39):
        assert torch.equal(cached[row]["pixels"], decoded[row]["pixels"])
    recipe = json.loads((cached.folder / "recipe.json").read_text())
    assert recipe["finished"]
    assert {"size": 24, "shorter side": 28, "number of images": 40}.items() <= recipe["inputs"].items()


def test_a_second_run_writes_nothing_and_a_damaged_shard_is_written_again(pixels):
    cache = pixels()
    before = states(cache)
    assert len(before) == 3
    wanted = cache[20]["pixels"].clone()
    assert states(pixels()) == before
    whole = cache.path(1).read_bytes()
    for damaged in (whole[:-100], whole[:5], b"", cache.path(2).read_bytes()):
        cache.path(1).write_bytes(damaged)
        again = pixels()
        assert cache.path(1).read_bytes() == whole
        assert torch.equal(again[20]["pixels"], wanted)
    assert {name: time for name, time in states(cache).items() if "1" not in name} == {
        name: time for name, time in before.items() if "1" not in name
    }


def test_a_killed_run_keeps_whole_shards(pixels, monkeypatch, tmp_path):
    decode, calls = caches.load_pixels, []

    def killed(*arguments):
        calls.append(arguments)
        if len(calls) == 20:
            raise KeyboardInterrupt
        return decode(*arguments)

    monkeypatch.setattr(caches, "load_pixels", killed)
    with pytest.raises(KeyboardInterrupt):
        pixels()
    (recipe,) = (json.loads(path.read_text()) for path in (tmp_path / "cache").glob("*/recipe.json"))
    assert not recipe["finished"]
    pixels()
    assert len(calls) == 20 + 40 - 16


def test_what_changes_the_content_changes_the_folder(pixels, index, caplog, monkeypatch):
    def folder(**changed):
        return pixels(**changed).folder

    monkeypatch.setattr(caches.log, "propagate", True)
    monkeypatch.setattr(caches.log, "handlers", [])  # those that an earlier run opened, and pytest's own beside them
    with caplog.at_level("INFO", "emotion"):
        first = folder()
        assert not caplog.messages
        assert folder(fingerprint="other") != first
        assert len(caplog.messages) == 1
        assert first.name in caplog.text
    others = [
        folder(size=8),
        folder(shorter_side=20),
        folder(index=index.head(39)),
        folder(caches=Caches(shard=8)),
    ]
    assert len({first, *others}) == 5
    assert first.is_dir()


def test_other_processes_read_the_cache(pixels):
    cache = pixels()
    wanted = torch.stack([cache[row]["pixels"] for row in range(40)])
    for copy in (cache, pickle.loads(pickle.dumps(cache))):  # as forked and as spawned processes get it
        loader = DataLoader(copy, batch_size=8, num_workers=2)
        assert torch.equal(torch.cat([batch["pixels"] for batch in loader]), wanted)
    assert len(pickle.dumps(cache)) < 5000
    assert len(pickle.dumps(cache[0])) < 5000


@pytest.mark.parametrize("few", [0, 1000])
def test_decoding_in_other_processes_gives_the_same_and_images_that_broke_are_left_out(
    pixels, index, emoset_copy, monkeypatch, said, few
):
    here = pixels(fingerprint="here")
    monkeypatch.setattr(caches, "FEW", few)
    for row in (3, 21, 39):
        (emoset_copy / index["image"][row]).write_bytes(b"no image")
    there = pixels(root=emoset_copy)
    told = ["3 images cannot be used and are left out", f"{index['image_id'][3]} (not an image)", f"remove {there.folder}"]
    assert all(text in said[-1] for text in told)
    for row in range(40):
        if row in (3, 21, 39):
            with pytest.raises(ImageError, match=f"{index['image_id'][row]}: not an image"):
                there[row]
        else:
            assert torch.equal(here[row]["pixels"], there[row]["pixels"])
    before = states(there)
    assert states(pixels(root=emoset_copy)) == before  # they stay left out, so that a training resumes with the same images
    assert all(text in said[-1] for text in told)


@pytest.mark.parametrize("use", [True, False])
def test_another_image_of_its_emotion_and_split_stands_in(pixels, index, emoset_copy, said, use):
    whole = pixels(caches=Caches(use=False))
    groups = index.groupby(["emotion", "split"]).indices
    rows = max(groups.values(), key=len)
    for row in (rows[0], rows[1], rows[-1]):
        (emoset_copy / index["image"][row]).write_bytes(b"")
    shown = StandIns(pixels(root=emoset_copy, caches=Caches(shard=16, use=use)), index)
    for row, stand_in in {rows[0]: rows[2], rows[1]: rows[2], rows[-1]: rows[2], rows[2]: rows[2]}.items():
        for _ in range(2):
            assert torch.equal(shown[row]["pixels"], whole[stand_in]["pixels"])
    if not use:
        assert len(said) == 3  # once for each
        assert said[0].endswith("empty file; another image takes its place")


def test_a_disk_that_went_away_is_no_reason_to_leave_images_out_for_good(pixels, index, emoset_copy):
    hidden = emoset_copy.rename(emoset_copy.with_name("elsewhere"))
    with pytest.raises(UserError, match=r"data\.problems_allowed: more than 10\.0% of the images can be read no more, "):
        pixels(root=emoset_copy)
    hidden.rename(emoset_copy)
    (emoset_copy / index["image"][0]).rename(emoset_copy / "aside")  # in the first shard, which is written before it ends
    (emoset_copy / index["image"][39]).unlink()
    with pytest.raises(UserError, match=r"can be read no more"):
        pixels(root=emoset_copy, allowed=0.03)
    (emoset_copy / "aside").rename(emoset_copy / index["image"][0])
    assert pixels(root=emoset_copy, allowed=0.03)[0]["pixels"].shape == (3, 16, 16)


def test_no_damage_to_a_shard_goes_unseen(pixels, moments, index):
    for cache in (pixels(), moments()):
        sound, rng = cache.path(1).read_bytes(), random.Random(0)
        wanted = {name: tensor.clone() for name, tensor in cache[20].items()}
        for damage in range(30):
            content = bytearray(sound)
            for _ in range(200 if damage == 0 else 1):
                content[rng.randrange(300 if damage % 2 else len(content))] ^= 1 << rng.randrange(8)
            cache.path(1).write_bytes(content)
            assert blank_rows(cache.path(1), 16, thoroughly=True) is None
        again = pixels() if cache.folder.name.startswith("pixels") else moments()
        assert cache.path(1).read_bytes() == sound
        assert all(torch.equal(tensor, wanted[name]) for name, tensor in again[20].items())


def test_a_shard_of_an_earlier_version_is_taken_as_it_is(pixels):
    cache = pixels()
    tensors = {"pixels": torch.stack([cache[row]["pixels"] for row in range(16, 32)])}
    write_tensors(cache.path(1), tensors)
    before = cache.path(1).read_bytes()
    pixels()
    assert cache.path(1).read_bytes() == before


def test_moments_are_those_of_the_image_and_of_its_flip(moments, index, drawn, vae):
    cache = moments()
    row = cache[17]
    assert {name: (tensor.shape, tensor.dtype) for name, tensor in row.items()} == {
        name: ((2, 4, 8, 8), torch.float16) for name in ("mean", "std")
    }
    pixels = load_pixels(drawn / index["image"].iloc[17], 32)[None]
    for entry, image in enumerate((pixels, pixels.flip(-1))):
        with torch.no_grad():
            latents = vae.encode(image.float() / 127.5 - 1).latent_dist
        torch.testing.assert_close(row["mean"][entry], latents.mean[0].half(), rtol=2e-3, atol=1e-3)
        torch.testing.assert_close(row["std"][entry], latents.std[0].half(), rtol=2e-3, atol=1e-3)
    live = encode_moments(vae, pixels)
    torch.testing.assert_close(row["mean"], live["mean"][0], rtol=2e-3, atol=1e-3)
    with torch.no_grad():
        vae.encoder.conv_in.weight.mul_(2)
    assert moments(vae).folder != cache.folder


def test_a_half_precision_vae_is_refused(vae):
    with pytest.raises(TypeError, match="half precision"):
        encode_moments(vae.half(), torch.zeros(1, 3, 32, 32, dtype=torch.uint8))


def test_a_full_disk_is_told_before_the_work_starts(moments, monkeypatch):
    usage = namedtuple("usage", "total used free")
    needed = 40 * 2 * 2 * 2 * 4 * 8 * 8
    decoded = []
    monkeypatch.setattr(caches, "load_pixels", lambda *asked: decoded.append(asked) or load_pixels(*asked))
    monkeypatch.setattr(caches.shutil, "disk_usage", lambda _: usage(0, 0, needed - 1))
    with pytest.raises(UserError, match=r"needs 0\.00 GB more .* set caches\.use=false"):
        moments()
    assert not decoded
    monkeypatch.setattr(caches.shutil, "disk_usage", lambda _: usage(0, 0, needed))
    moments()
    assert len(decoded) == 40


def test_squeezed_pixels_show_all_of_an_image(tmp_path):
    image = Image.new("RGB", (64, 16), "red")
    image.paste("blue", (48, 0, 64, 16))
    image.save(tmp_path / "wide.png")
    squeezed, cropped = (load_pixels(tmp_path / "wide.png", 16, squeeze=squeeze) for squeeze in (True, False))
    assert squeezed.shape == cropped.shape == (3, 16, 16)
    assert squeezed[:, 8, -1].tolist() == [0, 0, 255]
    assert cropped[:, 8, -1].tolist() == [255, 0, 0]
