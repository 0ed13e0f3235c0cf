"""LPIPS (Zhang et al. 2018): how different two images look, by the features of a network."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from io import BytesIO

import numpy as np
import pandas as pd
import torch
from PIL import ImageOps
from torch import Tensor
from torch.nn.functional import normalize
from transformers import AutoImageProcessor, ResNetModel

from config.errors import UserError, first_line
from evaluation.features import BLANK, FeatureCache, image_or_none, image_states
from runtime.files import write_atomically
from runtime.hub import fingerprint, load_model
from runtime.processes import start_process
from runtime.recipe import RECIPE, Recipe, digest

ALEX = 32  # pixels of a side that AlexNet takes at least
Distance = Callable[[Tensor, Tensor], Tensor]  # (N, 3, H, W) in [-1, 1] twice -> (N,)


@cache
def load_lpips(name: str) -> tuple[str, Distance]:
    """Return a key and the distance that evaluate.lpips_network, `name`, defines.

    It is LPIPS on AlexNet, by the package of its authors, or unweighted on a ResNet's stages. Raises UserError where the
    package or the network is missing.
    """
    setting, device = "evaluate.lpips_network", start_process().device
    if name == "alex":
        try:
            import lpips
            from torchvision.models import AlexNet_Weights
        except (ModuleNotFoundError, RuntimeError) as missing:
            raise UserError(
                f"{setting}: alex needs lpips and torchvision ({missing}): pip install lpips==0.1.4, or name a ResNet"
            ) from None
        # torchvision unpickles whatever it finds; what this has fetched, or found, holds nothing but tensors.
        url = AlexNet_Weights.IMAGENET1K_V1.url
        try:
            torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True)
            network = lpips.LPIPS(net="alex", verbose=False).to(device)
        except Exception as error:  # offline; or a file that is cut off
            raise UserError(
                f"{setting}: the weights of alex cannot be downloaded ({first_line(error)}); copy torchvision's alexnet to "
                f"{torch.hub.get_dir()}/checkpoints/, or name a ResNet"
            ) from None
        return "lpips alex", lambda first, second: network(first.to(device), second.to(device)).flatten()
    model = load_model(ResNetModel, name, setting, dtype=torch.float32).to(device).eval()
    processor = load_model(AutoImageProcessor, name, setting)
    mean, std = (torch.tensor(each).view(3, 1, 1).to(device) for each in (processor.image_mean, processor.image_std))

    def stages(images):
        return model(((images.to(device) + 1) / 2 - mean) / std, output_hidden_states=True).hidden_states

    key = f"lpips {fingerprint(model)} {processor.to_json_string()}"
    return key, lambda first, second: unweighted(stages(first), stages(second))


def unweighted(first: tuple[Tensor, ...], second: tuple[Tensor, ...]) -> Tensor:
    """Return (N,) LPIPS without weights for channels, as lpips.LPIPS(lpips=False), of two images' features (N, C, H, W).

    It is the sum over layers of the squared difference of features of unit length, averaged over places. These lines are
    our own, since the packages with this formula take no network but torchvision's.
    """
    differences = [normalize(a, dim=1) - normalize(b, dim=1) for a, b in zip(first, second, strict=True)]
    return sum(each.square().sum(1).mean((1, 2)) for each in differences)


@dataclass(frozen=True)
class Lpips:
    """LPIPS of pairs of images, kept in `cache`.

    network: as evaluate.lpips_network names it. resolution: pixels of width and height of the images that are compared.
    """

    network: str
    resolution: int
    cache: FeatureCache

    def distances(self, images: pd.DataFrame, pairs: np.ndarray, published: bool = False) -> np.ndarray:
        """Return (P,) the LPIPS of pairs (P, 2) of row numbers of `images` (columns image_id, path).

        NaN: one of the two images cannot be read. Images are resized and cropped to the resolution, which changes nothing
        about our generator's.
        published: hand over images as they are, unless the two differ in size or are too small for AlexNet, and numbers
        from 0 to 1 where the network expects -1 to 1.
        """
        name, distance = load_lpips(self.network)
        inputs = {"network": name, "images": digest(image_states(images)), "pairs": digest(pairs.tolist())}
        inputs["images are"] = "as they are, from 0 to 1" if published else f"{self.resolution} pixels, from -1 to 1"
        recipe = Recipe("LPIPS of pairs", {}, inputs)
        folder = self.cache.folder / recipe.key
        for file in folder.glob("distances-*.npy"):
            if file.stem.endswith(_digest(content := file.read_bytes())):  # else it is damaged
                return np.load(BytesIO(content))
        size = 1 if published else self.cache.batch_size
        parts = np.array_split(pairs, -(-len(pairs) // size)) if len(pairs) else []
        found = np.concatenate([np.empty(0), *(self._distances_of(images, part, distance, published) for part in parts)])
        if np.isfinite(found).all():  # else an image that came back would not be seen the next time
            np.save(content := BytesIO(), found)
            folder.mkdir(parents=True, exist_ok=True)
            recipe.start(folder / RECIPE)
            file = folder / f"distances-{_digest(content.getvalue())}.npy"
            write_atomically(file, lambda beside: beside.write_bytes(content.getvalue()))
            recipe.finish(folder / RECIPE)
        return found

    def _distances_of(self, images: pd.DataFrame, pairs: np.ndarray, distance: Distance, published: bool) -> np.ndarray:
        size = (self.resolution, self.resolution)
        shown = [[image_or_none(images["path"].iloc[row]) for row in side] for side in pairs.T]
        unreadable = [None in pair for pair in zip(*shown, strict=True)]
        shown = [[image or BLANK for image in side] for side in shown]
        first, second = shown[0][0].size, shown[1][0].size
        if not published or first != second or min(first) < ALEX:
            shown = [[ImageOps.fit(image, size) for image in side] for side in shown]
        pixels = [torch.from_numpy(np.stack(side)).permute(0, 3, 1, 2) / 255 for side in shown]
        with torch.no_grad():
            found = distance(*(side if published else side * 2 - 1 for side in pixels)).double().cpu().numpy()
        found[unreadable] = np.nan
        return found


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=8).hexdigest()
