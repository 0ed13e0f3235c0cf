"""Choosing: of several images that are made for the same words and emotion, the one that a score likes best."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

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
    """The images that were chosen. scores: (n, N) of all candidates, of which `chosen` (n,) are the best."""

    scores: Tensor | None = None
    chosen: Tensor | None = None


def choose(
    pipe: StableDiffusionPipeline,
    number: int,
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
    if number < 1 or score is None or asked[1] is None:
        raise UserError(f"best_of={number}: to choose among images, give best_of from 1 on, a score and an emotion")
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
        found = torch.as_tensor(score(made.images, conditions)).detach().float().cpu()
        if found.shape != (len(prompts),) or found.isnan().any():
            raise UserError(f"score: gave {tuple(found.shape)} for {len(prompts)} images; it must give a number for each")
        scores.append(found.masked_fill(torch.tensor(flagged), -torch.inf))
        best = torch.stack(scores).argmax(0) == turn
        kept = [new if better else old for new, old, better in zip(made.images, kept, best.tolist(), strict=True)]
        flags = flagged if flags is None else [new and old for new, old in zip(flagged, flags, strict=True)]
    table = torch.stack(scores, 1)
    flags = flags if made.nsfw_content_detected else None
    return ChosenOutput(kept, flags, table, table.argmax(1)) if returns_dict else (kept, flags)


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
