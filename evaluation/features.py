"""What networks see in images: (N, D) features, computed once by however many processes there are, and kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from safetensors.torch import load_file, save
from torch import Tensor

from config.data_settings import Data
from config.evaluation_settings import Evaluate
from emoset.images import ImageError, load_image
from runtime.files import file_states
from runtime.kept_batches import kept_batches
from runtime.processes import start_process
from runtime.recipe import Recipe, digest

SMALLEST = 4  # pixels of the shorter side; what is smaller shows nothing, and processors take its sides for channels
LONGEST = 100  # times the shorter side; processors that resize that one make a giant of the longer
BLANK = Image.new("RGB", (224, 224))  # in place of an image that cannot be measured


@dataclass(frozen=True)
class Network:
    """What turns images into numbers.

    key: tells it from others, by its weights and what is done to images first. run: (N, D), float32, of N images, any size.
    names: what the D numbers are about, where they are about something.
    """

    key: str
    run: Callable[[list[Image.Image]], Tensor]
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class FeatureCache:
    """Where features are kept, and how many images a process runs at once.

    folder: holds a folder for each network and list of images, named by the key of the recipe that lies in it.
    """

    folder: Path
    batch_size: int

    def features_of(self, network: Network, images: pd.DataFrame, what: str) -> Tensor:
        """Return the features (N, D), float32, on the CPU, of images (columns image_id, path). All processes call it.

        An image that cannot be measured has NaN for features. Batches are the same however many processes share them, so
        the features are too. A file is kept for each batch, so a killed run resumes. what: the text at the progress bar.
        """
        size = self.batch_size
        inputs = {"network": network.key, "images": digest(image_states(images))}
        recipe = Recipe("features of images", {"evaluate.batch_size": size}, inputs)

        def make(number: int) -> bytes:
            return save({"features": features_or_nan(network, images["path"].iloc[number * size : (number + 1) * size])})

        files = kept_batches(self.folder, recipe, -(-len(images) // size), ".safetensors", make, what)
        batches = {file: load_file(file)["features"] for file in files}
        if incomplete := [file for file, features in batches.items() if features.isnan().any()]:
            start_process().wait_for_everyone()  # all have read them
            for file in incomplete:
                file.unlink(missing_ok=True)  # an image that came back is seen the next time
        return torch.cat([*batches.values()])


def feature_cache(data: Data, evaluate: Evaluate) -> FeatureCache:
    """Return the cache of the features that the evaluation uses, in data.cache."""
    return FeatureCache(data.cache / "features", evaluate.batch_size)


def features_or_nan(network: Network, paths: Sequence[Path]) -> Tensor:
    """Return the features (N, D), float32, on the CPU, of images; NaN for those that cannot be measured."""
    images = [image_or_none(path) for path in paths]
    with torch.no_grad():
        features = network.run([image or BLANK for image in images]).float().cpu()
    features[[image is None for image in images]] = torch.nan
    return features.contiguous()


def width_of(network: Network) -> int:
    """Return how many features the network gives of an image."""
    with torch.no_grad():
        return network.run([BLANK]).shape[1]


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


def _state(path: Path) -> list[int]:
    try:
        return file_states([path])[0]
    except OSError:  # gone since it was listed
        return []
