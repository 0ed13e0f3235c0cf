"""What networks see in images: (N, D) features, computed once by however many processes there are, and kept."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from PIL import Image
from safetensors.torch import load_file, save
from torch import Tensor

from config.data_settings import Data
from config.evaluation_settings import Evaluate
from emoset.images import load_image
from runtime.files import file_states
from runtime.kept_batches import kept_batches
from runtime.recipe import Recipe, digest


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

        Batches are the same however many processes share them, so the features are too. A file is kept for each batch, so a
        killed run resumes. what: the text at the progress bar.
        """
        size = self.batch_size
        inputs = {"network": network.key, "images": digest(image_states(images))}
        recipe = Recipe("features of images", {"evaluate.batch_size": size}, inputs)

        def make(number: int) -> bytes:
            batch = [load_image(path) for path in images["path"].iloc[number * size : (number + 1) * size]]
            with torch.no_grad():
                features = network.run(batch).float().cpu().contiguous()
            return save({"features": features})

        files = kept_batches(self.folder, recipe, -(-len(images) // size), ".safetensors", make, what)
        return torch.cat([load_file(file)["features"] for file in files])


def feature_cache(data: Data, evaluate: Evaluate) -> FeatureCache:
    """Return the cache of the features that the evaluation uses, in data.cache."""
    return FeatureCache(data.cache / "features", evaluate.batch_size)


def image_states(images: pd.DataFrame) -> list[list]:
    """Return what tells the files of images (columns image_id, path) from others: id, size and time of writing."""
    return [[name, *state] for name, state in zip(images["image_id"], file_states(images["path"]), strict=True)]
