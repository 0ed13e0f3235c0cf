"""Reads EmoSet as published: split lists, annotations and image headers, in parallel, cached as Parquet.

    info.json                         the vocabulary of every attribute
    train.json, val.json, test.json   lists of [emotion, image id, image path, annotation path]; the id may be missing
    annotation/<emotion>/<id>.json    emotion, brightness, colorfulness, scene, object, facial_expression, human_action
    image/<emotion>/<id>.jpg

Real data is dirty: whatever cannot be used is listed with its reason and left out.
"""

import hashlib
import itertools
import json
import os
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
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
from emoset.labels import SPLITS
from emoset.selection import is_hidden
from emoset.split_lists import read_splits, read_vocabulary, stem
from runtime.built_folder import lock
from runtime.files import write_atomically
from runtime.run_folder import is_first_process, progress
from runtime.workers import worker_pool

INDEX_VERSION = 4  # raise it when the index's columns or the checks change
FINGERPRINT = "3 False"  # how the text behind a fingerprint begins, so that what was made from the same files stays so
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

    processes: that read it; None: one for each core. check: write neither the cache nor problems.csv.
    Raises UserError for a folder that is not EmoSet, broken lists, an id in two splits, and more problems than allowed.
    """
    check_root(data.emoset)
    vocabulary = read_vocabulary(data.emoset, data.taxonomy.emotions)
    # The first process reads, the others find it read.
    with nullcontext() if check else lock(data.cache / "index"), worker_pool(processes) as pool:
        listings = list(pool.map(partial(_list_files, data.emoset), ("annotation", "image")))
        fingerprint = _fingerprint(data, [digest for digest, _ in listings])
        key = hashlib.blake2b(f"{INDEX_VERSION} {data.decode} {fingerprint}".encode(), digest_size=8).hexdigest()
        cached = data.cache / f"index-{key}.parquet"
        emoset = _load(cached, fingerprint)
        if emoset is None:
            files = {path for _, paths in listings for path in paths}
            emoset = _read(data, vocabulary, files, fingerprint, pool)
            if not check:
                data.cache.mkdir(parents=True, exist_ok=True)
                _save(emoset, cached)
    if is_first_process() and not check:
        write_atomically(folder / "problems.csv", lambda beside: emoset.problems.to_csv(beside, index=False))
    _check_share(emoset, data.problems_allowed, check)
    return emoset


def check_root(root: Path) -> None:
    """Raise UserError where `root` lacks what EmoSet has. It names the folder above or below that looks like EmoSet."""
    expected = ["info.json", *(f"{split}.json" for split in SPLITS), "image"]  # annotation/ may be missing
    missing = [name for name in expected if not (root / name).exists()]
    if not missing:
        return
    if not root.is_dir():
        raise UserError(
            f"data.emoset: no folder {root}; set it to the folder that holds info.json. The demo's drawings are made by:"
            " python demo/draw.py --config config/demo.yaml"
        )
    inside = sorted(child.name for child in root.iterdir())
    near = [folder for folder in (root.parent, *map(root.joinpath, inside)) if (folder / "info.json").is_file()]
    hint = f"; {near[0]} looks like EmoSet, did you mean that?" if near else ""
    found = ", ".join(inside[:8]) + (", ..." if len(inside) > 8 else "") or "nothing"
    raise UserError(f"data.emoset: {root} is not EmoSet: no {', '.join(missing)}; found {found}{hint}")


def _list_files(root: Path, folder: str) -> tuple[str, list[str]]:
    """Return a digest of the names, sizes, times and modes of all files below `folder`, and their paths below `root`."""
    listing, folders = {}, [folder] if (root / folder).is_dir() else []
    while folders:
        prefix = folders.pop()
        try:
            entries = list(os.scandir(root / prefix))
        except OSError:  # no permission
            listing[prefix] = None
            continue
        for entry in entries:
            path = f"{prefix}/{entry.name}"
            try:
                if entry.is_dir(follow_symlinks=prefix == folder):  # deeper, a linked folder might lead round in a circle
                    folders.append(path)
                elif not is_hidden(entry.name):
                    stat = entry.stat()
                    listing[path] = (stat.st_size, stat.st_mtime_ns, stat.st_mode)
            except OSError:  # a broken link, a loop of links
                listing[path] = None
    digest = hashlib.blake2b(json.dumps(sorted(listing.items())).encode(), digest_size=16)
    return digest.hexdigest(), list(listing)


def _fingerprint(data: Data, digests: list[str]) -> str:
    about = f"{FINGERPRINT} {data.taxonomy.emotions} {digests}"
    digest = hashlib.blake2b(about.encode(), digest_size=8)
    for name in ("info", *SPLITS):
        path = data.emoset / f"{name}.json"
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


def _emoset(index: pd.DataFrame, problems: pd.DataFrame, listed: int, fingerprint: str) -> EmoSet:
    """Return what was read. fingerprint: of the files, to which the images that are left out are added here."""
    left_out = sorted(set(problems["image_id"][problems["left_out"] == "image"]))
    if left_out:
        about = json.dumps([fingerprint, left_out])
        fingerprint = hashlib.blake2b(about.encode(), digest_size=8).hexdigest()
    return EmoSet(index, problems, listed, fingerprint)


def _read(data: Data, vocabulary: dict, files: set[str], fingerprint: str, pool: ProcessPoolExecutor) -> EmoSet:
    entries, problems = read_splits(data.emoset)
    listed = len(entries) + sum(problem[3] == "image" for problem in problems)
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
        problems.append((stem(path), path, "in no split list", "nothing"))
    problems = [[cell.encode(errors="backslashreplace").decode() for cell in problem] for problem in problems]
    index = pa.concat_tables(tables).sort_by("image_id").to_pandas()
    return _emoset(index, pd.DataFrame(problems, columns=PROBLEM_COLUMNS), listed, fingerprint)


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


def _check_share(emoset: EmoSet, allowed: float, check: bool) -> None:
    problems = emoset.problems[emoset.problems["left_out"] != "nothing"]
    images = problems["image_id"].nunique()
    if images > allowed * emoset.listed:
        kinds = problems["problem"].str.replace(r"'[^']*'|\"[^\"]*\"|\d+", "...", regex=True).value_counts()
        counts = ", ".join(f"{count} x {problem}" for problem, count in kinds.head(6).items())
        where = f"{'Without check=true, ' if check else ''}problems.csv in the run folder lists them"
        raise UserError(
            f"{images} of {emoset.listed} images have problems ({images / emoset.listed:.1%}, data.problems_allowed is "
            f"{allowed:.1%}): {counts}. {where}"
        )


def _save(emoset: EmoSet, path: Path) -> None:
    about = json.dumps({"problems": emoset.problems.values.tolist(), "listed": emoset.listed})
    extra = {"about": about, "digest": hashlib.blake2b(about.encode()).hexdigest()}
    table = pa.Table.from_pandas(emoset.index, SCHEMA, preserve_index=False).replace_schema_metadata(extra)
    write_atomically(path, lambda beside: pq.write_table(table, beside, compression="zstd", write_page_checksum=True))


def _load(path: Path, fingerprint: str) -> EmoSet | None:
    """Return what `_save` wrote, or None where there is nothing, or nothing whole."""
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        about, digest = (table.schema.metadata[key] for key in (b"about", b"digest"))
        if hashlib.blake2b(about).hexdigest() != digest.decode() or table.schema != SCHEMA:
            return None
        content = json.loads(about)
        problems = pd.DataFrame(content["problems"], columns=PROBLEM_COLUMNS)
        return _emoset(table.to_pandas(), problems, content["listed"], fingerprint)
    except Exception:  # a damaged file makes its readers raise whatever they stumble over
        return None
