"""The U-Net's LoRA that is trained with the mapper: its file, and the rows of a batch that it acts on."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from diffusers import ConfigMixin, ModelMixin, StableDiffusionPipeline
from diffusers.models.attention_processor import FusedAttnProcessor2_0
from diffusers.utils import convert_state_dict_to_diffusers, convert_unet_state_dict_to_peft
from diffusers.utils.torch_utils import is_compiled_module
from peft import get_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.nn.functional import linear

from config.errors import UserError, first_line

LORA = "emotion"  # the adapter's name while it is trained
FOLDER = "unet_lora"
FILE = "pytorch_lora_weights.safetensors"
DOWN, UP = ".lora_A.weight", ".lora_B.weight"


class EmotionLora(ModelMixin, ConfigMixin):
    """The LoRA of a generator, kept beside the U-Net and not in it.

    diffusers' adapters are the user's own: what loads, weighs, fuses, disables or unloads them never meets this one, and
    their weights are not its. Its scale is 1: it is trained with as large an alpha as its rank.
    """

    def __init__(self, weights: Mapping[str, torch.Tensor]):
        """weights: (rank, inputs) and (outputs, rank) of each layer, by peft's names: `<layer>.lora_A.weight`, lora_B."""
        super().__init__()
        self.layers = tuple(name.removesuffix(DOWN) for name in weights if name.endswith(DOWN))
        for name, weight in weights.items():
            self.register_buffer(name.replace(".", "/"), weight.detach())  # a buffer's name holds no dots

    @classmethod
    def trained_in(cls, unet: torch.nn.Module) -> "EmotionLora":
        """Return the LoRA that is an adapter of the U-Net, where training put it."""
        return cls(get_peft_model_state_dict(unet, adapter_name=LORA))

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, torch_dtype: torch.dtype | None = None, unet: torch.nn.Module | None = None, **ignored
    ) -> "EmotionLora":
        """Load what save_pretrained wrote. Raises UserError where it is damaged or does not fit the U-Net.

        ignored: what diffusers tells all models that it loads, such as how to share them out.
        """
        file = Path(folder) / FILE
        try:
            saved = load_file(file)
        except (OSError, SafetensorError) as error:
            raise UserError(f"{file}: the generator's LoRA cannot be read ({first_line(error)}); train it again") from None
        weights = convert_unet_state_dict_to_peft({name.removeprefix("unet."): value for name, value in saved.items()})
        if unet is not None and (wrong := _misfits(weights, unet)):
            raise UserError(f"{file}: is no LoRA of this generator's U-Net: {wrong}; train it again")
        return cls({name: value.to(torch_dtype) for name, value in weights.items()})

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `folder`/pytorch_lora_weights.safetensors, as diffusers reads it."""
        weights = {name.replace("/", "."): value for name, value in self.named_buffers()}
        layers = convert_state_dict_to_diffusers(weights)
        StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=layers)

    @contextmanager
    def on_last(self, unet: torch.nn.Module, images: int) -> Iterator[None]:
        """Let the LoRA act on the last `images` rows of a batch alone: those with an emotion.

        The rows without it, and the empty prompt of guidance, stay those of the U-Net and the user's adapters. Raises
        UserError where the U-Net was changed so that its layers are not called one by one.
        """
        if any(isinstance(getattr(module, "processor", None), FusedAttnProcessor2_0) for module in unet.modules()):
            raise UserError("unet: its projections are fused, and the emotion's LoRA needs them; unfuse_qkv_projections()")
        if any(map(is_compiled, unet.modules())):
            raise UserError("unet: is compiled, and a compiled U-Net would leave out the emotion's LoRA; do not compile it")
        handles = [unet.get_submodule(layer).register_forward_hook(self._adding(layer, images)) for layer in self.layers]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _adding(self, layer: str, images: int):
        down, up = (self.get_buffer((layer + side).replace(".", "/")) for side in (DOWN, UP))

        def add(module, arguments, output):
            rows = arguments[0][-images:]
            output[-images:] += linear(linear(rows, down.to(rows)), up.to(rows))
            return output

        return add


def is_compiled(module: torch.nn.Module) -> bool:
    """Tell whether torch.compile made the module, or was called on it: it then knows of no hook that is added later."""
    return is_compiled_module(module) or module._compiled_call_impl is not None


def save_lora(folder: Path, unet: torch.nn.Module) -> None:
    """Write the U-Net's LoRA for emotions into `folder`/unet_lora, as diffusers reads it."""
    EmotionLora.trained_in(unet).save_pretrained(folder / FOLDER)


@contextmanager
def taken_out(unet: torch.nn.Module) -> Iterator[EmotionLora | None]:
    """Yield the LoRA that is trained in the U-Net, if any, and let the U-Net be without it meanwhile."""
    if LORA not in getattr(unet, "peft_config", {}):
        yield None
        return
    unet.disable_adapters()
    try:
        yield EmotionLora.trained_in(unet)
    finally:
        unet.enable_adapters()


def _misfits(weights: Mapping[str, torch.Tensor], unet: torch.nn.Module) -> str:
    """Return what is wrong with weights for the U-Net, or nothing where they fit."""
    sizes = {name: module.weight.shape for name, module in unet.named_modules() if isinstance(module, torch.nn.Linear)}
    for name in weights:
        layer = name.removesuffix(UP if name.endswith(UP) else DOWN)
        if layer not in sizes:
            return f"the U-Net has no layer for {name}"
        if not {layer + DOWN, layer + UP} <= weights.keys():
            return f"{name} lacks its other half"
        down, up, size = weights[layer + DOWN], weights[layer + UP], sizes[layer]
        if (down.ndim, up.ndim) != (2, 2) or (up.shape[0], down.shape[1]) != size or up.shape[1] != down.shape[0]:
            return f"{layer} is {tuple(size)} and its LoRA {tuple(up.shape)} and {tuple(down.shape)}"
    return "" if weights else "it is empty"


def has_adapters(model: torch.nn.Module) -> bool:
    """Tell whether a user's LoRA lies, or lay, in the model: its weights then have other names."""
    return any(isinstance(module, BaseTunerLayer) for module in model.modules())


@contextmanager
def adapters_taken_out(pipe: StableDiffusionPipeline) -> Iterator[None]:
    """Let the models of a pipeline be without the user's adapters meanwhile. Those that are fused are in the weights."""
    models = {name: getattr(pipe, name) for name in pipe._lora_loadable_modules}
    adapted = {name: model for name, model in models.items() if has_adapters(model)}
    try:
        for name, model in adapted.items():
            setattr(pipe, name, without_adapters(model))
        yield
    finally:
        for name, model in adapted.items():
            setattr(pipe, name, model)


def without_adapters(model: torch.nn.Module) -> torch.nn.Module:
    """Return a U-Net or text encoder with the same weights and no adapters. Those that are fused are in the weights."""
    with torch.device("meta"):
        plain = model.from_config(model.config) if isinstance(model, ModelMixin) else type(model)(model.config)
    weights = {name.replace(".base_layer.", "."): weight for name, weight in model.state_dict().items()}
    plain.load_state_dict({name: weights[name] for name in plain.state_dict()}, assign=True)
    return plain
