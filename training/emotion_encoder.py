"""The emotion encoder: an image's emotion vector, learned by telling the emotions (EmoGen's stage 1).

encoder_training.py trains it, emotion_statistics.py computes its Gaussians, confidences and confusions.
"""

import json
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import AutoConfig, AutoModel
from transformers.utils import cached_file

from config.errors import UserError, first_line
from config.generation_settings import EmotionSpace
from runtime.files import lfs_pointer, write_json
from runtime.hub import load_model, resolve_model
from runtime.tensors import write_tensors
from training.caches import read_batches

ENCODED_AT_ONCE = 64


class EmotionEncoder(nn.Module):
    """A vision backbone, a linear layer to the emotion vector, and ReLU, dropout, linear to the K emotions.

    As EmoGen's ResNet-50 (2048 -> 768 -> 8), over any transformers vision model.
    """

    def __init__(
        self, backbone: nn.Module, emotions: int, dimension: int, dropout: float, mean: list, std: list, image_size: int
    ):
        """backbone: of transformers, a CLIP's vision tower is taken. emotions: how many, K.

        mean, std: of each colour, pixels being in [0, 1].
        """
        super().__init__()
        self.backbone = getattr(backbone, "vision_model", backbone)
        self.sizes = {"emotions": emotions, "dimension": dimension, "dropout": dropout}
        self.sizes |= {"mean": mean, "std": std, "image_size": image_size}
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(self.sizes[name]).view(3, 1, 1), persistent=False)
        self.eval()
        with torch.no_grad():
            hidden = self._pooled(torch.zeros(1, 3, image_size, image_size, dtype=torch.uint8)).shape[1]
        self.vector = nn.Linear(hidden, dimension)
        self.head = nn.Sequential(nn.ReLU(), nn.Dropout(dropout), nn.Linear(dimension, emotions))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return emotion vectors (B, dimension) and logits (B, K) of pixels (B, 3, S, S) uint8."""
        vectors = self.vector(self._pooled(pixels))
        return vectors, self.head(vectors)

    def _pooled(self, pixels: Tensor) -> Tensor:
        """Return the backbone's pooled features (B, hidden): its own, or the mean over positions."""
        output = self.backbone(pixel_values=(pixels.float() / 255 - self.mean) / self.std)
        pooled = getattr(output, "pooler_output", None)
        if pooled is not None:
            return pooled.flatten(1)
        states = output.last_hidden_state  # (B, positions, hidden) of a transformer, (B, hidden, h, w) of a convolution
        return states.mean(1) if states.ndim == 3 else states.mean((2, 3))

    def train(self, mode: bool = True) -> "EmotionEncoder":
        """Switch to training, but for BatchNorm, which keeps its pretrained statistics.

        A few images per process estimate them badly, and every process would learn others.
        """
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def save_pretrained(self, folder: Path) -> None:
        """Write config.json (the backbone's), encoder.json and model.safetensors into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        self.backbone.config.save_pretrained(folder)
        write_json(folder / "encoder.json", self.sizes)
        weights = {name: weight.contiguous() for name, weight in self.state_dict().items()}
        write_tensors(folder / "model.safetensors", weights)

    @classmethod
    def from_pretrained(cls, folder: Path) -> "EmotionEncoder":
        """Return the encoder that was saved in `folder`, ready to encode; the original backbone is not needed.

        Raises UserError where it is damaged.
        """
        try:
            backbone = AutoModel.from_config(AutoConfig.from_pretrained(folder), dtype=torch.float32)
            encoder = cls(backbone, **json.loads((folder / "encoder.json").read_bytes()))
            encoder.load_state_dict(load_file(folder / "model.safetensors"))
        except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
            told = lfs_pointer(folder / "model.safetensors") or first_line(error)
            raise UserError(f"{folder}: holds no whole emotion encoder ({told}); make it again") from None
        return encoder.eval()


def new_encoder(name: str, space: EmotionSpace, emotions: int, seed: int, device: str = "cpu") -> EmotionEncoder:
    """Return an encoder of so many emotions over models.backbone, which is `name`, its other layers drawn by the seed.

    device: meta makes one without numbers, to see whether it can be made. Raises UserError where there is no such model, or
    it takes no images of emotion_space.image_size.
    """
    torch.manual_seed(seed)  # before the backbone, which may have layers that its checkpoint lacks
    options = {"dtype": torch.float32} | ({"device_map": device} if device == "meta" else {})
    backbone = load_model(AutoModel, name, "models.backbone", **options)
    path = cached_file(resolve_model(name), "preprocessor_config.json", _raise_exceptions_for_missing_entries=False)
    try:
        preprocessor = json.loads(Path(path).read_bytes()) if path else {}
    except ValueError as error:
        raise UserError(f"models.backbone: {path} is damaged ({first_line(error)}); get it again") from None
    mean, std = (preprocessor.get(key) or [0.5, 0.5, 0.5] for key in ("image_mean", "image_std"))
    try:
        with torch.device(device):
            return EmotionEncoder(backbone, emotions, space.dimension, space.dropout, mean, std, space.image_size)
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        reason = first_line(error)
        raise UserError(
            f"models.backbone: {name} gives no features of images of emotion_space.image_size {space.image_size}: {reason}"
        ) from None


@torch.no_grad()
def encode_images(
    encoder: EmotionEncoder, pixels: Dataset, rows: np.ndarray, accelerator: Accelerator, flip: bool, loaders: int = 0
) -> tuple[Tensor, Tensor]:
    """Return emotion vectors (N, dimension) and probabilities (N, K), float32 on the CPU, of these rows, or their flips.

    Processes share the rows out, and each gets all results, in the order of `rows`. loaders: processes that read images.
    """
    processes = accelerator.num_processes
    each = -(-len(rows) // processes)
    mine = np.resize(rows, each * processes)[accelerator.process_index :: processes].tolist()  # repeats rows to fill up
    batches = [mine[start : start + ENCODED_AT_ONCE] for start in range(0, each, ENCODED_AT_ONCE)]
    encoded = []
    for batch in read_batches(pixels, batches, loaders):
        images = batch["pixels"].to(accelerator.device)
        with accelerator.autocast():
            vectors, logits = encoder(images.flip(-1) if flip else images)
        encoded.append((vectors.float().cpu(), logits.float().softmax(1).cpu()))
    results = []
    for part in zip(*encoded, strict=True):
        gathered = accelerator.gather(torch.cat(part).to(accelerator.device)).cpu()  # process after process
        results.append(gathered.unflatten(0, (processes, each)).transpose(0, 1).flatten(0, 1)[: len(rows)])
    return tuple(results)
