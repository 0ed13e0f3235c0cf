"""Rebuilds a dataset of EmoSet's real size and shape from its published metadata, with small noise images.

    python benchmarks/real_shape.py path/to/published path/to/target

`published` holds info.json, index.csv.gz and attribute_counts.csv. The second has the columns image_id, emotion, kind and
attribute of the 75,296 images of the published training set, an object image under its first object. The third has the
columns kind, attribute and images, which is how many carry it.
"""

import csv
import gzip
import io
import json
import random
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pandas as pd
import pyarrow as pa
from PIL import Image

from config.taxonomy import DEFAULT, read_taxonomy
from emoset.annotation import read_attributes
from emoset.reading import SCHEMA, read_vocabulary

IMAGES = 118_102
EMOTIONS = read_taxonomy(DEFAULT).emotions


def rebuilt_annotations(published: Path, images: int = IMAGES, seed: int = 0) -> dict[str, dict]:
    """Return {image_id: annotation}: the listed images with their attributes, filled up to the published counts.

    Objects that an attribute's count has left over go, as second and later objects, to listed images at random; images
    that are not listed get neither object nor scene, for otherwise the published rule would have taken them.
    """
    rng = random.Random(seed)
    with gzip.open(published / "index.csv.gz", "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    annotations, carried = {}, Counter()
    for row in rows:
        annotation = annotations.setdefault(row["image_id"], {"image_id": row["image_id"], "emotion": row["emotion"]})
        annotation[row["kind"]] = [row["attribute"]] if row["kind"] == "object" else row["attribute"]
        carried[row["kind"], row["attribute"]] += 1
    listed = list(annotations)
    with open(published / "attribute_counts.csv", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            missing = int(row["images"]) - carried[row["kind"], row["attribute"]]
            while row["kind"] == "object" and missing > 0:
                annotation = annotations[rng.choice(listed)]
                if _can_carry(annotation, row["attribute"]):
                    annotation.setdefault("object", []).append(row["attribute"])
                    missing -= 1
    unlisted = _unlisted_ids(listed)
    rng.shuffle(unlisted)
    for image_id, emotion in unlisted[: images - len(annotations)]:
        face = rng.choice(["happy", "sad"])
        annotations[image_id] = {"image_id": image_id, "emotion": emotion, "facial_expression": face}
    for annotation in annotations.values():
        annotation |= {"brightness": rng.randrange(11) / 10, "colorfulness": rng.randrange(11) / 10}
    return annotations


def index_of(annotations: dict[str, dict], info: Path) -> pd.DataFrame:
    """Return the index that emoset.reading makes of `annotations`, all in the training split, without reading files."""
    vocabulary = read_vocabulary(info.parent, EMOTIONS)
    rows = []
    for image_id, facts in annotations.items():
        attributes, problems = read_attributes(facts, vocabulary)
        assert not problems, (image_id, problems)
        rows.append({"image_id": image_id, "emotion": facts["emotion"], "split": "train"} | attributes)
    return pa.Table.from_pylist(rows, SCHEMA).to_pandas()


def write_dataset(annotations: dict[str, dict], info: Path, target: Path, seed: int = 0) -> None:
    """Write `annotations` and small noise JPEGs in EmoSet's layout, split 80 : 5 : 15 at random."""
    rng = random.Random(seed)
    jpegs = [_noise_jpeg(rng) for _ in range(64)]
    splits = defaultdict(list)
    for emotion in {annotation["emotion"] for annotation in annotations.values()}:
        (target / "image" / emotion).mkdir(parents=True)
        (target / "annotation" / emotion).mkdir(parents=True)
    for image_id, annotation in annotations.items():
        emotion = annotation["emotion"]
        image, label = f"image/{emotion}/{image_id}.jpg", f"annotation/{emotion}/{image_id}.json"
        (target / image).write_bytes(rng.choice(jpegs))
        (target / label).write_text(json.dumps(annotation))
        split = rng.choices(("train", "val", "test"), (80, 5, 15))[0]
        splits[split].append([emotion, image_id, image, label])
    for split in ("train", "val", "test"):
        (target / f"{split}.json").write_text(json.dumps(splits[split]))
    (target / "info.json").write_bytes(info.read_bytes())


def _can_carry(annotation: dict, attribute: str) -> bool:
    """An image without a scene keeps its first object; an image in the scene `tower` must not gain the object Tower."""
    scene = annotation.get("scene", "").lower().replace("_", " ")
    return attribute not in annotation.get("object", ()) and scene != attribute.lower()


def _unlisted_ids(listed: list[str]) -> list[tuple[str, str]]:
    """Return (id, emotion) for the numbers that the listed ids leave out."""
    numbers = defaultdict(set)
    for image_id in listed:
        emotion, number = image_id.rsplit("_", 1)
        numbers[emotion].add(int(number))
    return [
        (f"{emotion}_{number:05d}", emotion)
        for emotion, taken in sorted(numbers.items())
        for number in range(max(taken) + 1)
        if number not in taken
    ]


def _noise_jpeg(rng: random.Random) -> bytes:
    file = io.BytesIO()
    size = (rng.randrange(40, 64), rng.randrange(40, 64))
    Image.frombytes("RGB", size, rng.randbytes(3 * size[0] * size[1])).save(file, "JPEG", quality=60)
    return file.getvalue()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    write_dataset(rebuilt_annotations(Path(sys.argv[1])), Path(sys.argv[1]) / "info.json", Path(sys.argv[2]))
