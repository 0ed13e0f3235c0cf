"""One process or many: the accelerator, and models named in the config."""

import hashlib
import os
from pathlib import Path

import diffusers
import torch
import transformers
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedType
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from config.loading import UserError
from config.settings import ROOT
from training.mapper_data import Share


def start(mixed_precision: str | None = None, gradient_accumulation: int = 1) -> Accelerator:
    """Return the accelerator of this process.

    Without a GPU the process group is started first: Accelerator() alone would then see one process on each rank, and
    Accelerator(cpu=True) would drop DeepSpeed.
    """
    for library in (transformers.utils.logging, diffusers.utils.logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
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


def resolve_model(name: str) -> str:
    """Return the folder that `name` is, counted from here or from the project's root, or else the name, for the Hub."""
    for folder in (Path(os.path.expanduser(name)), ROOT / name):
        if folder.is_dir():
            return str(folder)
    return name


def load_model(kind, name: str, setting: str, **options):
    """Return `kind.from_pretrained` of a model that the setting `setting` names; raises UserError where there is none."""
    try:
        return kind.from_pretrained(resolve_model(name), **options)
    except (OSError, HFValidationError, RepositoryNotFoundError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"{setting}: {name!r} is neither a folder with such a model nor a name on the Hub ({reason})"
        ) from None


def fingerprint(*modules: torch.nn.Module, dtype: torch.dtype = torch.float16) -> str:
    """Return a hash of the names and shapes of all weights and the first 64 numbers of each, rounded to `dtype`."""
    digest = hashlib.blake2b(digest_size=8)
    for module in modules:
        for name, weight in module.state_dict().items():
            digest.update(f"{name} {tuple(weight.shape)}".encode())
            digest.update(weight.detach().flatten()[:64].to("cpu", dtype).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def fingerprints(*modules: torch.nn.Module) -> list[str]:
    """Return the fingerprints in float16 and bfloat16: of the same model, whatever it was loaded as, one agrees."""
    return [fingerprint(*modules, dtype=dtype) for dtype in (torch.float16, torch.bfloat16)]
