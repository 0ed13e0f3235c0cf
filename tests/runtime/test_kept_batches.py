import random

import pytest

from runtime.kept_batches import kept_batches
from runtime.recipe import Recipe


def batches(folder, made):
    def make(number):
        made.append(number)
        return f"{number} ".encode() * 500

    files = kept_batches(folder, Recipe("batches", {}, {}), 3, ".parquet", make, "")
    return [file.read_bytes() for file in files]


def damaged(content: bytes, how: str) -> bytes:
    flipped = bytearray(content)
    for place in random.Random(0).sample(range(len(content)), 200):
        flipped[place] ^= 1 << place % 8
    return {"empty": b"", "half": content[: len(content) // 2], "flipped": bytes(flipped)}[how]


@pytest.mark.parametrize("how", ["empty", "half", "flipped", "gone"])
def test_a_damaged_batch_is_made_again_and_no_other(tmp_path, how):
    made = []
    found = batches(tmp_path, made)
    (second,) = tmp_path.glob("*/000001-*")
    if how == "gone":
        second.unlink()
    else:
        second.write_bytes(damaged(second.read_bytes(), how))
    assert batches(tmp_path, made) == found
    assert made == [0, 1, 2, 1]
    assert batches(tmp_path, made) == found
    assert len(made) == 4, "kept"
    assert len([*tmp_path.glob("*/000001*")]) == 1
