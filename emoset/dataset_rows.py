"""A data set of the Hub, or a folder of Parquet files, with an image and a label column, as a source of an imported one.

Rows are streamed and their images written as they are encoded. A journal beside the images has a line for each row that is
done, so a run that was killed resumes behind the last one, and reads no split again that was finished.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import datasets
import fsspec
import pyarrow.dataset
import pyarrow.parquet
from huggingface_hub import DatasetCard
from PIL import Image

from config.data_settings import Source
from config.errors import UserError, first_line
from emoset.images import NO_IMAGE, ImageError, check_image, check_regular
from emoset.imported_layout import Imported, emotions_of, split_of
from emoset.selection import visible_files
from runtime.files import file_states, lfs_pointer, write_atomically
from runtime.run_folder import progress

MOST_CLASSES = 1000  # a column of more values holds no classes, but captions or numbers
NOT_STATED = "not stated by the data set"
JOURNALS = "journals"  # a folder beside the images while they are written
FINISHED = {"finished": True}  # the last line of a split's journal
SUFFIXES = {"JPEG": ".jpg", "MPO": ".jpg", "TIFF": ".tif"}  # else a format's own name


class Rows:
    """The rows of a data set: its splits, its classes, its licence, and what tells whether it has changed.

    classes: their names; None where only reading all rows would tell. left_out: splits that are neither train, val nor test.
    """

    def __init__(self, source: Source, folder: Path | None):
        """Open the data set, without reading its rows. folder: where it lies, or None for one of the Hub.

        Raises UserError where there is none, or one without the two columns.
        """
        self.source, self.name = source, source.dataset
        self._files = _files(folder) if folder else []
        if folder and not self._files:
            raise UserError(f"source.dataset: {folder} holds no Parquet files; source.folder imports a folder of images")
        datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # of a damaged file we tell in one line
        self._count = _count(self._files, source.label_column)
        try:
            loaded = datasets.load_dataset(str(folder or self.name), streaming=True)
        except Exception as error:  # which errors a download ends with is up to the library that makes it
            reason = first_line(error)
            if folder:
                why = f"{folder} cannot be read as a data set ({reason}); see that its Parquet files have the same columns"
                raise UserError(f"source.dataset: {why}") from None
            raise UserError(
                f"source.dataset: {self.name!r} is neither a folder of Parquet files nor a data set that can be read from "
                f"the Hub ({reason})"
            ) from None
        names = {name: split_of(name) for name in loaded}
        if "train" not in names.values():
            if len(names) > 1:
                raise UserError(f"source.dataset: none of its splits is called train: {', '.join(names)}")
            names = dict.fromkeys(names, "train")
        self.splits = {name: split for name, split in names.items() if split}
        self.left_out = [name for name, split in names.items() if not split]
        self._rows = {name: _with_columns(loaded[name], source) for name in self.splits}
        self.licence = _licence(folder or self.name, next(iter(self._rows.values())).info.license)
        label = next(iter(self._rows.values())).features[source.label_column]
        self._names = label.names if isinstance(label, datasets.ClassLabel) else None
        self.classes = self._names or (_classes(folder, source.label_column) if folder else None)
        self.digest = _digest(folder) if folder else ""

    def of_class(self, emotions: tuple[str, ...]) -> dict[str, str]:
        """Return the emotion of each class that is known. Raises UserError as emotions_of does."""
        return {} if self.classes is None else emotions_of(self.classes, self.source.classes, emotions)

    def extent(self) -> tuple[int, int]:
        """Return how many rows there are, and about how many bytes their images take, or 0 where that is not known."""
        infos = [self._rows[name].info for name in self.splits]
        counts = [(info.splits or {}).get(name) for info, name in zip(infos, self.splits, strict=True)]
        count = self._count or (sum(split.num_examples for split in counts) if all(counts) else 0)
        return count, sum(path.stat().st_size for path in self._files) or infos[0].dataset_size or 0

    def write(self, work: Path, emotions: tuple[str, ...]) -> tuple[list[Imported], list[tuple[str, str]]]:
        """Write every image below `work`/image/, or those that are missing. Return them, and (row, reason) of the others."""
        of_class = self.of_class(emotions)

        def emotion_of(name: str) -> str:
            if name not in of_class:
                of_class.update(emotions_of([*of_class, name], self.source.classes, emotions, all_known=False))
            return of_class[name]

        images, problems = [], []
        for emotion in emotions:
            (work / "image" / emotion).mkdir(parents=True, exist_ok=True)
        (work / JOURNALS).mkdir(exist_ok=True)
        for name in self.splits:
            for row in self._write_split(name, work, emotion_of):
                if "problem" in row:
                    problems.append((row["source"], row["problem"]))
                elif "image" in row:
                    images.append(Imported(**row))
        return images, problems

    def _write_split(self, name: str, work: Path, emotion_of: Callable[[str], str]) -> list[dict]:
        """Write the rest of a split's images. Return the lines of its journal: an image, a problem, or a class left out."""
        path = work / JOURNALS / f"{name}.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines(True) if path.exists() else []
        done = [json.loads(line) for line in lines if line.endswith("\n")]
        if done and done[-1] == FINISHED:
            return done[:-1]
        text = "".join(f"{json.dumps(line)}\n" for line in done)  # without a line that a kill cut off
        write_atomically(path, lambda beside: beside.write_text(text, encoding="utf-8"))
        rows, total = self._rows[name], (self._rows[name].info.splits or {}).get(name)
        with path.open("a", encoding="utf-8", buffering=1) as journal:
            bar = progress(self._rest(rows, len(done)), f"importing {name}", total and total.num_examples, len(done))
            for number, row in enumerate(bar, len(done)):
                place = {"source": f"{name}, row {number}"}
                label = self._class(row[self.source.label_column])
                emotion = "" if label is None else emotion_of(label)
                if label is None:
                    line = place | {"problem": "no label"}
                elif not emotion:
                    line = place
                else:
                    about = {"image_id": f"{name}_{number:06d}", "emotion": emotion, "split": self.splits[name]}
                    line = _write_image(work, about | place, row[self.source.image_column])
                done.append(line)
                journal.write(f"{json.dumps(line)}\n")
            journal.write(f"{json.dumps(FINISHED)}\n")
        return done

    def _rest(self, rows: datasets.IterableDataset, done: int) -> Iterator[dict]:
        try:
            yield from rows.skip(done) if done else rows
        except datasets.table.CastError:
            raise UserError(f"source.dataset: the files of {self.name} differ in their columns; give all the same") from None
        except Exception as error:  # of the network, of its library, of a damaged file
            damaged = next((path for path in self._files if not _is_sound(path)), None)
            advice = f"replace or remove {damaged}" if damaged else "run the same command again to resume"
            raise UserError(f"source.dataset: reading {self.name} broke off ({first_line(error)}); {advice}") from None

    def _class(self, label) -> str | None:
        """Return the name of a row's class, or None where it has none, as -1 and an empty text say too."""
        if label is None or (self._names and not 0 <= label < len(self._names)):
            return None
        return self._names[label] if self._names else str(label).strip() or None


