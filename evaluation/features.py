"""What networks see in images: (N, D) features, computed once by however many processes there are, and kept."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from config.data_settings import Data
from config.evaluation_settings import Evaluate
from emoset.images import load_image
from runtime.files import write_atomically
from runtime.processes import shared_work
from runtime.recipe import RECIPE, Recipe, digest
from runtime.run_folder import is_first_process, progress


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
        inputs = {"network": network.key, "images": digest(file_states(images))}
        recipe = Recipe("features of images", {"evaluate.batch_size": size}, inputs)
        folder = self.folder / recipe.key
        files = [folder / f"{number:06d}.safetensors" for number in range(-(-len(images) // size))]
        with shared_work(range(len(files)), lambda number: not files[number].exists()) as (missing, own):
            if missing:
                folder.mkdir(parents=True, exist_ok=True)
            if missing and is_first_process():
                recipe.start(folder / RECIPE)
            for number in progress(own, what, len(own), unit=" batches") if is_first_process() else own:
                batch = [load_image(path) for path in images["path"].iloc[number * size : (number + 1) * size]]
                with torch.no_grad():
                    features = {"features": network.run(batch).float().cpu().contiguous()}
                write_atomically(files[number], lambda path, features=features: save_file(features, path))
        if is_first_process() and not recipe.is_finished(folder / RECIPE):
            recipe.finish(folder / RECIPE)
        return torch.cat([load_file(file)["features"] for file in files])


def feature_cache(data: Data, evaluate: Evaluate) -> FeatureCache:
    """Return the cache of the features that the evaluation uses, in data.cache."""
    return FeatureCache(data.cache / "features", evaluate.batch_size)


def file_states(images: pd.DataFrame) -> list[tuple[str, int, int]]:
    """Return what tells the files of images (columns image_id, path) from others: id, size and time of writing."""
    files = zip(images["image_id"], (path.stat() for path in images["path"]), strict=True)
    return [(image_id, stat.st_size, stat.st_mtime_ns) for image_id, stat in files]
