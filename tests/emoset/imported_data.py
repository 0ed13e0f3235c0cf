"""Small folders and Parquet files to import, and what an import left."""

import json
from collections import Counter
from io import BytesIO

import datasets
from PIL import Image

from emoset.labels import SPLITS

EMOTIONS = ("calm", "dread", "joy")


def encoded(colour=0, kind="JPEG"):
    file = BytesIO()
    Image.new("RGB", (12, 8), (colour % 256, 90, 30)).save(file, kind)
    return file.getvalue()


def photos(root, counts=None, splits=("",), suffix=".jpg"):
    """Make a folder of classes with so many images each; return it."""
    colour = 0
    for split in splits:
        for name, count in (counts or dict(calm=10, dread=10, Joy=12)).items():
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                colour += 1
                (root / split / name / f"{number:02d}{suffix}").write_bytes(encoded(colour))
    return root


def lists(tmp_path):
    return {split: json.loads((tmp_path / f"data/{split}.json").read_text()) for split in SPLITS}


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def sizes(tmp_path):
    return {split: dict(Counter(row[0] for row in rows)) for split, rows in lists(tmp_path).items()}


def rows(count=15, kinds=("JPEG", "PNG")):
    """Return rows of a data set: bytes, and a number for the class."""
    return [(encoded(3 * number, kinds[number % len(kinds)]), number % 3) for number in range(count)]


def parquet(folder, table=None, form="classes", names=("calm", "dread", "joy"), image="image", label="label"):
    """Write Parquet files as `datasets` does, one for each split of `table`; return the folder."""
    folder.mkdir()
    for split, content in (table or {"train": rows()}).items():
        images = [{"bytes": stored, "path": None} for stored, _ in content]
        if form == "classes":
            kind, labels = datasets.ClassLabel(names=list(names)), [number for _, number in content]
        else:
            kind = datasets.Value("string" if form == "names" else "int64")
            labels = [number if form == "numbers" or number is None else names[number] for _, number in content]
        features = datasets.Features({image: datasets.Image(), label: kind, "more": datasets.Value("int64")})
        columns = {image: images, label: labels, "more": list(range(len(content)))}
        datasets.Dataset.from_dict(columns, features).to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return folder
