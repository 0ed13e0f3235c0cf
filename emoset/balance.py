"""Draws an emotion-balanced training set from EmoSet's index.

Both policies return a row per draw: image_id, emotion, kind, attribute. An image that is drawn three times has three rows,
so the rows are an epoch's items. A data set without attributes has empty kinds and attributes there.
"""

import random
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from config.data_settings import Balance, Data
from config.errors import UserError
from emoset.attribute_folders import has_attributes, memberships
from emoset.labels import KINDS
from runtime.files import write_atomically
from runtime.recipe import Recipe, settings_of

BALANCE_VERSION = 1  # raise it when the policies draw differently
COLUMNS = ["image_id", "emotion", "kind", "attribute"]


def balanced_set(index: pd.DataFrame, data: Data, balance: Balance, seed: int) -> pd.DataFrame:
    """Return the balanced set that the settings ask for, drawn from `index` (emoset.reading.EmoSet.index).

    Where no image has an attribute of `data.kinds`, images are drawn by their emotion alone.
    Raises UserError where an emotion has no image to draw, or a bound cannot be kept.
    """
    if absent := [split for split in balance.splits if not (index["split"] == split).any()]:
        raise UserError(f"balance.splits: there is no image in {' or '.join(absent)}; take it out of balance.splits")
    index = index[index["split"].isin(balance.splits)]
    emotions, attributes = data.taxonomy.emotions, has_attributes(index, data.kinds)
    if missing := [emotion for emotion in emotions if not (index["emotion"] == emotion).any()]:
        splits = ", ".join(balance.splits)
        raise UserError(
            f"balance.splits: {splits} has no image of {', '.join(missing)}, and a balanced set needs every emotion"
        )
    if balance.policy == "emogen":
        if not attributes:
            raise UserError("balance.policy: emogen draws by attributes, and no image has one; choose tempered")
        return emogen(index, emotions, data.kinds, seed)
    pool = rarest_attribute(memberships(index, data.kinds)) if attributes else index.assign(kind="", attribute="")[COLUMNS]
    return tempered(pool, emotions, balance.temperature, balance.max_repeats, balance.images_per_emotion, seed)


def balance_recipe(data: Data, balance: Balance, seed: int, fingerprint: str) -> Recipe:
    """Return what a balanced set follows from; fingerprint: of the data set it is drawn from."""
    settings = {"seed": seed, "data.kinds": data.kinds} | settings_of("balance", balance)
    return Recipe("balanced set", settings, {"data set": fingerprint, "version": BALANCE_VERSION})


def emogen_pool(index: pd.DataFrame, kinds: list[str]) -> pd.DataFrame:
    """Return the images that the published rule takes, a row each: image_id, emotion, kind, attribute.

    scene: every image with a scene. object: an image without a scene, under its first object; an image with a scene only
    where one of its objects is spelled like it (a tower in the scene `tower`). The published code compares with the last
    part of a path, so an attribute with a slash in its name (`bakery/shop`) never matches and its images are lost.
    """
    rows = memberships(index, kinds)
    first = index.set_index("image_id")["object"].str[0]
    scene = index.set_index("image_id")["scene"]
    without_scene = rows["image_id"].map(scene).isna()
    taken = (
        (rows["kind"] == "scene")
        | (without_scene & (rows["attribute"] == rows["image_id"].map(first)))
        | (rows["attribute"] == rows["image_id"].map(scene))
    )
    return rows.loc[taken & ~rows["attribute"].str.contains("/", regex=False), COLUMNS]


def emogen(index: pd.DataFrame, emotions: tuple[str, ...], kinds: list[str], seed: int) -> pd.DataFrame:
    """Return the set as published: for each kind, every emotion repeated to the size of the largest (EmoGen, CVPR 2024)."""
    pool = emogen_pool(index, kinds).sort_values("image_id")
    draws = []
    for kind in kinds:
        groups = _by_emotion(pool[pool["kind"] == kind], emotions, kind)
        largest = max(map(len, groups.values()))
        for emotion, images in groups.items():
            draws.append(images.iloc[_draw(len(images), largest, seed, kind, emotion)])
    return _finish(pd.concat(draws))


