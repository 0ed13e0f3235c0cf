"""Choosing: of several images that are made for the same words and emotion, the one that a score likes best."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion import StableDiffusionPipelineOutput
from PIL import Image
from torch import Tensor

from config.errors import UserError
from runtime.seeds import derived_seed
from training.contents import Emotion, Generators
from training.photographs import as_images
from training.rows import rows_of

NOT_WITH_CANDIDATES = ("latents", "emotion_noise", "output_type")  # of which every candidate would have the same


@dataclass(frozen=True)
class Condition:
    """What an image was asked to show.

    emotion: a name, or weights by name. prompt: with its content in it. content: None where the prompt has no <content>.
    """

    emotion: Emotion
    prompt: str
    content: str | None = None

    @property
    def weights(self) -> Mapping[str, float]:
        """The weights of the emotions by name."""
        return {self.emotion: 1.0} if isinstance(self.emotion, str) else self.emotion


Score = Callable[[list[Image.Image], Sequence[Condition]], Tensor]  # n images and conditions -> (n,), more is better


@dataclass
class ChosenOutput(StableDiffusionPipelineOutput):
    """The images that were chosen. scores: (n, N) in float64 of all candidates, of which `chosen` (n,) are the best."""

    scores: Tensor | None = None
    chosen: Tensor | None = None


def choose(
    pipe: StableDiffusionPipeline,
    number: int | None,
    score: Score | None,
    asked: tuple,
    photographs: Mapping,
    options: dict,
) -> ChosenOutput | tuple:
    """Make `number` candidates for each image and keep the one with the highest score, the earlier one of equals.

    asked: prompt, emotion, content, negative_prompt, num_images_per_prompt, generator, as of EmotionPipeline. photographs:
    image and image_strength, or nothing. options: its others. The candidates of an image differ by their noise alone: they
    have the same words, emotion and content. They are made in `number` turns of all images, so they take no more memory
    than one. The first is the image that would be made without choosing.
    Raises UserError for a number or options with which nothing can be chosen.
    """
    if number is None:
        raise UserError("score: does nothing without best_of; give best_of, the number of images to choose from")
    if not isinstance(number, Integral) or number < 1 or not callable(score) or asked[1] is None:
        told = "to choose among images, give best_of as a whole number from 1 on, a function as score, and an emotion"
        raise UserError(f"best_of={number}: {told}")
    if given := [name for name in NOT_WITH_CANDIDATES if options.get(name) not in (None, "pil")]:
        raise UserError(f"{', '.join(given)}: cannot be given with best_of; leave it out")
    *_, generator = asked
    image, others = photographs.get("image"), dict(photographs)
    start = {} if image is None else {"image": as_images(image)}
    prompts, contents, emotions, negatives, *started = rows_of(*asked, pipe.contents, **start)
    conditions = [Condition(*each) for each in zip(emotions, prompts, contents, strict=True)]
    rows = {"prompt": prompts, "emotion": emotions, "negative_prompt": negatives}
    others |= {"image": started[0]} if started else {}
    returns_dict, kept, flags, scores = options.pop("return_dict", True), [None] * len(prompts), None, []
    for turn in range(number):
        made = pipe(**rows, **others, **options, generator=_of_turn(generator, turn))
        flagged = made.nsfw_content_detected or [False] * len(prompts)
        found = numbers_of(score(*copies(made.images, conditions)), len(prompts), "score")
        scores.append(found.masked_fill(torch.tensor(flagged), -torch.inf))
        best = torch.stack(scores).argmax(0) == turn
        kept = [new if better else old for new, old, better in zip(made.images, kept, best.tolist(), strict=True)]
        flags = flagged if flags is None else [new and old for new, old in zip(flagged, flags, strict=True)]
    table = torch.stack(scores, 1)
    flags = flags if made.nsfw_content_detected else None
    return ChosenOutput(kept, flags, table, table.argmax(1)) if returns_dict else (kept, flags)


def copies(images: list[Image.Image], conditions: Sequence[Condition]) -> tuple[list[Image.Image], list[Condition]]:
    """Return copies for a function of the user's, which may change them: the images are kept, and others score them too."""
    return [image.copy() for image in images], [deepcopy(each) for each in conditions]


def numbers_of(found: object, count: int, where: str) -> Tensor:
    """Return what a function of the user's gave for `count` images as (count,), in float64, which keeps near numbers apart.

    found: a tensor, an array, a list or the like. Raises UserError, beginning with `where`, unless it has a number for each.
    """
    told = "None" if found is None else f"a value that does not consist of real numbers (type {type(found).__name__})"
    if isinstance(found, Tensor):
        found = found.tolist()  # from any device, in any precision
    elif isinstance(found, list | tuple):
        found = [each.tolist() if isinstance(each, Tensor) else each for each in found]
    try:
        numbers = np.asarray(found)
        if numbers.dtype.kind in "biuf" or all(isinstance(each, Real) for each in numbers.flat):
            numbers = numbers.astype(np.float64)
            told = "NaN" if np.isnan(numbers).any() else ""
            if numbers.shape != (count,):
                told = f"numbers of shape {numbers.shape}"
    except (ValueError, OverflowError):  # of lists of several lengths, and of whole numbers that are too large for a float
        pass
    if told:
        raise UserError(f"{where}: returned {told} for {count} images; return a number for each image")
    return torch.from_numpy(numbers)


def candidate_seed(seed: int, turn: int) -> int:
    """Return the seed of an image's candidate: of the first, number 0, the image's own."""
    return derived_seed(seed, "candidate", turn) if turn else seed


def _of_turn(generators: Generators, turn: int) -> Generators:
    """Return the generators of the candidates of a turn: where each image has one, seeded from that."""
    if not isinstance(generators, list) or not turn:
        return generators
    return [
        torch.Generator(each.device).manual_seed(candidate_seed(each.initial_seed(), turn) % 2**63) for each in generators
    ]
