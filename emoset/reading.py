"""Reads EmoSet as published: split lists, annotations and image headers, in parallel, cached as Parquet.

    info.json                         the vocabulary of every attribute
    train.json, val.json, test.json   lists of [emotion, image id, image path, annotation path]; the id may be missing
    annotation/<emotion>/<id>.json    emotion, brightness, colorfulness, scene, object, facial_expression, human_action
    image/<emotion>/<id>.jpg

Real data is dirty: whatever cannot be used is listed with its reason and left out, and reading goes on.
"""

import hashlib
import itertools
import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from config.data_settings import Data
from config.errors import UserError
from emoset.annotation import check_entry, inside, read_annotation, read_attributes
from emoset.images import ImageError, check_image
from emoset.labels import KINDS, SPLITS, attribute_name
from runtime.built_folder import lock
from runtime.files import write_atomically
from runtime.run_folder import is_first_process, progress
from runtime.workers import worker_pool

INDEX_VERSION = 3  # raise it when the index's columns or the checks change
CHUNK = 500  # images a worker reads at a time
PROBLEM_COLUMNS = ["image_id", "file", "problem", "left_out"]
SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("image_id", "emotion", "split", "image")]
    + [("brightness", pa.float32()), ("colorfulness", pa.float32())]
    + [("object", pa.list_(pa.string()))]
    + [(name, pa.string()) for name in ("scene", "facial_expression", "human_action")]
    + [("width", pa.int32()), ("height", pa.int32())]
)


@dataclass(frozen=True)
class EmoSet:
    """EmoSet as read.

    index: one row per usable image, by id; columns as in SCHEMA. `image` is relative to the data set's folder, attributes
        are spelled by `attribute_name`, `object` is a list, absent attributes are missing values.
    problems: image_id, file, problem, left_out (image | label | nothing).
    listed: how many images the split lists name.
    fingerprint: changes with every file of the data set that is added, removed or written.
    """

    index: pd.DataFrame
    problems: pd.DataFrame
    listed: int
    fingerprint: str


def read_emoset(data: Data, folder: Path, processes: int | None, check: bool = False) -> EmoSet:
    """Read the data set at `data.emoset`, from the cache where nothing has changed since; write problems.csv into `folder`.

    processes: that read it; None: one for each core. check: write no problems.csv.
    Raises UserError for a folder that is not EmoSet, broken lists, an id in two splits, and more problems than allowed.
    """
    _check_root(data.emoset)
    vocabulary = read_vocabulary(data.emoset, data.taxonomy.emotions)
    with lock(data.cache / "index"), worker_pool(processes) as pool:  # the first process reads, the others find it read
        listings = list(pool.map(partial(_list_files, data.emoset), ("annotation", "image")))
        fingerprint = _fingerprint(data, [digest for digest, _ in listings])
        cached = data.cache / f"index-{fingerprint}.parquet"
        emoset = _load(cached, fingerprint)
        if emoset is None:
            files = {path for _, paths in listings for path in paths}
            emoset = _read(data, vocabulary, files, fingerprint, pool)
            data.cache.mkdir(parents=True, exist_ok=True)
            _save(emoset, cached)
    if is_first_process() and not check:
        write_atomically(folder / "problems.csv", lambda beside: emoset.problems.to_csv(beside, index=False))
    _check_share(emoset, data.problems_allowed)
    return emoset


