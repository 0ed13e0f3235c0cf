"""LPIPS (Zhang et al. 2018): how different two images look, by the features of a network."""

from collections.abc import Callable
from functools import cache
from hashlib import blake2b

import numpy as np
import pandas as pd
import torch
from PIL import ImageOps
from torch import Tensor
from torch.nn.functional import normalize
from transformers import AutoImageProcessor, ResNetModel

from config.errors import UserError
from runtime.files import write_atomically
from config.settings import Settings
from runtime.hub import fingerprint, load_model
from emoset.images import load_image
from evaluation.features import listed
from understanding.model import start_process

Distance = Callable[[Tensor, Tensor], Tensor]  # (N, 3, H, W) in [-1, 1] twice -> (N,)


@cache
def load_lpips(name: str) -> tuple[str, Distance]:
    """Return a key and the distance that evaluate.lpips_network, `name`, defines: LPIPS on AlexNet, by the package of its
    authors, or unweighted on a ResNet's stages. Raises UserError where that cannot be had."""
    setting, device = "evaluate.lpips_network", start_process().device
    if name == "alex":
        try:
            import lpips
        except (ModuleNotFoundError, RuntimeError) as missing:
            raise UserError(
                f"{setting}: alex needs lpips and torchvision ({missing}): pip install lpips==0.1.4, or name a ResNet"
            ) from None
        network = lpips.LPIPS(net="alex", verbose=False).to(device)
        return "lpips alex", lambda first, second: network(first.to(device), second.to(device)).flatten()
    model = load_model(ResNetModel, name, setting, dtype=torch.float32).to(device).eval()
    processor = load_model(AutoImageProcessor, name, setting)
    mean, std = (torch.tensor(each).view(3, 1, 1).to(device) for each in (processor.image_mean, processor.image_std))

    def stages(images):
        return model(((images.to(device) + 1) / 2 - mean) / std, output_hidden_states=True).hidden_states

    key = f"lpips {fingerprint(model)} {processor.to_json_string()}"
    return key, lambda first, second: unweighted(stages(first), stages(second))


def unweighted(first: tuple[Tensor, ...], second: tuple[Tensor, ...]) -> Tensor:
    """Return (N,) the sum over layers of the squared difference of two images' features (N, C, H, W), of unit length at each
    place, averaged over places: LPIPS without weights for channels, as lpips.LPIPS(lpips=False).

    Our own lines, since the packages with this formula take no network but torchvision's.
    """
    differences = [normalize(a, dim=1) - normalize(b, dim=1) for a, b in zip(first, second, strict=True)]
    return sum(each.square().sum(1).mean((1, 2)) for each in differences)


def lpips_distances(images: pd.DataFrame, pairs: np.ndarray, settings: Settings, published: bool = False) -> np.ndarray:
    """Return (P,) the LPIPS of pairs (P, 2) of row numbers of `images` (columns image_id, path); kept in data.cache.

    Images are resized and cropped to models.resolution, which changes nothing about our generator's.
    published: hand over images as they are, unless the two differ in size, and numbers from 0 to 1 where the network
    expects -1 to 1.
    """
    name, distance = load_lpips(settings.evaluate.lpips_network)
    size, kept = (settings.models.resolution,) * 2, settings.data.cache / "features"
    recipe = f"{name} {'as they are' if published else size} {listed(images)} {pairs.tolist()}"
    cached = kept / f"lpips-{blake2b(recipe.encode(), digest_size=8).hexdigest()}.npy"
    if not cached.exists():
        found = []
        at_once = 1 if published else settings.evaluate.batch_size
        for batch in np.array_split(pairs, -(-len(pairs) // at_once)):
            shown = [[load_image(images["path"].iloc[row]) for row in side] for side in batch.T]
            if not published or shown[0][0].size != shown[1][0].size:
                shown = [[ImageOps.fit(image, size) for image in side] for side in shown]
            pixels = [torch.from_numpy(np.stack(side)).permute(0, 3, 1, 2) / 255 for side in shown]
            with torch.no_grad():
                found.append(distance(*(side if published else side * 2 - 1 for side in pixels)).double().cpu().numpy())
        kept.mkdir(parents=True, exist_ok=True)
        write_atomically(cached, lambda path: np.save(path, np.concatenate(found)))
    return np.load(cached)
