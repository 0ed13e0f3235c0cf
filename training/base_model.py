"""The Stable Diffusion that a generator stands on: loaded, and of the kind that the mapper can work with."""

from collections.abc import Mapping
from typing import Any

from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel

from config.errors import UserError
from runtime.hub import load_model

PREDICTIONS = ("epsilon", "v_prediction")  # those that training knows the target of
KINDS = {"unet": UNet2DConditionModel, "vae": AutoencoderKL, "text_encoder": CLIPTextModel}
USES = {9: ", as for inpainting", 8: ", as for editing images", 7: ", as for upscaling"}  # of a U-Net, by its channels
ADDED = ("addition_embed_type", "class_embed_type", "num_class_embeds", "encoder_hid_dim_type", "time_cond_proj_dim")


def load_base(name: str, setting: str, **options) -> StableDiffusionPipeline:
    """Return the pipeline that `setting` names; `options` go to diffusers.

    Raises UserError where it cannot be loaded, or is no Stable Diffusion 1 or 2 that makes images of a text alone.
    """
    stable = load_model(StableDiffusionPipeline, name, setting, **options)
    check_loaded(stable, f"{setting}: {str(name)!r}")
    return stable


def check_loaded(stable: StableDiffusionPipeline, called: str) -> None:
    """Raise UserError for a pipeline of another kind."""
    check_parts(stable.components, called)
    check_schedule(type(stable.scheduler).__name__, stable.scheduler.config.get("prediction_type", "epsilon"), called)


def check_parts(parts: Mapping[str, Any], called: str) -> None:
    """Raise UserError unless the models of a pipeline, by name, with their numbers or without, are of the kind and fit."""
    if wrong := _other_kind(parts):
        raise UserError(f"{called} {wrong}; name a Stable Diffusion 1 or 2 that makes images from text")


def check_schedule(scheduler: str, prediction: str, called: str) -> None:
    """Raise UserError unless the U-Net predicts what the mapper's training compares: the noise, or the velocity."""
    if prediction not in PREDICTIONS or scheduler.startswith(("FlowMatch", "EDM")):
        raise UserError(
            f"{called}: its scheduler_config.json says prediction_type {prediction} of a {scheduler}, and the mapper is "
            "trained on noise (epsilon) or velocity (v_prediction) alone; name another model"
        )


def _other_kind(parts: Mapping[str, Any]) -> str:
    """Return what keeps models from being such a Stable Diffusion, or nothing."""
    if parts.get("text_encoder_2") is not None:
        return "has two text encoders, as Stable Diffusion XL does"
    for part, kind in KINDS.items():
        if not isinstance(parts.get(part), kind):
            found = type(parts[part]).__name__ if parts.get(part) is not None else "none"
            return f"needs a {kind.__name__} as its {part} and has {found}"
    unet, channels = parts["unet"].config, parts["vae"].config.latent_channels
    width, widths = parts["text_encoder"].config.hidden_size, unet.cross_attention_dim
    widths = set(widths) if isinstance(widths, list | tuple) else {widths}
    if unet.in_channels != channels:
        use = USES.get(unet.in_channels, "")
        return f"has a U-Net that takes {unet.in_channels} channels, its VAE has {channels}{use}"
    if unet.out_channels != channels:
        return f"has a U-Net that gives {unet.out_channels} channels, its VAE has {channels}"
    if added := [key for key in ADDED if unet.get(key) is not None]:
        return f"has a U-Net that takes more than a text ({', '.join(added)})"
    if widths != {width}:
        taken = " and ".join(map(str, sorted(widths)))
        return f"has a text encoder that is {width} wide, its U-Net takes {taken}"
    return ""
