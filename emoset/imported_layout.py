"""What every imported data set has, wherever it came from: emotions for its classes, three splits, EmoSet's lists."""

import csv
import json
import re
import shlex
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import NamedTuple

from config.errors import UserError
from emoset.labels import SPLITS, contradiction
from runtime.files import write_json

SPLIT_NAMES = {"train": "train", "training": "train", "test": "test", "testing": "test"}
SPLIT_NAMES |= dict.fromkeys(("val", "valid", "validation", "dev"), "val")

PLAIN = re.compile(r"\w[\w.-]*( [\w.-]+)*")  # a name that YAML needs no quotes for
SHOWN = 40  # classes that an error names


class Imported(NamedTuple):
    """One image of the imported data set.

    split: train, val or test, as the source has it. image: its path in the data set. source: its place in the source.
    """

    image_id: str
    emotion: str
    split: str
    image: str
    source: str


def split_of(name: str) -> str | None:
    """Return train, val or test for the name that a source gives one of its splits, or None for any other name."""
    return SPLIT_NAMES.get(name.casefold())


def emotions_of(
    classes: Iterable[str], mapping: dict[str, str], emotions: tuple[str, ...], all_known: bool = True
) -> dict[str, str]:
    """Return the emotion of each class, an empty text for a class that is left out. Upper and lower case are the same.

    mapping: `source.classes`. all_known: False where the source may have more classes than those.
    Raises UserError for a class without an emotion, and for an entry of the mapping, or an emotion, that no class has; also
    for two entries of one class that say different emotions.
    """
    if told := contradiction(mapping):
        raise UserError(f"source.classes: {told}; leave one of them out")
    found = sorted(set(classes))
    known = {emotion: emotion for emotion in emotions} | {name.casefold(): emotion for name, emotion in mapping.items()}
    listed = f"the source has the classes {_shown(found)}"
    names, wrong = {name.casefold() for name in found}, []
    if unknown := [name for name in found if name.casefold() not in known]:
        wrong.append(
            f"source.classes: {_shown(unknown)} {'is not an emotion' if len(unknown) == 1 else 'are no emotions'} of "
            f"data.taxonomy ({', '.join(emotions)}), and not mapped to one; {listed}. Map each to an emotion, such as "
            f'{mapping_of(unknown[0], emotions[0])}, or to "" to leave it out'
        )
    absent = [name for name in mapping if name.casefold() not in names]
    if absent and all_known:
        wrong.append(f"source.classes: there is no class {' or '.join(absent)}; {listed}")
    if wrong:
        raise UserError("\n".join(wrong))
    of_class = {name: known[name.casefold()] for name in found}
    missing = [emotion for emotion in emotions if emotion not in of_class.values()]
    if missing and all_known:
        raise UserError(
            f"source.classes: no class is mapped to {', '.join(missing)}, and {listed}; map one to each emotion, or "
            "name the taxonomy of these data: data.taxonomy=file.yaml"
        )
    return of_class


def mapping_of(name: str, emotion: str) -> str:
    """Return the setting that maps a class to an emotion, quoted as YAML and a shell need it."""
    key, value = (text if PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False) for text in (name, emotion))
    return "source.classes=" + shlex.quote(f"{{{key}: {value}}}")


def with_three_splits(
    images: list[Imported], shares: list[float], emotions: tuple[str, ...], seed: int
) -> dict[str, list[Imported]]:
    """Return {split: images}. A split that the source does not have is drawn from its train split, by `shares`.

    The draw is the same for each order of `images`, and takes from each emotion the same share, at least one image.
    Raises UserError where a split with a share, or one that the source has, lacks an emotion.
    """
    own = {image.split for image in images}
    share = dict(zip(SPLITS, shares, strict=True))
    drawn = ["train", *(split for split in SPLITS if split not in own | {"train"} and share[split])]
    splits = {split: [image for image in images if image.split == split] for split in SPLITS}
    if len(drawn) > 1:
        pool, splits["train"] = splits["train"], []
        for emotion in emotions:
            members = sorted(image for image in pool if image.emotion == emotion)
            Random(f"{seed} splits {emotion}").shuffle(members)
            counts = _counts(len(members), [share[split] for split in drawn])
            for split, count in zip(drawn, counts, strict=True):
                splits[split] += [image._replace(split=split) for image in members[:count]]
                members = members[count:]
    for split in sorted({*own, *drawn}, key=SPLITS.index):
        held = {image.emotion for image in splits[split]}
        if missing := [emotion for emotion in emotions if emotion not in held]:
            raise UserError(
                f"source: the {split} split would have no image of {', '.join(missing)}, and every split needs every "
                "emotion; add images of it, change source.shares, or leave its class out and name another data.taxonomy"
            )
    return {split: sorted(members) for split, members in splits.items()}


def write_layout(folder: Path, splits: dict[str, list[Imported]], emotions: tuple[str, ...]) -> None:
    """Write EmoSet's lists and vocabulary into `folder`, and imported.csv, which says where each image comes from.

    info.json is written last, so that nobody takes an unfinished folder for a data set.
    """
    with (folder / "imported.csv").open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Imported._fields)
        for split in SPLITS:
            writer.writerows(splits[split])
    for split, members in splits.items():
        rows = [[each.emotion, each.image_id, each.image, _annotation(each)] for each in members]
        write_json(folder / f"{split}.json", rows)
    numbers = {emotion: number for number, emotion in enumerate(emotions)}
    vocabulary = {"label2idx": numbers, "idx2label": {str(number): emotion for emotion, number in numbers.items()}}
    write_json(folder / "info.json", {"emotion": vocabulary})


def numbers_of(splits: dict[str, list[Imported]], emotions: tuple[str, ...]) -> str:
    """Return in words how many images each split and each emotion has."""
    images = [image for members in splits.values() for image in members]
    by_emotion = defaultdict(int)
    for image in images:
        by_emotion[image.emotion] += 1
    each = ", ".join(f"{len(members):,} {split}" for split, members in splits.items())
    return f"{len(images):,} images ({each}); {', '.join(f'{by_emotion[name]:,} {name}' for name in emotions)}"


def _shown(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f", ... ({len(names):,} in all)" if len(names) > SHOWN else "")


def _annotation(image: Imported) -> str:
    return f"annotation/{image.emotion}/{image.image_id}.json"  # EmoSet's lists name one; there is none


def _counts(images: int, shares: list[float]) -> list[int]:
    """Share out `images` in proportion to `shares`, at least one for each share above 0, as far as there are images."""
    exact = [images * share / sum(shares) for share in shares]
    counts = [int(each) for each in exact]
    order = sorted(range(len(shares)), key=lambda place: counts[place] - exact[place])
    for place in order[: images - sum(counts)]:
        counts[place] += 1
    for place, count in enumerate(counts):
        largest = max(range(len(counts)), key=counts.__getitem__)
        if not count and shares[place] and counts[largest] > 1:
            counts[place], counts[largest] = 1, counts[largest] - 1
    return counts
