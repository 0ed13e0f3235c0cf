"""Guidance by a weighted sum of several conditions, by hooks on the U-Net that the pipeline knows nothing of."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from config.errors import UserError
from training.emotion_lora import is_compiled

STATES, STATES_PLACE = "encoder_hidden_states", 2  # among the U-Net's arguments
WITHOUT_ROWS = ("ip_adapter_masks",)  # of one adapter each, whatever the number of images


@contextmanager
def composed(unet: torch.nn.Module, weights: Sequence[float | torch.Tensor], images: int) -> Iterator[None]:
    """Let the U-Net predict, for the conditioned rows of a guided batch, the weighted sum over several conditions.

    The conditioned rows are the last `images` of the batch. The pipeline's states (B, conditions * L, width) hold those of
    all conditions, one after the other: what a callback does to them it does to all. The U-Net sees the conditioned rows
    once for each condition, with every input that has a row for each of the batch. One condition changes nothing.
    weights: of each condition a number, or numbers (images, 1, 1, 1) in float32.
    """
    if len(weights) == 1:
        yield
        return
    if is_compiled(unet) and not hasattr(unet, "_orig_mod"):
        raise UserError("unet was compiled in place, so it cannot mix conditions; use pipe.unet = torch.compile(pipe.unet)")

    def spread(module, arguments, keywords):
        rows = len(arguments[0] if arguments else keywords["sample"])

        def wider(value: Any) -> Any:
            if isinstance(value, torch.Tensor) and value.ndim and len(value) == rows:
                return torch.cat([value, *[value[-images:]] * (len(weights) - 1)])
            if isinstance(value, Mapping):
                return {name: each if name in WITHOUT_ROWS else wider(each) for name, each in value.items()}
            return type(value)(map(wider, value)) if type(value) in (list, tuple) else value

        def of_each(states: torch.Tensor) -> torch.Tensor:
            first, *others = states.chunk(len(weights), dim=1)
            return torch.cat([first, *(other[-images:] for other in others)])

        places = [of_each(each) if place == STATES_PLACE else wider(each) for place, each in enumerate(arguments)]
        return tuple(places), {name: of_each(each) if name == STATES else wider(each) for name, each in keywords.items()}

    def gather(module, arguments, keywords, output):
        predicted = output[0]
        others = predicted.shape[0] - images * len(weights)
        conditioned = predicted[others:].split(images)
        mixed = sum(weight * each for weight, each in zip(weights, conditioned, strict=True))
        whole = torch.cat([predicted[:others], mixed.to(predicted.dtype)])
        return (whole, *output[1:]) if isinstance(output, tuple) else type(output)(sample=whole)

    handles = [
        unet.register_forward_pre_hook(spread, with_kwargs=True),
        unet.register_forward_hook(gather, with_kwargs=True),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
