"""The networks that the metrics rest on, by the names that the config gives them."""

import re
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from transformers import (
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    AutoTokenizer,
    BaseImageProcessor,
    CLIPModel,
    ResNetConfig,
    ResNetForImageClassification,
)

from config.errors import UserError, first_line
from config.section import ROOT
from evaluation.features import Network
from runtime.hub import fingerprint, load_model, resolve_model
from runtime.processes import start_process
from runtime.tensors import read_state_dict

IMAGENET = dict(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
INCEPTION_SIZE = 299  # pixels
FILES = (".pth", ".pt", ".tar", ".bin", ".safetensors", ".ckpt")  # how a name ends that is one of a file, and not on the Hub


def clip_network(name: str) -> Network:
    """Return the image features of the CLIP that models.clip names, as projected, not of unit length."""
    model, processor = _clip(name), load_model(AutoImageProcessor, name, "models.clip")
    key = f"clip {fingerprint(model)} {processor.to_json_string()}"
    return Network(key, partial(_clip_features, model), prepare=partial(_processed, processor))


def black_clip_network(name: str) -> Network:
    """Return CLIP's image features as the published code has them: of images that are all but black.

    That code hands over numbers from 0 to 1, which the processor divides by 255 as if they went to 255.
    """
    model, processor = _clip(name), load_model(AutoImageProcessor, name, "models.clip")
    key = f"black clip {fingerprint(model)} {processor.to_json_string()}"
    return Network(key, partial(_clip_features, model), prepare=partial(_processed_from_unit, processor))


def clip_texts(name: str, texts: list[str]) -> Tensor:
    """Return CLIP's features (n, D) of texts, of unit length."""
    model, tokenizer = _clip(name), load_model(AutoTokenizer, name, "models.clip")
    tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt").to(model.device)
    with torch.no_grad():
        return torch.nn.functional.normalize(model.get_text_features(**tokens).pooler_output, dim=1).cpu()


def classifier(name: str, setting: str) -> Network:
    """Return a classifier's logits, its `names` being those of its labels.

    name: of a model, or of a file of torchvision's ResNet-50, as Places365's: its images are then resized and cropped as
    torchvision's are, and its labels are LABEL_0 and so on, for the file names no class. Raises UserError where there is
    none, or it tells fewer than two classes apart.
    """
    if name.endswith(FILES) and not any((place / name).is_file() for place in (Path(), ROOT)):
        raise UserError(f"{setting}: no file {name}; download it (docs/metrics.md tells from where), or name a classifier")
    device, file = start_process().device, Path(resolve_model(name))
    if file.is_file():
        model = _torchvision_resnet(file, setting).to(device)
        prepare, prepared = _as_torchvision, "torchvision's"
    else:
        model = loaded(AutoModelForImageClassification, name, setting)
        processor = load_model(AutoImageProcessor, name, setting)
        prepare, prepared = partial(_processed, processor), processor.to_json_string()
    names = tuple(label for _, label in sorted(model.config.id2label.items()))
    if len(names) < 2:
        raise UserError(f"{setting}: {name} knows {len(names)} class; name a classifier that tells several apart")
    key = f"classifier {fingerprint(model)} {prepared}"
    return Network(key, lambda images: model(_stacked(images, device)).logits, names, prepare)


def labels(network: Network, kind: str) -> tuple[str, ...]:
    """Return a classifier's labels; where it names several kinds, as `object: tree`, those of `kind` alone, without it."""
    own = tuple(name.partition(": ")[2] for name in network.names if name.startswith(f"{kind}: "))
    return own or network.names


def probabilities(network: Network, logits: Tensor, kind: str) -> np.ndarray:
    """Return the probabilities (N, labels) of a classifier's `labels` of that kind, from all its logits."""
    own = [number for number, name in enumerate(network.names) if name.startswith(f"{kind}: ")]
    return (logits[:, own] if own else logits).double().softmax(1).numpy()


def fid_network(name: str, published: bool) -> Network:
    """Return the features that FID compares, of the network that evaluate.fid_network names.

    published: images are squeezed to a square by bilinear interpolation; else the middle of them is cut out to one.
    """
    setting, device = "evaluate.fid_network", start_process().device
    if name == "inception":
        network = _inception(setting)
        size, key = INCEPTION_SIZE, "inception"

        def run(squares):
            return network(squares)[0]
    else:
        model = loaded(AutoModel, name, setting)
        processor = load_model(AutoImageProcessor, name, setting)
        size = processor.size.height or processor.size.shortest_edge
        key = f"{fingerprint(model)} {processor.to_json_string()}"
        mean, std = (torch.tensor(each).view(3, 1, 1).to(device) for each in (processor.image_mean, processor.image_std))

        def run(squares):
            return model((squares / 255 - mean) / std).pooler_output.flatten(1)

    def run_all(squares):
        return run(_stacked(squares, device).permute(0, 3, 1, 2))

    prepare = partial(_squeezed if published else _cut, (size, size))
    return Network(f"fid {key} {'squeezed' if published else 'cut'}", run_all, prepare=prepare)


@cache
def loaded(kind: type, name: str, setting: str) -> torch.nn.Module:
    """Return a model on this process's device. It is loaded once, whatever asks for it, and stays."""
    return load_model(kind, name, setting, dtype=torch.float32).to(start_process().device).eval()


def _clip(name: str) -> CLIPModel:
    return loaded(CLIPModel, name, "models.clip")


def _clip_features(model: CLIPModel, images: list[np.ndarray]) -> Tensor:
    return model.get_image_features(pixel_values=_stacked(images, model.device).float()).pooler_output


def _stacked(images: list[np.ndarray], device: torch.device) -> Tensor:
    return torch.from_numpy(np.stack(images)).to(device)


def _processed(processor: BaseImageProcessor, image: Image.Image | np.ndarray) -> np.ndarray:
    """Return an image (3, H, W) as a model's processor makes it."""
    return np.asarray(processor(images=image, return_tensors="pt").pixel_values[0])


def _processed_from_unit(processor: BaseImageProcessor, image: Image.Image) -> np.ndarray:
    return _processed(processor, np.asarray(image, np.float32).transpose(2, 0, 1) / 255)


def _squeezed(size: tuple[int, int], image: Image.Image) -> np.ndarray:
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))


