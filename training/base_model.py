"""The Stable Diffusion that a generator stands on: loaded, and of the kind that the mapper can work with."""

from diffusers import StableDiffusionPipeline

from config.errors import UserError
from runtime.hub import load_model

PREDICTIONS = ("epsilon", "v_prediction")  # those that training knows the target of


def load_base(name: str, setting: str, **options) -> StableDiffusionPipeline:
    """Return the pipeline that `setting` names; `options` go to diffusers.

    Raises UserError where it cannot be loaded, or is no Stable Diffusion 1 or 2 that makes images of a text alone.
    """
    stable = load_model(StableDiffusionPipeline, name, setting, **options)
    check_kind(stable, f"{setting}: {str(name)!r}")
    return stable


def check_kind(stable: StableDiffusionPipeline, called: str) -> None:
    """Raise UserError for a pipeline of another kind."""
    if wrong := _other_kind(stable):
        raise UserError(f"{called} is {wrong}; name a Stable Diffusion 1 or 2 that makes images of a text")


def _other_kind(stable: StableDiffusionPipeline) -> str:
    """Return what a pipeline is if not such a one, or nothing."""
    unet, latents = stable.unet.config, stable.vae.config.latent_channels
    width = stable.text_encoder.config.hidden_size
    if unet.addition_embed_type == "text_time":
        return "an SDXL, whose U-Net takes a second text encoder and image sizes"
    if unet.in_channels == 2 * latents + 1:
        return f"made for inpainting: its U-Net takes {unet.in_channels} channels, of a mask and an image too"
    if unet.in_channels != latents or unet.in_channels != 4:
        return f"made to change images: its U-Net takes {unet.in_channels} channels and its VAE has {latents}"
    if added := [name for name in ("addition_embed_type", "class_embed_type", "num_class_embeds") if unet.get(name)]:
        return f"of another kind: its U-Net takes more than a text ({', '.join(added)})"
    if unet.cross_attention_dim != width:
        return f"of another kind: its U-Net reads states {unet.cross_attention_dim} wide, its text encoder's are {width}"
    prediction = stable.scheduler.config.get("prediction_type", "epsilon")
    if prediction not in PREDICTIONS:
        return f"trained to predict {prediction!r}, and only {' and '.join(PREDICTIONS)} are known"
    return ""
