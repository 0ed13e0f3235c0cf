"""The U-Net's LoRA that is trained with the mapper: its file, and the rows of a batch that it acts on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from peft import get_peft_model_state_dict

LORA = "emotion"  # the adapter's name
FOLDER = "unet_lora"


def save_lora(folder: Path, unet: torch.nn.Module) -> None:
    """Write the U-Net's LoRA for emotions into `folder`/unet_lora, as diffusers reads it."""
    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet, adapter_name=LORA))
    StableDiffusionPipeline.save_lora_weights(folder / FOLDER, unet_lora_layers=layers)


def load_lora(unet: torch.nn.Module, folder: Path) -> None:
    """Load the LoRA that lies in `folder`/unet_lora into the U-Net, where there is one."""
    if (folder / FOLDER).is_dir():
        unet.load_lora_adapter(folder / FOLDER, prefix="unet", use_safetensors=True, adapter_name=LORA)


@contextmanager
def lora_on_last(unet: torch.nn.Module, images: int) -> Iterator[None]:
    """Let the LoRA that was trained with the mapper, if there is one, act on the last `images` rows of a batch alone.

    These are the rows with an emotion. The rows without it, and the empty prompt of guidance, stay the base model's.
    """

    def keep_last(module, arguments, output):
        output[: len(output) - images] = 0
        return output

    layers = [module.lora_B[LORA] for module in unet.modules() if LORA in getattr(module, "lora_B", ())]
    handles = [layer.register_forward_hook(keep_last) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
