"""What a call of the pipeline asks for, as lists of equal length: a prompt, an emotion and the like for each image."""

from collections.abc import Mapping

import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils.torch_utils import randn_tensor

from config.errors import UserError
from config.generation_settings import CONTENT, CONTENT_PROMPT, PLACEHOLDER
from training.contents import Contents, Generators, with_contents


def rows_of(
    prompt, emotion, content, negative_prompt, count: int, generator: Generators, contents: Contents | None, **photographs
) -> list[list]:
    """Return prompts with their contents, these, emotions, negative prompts and photographs, if any: one for each image.

    contents: what the generator draws from. A photograph has a content of its own, so none is drawn for the default prompt.
    """
    if prompt is None:
        draws = contents is not None and not photographs
        prompt = CONTENT_PROMPT if draws or content is not None else PLACEHOLDER
    rows = repeated(checked(prompt, emotion, content, negative_prompt, **photographs), count)
    prompts, emotions, named, *others = rows
    images = len(prompts)
    if images == 0 or (isinstance(generator, list) and len(generator) != images):
        raise UserError(f"{images} images asked for, and generator: {generator}; give one generator, or one for each")
    return [*with_contents(prompts, named, emotions, contents, generator), emotions, *others]


def checked(prompt, emotion, content, negative_prompt, **others) -> list[list]:
    """Return prompts, emotions, contents, negative prompts and `others` as lists of one length, or raise UserError."""
    named = {} if content is None else {"contents": content}
    lists = aligned(prompts=prompt, emotions=emotion, negative_prompts=negative_prompt or "", **named, **others)
    prompts, emotions, negatives, *rest = lists
    contents = rest.pop(0) if named else [None] * len(prompts)
    for each in prompts:
        if PLACEHOLDER not in each:
            raise UserError(f"prompt {each!r}: has no {PLACEHOLDER}; write it where the emotion should stand")
    if without := [each for each, name in zip(prompts, contents, strict=True) if name and CONTENT not in each]:
        raise UserError(f"prompt {without[0]!r}: has no {CONTENT}; write it where the content should stand")
    if any(PLACEHOLDER in each or CONTENT in each for each in negatives):
        raise UserError(f"negative prompt: cannot say {PLACEHOLDER} or {CONTENT}; name what images should not show")
    return [prompts, emotions, contents, negatives, *rest]


def of_plain(prompt, negative_prompt, count: int, **photographs) -> dict:
    """Return diffusers' arguments for `count` images of each prompt without an emotion, or of each photograph."""
    if any(PLACEHOLDER in each or CONTENT in each for each in listed(prompt)):
        raise UserError(f"prompt {prompt!r}: says {PLACEHOLDER} or {CONTENT}, but no emotion is given")
    if not photographs:
        return {"prompt": prompt, "negative_prompt": negative_prompt, "num_images_per_prompt": count}
    rows = aligned(prompts=prompt or "", negative_prompts=negative_prompt or "", **photographs)
    return dict(zip(("prompt", "negative_prompt", "image"), repeated(rows, count), strict=True))


def aligned(**values) -> list[list]:
    """Return values as equally long lists. A single item is repeated. Raise UserError for lengths that do not fit."""
    lists = {name: listed(value) for name, value in values.items()}
    length = max(map(len, lists.values()))
    repeated = [each * length if len(each) == 1 else each for each in lists.values()]
    if {len(each) for each in repeated} != {length} or not length:
        counts = ", ".join(f"{len(each)} {name.replace('_', ' ')}" for name, each in lists.items())
        raise UserError(f"{counts}: give as many of one as of the others, or one")
    return repeated


def starting_latents(pipe: StableDiffusionPipeline, images: int, generator: Generators, size: tuple) -> torch.Tensor:
    """Return the noise (images, C, h, w) that images start from: as large as diffusers would make it.

    size: height and width in pixels; None: the model's own.
    """
    own, factor = pipe.unet.config.sample_size, pipe.vae_scale_factor
    if all(size):
        own = tuple(edge // factor for edge in size)
    shape = (images, pipe.unet.config.in_channels, *((own, own) if isinstance(own, int) else own))
    return randn_tensor(shape, generator, pipe._execution_device, pipe.text_encoder.dtype)


def repeated(lists: list[list], times: int) -> list[list]:
    """Return lists of which each item stands `times` times in a row."""
    return [[each for each in items for _ in range(times)] for items in lists]


def listed(value) -> list:
    """Return a value, or several, as a list; None as an empty one."""
    return [] if value is None else [value] if isinstance(value, str | Mapping) else list(value)