def read_vocabulary(root: Path, emotions: tuple[str, ...]) -> dict[str, set[str]]:
    """Return {kind: attribute names} from info.json, after checking that it lists `emotions` in their order.

    A kind that info.json does not know has no names.
    """
    info = _read_json(root / "info.json", dict)
    try:
        listed = tuple(sorted(info["emotion"]["label2idx"], key=info["emotion"]["label2idx"].get))
        known = {kind: info[kind]["label2idx"] if kind in info else () for kind in KINDS}
        vocabulary = {kind: {attribute_name(label) for label in labels} for kind, labels in known.items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{root / 'info.json'}: not in EmoSet's layout: {type(error).__name__} {error}") from None
    if listed != emotions:
        raise UserError(
            f"{root / 'info.json'}: its emotions are {', '.join(listed)}, and data.taxonomy lists {', '.join(emotions)};"
            " name the taxonomy of this data set: data.taxonomy=file.yaml"
        )
    return vocabulary


def _check_root(root: Path) -> None:
    expected = ["info.json", *(f"{split}.json" for split in SPLITS), "image"]  # annotation/ may be missing
    missing = [name for name in expected if not (root / name).exists()]
    if not missing:
        return
    if not root.is_dir():
        raise UserError(f"data.emoset: no folder {root}; set it to EmoSet's folder, or draw a small one: demo/draw.py")
    inside = sorted(child.name for child in root.iterdir())
    near = [folder for folder in (root.parent, *map(root.joinpath, inside)) if (folder / "info.json").is_file()]
    hint = f"; {near[0]} looks like EmoSet, did you mean that?" if near else ""
    found = ", ".join(inside[:8]) + (", ..." if len(inside) > 8 else "") or "nothing"
    raise UserError(f"data.emoset: {root} is not EmoSet: no {', '.join(missing)}; found {found}{hint}")


def _read_json(path: Path, kind: type):
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(content, kind):
        raise UserError(f"{path}: expected a JSON {kind.__name__}, found {type(content).__name__}")
    return content


def _list_files(root: Path, folder: str) -> tuple[str, list[str]]:
    """Return a digest of the names, sizes, times and modes of all files below `folder`, and their paths below `root`."""
    listing, folders = {}, [folder] if (root / folder).is_dir() else []
    while folders:
        prefix = folders.pop()
        for entry in os.scandir(root / prefix):
            path = f"{prefix}/{entry.name}"
            if entry.is_dir(follow_symlinks=prefix == folder):  # deeper, a linked folder might lead round in a circle
                folders.append(path)
            elif entry.name[0] != ".":  # what desktops leave behind
                try:
                    stat = entry.stat()
                    listing[path] = (stat.st_size, stat.st_mtime_ns, stat.st_mode)
                except OSError:  # a broken link, a loop of links
                    listing[path] = None
    digest = hashlib.blake2b(json.dumps(sorted(listing.items())).encode(), digest_size=16)
    return digest.hexdigest(), list(listing)


def _fingerprint(data: Data, digests: list[str]) -> str:
    about = f"{INDEX_VERSION} {data.decode} {data.taxonomy.emotions} {digests}"
    digest = hashlib.blake2b(about.encode(), digest_size=8)
    for name in ("info", *SPLITS):
        path = data.emoset / f"{name}.json"
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


def _read(data: Data, vocabulary: dict, files: set[str], fingerprint: str, pool: ProcessPoolExecutor) -> EmoSet:
    entries, problems = _read_splits(data.emoset)
    chunks = [entries[start : start + CHUNK] for start in range(0, len(entries), CHUNK)]
    annotated = (data.emoset / "annotation").is_dir()
    reading = partial(_read_images, data, vocabulary if annotated else None)
    results = pool.map(reading, chunks)
    tables = []
    with progress(None, "reading EmoSet", len(entries)) as bar:
        for chunk, (table, wrong) in zip(chunks, results, strict=True):
            tables.append(table)
            problems += wrong
            bar.update(len(chunk))
    for path in sorted(files.difference(itertools.chain.from_iterable(entry[3:] for entry in entries))):
        problems.append((_stem(path), path, "in no split list", "nothing"))
    problems = [[cell.encode(errors="backslashreplace").decode() for cell in problem] for problem in problems]
    index = pa.concat_tables(tables).sort_by("image_id").to_pandas()
    return EmoSet(index, pd.DataFrame(problems, columns=PROBLEM_COLUMNS), len(entries), fingerprint)


def _read_splits(root: Path) -> tuple[list[tuple], list[tuple]]:
    """Return [(id, emotion, split, image path, annotation path)] of all splits, and the problems among them."""
    entries, problems, seen = [], [], {}
    for split in SPLITS:
        path = root / f"{split}.json"
        for number, row in enumerate(_read_json(path, list)):
            if not (isinstance(row, list) and len(row) in (3, 4) and all(isinstance(cell, str) for cell in row)):
                expected = "[emotion, image id, image path, annotation path]"
                raise UserError(f"{path}: entry {number} is {json.dumps(row)[:80]}; expected {expected}")
            image, annotation = (os.path.normpath(cell) if "./" in cell or "//" in cell else cell for cell in row[-2:])
            image_id = row[1] if len(row) == 4 else _stem(image)
            entry = (image_id, row[0].lower(), split, image, annotation)
            before = seen.setdefault(image_id, entry)
            same = before if before is not entry else seen.setdefault(f"path {image}", entry)
            if same is entry:
                entries.append(entry)
            elif same[2] != split:
                raise UserError(f"{path}: {image_id} ({image}) is in {same[2]}.json too; an image must be in one split")
            elif same[3] == image:
                problems.append((image_id, path.name, f"listed twice in {path.name}", "nothing"))
            else:
                problems.append((image_id, image, f"its id is that of {same[3]}", "image"))
    if not entries:
        raise UserError(f"{root}: train.json, val.json and test.json list no image")
    return entries, problems


def _read_images(data: Data, vocabulary: dict | None, entries: list[tuple]) -> tuple[pa.Table, list[tuple]]:
    """Read some images' annotations and headers: return them as a table by SCHEMA, and the problems met.

    vocabulary: attribute names by kind; None: the data set has no annotations.
    """
    root, records, problems = data.emoset, [], []
    for image_id, emotion, split, image, annotation in entries:
        file, attributes = annotation, {}
        try:
            check_entry(image_id, emotion, data.taxonomy.emotions)
            if vocabulary is not None:
                record = read_annotation(root, annotation, image_id, emotion)
                attributes, unknown = read_attributes(record, vocabulary)
                problems += [(image_id, annotation, problem, "label") for problem in unknown]
            file = image
            width, height = check_image(inside(root, image), data.decode)
        except (ValueError, ImageError) as error:
            reason = error.reason if isinstance(error, ImageError) else str(error)
            problems.append((image_id, file, reason, "image"))
            continue
        known = {
            "image_id": image_id,
            "emotion": emotion,
            "split": split,
            "image": image,
            "width": width,
            "height": height,
        }
        records.append(known | attributes)
    return pa.Table.from_pylist(records, SCHEMA), problems


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def _check_share(emoset: EmoSet, allowed: float) -> None:
    problems = emoset.problems[emoset.problems["left_out"] != "nothing"]
    images = problems["image_id"].nunique()
    if images > allowed * emoset.listed:
        kinds = problems["problem"].str.replace(r"'[^']*'|\d+", "...", regex=True).value_counts()
        counts = ", ".join(f"{count} x {problem}" for problem, count in kinds.head(6).items())
        raise UserError(
            f"{images} of {emoset.listed} images have problems ({images / emoset.listed:.1%}, data.problems_allowed is "
            f"{allowed:.1%}): {counts}. problems.csv in the run folder lists them"
        )


def _save(emoset: EmoSet, path: Path) -> None:
    extra = {"problems": json.dumps(emoset.problems.values.tolist()), "listed": str(emoset.listed)}
    table = pa.Table.from_pandas(emoset.index, SCHEMA, preserve_index=False).replace_schema_metadata(extra)
    write_atomically(path, lambda beside: pq.write_table(table, beside, compression="zstd"))


def _load(path: Path, fingerprint: str) -> EmoSet | None:
    """Return what `_save` wrote; None where there is nothing, or nothing whole."""
    try:
        table = pq.read_table(path)
        extra = table.schema.metadata
        problems = pd.DataFrame(json.loads(extra[b"problems"]), columns=PROBLEM_COLUMNS)
        return EmoSet(table.to_pandas(), problems, int(extra[b"listed"]), fingerprint)
    except (FileNotFoundError, pa.ArrowInvalid, KeyError, TypeError):
        return None
