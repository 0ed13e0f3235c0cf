"""EmoGen's image encoder, a ResNet-50 in torchvision's names, as an EmotionEncoder over transformers' ResNet.

Its checkpoint names the network twice, in `cnn.` and in `backbone.` (whose numbers 0, 1, 4 to 7 are the first convolution
and norm and the four stages). The published code computes with the second. fc_1 makes the emotion vector, fc_2.2 the logits.
"""

import re
from pathlib import Path

from torch import Tensor
from transformers import ResNetConfig, ResNetModel

from config.errors import UserError
from runtime.tensors import read_state_dict
from training.emotion_encoder import EmotionEncoder

IMAGE_SIZE = 224  # pixels, cut from the centre of an image whose shorter side has 256
STEM = {"0": "convolution", "1": "normalization"}
HEAD = {"fc_1": "vector", "fc_2.2": "head.2"}


def read_encoder(path: Path, emotions: int, setting: str) -> EmotionEncoder:
    """Return the encoder of a .pth file with EmoGen's state dict, ready to encode.

    Raises UserError, which names `setting`, where the file holds anything else.
    """
    tensors = read_state_dict(path, setting)
    renamed = {ours: tensor.float() for name, tensor in tensors.items() if (ours := _our_name(name))}
    depths = _depths(renamed)
    try:
        stages = [renamed[f"backbone.encoder.stages.{stage}.layers.0.layer.2.convolution.weight"] for stage in depths]
        config = ResNetConfig(
            embedding_size=len(renamed["backbone.embedder.embedder.convolution.weight"]),
            hidden_sizes=[len(weight) for weight in stages],
            depths=[*depths.values()],
            layer_type="bottleneck",
        )
        grey = [0.5] * 3
        encoder = EmotionEncoder(ResNetModel(config), emotions, len(renamed["vector.weight"]), 0.5, grey, grey, IMAGE_SIZE)
        own = encoder.state_dict()
        counts = {name: tensor for name, tensor in own.items() if name.endswith("num_batches_tracked")}  # of old checkpoints
        encoder.load_state_dict(counts | {name: tensor.to(own[name].dtype) for name, tensor in renamed.items()})
    except (KeyError, ValueError, RuntimeError, IndexError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{setting}: {path.name} holds no ResNet with fc_1 and fc_2, as EmoGen's does ({reason})") from None
    return encoder.eval()


def _our_name(name: str) -> str | None:
    """Return an EmotionEncoder's name of a weight of the checkpoint; None for one that the published code does not use."""
    if head := re.fullmatch(r"(fc_1|fc_2\.2)\.(weight|bias)", name):
        return f"{HEAD[head[1]]}.{head[2]}"
    if stem := re.fullmatch(r"backbone\.([01])\.(\w+)", name):
        return f"backbone.embedder.embedder.{STEM[stem[1]]}.{stem[2]}"
    if not (inside := re.fullmatch(r"backbone\.([4-7])\.(\d+)\.(?:(conv|bn)(\d)|downsample\.([01]))\.(\w+)", name)):
        return None
    stage, layer, kind, number, shortcut, weight = inside.groups()
    part = "convolution" if kind == "conv" or shortcut == "0" else "normalization"
    place = f"layer.{int(number) - 1}" if number else "shortcut"
    return f"backbone.encoder.stages.{int(stage) - 4}.layers.{layer}.{place}.{part}.{weight}"


def _depths(names: dict[str, Tensor]) -> dict[int, int]:
    """Return how many layers each stage has, by stage."""
    found = {tuple(map(int, m.groups())) for name in names if (m := re.search(r"stages\.(\d+)\.layers\.(\d+)\.", name))}
    return {stage: 1 + max(layer for of, layer in found if of == stage) for stage in sorted({of for of, _ in found})}
