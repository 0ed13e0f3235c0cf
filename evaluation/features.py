"""What networks see in images, kept in data.cache: (N, D) features, computed once by however many processes there are."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import pandas as pd
import torch
from accelerate import PartialState
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from runtime.files import write_atomically
from runtime.run_folder import progress
from config.settings import Settings
from emoset.images import load_image


@dataclass(frozen=True)
class Network:
    """What turns images into numbers.

    key: tells it from others, by its weights and what is done to images first. run: (N, D), float32, of N images, any size.
    names: what the D numbers are about, where they are about something.
    """

    key: str
    run: Callable[[list[Image.Image]], Tensor]
    names: tuple[str, ...] = ()


def features_of(network: Network, images: pd.DataFrame, settings: Settings, what: str) -> Tensor:
    """Return the features (N, D), float32, on the CPU, of images (a column path). All processes call it together.

    Batches are the same however many processes share them, so the features are too. A file is kept for each batch; a
    killed run goes on. what: stands at the progress bar.
    """
    state, size = PartialState(), settings.evaluate.batch_size
    kept = settings.data.cache / "features" / blake2b(f"{network.key} {listed(images)} {size}".encode()).hexdigest()[:16]
    if state.is_main_process:
        kept.mkdir(parents=True, exist_ok=True)
    state.wait_for_everyone()
    numbers = range(-(-len(images) // size))
    missing = [number for number in numbers if not _file(kept, number).exists()]
    state.wait_for_everyone()  # before anybody writes, all have looked
    own = missing[state.process_index :: state.num_processes]
    for number in progress(own, what, len(own), unit=" batches") if state.is_main_process else own:
        batch = [load_image(path) for path in images["path"].iloc[number * size : (number + 1) * size]]
        with torch.no_grad():
            features = network.run(batch).float().cpu().contiguous()
        write_atomically(_file(kept, number), lambda path, features=features: save_file({"features": features}, path))
    state.wait_for_everyone()
    return torch.cat([load_file(_file(kept, number))["features"] for number in numbers])


def listed(images: pd.DataFrame) -> list[tuple[str, int, int]]:
    """Return what tells the files of images (columns image_id, path) from others: id, size and time of writing."""
    files = zip(images["image_id"], (path.stat() for path in images["path"]), strict=True)
    return [(image_id, stat.st_size, stat.st_mtime_ns) for image_id, stat in files]


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.safetensors"
