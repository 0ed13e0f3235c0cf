"""What networks see in images: (N, D) features, computed once by however many processes there are, and kept by image."""

import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from safetensors.torch import load_file, save
from torch import Tensor

from config.data_settings import Data
from config.evaluation_settings import Evaluate
from emoset.images import ImageError, load_image
from runtime.files import file_states, write_atomically
from runtime.machine import processors
from runtime.processes import shared_work, start_process
from runtime.recipe import RECIPE, Recipe
from runtime.run_folder import log, progress
from runtime.workers import worker_pool

SMALLEST = 4  # pixels of the shorter side; what is smaller shows nothing, and processors take its sides for channels
LONGEST = 100  # times the shorter side; processors that resize that one make a giant of the longer
WORTH_IT = 256  # images from which on it pays to start processes that decode them
AHEAD = 4  # batches that are decoded before they are asked for
BLANK = Image.new("RGB", (224, 224))  # in place of an image that cannot be measured


def unchanged(image: Image.Image) -> Image.Image:
    """Return an image as it is: what a network is shown that prepares images itself."""
    return image


@dataclass(frozen=True)
class Network:
    """What turns images into numbers: called with N images of any size, it returns (N, D), float32.

    key: tells it from others, by its weights and what is done to images first. run: (N, D) of N images that are prepared.
    names: what the D numbers are about, where they are about something. prepare: what it is shown of an image, resized and
    cut. It can be pickled, for the processes that decode images prepare them too.
    """

    key: str
    run: Callable[[list], Tensor]
    names: tuple[str, ...] = ()
    prepare: Callable[[Image.Image], Any] = unchanged

    def __call__(self, images: Sequence[Image.Image]) -> Tensor:
        return self.run([self.prepare(image) for image in images])


@dataclass(frozen=True)
class FeatureCache:
    """Where features are kept, how many images a process runs at once, and how many others decode and prepare them for it.

    folder: holds a folder for each network, named by the key of the recipe that lies in it. A file there holds the features
    of some images, with their keys (image_keys) as metadata. Its name ends in a digest of its bytes, by which a damaged one
    is known. decoders: 0: none but this process; None: one for each core.
    """

    folder: Path
    batch_size: int
    decoders: int | None = 0

    def features_of(self, network: Network, images: pd.DataFrame, what: str) -> Tensor:
        """Return the features (N, D), float32, on the CPU, of images (columns image_id, path). All processes call it.

        An image that cannot be measured has NaN for features. what: the text at the progress bar.
        """
        self.fill([(network, images)], what)
        keys = image_keys(images)
        found, rows_of = torch.empty(0), {}
        for place, (file, row) in _places(self._held(network, set(keys)), keys).items():
            rows_of.setdefault(file, []).append((place, row))
        for file, pairs in rows_of.items():
            kept = load_file(file)["features"]
            if not found.numel():
                found = torch.full((len(keys), kept.shape[1]), torch.nan)
            found[[place for place, _ in pairs]] = kept[[row for _, row in pairs]]
        return found if found.numel() else torch.full((len(keys), width_of(network)), torch.nan)

    def fill(self, wanted: Sequence[tuple[Network, pd.DataFrame]], what: str) -> None:
        """See to it that networks have seen images, each with its own. All processes call it.

        An image is decoded once for all networks that have not seen it yet, and is kept for itself, whatever list it is in.
        A killed run resumes, since each batch is kept. An image that cannot be measured is not kept, so one that comes back
        is seen the next time.
        """
        paths, lacking = {}, {}
        for network, images in wanted:
            keys = image_keys(images)
            held = self._held(network, set(keys))
            paths |= dict(zip(keys, images["path"], strict=True))
            for key in keys:
                if key not in held:
                    lacking.setdefault(key, {})[network.key] = network
        # Of all images, whichever are lacking: a killed run resumes with the same batches, whose features are the same to
        # the bit.
        keys, size = list(paths), self.batch_size
        batches = [[key for key in keys[first : first + size] if key in lacking] for first in range(0, len(keys), size)]
        batches = [batch for batch in batches if batch]
        with shared_work(batches, lambda _: True) as (_, own):
            tasks = [
                [(paths[key], {name: each.prepare for name, each in lacking[key].items()}) for key in batch] for batch in own
            ]
            shown = zip(own, prepared(tasks, self.decoders), strict=True)
            is_main = start_process().is_main_process
            for batch, images in progress(shown, what, len(own), unit=" batches") if is_main else shown:
                for network in {name: each for key in batch for name, each in lacking[key].items()}.values():
                    seen = [place for place, image in enumerate(images) if image and network.key in image]
                    if seen:
                        self._keep(network, [batch[place] for place in seen], [images[place][network.key] for place in seen])

    def _keep(self, network: Network, keys: list[str], images: list) -> None:
        """Keep the features of images, prepared for the network, by their keys."""
        with torch.no_grad():
            features = network.run(images).float().cpu().contiguous()
        content, folder = save({"features": features}, {"keys": ",".join(keys)}), self._folder(network)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / RECIPE).is_file():
            self._recipe(network).finish(folder / RECIPE)
        file = folder / f"{_digest(','.join(keys).encode())}-{_digest(content)}.safetensors"
        write_atomically(file, lambda beside: beside.write_bytes(content))

    def _held(self, network: Network, keys: set[str]) -> dict[str, tuple[Path, int]]:
        """Return the file and the row of those of the images, by their keys, that the network has seen.

        A file that is cut off or damaged is removed.
        """
        held = {}
        for file in sorted(self._folder(network).glob("*.safetensors")):
            try:
                own = _keys_in(file, *file_states([file])[0])
            except FileNotFoundError:  # another process has removed it
                continue
            except ValueError:
                log.info(f"{file.name}: is cut off or damaged; it is made again")
                file.unlink(missing_ok=True)
                continue
            held |= {key: (file, row) for row, key in enumerate(own) if key in keys}
        return held

    def _folder(self, network: Network) -> Path:
        return self.folder / self._recipe(network).key

    def _recipe(self, network: Network) -> Recipe:
        return Recipe("features of images, each for itself", {}, {"network": network.key})


