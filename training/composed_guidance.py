"""Guidance by a weighted sum of several conditions, by hooks on the U-Net that the pipeline knows nothing of."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def composed(unet: torch.nn.Module, conditions: list[tuple[float, torch.Tensor]]) -> Iterator[None]:
    """Let the U-Net predict, for the conditioned half of a guided batch, the weighted sum over several conditions.

    conditions: [(weight, states (B, L, width))], the first of which the pipeline passes in. One condition changes nothing.
    """
    if len(conditions) == 1:
        yield
        return
    weights, images = [weight for weight, _ in conditions], len(conditions[0][1])

    def spread(module, arguments, keywords):
        sample, *rest = arguments
        states = keywords["encoder_hidden_states"]
        more = [states_of.to(states) for _, states_of in conditions[1:]]
        sample = torch.cat([sample, *[sample[-images:]] * len(more)])
        return (sample, *rest), keywords | {"encoder_hidden_states": torch.cat([states, *more])}

    def gather(module, arguments, keywords, output):
        predicted = output[0]
        *unconditional, first = predicted[: len(predicted) - images * (len(conditions) - 1)].split(images)
        others = predicted[len(predicted) - images * (len(conditions) - 1) :].split(images)
        mixed = sum(weight * each for weight, each in zip(weights, (first, *others), strict=True))
        return (torch.cat([*unconditional, mixed]), *output[1:])

    handles = [
        unet.register_forward_pre_hook(spread, with_kwargs=True),
        unet.register_forward_hook(gather, with_kwargs=True),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
