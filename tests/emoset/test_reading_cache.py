"""What was read is kept, and read again where anything has changed."""

import os
import random
import time

import pandas as pd
from changed_emoset import first, rewrite
from PIL import Image

from config.loading import load
from emoset import reading
from emoset.labels import SPLITS
from emoset.reading import read_emoset


def test_the_cache_serves_until_something_changes(emoset_copy, read, monkeypatch, tmp_path):
    before = read(emoset_copy)
    with monkeypatch.context() as patch:
        patch.setattr("emoset.reading._read", None)  # a second reading would raise
        again = read(emoset_copy)
    pd.testing.assert_frame_equal(before.index, again.index)
    assert before.fingerprint == again.fingerprint

    _, image_id, image, label = first(emoset_copy)
    rewrite(emoset_copy / label, lambda content: content | {"scene": "park"})
    os.utime(emoset_copy / label, ns=(0, time.time_ns() + 1))
    changed = read(emoset_copy)
    assert changed.fingerprint != before.fingerprint
    assert changed.index.set_index("image_id").loc[image_id, "scene"] == "park"

    Image.new("RGB", (50, 20)).save(emoset_copy / image)
    assert read(emoset_copy).index.set_index("image_id").loc[image_id, "width"] == 50


def test_other_layouts_below_image_are_read_and_watched(emoset_copy, read):
    moved = {}
    for path in list(emoset_copy.glob("image/*/*.jpg")):
        place = emoset_copy / "image/all/of/them" / path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        path.rename(place)
        moved[str(path.relative_to(emoset_copy))] = str(place.relative_to(emoset_copy))
    for split in SPLITS:
        rewrite(emoset_copy / f"{split}.json", lambda rows: [[*row[:2], moved[row[2]], row[3]] for row in rows])
    before = read(emoset_copy)
    assert before.problems.empty
    os.truncate(emoset_copy / moved[next(iter(moved))], 0)
    assert len(read(emoset_copy).index) == len(before.index) - 1


def test_permissions_that_were_mended_are_noticed(emoset_copy, read):
    label = emoset_copy / first(emoset_copy)[3]
    before = read(emoset_copy).fingerprint
    label.chmod(0o400)
    assert read(emoset_copy).fingerprint != before


def test_a_damaged_cache_is_read_anew(emoset_copy, read, tmp_path):
    before = read(emoset_copy)
    (cached,) = (tmp_path / "cache").glob("index-*")
    sound, rng = cached.read_bytes(), random.Random(0)
    for damage in ("cut off", "flipped"):
        content = bytearray(sound[:100] if damage == "cut off" else sound)
        for place in rng.sample(range(len(content)), 0 if damage == "cut off" else 200):
            content[place] ^= 255
        cached.write_bytes(content)
        pd.testing.assert_frame_equal(read(emoset_copy).index, before.index)
        assert cached.read_bytes() == sound


def test_no_damage_to_the_cache_goes_unseen(drawn, read, tmp_path):
    before = read(drawn)
    (cached,) = (tmp_path / "cache").glob("index-*")
    sound, rng = cached.read_bytes(), random.Random(0)
    for _ in range(300):
        content = bytearray(sound)
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        cached.write_bytes(content)
        found = reading._load(cached, before.fingerprint)
        if found is not None:  # a byte that nothing is read from
            pd.testing.assert_frame_equal(found.index, before.index)
            assert (found.listed, len(found.problems)) == (400, 0)


def test_decoding_changes_the_fingerprint_only_where_it_finds_something(emoset_copy, read):
    assert read(emoset_copy).fingerprint == read(emoset_copy, "data.decode=false").fingerprint
    image = emoset_copy / first(emoset_copy)[2]
    content = bytearray(image.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 2] = b"\xff\xd8"
    image.write_bytes(content)
    decoded, seen = read(emoset_copy), read(emoset_copy, "data.decode=false")
    assert [len(each.index) for each in (decoded, seen)] == [399, 400]
    assert decoded.fingerprint != seen.fingerprint


def test_a_check_reads_and_writes_nothing(drawn, tmp_path):
    data = load([f"data.emoset={drawn}", f"data.cache={tmp_path}/cache"]).data
    assert len(read_emoset(data, tmp_path / "run", 1, check=True).index) == 400
    assert not list(tmp_path.iterdir())


def test_problems_are_kept_with_the_cache(emoset_copy, read, tmp_path):
    os.truncate(emoset_copy / first(emoset_copy)[2], 0)
    before = read(emoset_copy).problems
    (tmp_path / "problems.csv").unlink()
    pd.testing.assert_frame_equal(read(emoset_copy).problems, before)
    assert (tmp_path / "problems.csv").exists()
