"""The accelerator of this process, and the one trained module prepared by it."""

import os

import diffusers
import torch
import transformers
from accelerate import Accelerator
from accelerate.utils import DistributedType
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from config.errors import UserError
from runtime.hub import hide_loading
from runtime.processes import start_process
from training.mapper_data import Share


def start_accelerator(mixed_precision: str | None = None, gradient_accumulation: int = 1) -> Accelerator:
    """Return the accelerator of this process.

    mixed_precision: None takes precision_of. Without a GPU the process group is started first: Accelerator() alone would
    then see one process on each rank, and Accelerator(cpu=True) would drop DeepSpeed.
    """
    hide_loading(transformers, diffusers)
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")  # TF32, where a GPU computes in float32
    if not torch.cuda.is_available():
        start_process()
    mixed_precision = precision_of(mixed_precision)
    accelerator = Accelerator(mixed_precision=mixed_precision, gradient_accumulation_steps=gradient_accumulation)
    if accelerator.mixed_precision == "fp16" and accelerator.device.type == "cpu":
        raise UserError("mapper.mixed_precision: fp16 needs a GPU; choose no or bf16")
    if is_deepspeed(accelerator):
        # Else transformers would load every model shared out, also those that are never prepared. ZeRO-3 shares out the
        # one trained module, with the frozen models in it, when that is prepared.
        unset_hf_deepspeed_config()
    return accelerator


def precision_of(asked: str | None) -> str:
    """Return the precision of the mapper's training: that `asked` for, else accelerate's, else bf16 where the GPU has it."""
    said = asked or os.environ.get("ACCELERATE_MIXED_PRECISION")
    return said or ("bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported(False) else "no")


def prepare_module(
    accelerator: Accelerator, module: torch.nn.Module, optimizer: torch.optim.Optimizer, share: Share, clip: float
) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """Return the one trained module and its optimizer, wrapped for all processes. No data loader goes with them.

    clip: the norm that DeepSpeed scales gradients down to; 0: it leaves them.
    """
    if is_deepspeed(accelerator):
        accelerator.state.deepspeed_plugin.deepspeed_config |= {
            "train_micro_batch_size_per_gpu": share.batch_size,
            "gradient_accumulation_steps": share.accumulation,
            "gradient_clipping": clip,
        }
    return accelerator.prepare(module, optimizer)


def is_deepspeed(accelerator: Accelerator) -> bool:
    """Tell whether DeepSpeed trains."""
    return accelerator.distributed_type == DistributedType.DEEPSPEED


def is_zero3(accelerator: Accelerator) -> bool:
    """Tell whether DeepSpeed shares the weights out over the processes."""
    plugin = accelerator.state.deepspeed_plugin
    return plugin is not None and plugin.zero_stage == 3
