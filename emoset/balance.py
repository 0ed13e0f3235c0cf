"""Draws an emotion-balanced training set from EmoSet's index.

Both policies return a row per draw: image_id, emotion, kind, attribute, weight (1 for each draw). An image that is drawn
three times has three rows, so the rows are an epoch's items.
"""

import random
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from config.loading import UserError
from config.script import write_atomically
from config.settings import Settings
from emoset.attribute_folders import memberships
from emoset.labels import EMOTIONS, KINDS

BALANCE_VERSION = 1  # raise it when the policies draw differently
COLUMNS = ["image_id", "emotion", "kind", "attribute", "weight"]


def balanced_set(index: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Return the balanced set that the settings ask for, drawn from `index` (emoset.reading.EmoSet.index).

    Raises UserError where an emotion has no image with an attribute, or a bound cannot be kept.
    """
    balance = settings.balance
    index = index[index["split"].isin(balance.splits)]
    if balance.policy == "emogen":
        return emogen(index, settings.data.kinds, settings.seed)
    pool = rarest_attribute(memberships(index, settings.data.kinds))
    return tempered(pool, balance.temperature, balance.max_repeats, balance.images_per_emotion, settings.seed)


def balance_recipe(settings: Settings, fingerprint: str) -> str:
    """Return what a balanced set follows from; fingerprint: of the data set it is drawn from."""
    return f"{BALANCE_VERSION} {fingerprint} {settings.data.kinds} {settings.balance!r} seed={settings.seed}"


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
    return rows.loc[taken & ~rows["attribute"].str.contains("/", regex=False), COLUMNS[:4]]


def emogen(index: pd.DataFrame, kinds: list[str], seed: int) -> pd.DataFrame:
    """Return the set as published: for each kind, every emotion repeated to the size of the largest (EmoGen, CVPR 2024)."""
    pool = emogen_pool(index, kinds).sort_values("image_id")
    draws = []
    for kind in kinds:
        groups = _by_emotion(pool[pool["kind"] == kind], f"{kind} ")
        largest = max(map(len, groups.values()))
        for emotion, images in groups.items():
            draws.append(images.iloc[_draw(len(images), largest, seed, kind, emotion)])
    return _finish(pd.concat(draws))


def rarest_attribute(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row per image: of the attributes it carries (`memberships`), the one that fewest images carry."""
    images = rows.groupby(["kind", "attribute"])["image_id"].transform("size")
    rows = rows.assign(images=images).sort_values(["images", "kind", "attribute", "image_id"])
    return rows.drop_duplicates("image_id")[COLUMNS[:4]]


def tempered(pool: pd.DataFrame, temperature: float, max_repeats: int, per_emotion: int | None, seed: int) -> pd.DataFrame:
    """Return `per_emotion` draws for each emotion, attributes flattened, no image drawn more than `max_repeats` times.

    pool: one row per image (image_id, emotion, kind, attribute). Within an emotion an attribute with n images gets draws in
    proportion to n**temperature, at most max_repeats * n (`flattened_counts`), spread evenly over its images.
    """
    groups = _by_emotion(pool, "")
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


def write_balanced_set(rows: pd.DataFrame, path: Path, recipe: str) -> None:
    """Write the balanced set as Parquet; `recipe`, any text, says what it was made from."""
    table = pa.Table.from_pandas(rows, preserve_index=False)
    table = table.replace_schema_metadata({"recipe": recipe})
    write_atomically(path, lambda beside: pq.write_table(table, beside, compression="zstd"))


def recipe_of(path: Path) -> str | None:
    """Return the recipe of a balanced set written before; None where there is none."""
    try:
        return pq.read_schema(path).metadata[b"recipe"].decode()
    except (FileNotFoundError, pa.ArrowInvalid, KeyError, TypeError):  # or a file that is not ours
        return None


def _by_emotion(pool: pd.DataFrame, what: str) -> dict[str, pd.DataFrame]:
    groups = {emotion: pool[pool["emotion"] == emotion] for emotion in EMOTIONS}
    empty = [emotion for emotion, images in groups.items() if images.empty]
    if empty:
        raise UserError(
            f"no image of {', '.join(empty)} has a {what}attribute in the chosen splits; a balanced set needs all eight "
            "emotions: add kinds (data.kinds) or splits (balance.splits)"
        )
    return groups


def _draw(images: int, draws: int, seed: int, *names: str) -> np.ndarray:
    """Return `draws` numbers below `images`, each as often as any other or once more; in an order that depends on the seed
    and the names alone, on any machine."""
    order = list(range(images))
    random.Random(" ".join((str(seed), *names))).shuffle(order)
    return np.array(order)[np.arange(draws) % images]


def _finish(rows: pd.DataFrame) -> pd.DataFrame:
    rows = rows.assign(weight=1.0, order=rows["kind"].map(KINDS.index))
    return rows.sort_values(["order", "emotion", "attribute", "image_id"], ignore_index=True)[COLUMNS]