def rarest_attribute(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row per image: of the attributes it carries (`memberships`), the one that fewest images carry."""
    images = rows.groupby(["kind", "attribute"])["image_id"].transform("size")
    rows = rows.assign(images=images).sort_values(["images", "kind", "attribute", "image_id"])
    return rows.drop_duplicates("image_id")[COLUMNS]


def tempered(
    pool: pd.DataFrame, emotions: tuple[str, ...], temperature: float, max_repeats: int, per_emotion: int | None, seed: int
) -> pd.DataFrame:
    """Return `per_emotion` draws for each emotion, attributes flattened, no image drawn more than `max_repeats` times.

    pool: one row per image (image_id, emotion, kind, attribute). Within an emotion an attribute with n images gets draws in
    proportion to n**temperature, at most max_repeats * n (`flattened_counts`), spread evenly over its images.
    """
    groups = _by_emotion(pool, emotions)
    sizes = {emotion: len(images) for emotion, images in groups.items()}
    smallest = min(sizes, key=sizes.get)
    possible = max_repeats * sizes[smallest]
    total = per_emotion or min(max(sizes.values()), possible)
    if total > possible:
        raise UserError(
            f"balance.images_per_emotion: {total} is too many: {smallest} has {sizes[smallest]} images, times "
            f"balance.max_repeats {max_repeats} makes {possible}; lower the one or raise the other"
        )
    draws = []
    for emotion, images in groups.items():
        images = images.sort_values("image_id")
        places = images.groupby(["kind", "attribute"]).indices
        counts = flattened_counts([len(place) for place in places.values()], total, temperature, max_repeats)
        draws += [
            images.index[place[_draw(len(place), count, seed, emotion, *attribute)]]
            for (attribute, place), count in zip(places.items(), counts, strict=True)
        ]
    return _finish(pool.loc[np.concatenate(draws)])


def flattened_counts(images: list[int], total: int, temperature: float, max_repeats: int) -> np.ndarray:
    """Share `total` draws out over attributes that have so many `images`: whole numbers, in proportion to
    images**temperature, but at most max_repeats * images each; what a full attribute cannot take goes to the others.

    >>> flattened_counts([100, 16, 1], total=60, temperature=0.5, max_repeats=2).tolist()
    [41, 17, 2]
    """
    limit = max_repeats * np.asarray(images)
    wanted = np.asarray(images, dtype=float) ** temperature
    full = np.zeros(len(limit), dtype=bool)
    while True:
        share = np.where(full, limit, 0.0)
        share[~full] = (total - limit[full].sum()) * wanted[~full] / wanted[~full].sum() if not full.all() else 0
        over = ~full & (share > limit)
        if not over.any():
            break
        full |= over
    counts = np.floor(share + 1e-9).astype(int)
    # Largest remainders take what rounding down left; an attribute at its limit has no remainder.
    order = np.argsort(counts - share, kind="stable")
    counts[order[: total - counts.sum()]] += 1
    return counts


def write_balanced_set(rows: pd.DataFrame, path: Path) -> None:
    """Write the balanced set as Parquet."""
    table = pa.Table.from_pandas(rows, preserve_index=False)
    write_atomically(path, lambda beside: pq.write_table(table, beside, compression="zstd", write_page_checksum=True))


def read_balanced_set(path: Path) -> pd.DataFrame | None:
    """Return the balanced set in a file, or None where there is none, or none that is whole."""
    try:
        rows = pq.read_table(path, page_checksum_verification=True).to_pandas()
    except Exception:  # a damaged file makes its readers raise whatever they stumble over
        return None
    return rows if list(rows) == COLUMNS else None


def _by_emotion(pool: pd.DataFrame, emotions: tuple[str, ...], kind: str = "") -> dict[str, pd.DataFrame]:
    """Return the rows of each emotion. Raise UserError where one has none. kind: the kind of attribute of all rows."""
    groups = {emotion: pool[pool["emotion"] == emotion] for emotion in emotions}
    empty = [emotion for emotion, images in groups.items() if images.empty]
    if empty:
        kinds = f"the kind {kind}" if kind else "the kinds"
        raise UserError(
            f"data.kinds: no image of {', '.join(empty)} in balance.splits has an attribute of {kinds}; a balanced set "
            "needs every emotion: add kinds or splits"
        )
    return groups


def _draw(images: int, draws: int, seed: int, *names: str) -> np.ndarray:
    """Return `draws` numbers below `images`, each as often as any other or once more; in an order that depends on the seed
    and the names alone, on any machine."""
    order = list(range(images))
    random.Random(" ".join((str(seed), *names))).shuffle(order)
    return np.array(order)[np.arange(draws) % images]


def _finish(rows: pd.DataFrame) -> pd.DataFrame:
    rows = rows.assign(order=rows["kind"].map(("", *KINDS).index))
    return rows.sort_values(["order", "emotion", "attribute", "image_id"], ignore_index=True)[COLUMNS]