def feature_cache(data: Data, evaluate: Evaluate, decoders: int | None = 0) -> FeatureCache:
    """Return the cache of the features that the evaluation uses, in data.cache. decoders: as FeatureCache has them."""
    return FeatureCache(data.cache / "features", evaluate.image_batch_size, decoders)


Task = tuple[Path, dict[str, Callable[[Image.Image], Any]]]  # an image, and what prepares it, by the networks' keys


def prepared(batches: Sequence[Sequence[Task]], decoders: int | None) -> Iterator[list[dict[str, Any] | None]]:
    """Yield the images of each batch as each network is shown them, None for those that cannot be measured.

    They are decoded and prepared ahead by other processes. decoders: how many; 0: none; None: one for each core, shared out
    over the processes that were launched.
    """
    cores = max(1, processors() // start_process().num_processes)
    decoders = cores if decoders is None else decoders
    if not decoders or sum(map(len, batches)) < WORTH_IT:
        yield from map(_prepared, batches)
        return
    with worker_pool(decoders) as pool:
        ahead: deque = deque()
        for batch in batches:
            share = -(-len(batch) // decoders)
            parts = [batch[first : first + share] for first in range(0, len(batch), share)]
            ahead.append([pool.submit(_prepared_apart, part) for part in parts])
            if len(ahead) > AHEAD:
                yield [image for part in ahead.popleft() for image in part.result()]
        while ahead:
            yield [image for part in ahead.popleft() for image in part.result()]


def _prepared_apart(tasks: Sequence[Task]) -> list[dict[str, Any] | None]:
    torch.set_num_threads(1)  # a forked process has none of the threads that torch would wait for
    return _prepared(tasks)


def _prepared(tasks: Sequence[Task]) -> list[dict[str, Any] | None]:
    images = ((image_or_none(path), prepare) for path, prepare in tasks)
    return [image and {name: each(image) for name, each in prepare.items()} for image, prepare in images]


def features_or_nan(network: Network, paths: Sequence[Path]) -> Tensor:
    """Return the features (N, D), float32, on the CPU, of images; NaN for those that cannot be measured."""
    images = list(map(image_or_none, paths))
    with torch.no_grad():
        features = network([image or BLANK for image in images]).float().cpu()
    features[[image is None for image in images]] = torch.nan
    return features.contiguous()


def width_of(network: Network) -> int:
    """Return how many features the network gives of an image."""
    with torch.no_grad():
        return network([BLANK]).shape[1]


def measurable(path: Path) -> Image.Image:
    """Return an image as load_image does; raises ImageError too where networks cannot take its shape."""
    image = load_image(path)
    short, long = sorted(image.size)
    if short < SMALLEST or long > LONGEST * short:
        raise ImageError(path, f"{image.width} x {image.height} pixels, too narrow to be measured")
    return image


def image_or_none(path: Path) -> Image.Image | None:
    """Return a `measurable` image; None where there is none."""
    try:
        return measurable(path)
    except ImageError:
        return None


def seen_by_all(*features: Tensor | np.ndarray) -> np.ndarray:
    """Return which (N,) images have features (N, D) of every network."""
    return np.logical_and.reduce([np.isfinite(np.asarray(each)).all(1) for each in features])


def image_states(images: pd.DataFrame) -> list[list]:
    """Return what tells the files of images (columns image_id, path) from others: id, size and time of writing."""
    return [[name, *_state(path)] for name, path in zip(images["image_id"], images["path"], strict=True)]


def image_keys(images: pd.DataFrame) -> list[str]:
    """Return what tells each image (columns image_id, path) from all others: a digest of its path, size and time."""
    return [_digest(json.dumps([str(path), *_state(path)]).encode()) for path in images["path"]]


@cache
def _keys_in(file: Path, *state: int) -> tuple[str, ...]:
    """Return the keys of the images whose features a file holds; raises ValueError where its bytes have changed.

    state: the file's size and time, so that a file is read again only where it has been written again.
    """
    content = file.read_bytes()
    if not file.stem.endswith(_digest(content)):
        raise ValueError("other bytes than were written")
    return tuple(json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]["keys"].split(","))


def _places(held: dict[str, tuple[Path, int]], keys: list[str]) -> dict[int, tuple[Path, int]]:
    """Return where the features of images are kept by the images' places in a list, of those that are."""
    return {place: held[key] for place, key in enumerate(keys) if key in held}


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=16).hexdigest()


def _state(path: Path) -> list[int]:
    try:
        return file_states([path])[0]
    except OSError:  # gone since it was listed
        return []
