"""Finds images of different splits that look alike, by perceptual hash."""

from pathlib import Path

import numpy as np
import pandas as pd

from config.errors import UserError
from emoset.images import ImageError, load_image
from emoset.labels import SPLITS
from emoset.selection import log_left_out
from runtime.run_folder import progress
from runtime.workers import worker_pool

BLOCK = 2048  # images compared with all others at a time
MOST_PAIRS = 1_000_000  # nobody looks through more, and memory ends
PAIR_COLUMNS = ["image_id", "split", "other_id", "other_split", "bits"]


def near_duplicates(index: pd.DataFrame, root: Path, bits: int, processes: int | None) -> pd.DataFrame:
    """Return the pairs of images in different splits whose 64-bit DCT hashes (ImageHash's phash) differ in at most `bits`.

    Columns: image_id, split, other_id, other_split, bits; nearest first. Every pair is compared: 118,102 images make three
    thousand million comparisons. An image that cannot be decoded is left out, and the log names it. Raises UserError beyond
    MOST_PAIRS.
    """
    with worker_pool(processes) as pool:
        paths = [root / image for image in index["image"]]
        found = progress(pool.map(_hash, paths, chunksize=64), "hashing", len(paths))
        found = list(found)
    broken = [(image, each) for image, each in zip(index["image"], found, strict=True) if isinstance(each, str)]
    log_left_out(broken, " of the search")
    hashes = [None if isinstance(each, str) else each for each in found]
    hashes = pd.Series(hashes, index=index["image_id"].values, dtype="UInt64").dropna()
    split = index.set_index("image_id")["split"].reindex(hashes.index)
    pairs = []
    for position, one in enumerate(SPLITS):
        for other in SPLITS[position + 1 :]:
            pairs += _pairs(hashes[split == one], one, hashes[split == other], other, bits)
    return pd.DataFrame(pairs, columns=PAIR_COLUMNS).sort_values(["bits", "image_id", "other_id"], ignore_index=True)


def _hash(path: Path) -> int | str:
    """Return the hash of an image, or why it has none."""
    from imagehash import phash  # brings scipy, which only this function needs

    try:
        return int(str(phash(load_image(path))), 16)
    except ImageError as error:
        return error.reason


def _pairs(ones: pd.Series, one: str, others: pd.Series, other: str, bits: int) -> list[tuple]:
    pairs = []
    right = others.to_numpy(dtype=np.uint64)
    for start in range(0, len(ones), BLOCK):
        block = ones.iloc[start : start + BLOCK]
        distance = np.bitwise_count(block.to_numpy(dtype=np.uint64)[:, None] ^ right)
        near = distance <= bits
        if len(pairs) + near.sum() > MOST_PAIRS:
            raise UserError(f"data.near_duplicates: more than {MOST_PAIRS:,} pairs differ in at most {bits} bits; lower it")
        for i, j in np.argwhere(near):
            pairs.append((block.index[i], one, others.index[j], other, int(distance[i, j])))
    return pairs
