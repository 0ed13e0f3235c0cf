"""The options that EmotionPipeline leaves to diffusers: told in its signature, and checked, for diffusers drops others."""

import inspect
from collections.abc import Callable, Mapping
from math import isfinite
from numbers import Integral, Real

from diffusers import StableDiffusionPipeline

from config.errors import UserError

_PARAMETERS = {
    name: parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
    for name, parameter in inspect.signature(StableDiffusionPipeline.__call__).parameters.items()
    if name not in ("self", "kwargs")
}
_DEPRECATED = ("callback", "callback_steps")  # they still work
NOT_WITH_AN_IMAGE = ("latents", "guidance_rescale")  # diffusers' image to image has neither


def takes_parents_options(call: Callable) -> Callable:
    """Let the signature of a function with **options tell, in their place, diffusers' options that it has not itself."""
    own = {name: each for name, each in inspect.signature(call).parameters.items() if name != "options"}
    others = [each for name, each in _PARAMETERS.items() if name not in own]
    call.__signature__ = inspect.Signature([*own.values(), *others])
    return call


def check_options(options: Mapping, with_emotion: bool, with_image: bool = False) -> None:
    """Raise TypeError for an option that diffusers would drop, UserError for one that cannot work."""
    for name, value in options.items():
        if name not in (*_PARAMETERS, *_DEPRECATED):
            raise TypeError(f"EmotionPipeline() got an unexpected keyword argument {name!r}")
        if with_image and value is not None and name in NOT_WITH_AN_IMAGE:
            raise UserError(f"{name}: cannot be given with an image, from which the noise starts; leave it out")
        if with_emotion and value is not None and name in ("prompt_embeds", "negative_prompt_embeds"):
            raise UserError(f"{name}: cannot be given with an emotion, which is put into the words of a prompt")
    if options.get("clip_skip") is not None:
        raise UserError("clip_skip: diffusers cannot skip layers of the CLIP of this transformers; leave it out")
    steps = options.get("num_inference_steps")
    if steps is not None and (not isinstance(steps, Integral) or steps < 1):
        raise UserError(f"num_inference_steps: {steps!r}; give a whole number from 1 on")


def check_own_options(with_image: bool, image_strength: float | None, strength: float | None, spread: float | None) -> None:
    """Raise UserError for an image_strength that does nothing, and for an emotion's strength or spread if not finite."""
    if image_strength is not None and not with_image:
        raise UserError("image_strength: does nothing without an image; give image too, or leave image_strength out")
    for name, value in {"emotion_strength": strength, "emotion_spread": spread}.items():
        if value is not None and (not isinstance(value, Real) or not isfinite(value)):
            raise UserError(f"{name}: {value!r}; give a finite number")