def _write_image(work: Path, about: dict, stored: dict | bytes | None) -> dict:
    """Write the bytes of one image as they are. Return its line of the journal.

    about: its id, emotion, split and source. stored: what the image column holds.
    """
    problem = {"source": about["source"]}
    content = stored
    if isinstance(stored, dict):
        content = stored["bytes"]
        if content is None and stored["path"]:
            try:
                content = _read(stored["path"])
            except Exception as error:  # of the disk, of the network, of its library
                return problem | {"problem": f"cannot be read: {first_line(error)}"}
    if not content:
        return problem | {"problem": "no image"}
    try:
        kind = Image.open(BytesIO(content)).format
    except Exception as error:  # damaged files make decoders raise whatever they stumble over
        reason = NO_IMAGE if isinstance(error, Image.UnidentifiedImageError) else first_line(error)
        return problem | {"problem": reason}
    image = f"image/{about['emotion']}/{about['image_id']}{SUFFIXES.get(kind, f'.{kind.lower()}')}"
    (work / image).write_bytes(content)
    try:
        check_image(work / image)
    except ImageError as error:
        (work / image).unlink()
        return problem | {"problem": error.reason}
    return about | {"image": image}


def _read(path: str) -> bytes:
    """Return the content of a file that a row names, here, with Windows' slashes or others, or at an address."""
    if "://" not in path:
        path = path.replace("\\", "/")
        check_regular(path)
    with fsspec.open(path, "rb") as file:
        return file.read()


