"""Writes the drawn EmoSet in the published layout, and a contact sheet to look at it."""

import csv
import json
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from random import Random

from PIL import Image

from demo.drawn.objects import OBJECTS
from demo.drawn.people import ACTIONS, FACES
from demo.drawn.render import measure, render
from demo.drawn.scenes import SCENES
from demo.drawn.world import PRIOR, Cues, draw_cues, posterior
from emoset.images import load_image
from emoset.labels import KINDS, SPLITS
from runtime.contact_sheet import contact_sheet
from runtime.run_folder import progress
from runtime.workers import worker_pool

SPLIT_SHARES = (0.75, 0.10, 0.15)
COLUMNS = 14  # of the contact sheet


def write_dataset(folder: Path, images: int, size: int, seed: int, processes: int | None) -> dict[str, list]:
    """Draw `images` images into `folder`, with their annotations, lists and vocabulary; return {split: rows of its list}."""
    splits = {split: [] for split in SPLITS}
    for emotion, count in _counts(images).items():
        (folder / "image" / emotion).mkdir(parents=True)
        (folder / "annotation" / emotion).mkdir(parents=True)
        ids = [f"{emotion}_{number:05d}" for number in range(count)]
        Random(f"{seed} split {emotion}").shuffle(ids)
        ends = round(count * SPLIT_SHARES[0]), round(count * (SPLIT_SHARES[0] + SPLIT_SHARES[1]))
        for split, part in zip(SPLITS, (ids[: ends[0]], ids[ends[0] : ends[1]], ids[ends[1] :]), strict=True):
            for name in sorted(part):
                splits[split].append([emotion, name, f"image/{emotion}/{name}.jpg", f"annotation/{emotion}/{name}.json"])
    rows = [row for split in SPLITS for row in splits[split]]
    with worker_pool(processes) as pool:
        drawn = pool.map(partial(_write_image, folder, size, seed), rows, chunksize=50)
        cues = list(progress(drawn, "drawing", len(rows)))
    with (folder / "cues.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image_id", "emotion", *(field.name for field in fields(Cues)), "posterior"])
        for (emotion, name, *_), shown in zip(rows, cues, strict=True):
            writer.writerow([name, emotion, *asdict(shown).values(), f"{posterior(shown)[emotion]:.4f}"])
    for split, entries in splits.items():
        (folder / f"{split}.json").write_text(json.dumps(entries), encoding="utf-8")
    (folder / "info.json").write_text(json.dumps(_vocabulary(), indent=1), encoding="utf-8")
    return splits


def room_for(images: int, size: int) -> int:
    """Return about how many bytes a drawn EmoSet takes: JPEGs of so many pixels, and a block for each annotation."""
    return images * (48 * size + size * size // 40 + 4096)


def first_images(folder: Path) -> Image.Image:
    """Return a picture of a drawn EmoSet: a row per emotion, each image with its attributes beneath, read from the files."""
    images, captions = {}, {}
    entries = json.loads((folder / "train.json").read_text())
    for emotion in PRIOR:
        first = [entry for entry in entries if entry[0] == emotion][:COLUMNS]
        images[emotion] = [load_image(folder / image) for _, _, image, _ in first]
        facts = [json.loads((folder / annotation).read_text()) for *_, annotation in first]
        captions[emotion] = [" + ".join(_attributes(each)).replace("_", " ") for each in facts]
    return contact_sheet(images, 96, captions)


def _attributes(facts: dict) -> list[str]:
    attributes = facts.get("object", []) + [facts.get(kind) for kind in KINDS[1:]]
    return [name.strip() for name in attributes if name]


def _counts(images: int) -> dict[str, int]:
    total = sum(PRIOR.values())
    counts = {emotion: images * weight // total for emotion, weight in PRIOR.items()}
    counts[next(iter(PRIOR))] += images - sum(counts.values())
    return counts


def _write_image(folder: Path, size: int, seed: int, row: list[str]) -> Cues:
    emotion, image_id, image, annotation = row
    rng = Random(f"{seed} {image_id}")
    cues = draw_cues(emotion, rng)
    picture = render(cues, size, rng)
    brightness, colorfulness = measure(picture)
    facts = {
        "image_id": image_id,
        "emotion": emotion,
        "brightness": round(brightness, 1),
        "colorfulness": round(colorfulness, 1),
        "scene": cues.scene,
        "object": [cues.object] if cues.object else None,
        "facial_expression": cues.facial_expression,
        "human_action": cues.human_action,
    }
    picture.save(folder / image, "JPEG", quality=92, subsampling=0)
    facts = {name: value for name, value in facts.items() if value is not None}
    (folder / annotation).write_text(json.dumps(facts), encoding="utf-8")
    return cues


def _vocabulary() -> dict:
    tenths = [step / 10 for step in range(11)]
    labels = dict(emotion=PRIOR, brightness=tenths, colorfulness=tenths)
    labels |= dict(scene=SCENES, object=OBJECTS, facial_expression=FACES, human_action=ACTIONS)
    return {
        name: {
            "label2idx": {str(label): number for number, label in enumerate(values)},
            "idx2label": {str(number): label for number, label in enumerate(values)},
        }
        for name, values in labels.items()
    }
