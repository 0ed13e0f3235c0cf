"""Photographs that images start from: image to image (SDEdit, Meng et al., ICLR 2022), by diffusers' own pipeline."""

from collections.abc import Callable, Iterable, Sequence
from math import prod, sqrt
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionPipeline
from PIL import Image, ImageOps

from config.errors import UserError
from emoset.images import as_rgb, check_image, load_image
from emoset.selection import log_left_out, usable_images, visible_files
from runtime.hub import sha256

LONGEST = 4  # times as long as wide: a longer photograph would be a few latents wide, and hardly shows a thing

Photographs = Image.Image | str | Path | np.ndarray | torch.Tensor | Sequence
STRENGTH = 0.6  # of a photograph, where none is given


def pixels_of(pipe: StableDiffusionPipeline) -> int:
    """Return how many pixels the images of a pipeline have, where no size is given."""
    size = pipe.unet.config.sample_size
    return pipe.vae_scale_factor**2 * (size * size if isinstance(size, int) else prod(size))


def size_of(size: tuple[int, int], pixels: int, factor: int) -> tuple[int, int]:
    """Return the (width, height) that a photograph of `size` is worked on at: about as many `pixels`.

    Its proportions stay, up to rounding to multiples of `factor`. Raises UserError where it is too long.
    """
    if told := too_long(size):
        raise UserError(told)
    scale = sqrt(pixels / (size[0] * size[1]))
    width, height = (max(1, round(edge * scale / factor)) * factor for edge in size)
    return width, height


def too_long(size: tuple[int, int]) -> str:
    """Return what an error says of a photograph of this (width, height); "" where it is not too long to be worked on."""
    if max(size) <= LONGEST * min(size):
        return ""
    return f"{size[0]} x {size[1]} pixels are more than {LONGEST} times as long as wide; cut the photograph"


def read_photographs(root: Path) -> dict[str, dict]:
    """Return the photographs in a folder and below it, by their paths there: image (that path), image_hash, width, height.

    These are parameters of the images that start from each; the size is still that of the photograph. The log tells what
    was left out. Raises UserError where there are none.
    """
    if not root.is_dir():
        raise UserError(f"generate.images_from: no folder {root}")
    paths, left_out = usable_images(visible_files(root), root)
    found = {name: of_photograph(root, name) for name in (path.relative_to(root).as_posix() for path in paths)}
    told = {name: too_long((each["width"], each["height"])) for name, each in found.items()}
    log_left_out(left_out + [(name, why) for name, why in told.items() if why], f" of {root.name}")
    photographs = {name: each for name, each in found.items() if not told[name]}
    if not photographs:
        raise UserError(f"generate.images_from: no images in {root}")
    return photographs


def of_photograph(root: Path, name: str) -> dict:
    """Return what the parameters of an image say of the photograph `root`/`name` that it starts from."""
    width, height = check_image(root / name, decode=False)
    return {"image": name, "image_hash": sha256(root / name)[:16], "width": width, "height": height}


def worked_on(parameters: dict, pixels: int, factor: int) -> dict[str, int]:
    """Return the width and height at which the photograph of an image's parameters is worked on."""
    width, height = size_of((parameters["width"], parameters["height"]), pixels, factor)
    return {"width": width, "height": height}


def fitted(
    image: Photographs, pipe: StableDiffusionPipeline, height: int | None = None, width: int | None = None
) -> list[Image.Image]:
    """Return photographs as RGB images of one size: that of size_of, or `width` x `height`, for which they are cut.

    image: one or a list of PIL images, which may lie on their side by their EXIF; or of paths; or of arrays (H, W, 3),
    tensors (3, H, W), or a batch of either, in [0, 1] or of bytes, or grey with one channel. Raises UserError where they
    are of several sizes and none is given, or half a size.
    """
    images, factor = [as_rgb(each) for each in as_images(image)], pipe.vae_scale_factor
    if not images:
        raise UserError("image: an empty list; give a photograph, or several")
    if (height is None) != (width is None):
        raise UserError(f"height={height}, width={width}: give both for a photograph, or neither")
    pixels = pixels_of(pipe)
    sizes = {(width, height)} if height and width else {size_of(each.size, pixels, factor) for each in images}
    if len(sizes) > 1:
        told = ", ".join(f"{wide} x {high}" for wide, high in sorted(sizes))
        raise UserError(f"image: the photographs of one call would be of {told} pixels; give height and width, or fewer")
    (size,) = sizes
    if size[0] % factor or size[1] % factor:
        raise UserError(f"height={size[1]}, width={size[0]}: give multiples of {factor}, by which the VAE shrinks images")
    return [ImageOps.fit(each, size, Image.Resampling.LANCZOS) for each in images]


def image_to_image(pipe: StableDiffusionPipeline, strength: float | None, options: dict) -> Callable:
    """Return diffusers' image-to-image call on the models of a pipeline.

    strength: the share of the noise that is added, above 0 and up to 1. Near 0 it keeps the photograph, and 1 forgets it.
    None: STRENGTH. Raises UserError for another strength, and if it leaves none of the steps that `options` ask for.
    """
    strength = STRENGTH if strength is None else strength
    steps = len(options.get("timesteps") or options.get("sigmas") or []) or options.get("num_inference_steps", 50)
    if not 0 < strength <= 1 or int(strength * steps) < 1:
        raise UserError(
            f"image_strength: {strength:g} of {steps} steps; give a strength above 0 and up to 1 that leaves a step or more"
        )
    names, _ = StableDiffusionImg2ImgPipeline._get_signature_keys(StableDiffusionImg2ImgPipeline)
    own = {name: pipe.components[name] for name in names}
    other = StableDiffusionImg2ImgPipeline(**own, requires_safety_checker=pipe.config.requires_safety_checker)
    other.set_progress_bar_config(**getattr(pipe, "_progress_bar_config", {}))

    def make(**given):
        made = other(strength=strength, **given)
        pipe.maybe_free_model_hooks()  # where models are offloaded: the other pipeline knows nothing of that
        return made

    return make


def as_images(image: Photographs) -> list[Image.Image]:
    """Return photographs, as `fitted` takes them, as a list of PIL images."""
    if isinstance(image, Image.Image):
        return [image]
    if isinstance(image, str | Path):
        return [load_image(image)]
    if isinstance(image, torch.Tensor) and image.ndim > 2:
        image = (image if image.dtype == torch.uint8 else image.float()).detach().cpu().movedim(-3, -1).numpy()
    if isinstance(image, np.ndarray):
        batch = image if image.ndim == 4 else image[None]
        if batch.ndim not in (3, 4) or (batch.ndim == 4 and not 1 <= batch.shape[-1] <= 4):
            raise UserError(f"image: an array of shape {image.shape}; give (height, width, 3), or 1 channel for grey")
        scaled = batch if batch.dtype == np.uint8 else (255 * batch).clip(0, 255).round().astype(np.uint8)
        return [Image.fromarray(each[..., 0] if each.shape[2:] == (1,) else each) for each in scaled]
    if isinstance(image, torch.Tensor) or not isinstance(image, Iterable):
        told = f"a tensor of shape {tuple(image.shape)}" if isinstance(image, torch.Tensor) else f"{image!r}"
        raise UserError(f"image: {told} is no photograph; give a PIL image, a path, an array, a tensor (3, H, W), or a list")
    return [each for listed in image for each in as_images(listed)]
