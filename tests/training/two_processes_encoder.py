"""Trains an encoder, encodes images and fills a cache, for test_emotion_encoder.py on two processes.

In a folder that holds settings.yaml, index.parquet and pixels.pt.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from config.loading import load
from runtime.script import end_process_group
from training.accelerator import start_accelerator
from training.caches import TensorCache
from training.emotion_encoder import encode_images, new_encoder
from training.encoder_training import fit_encoder


class Pixels(list):
    """Images as a cache takes them."""

    decode = list.__getitem__


def main(folder: Path) -> None:
    settings = load(["--config", str(folder / "settings.yaml")], "")
    index = pd.read_parquet(folder / "index.parquet")
    images = torch.load(folder / "pixels.pt", weights_only=True)
    pixels = Pixels({"pixels": image} for image in images)
    accelerator = start_accelerator()
    if accelerator.is_main_process:
        (folder / "processes.txt").write_text(f"{accelerator.num_processes} {accelerator.distributed_type.value}")
    place = folder / "together"
    place.mkdir(exist_ok=True)
    space, emotions = settings.emotion_space, settings.data.taxonomy.emotions
    encoder = new_encoder(settings.models.backbone, space, len(emotions), settings.seed)
    encoder = fit_encoder(encoder, index, pixels, emotions, space, settings.seed, 0, place, accelerator, {})
    encoded = encode_images(encoder, pixels, np.arange(71), accelerator, flip=True)
    (folder / "shards").mkdir(exist_ok=True)
    cache = TensorCache(folder / "shards", index["image_id"].tolist(), 9)
    cache.fill(pixels, lambda batch: {"pixels": batch}, 1, settings.caches.batch_size, settings.machine.processes, 0.0)
    if not accelerator.is_main_process:  # either process has all of it
        torch.save(encoded, folder / "encoded.pt")
        torch.save(torch.stack([cache[row]["pixels"] for row in range(len(cache))]), folder / "cached.pt")
    accelerator.wait_for_everyone()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    end_process_group()
