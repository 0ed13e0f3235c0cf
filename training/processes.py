"""One process or many: the accelerator."""

import diffusers
import torch
import transformers
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedType
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from config.errors import UserError
from runtime.hub import hide_loading
from training.mapper_data import Share


def start(mixed_precision: str | None = None, gradient_accumulation: int = 1) -> Accelerator:
    """Return the accelerator of this process.

    Without a GPU the process group is started first: Accelerator() alone would then see one process on each rank, and
    Accelerator(cpu=True) would drop DeepSpeed.
    """
    hide_loading(transformers, diffusers)
    if not torch.cuda.is_available():
        PartialState(cpu=True)
    accelerator = Accelerator(mixed_precision=mixed_precision, gradient_accumulation_steps=gradient_accumulation)
    if accelerator.mixed_precision == "fp16" and accelerator.device.type == "cpu":
        raise UserError("mapper.mixed_precision: fp16 needs a GPU; choose no or bf16")
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        # Else transformers would load every model shared out, also those that are never prepared. ZeRO-3 shares out the
        # one trained module, with the frozen models in it, when that is prepared.
        unset_hf_deepspeed_config()
    return accelerator


def prepare(accelerator: Accelerator, module: torch.nn.Module, optimizer: torch.optim.Optimizer, share: Share, clip: float):
    """Return the one trained module and its optimizer, wrapped for all processes; no data loader goes with them."""
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        accelerator.state.deepspeed_plugin.deepspeed_config |= {
            "train_micro_batch_size_per_gpu": share.batch_size,
            "gradient_accumulation_steps": share.accumulation,
            "gradient_clipping": clip,
        }
    return accelerator.prepare(module, optimizer)
