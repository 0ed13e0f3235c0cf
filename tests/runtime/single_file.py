"""A Stable Diffusion in one .safetensors file, named as the first programs named its weights."""

import re
import shutil
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file

INNER = {"norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3"}
INNER |= {"time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection"}
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def write_single_file(stable: StableDiffusionPipeline, file: Path) -> None:
    """Write the models of a Stable Diffusion 1 into one file."""
    each = {"model.diffusion_model.": unet_names(stable.unet), "first_stage_model.": vae_names(stable.vae)}
    weights = {prefix + name: weight for prefix, named in each.items() for name, weight in named.items()}
    for name, weight in stable.text_encoder.state_dict().items():
        weights["cond_stage_model.transformer.text_model." + name.removeprefix("text_model.")] = weight
    save_file({name: weight.half().contiguous() for name, weight in weights.items()}, file)


def write_hub_cache(stable: Path, cache: Path) -> None:
    """Let a cache of the Hub hold the configs, and no weights, that diffusers asks for to read such a file."""
    place = cache / "models--stable-diffusion-v1-5--stable-diffusion-v1-5"
    shutil.copytree(stable, place / "snapshots/one", ignore=shutil.ignore_patterns("*.safetensors"))
    (place / "refs").mkdir()
    (place / "refs/main").write_text("one")


def unet_names(unet: torch.nn.Module) -> dict[str, torch.Tensor]:
    layers, named = unet.config.layers_per_block, {}
    first = {
        "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2",
        "conv_in": "input_blocks.0.0",
    }
    first |= {"conv_norm_out": "out.0", "conv_out": "out.2"}
    for name, weight in unet.state_dict().items():
        found = re.match(r"(down|up)_blocks\.(\d)\.(resnets|attentions|downsamplers|upsamplers)\.(\d)\.(.*)", name)
        if found:
            side, block, part, place, rest = found[1], int(found[2]), found[3], int(found[4]), found[5]
            if part in ("downsamplers", "upsamplers"):
                has_attention = hasattr(getattr(unet, f"{side}_blocks")[block], "attentions")
                number = block * (layers + 1) + layers + (side == "down")
                new = f"{'input' if side == 'down' else 'output'}_blocks.{number}."
                new += "0.op." if side == "down" else f"{1 + has_attention}.conv."
                rest = rest.removeprefix("conv.")
            else:
                number = block * (layers + 1) + place + (side == "down")
                new = f"{'input' if side == 'down' else 'output'}_blocks.{number}.{int(part == 'attentions')}."
            named[new + inner(rest)] = weight
        elif found := re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", name):
            named[f"middle_block.{2 * int(found[2]) if found[1] == 'resnets' else 1}.{inner(found[3])}"] = weight
        else:
            module, kind = name.rsplit(".", 1)
            named[f"{first[module]}.{kind}"] = weight
    return named


def vae_names(vae: torch.nn.Module) -> dict[str, torch.Tensor]:
    levels, named = len(vae.config.block_out_channels), {}
    for name, weight in vae.state_dict().items():
        new = name.replace("mid_block.resnets.0", "mid.block_1").replace("mid_block.resnets.1", "mid.block_2")
        new = new.replace("mid_block.attentions.0", "mid.attn_1").replace("conv_norm_out", "norm_out")
        new = re.sub(r"down_blocks\.(\d)\.resnets\.", r"down.\1.block.", new)
        new = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", new)
        new = re.sub(r"up_blocks\.(\d)\.resnets\.", lambda found: f"up.{levels - 1 - int(found[1])}.block.", new)
        new = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda found: f"up.{levels - 1 - int(found[1])}.upsample", new)
        new = new.replace("conv_shortcut", "nin_shortcut")
        if "attn_1" in new:
            for old, short in ATTENTION.items():
                new = new.replace(old, short)
            weight = weight[..., None, None] if weight.ndim == 2 else weight  # they were convolutions
        named[new] = weight
    return named


def inner(rest: str) -> str:
    """Return the name of a weight within a residual block, or another layer, of the U-Net."""
    module, dot, kind = rest.rpartition(".")
    return INNER.get(module, module) + dot + kind
