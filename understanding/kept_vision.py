"""What a frozen vision tower makes of images, kept: it sees an image once, however many questions are about it."""

from collections import OrderedDict
from collections.abc import Sequence
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from understanding.packing import backbone, take_rows

Features = tuple[Tensor, list[Tensor]]  # of an image: what stands in its tokens' places, and what deeper layers add there


class KeptVision:
    """Takes the place of a model's vision tower for images that it has seen before.

    most: bytes of features that are kept at most, on the model's device; those that were asked for longest ago go first.
    """

    def __init__(self, model: nn.Module, most: int = 2**31):
        self.backbone: PreTrainedModel = backbone(model)
        self.names = set(signature(self.backbone.get_image_features).parameters)
        self.most, self.bytes = most, 0
        self.kept: OrderedDict[str, Features] = OrderedDict()

    @torch.no_grad()
    def __call__(self, inputs: dict[str, Any], images: Sequence[str]) -> dict[str, Any]:
        """Return the inputs of the model with mm_encoder_outputs in place of pixel_values. images: the ids of the rows'."""
        rows = {image: row for row, image in reversed(list(enumerate(images)))}
        new = [image for image in rows if image not in self.kept]
        if new:
            fields = {name: each for name, each in inputs.items() if name in self.names}
            taken = take_rows(fields, [1] * len(images), [rows[image] for image in new])
            made = self.backbone.get_image_features(**taken, return_dict=True)
            self.output, deeper = type(made), made.get("deepstack_features") or []
            for place, image in enumerate(new):  # copies: a part of the batch's features would keep all of them
                self._keep(image, (made.pooler_output[place].clone(), [layer[place].clone() for layer in deeper]))
        features = [self.kept[image] for image in images]
        for image in rows:
            self.kept.move_to_end(image)
        while self.bytes > self.most:
            self.bytes -= _size(self.kept.popitem(last=False)[1])
        outputs = self.output(pooler_output=tuple(first for first, _ in features))
        if features[0][1]:
            outputs["deepstack_features"] = [tuple(layer) for layer in zip(*(deeper for _, deeper in features), strict=True)]
        return {name: each for name, each in inputs.items() if name != "pixel_values"} | {
            "mm_encoder_outputs": {"image": outputs}
        }

    def _keep(self, image: str, features: Features) -> None:
        self.kept[image] = features
        self.bytes += _size(features)


def _size(features: Features) -> int:
    return sum(each.numel() * each.element_size() for each in (features[0], *features[1]))