def _with_columns(rows: datasets.IterableDataset, source: Source) -> datasets.IterableDataset:
    """Return the rows with their two columns alone, images as they are encoded. Raise UserError where one is missing."""
    features = rows.features or rows._resolve_features().features
    columns = {"source.image_column": source.image_column, "source.label_column": source.label_column}
    for setting, column in columns.items():
        if column not in features:
            raise UserError(f"{setting}: the data set has no column {column!r}; its columns are {', '.join(features)}")
    image, label = (features[column] for column in columns.values())
    is_encoded = isinstance(image, dict) and {"bytes", "path"} <= image.keys()
    is_binary = isinstance(image, datasets.Value) and "binary" in image.dtype
    if not (isinstance(image, datasets.Image) or is_encoded or is_binary):
        raise UserError(f"source.image_column: the column {source.image_column!r} holds no images, but {image}")
    if not isinstance(label, datasets.ClassLabel | datasets.Value) or getattr(label, "dtype", "").startswith("float"):
        raise UserError(f"source.label_column: the column {source.label_column!r} holds no classes, but {label}")
    rows = rows.select_columns(list(columns.values()))
    return rows.cast_column(source.image_column, datasets.Image(decode=False)) if not is_binary else rows


def _files(folder: Path) -> list[Path]:
    """Return a folder's Parquet files, in order."""
    return [path for path in visible_files(folder) if path.suffix == ".parquet" and path.is_file()]


def _count(files: list[Path], label_column: str) -> int:
    """Return how many rows Parquet files have. Raises UserError for one that is damaged, or numbers classes otherwise."""
    count, numbered = 0, {}
    for path in files:
        try:
            with pyarrow.parquet.ParquetFile(path) as file:
                label = datasets.Features.from_arrow_schema(file.schema_arrow).get(label_column)
                count += file.metadata.num_rows
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            told = lfs_pointer(path) or f"damaged, or no Parquet file ({first_line(error)}); replace or remove it"
            raise UserError(f"source.dataset: {path} is {told}") from None
        if isinstance(label, datasets.ClassLabel):
            numbered[tuple(label.names)] = path
        if len(numbered) > 1:
            both = " and ".join(map(str, numbered.values()))
            raise UserError(f"source.label_column: {both} number their classes differently; import them apart")
    return count


def _is_sound(path: Path) -> bool:
    """Tell whether a Parquet file can be read, by reading all of it."""
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            return all(batch.num_rows >= 0 for batch in file.iter_batches())
    except (pyarrow.ArrowException, OSError):
        return False


def _classes(folder: Path, column: str) -> list[str]:
    """Return the names in the label column of all Parquet files of a folder, reading that column alone."""
    names = set()
    for path in _files(folder):
        try:
            for batch in pyarrow.dataset.dataset(path, format="parquet").to_batches(columns=[column]):
                names.update(str(name).strip() for name in batch.column(0).unique().to_pylist() if name is not None)
                if len(names) > MOST_CLASSES:
                    raise UserError(
                        f"source.label_column: the column {column!r} holds more than {MOST_CLASSES:,} different values; "
                        "name the column of the classes"
                    )
        except (pyarrow.ArrowException, OSError) as error:
            raise UserError(f"source.dataset: reading {path} failed ({first_line(error)}); replace or remove it") from None
    return sorted(names - {""})


def _digest(folder: Path) -> str:
    """Return a hash of the names, sizes and times of a folder's Parquet files."""
    listing = [[str(path.relative_to(folder)), *file_states([path])[0]] for path in _files(folder)]
    return hashlib.blake2b(json.dumps(listing).encode(), digest_size=8).hexdigest()


def _licence(name: Path | str, stated: str | None) -> str:
    """Return the licence that a data set's info or its README.md states, in words."""
    if stated:
        return stated
    try:
        card = DatasetCard.load(str(name / "README.md") if isinstance(name, Path) else name)
    except Exception:  # there is no card, or a broken one, or no network
        return NOT_STATED
    licence = card.data.license
    return ", ".join(licence) if isinstance(licence, list) else str(licence or NOT_STATED)
