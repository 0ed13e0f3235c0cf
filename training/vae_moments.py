"""What the VAE says of images, as caches keep it."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:  # it takes seconds to import, in every process that loads batches
    from diffusers import AutoencoderKL


@torch.no_grad()
def encode_moments(vae: "AutoencoderKL", pixels: Tensor) -> dict[str, Tensor]:
    """Return mean and std of the latents' distribution, each (B, 2, C, h, w) float16: of the image and of its flip.

    pixels: (B, 3, S, S) uint8. The flipped image is encoded itself, since the VAE does not commute with a flip. The
    latents are not multiplied with the scaling factor.
    """
    if vae.dtype != torch.float32:
        raise TypeError(f"the VAE is in {vae.dtype}; Stable Diffusion's overflows in half precision")
    images = pixels.float() / 127.5 - 1
    both = [vae.encode(image).latent_dist for image in (images, images.flip(-1))]
    return {name: torch.stack([getattr(one, name) for one in both], 1).half() for name in ("mean", "std")}
