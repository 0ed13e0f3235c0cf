"""The U-Net by torch.compile, whose gradients are held against the plain ones before anything is trained by them."""

from collections.abc import Callable

import torch
from accelerate import Accelerator
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException

from config.errors import UserError, first_line
from runtime.run_folder import log
from training.mapper_data import Batch

Predict = Callable[[Tensor, Tensor, Tensor], Tensor]
TOLERANCE = {"no": 0.01, "bf16": 0.05, "fp16": 0.05}  # by precision: how far from plain gradients, as a share of their norm
SCALE = 1024.0  # of the loss, so that no gradient is too small for float16


def plain(unet: UNet2DConditionModel) -> Predict:
    """Return what gives the prediction (B, C, h, w) of noised latents (B, C, h, w), timesteps (B,), states (B, L, width)."""
    return lambda noisy, timesteps, states: unet(noisy, timesteps, states).sample


def compiled(unet: UNet2DConditionModel) -> Predict:
    """Return the same, compiled for the shapes of the first call."""
    # The CPU code of PyTorch 2.13 has wrong gradients where it fuses loops of this network, by 15 % in miniature.
    options = None if torch.cuda.is_available() else {"max_fusion_size": 1}
    return torch.compile(plain(unet), dynamic=False, options=options)


def check_gradients(module: nn.Module, batch: Batch, accelerator: Accelerator) -> None:
    """Raise UserError where the gradients that a training module has of a batch are not those of its plain U-Net.

    A compiler's mistake would show nowhere else, since the losses alone can be right. UserError too where it cannot compile.
    """
    fast, weights, found = module.run_unet, list(module.trained_weights().values()), []
    for way in (plain(module.unet), fast):
        module.run_unet = way
        with torch.random.fork_rng(), accelerator.autocast():  # the same dropout in both
            try:
                gradients = torch.autograd.grad(SCALE * module(batch)["loss"], weights)
            except TorchDynamoException as error:
                reason = first_line(getattr(error, "inner_exception", error))
                raise UserError(f"mapper.compile: torch.compile failed ({reason}); set mapper.compile=false") from error
        found.append(torch.cat([gradient.flatten().float() for gradient in gradients]))
    apart = ((found[1] - found[0]).norm() / found[0].norm()).item()
    most = TOLERANCE[accelerator.mixed_precision]
    if not apart <= most:
        raise UserError(
            f"mapper.compile: the compiled U-Net's gradients lie {apart:.2g} of their norm from the plain ones, and"
            f" rounding explains no more than {most}; set mapper.compile=false"
        )
    log.info(f"mapper: the compiled U-Net's gradients lie {apart:.1g} of their norm from the plain ones")