def _cut(size: tuple[int, int], image: Image.Image) -> np.ndarray:
    return np.asarray(ImageOps.fit(image, size, Image.Resampling.BICUBIC))


@cache
def _inception(setting: str) -> torch.nn.Module:
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3
    except ModuleNotFoundError as missing:
        raise UserError(
            f"{setting}: inception needs {missing.name}: pip install torch-fidelity==0.4.0, or name a vision model"
        ) from None
    # The library unpickles whatever it finds; what this has fetched, or found, holds nothing but tensors.
    try:
        torch.hub.load_state_dict_from_url(URL_INCEPTION_V3, map_location="cpu", weights_only=True)
    except Exception as error:  # offline; or a file that is cut off, or another
        raise UserError(
            f"{setting}: the weights of inception cannot be downloaded from {URL_INCEPTION_V3} ({first_line(error)}); copy "
            f"them to {torch.hub.get_dir()}/checkpoints/, or name a vision model"
        ) from None
    return FeatureExtractorInceptionV3("inception-v3-compat", ["2048"]).to(start_process().device)


def _torchvision_resnet(file: Path, setting: str) -> ResNetForImageClassification:
    """Return transformers' ResNet-50 with the weights of a .pth file with torchvision's names for them."""
    weights = read_state_dict(file, setting)
    if "fc.bias" not in weights:
        raise UserError(f"{setting}: {file.name} does not hold torchvision's ResNet-50 (no fc.bias)")
    model = ResNetForImageClassification(ResNetConfig(num_labels=len(weights["fc.bias"])))
    try:
        model.load_state_dict({_transformers_name(name): weight for name, weight in weights.items()})
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[1].strip()
        raise UserError(f"{setting}: {file.name} does not hold torchvision's ResNet-50 ({reason})") from None
    return model.eval()


def _transformers_name(name: str) -> str:
    """Return transformers' name for a weight of torchvision's ResNet: layer1.0.bn2.weight, conv1.weight, fc.bias."""
    parts = {"conv": "convolution", "bn": "normalization", "0": "convolution", "1": "normalization"}
    if match := re.fullmatch(r"layer(\d)\.(\d+)\.(conv|bn)(\d)\.(.+)", name):
        stage, block, kind, number, rest = match.groups()
        return f"resnet.encoder.stages.{int(stage) - 1}.layers.{block}.layer.{int(number) - 1}.{parts[kind]}.{rest}"
    if match := re.fullmatch(r"layer(\d)\.(\d+)\.downsample\.(\d)\.(.+)", name):
        stage, block, number, rest = match.groups()
        return f"resnet.encoder.stages.{int(stage) - 1}.layers.{block}.shortcut.{parts[number]}.{rest}"
    if match := re.fullmatch(r"(conv|bn)1\.(.+)", name):
        return f"resnet.embedder.embedder.{parts[match[1]]}.{match[2]}"
    return name.replace("fc.", "classifier.1.")


def _as_torchvision(image: Image.Image) -> np.ndarray:
    """Return (3, 224, 224): the shorter side resized to 256, the middle cut out, normalised by ImageNet's statistics."""
    short = min(image.size)
    width, height = (int(256 * side / short) for side in image.size)
    left, top = round((width - 224) / 2), round((height - 224) / 2)
    cut = image.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + 224, top + 224))
    mean, std = (np.array(IMAGENET[name], np.float32) for name in ("mean", "std"))
    return ((np.asarray(cut, np.float32) / 255 - mean) / std).transpose(2, 0, 1)
