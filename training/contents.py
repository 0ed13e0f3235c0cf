"""The contents that emotions are put on: p(attribute | emotion) of the training images, and how one is drawn from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from config.errors import UserError
from config.generation_settings import CONTENT
from emoset.attribute_folders import memberships
from training.emotion_space import emotion_weights

Emotion = str | Mapping[str, float]
Generators = torch.Generator | list[torch.Generator] | None


@dataclass(frozen=True)
class Contents:
    """names: of A contents, sorted. shares: (K, A), p(attribute | emotion) of the K `emotions`, float64; rows sum to 1."""

    names: tuple[str, ...]
    shares: Tensor
    emotions: tuple[str, ...]

    @classmethod
    def of(cls, counts: Mapping[str, Mapping[str, int]], emotions: Sequence[str]) -> "Contents":
        """Return the contents of which an emotion's images show so many; every one of the K `emotions` has some."""
        names = sorted({name for own in counts.values() for name in own})
        table = torch.tensor([[counts[emotion].get(name, 0) for name in names] for emotion in emotions], dtype=torch.float64)
        return cls(tuple(names), table / table.sum(1, keepdim=True), tuple(emotions))

    def draw(self, emotions: Sequence[Emotion], numbers: Tensor) -> list[str]:
        """Return a content for each emotion or mix, by inverse transform sampling from the (mixed) distribution.

        numbers: (B,) uniform in [0, 1), float32: in float64 a product with 1 - 2^-24 stays below the sum.
        """
        weights = torch.stack([emotion_weights(each, self.emotions) for each in emotions]).double()
        cumulative = (weights @ self.shares).cumsum(1)
        wanted = numbers.double().cpu()[:, None] * cumulative[:, -1:]
        return [self.names[place] for place in torch.searchsorted(cumulative, wanted, right=True)[:, 0].tolist()]

    def of_image(self, emotion: Emotion, seed: int) -> str:
        """Return what EmotionPipeline draws for the image of an emotion, or of a mix, that has this seed."""
        return self.draw([emotion], content_numbers(1, torch.Generator().manual_seed(seed)))[0]


def with_contents(
    prompts: list[str],
    named: list[str | None],
    emotions: Sequence[Emotion],
    contents: Contents | None,
    generator: Generators,
) -> tuple[list[str], list[str | None]]:
    """Return prompts with contents in place of <content>, and those: what is named, and for None what is drawn.

    The content of a prompt that does not say <content> is None.
    Raises UserError where one is to be drawn and there are no `contents`.
    """
    if any(CONTENT in prompt and not name for prompt, name in zip(prompts, named, strict=True)):
        if contents is None:
            raise UserError(f"content: the generator was trained without any to draw; name one, or leave {CONTENT} out")
        drawn = contents.draw(emotions, content_numbers(len(prompts), generator))
        named = [name or other for name, other in zip(named, drawn, strict=True)]
    named = [name if CONTENT in prompt else None for prompt, name in zip(prompts, named, strict=True)]
    return [prompt.replace(CONTENT, name or "") for prompt, name in zip(prompts, named, strict=True)], named


def count_contents(index: pd.DataFrame, kinds: list[str], emotions: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return how many images of each emotion carry each attribute of `kinds`; nothing where an emotion's carry none.

    index: of the images (emoset/reading.py), those of the training split.
    """
    carried = memberships(index, kinds)
    counts = {emotion: carried.loc[carried["emotion"] == emotion, "attribute"].value_counts() for emotion in emotions}
    if any(own.empty for own in counts.values()):
        return {}
    return {emotion: {name: int(own[name]) for name in sorted(own.index)} for emotion, own in counts.items()}


def content_numbers(count: int, generator: Generators) -> Tensor:
    """Return (count,) uniform numbers in [0, 1): one of each of `count` generators, or all of one; None: of torch's own.

    They follow from the state of a generator and leave it alone, so an image whose content is drawn starts from the same
    noise as one whose content is named.
    """
    if generator is None:
        return torch.rand(count)
    generators = generator if isinstance(generator, list) else [generator]
    return torch.cat([torch.rand(count // len(generators), generator=_beside(each)) for each in generators])


def _beside(generator: torch.Generator) -> torch.Generator:
    seed = torch.randint(2**62, (), generator=generator.clone_state(), device=generator.device)
    return torch.Generator().manual_seed(seed.item())
