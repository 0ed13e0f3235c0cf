"""Models that the config names, on the Hub or in a folder; results that go to the Hub."""

import hashlib
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from huggingface_hub import constants, create_repo, upload_folder
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError
from huggingface_hub.utils import enable_progress_bars, get_session
from transformers import PreTrainedModel

from config.errors import UserError, first_line
from config.section import ROOT

# MKL's vector functions (sqrt, exp, log), when two threads are the first to call one, now and then leave one thread with
# their half-precision variants: one run in twenty came out otherwise, by its very first update. So one thread calls first.
torch.ones(1).exp()


def hide_loading(*libraries) -> None:
    """Let transformers or diffusers show no bar while they load a model; a download keeps its own."""
    for library in libraries:
        library.utils.logging.disable_progress_bar()
    enable_progress_bars()  # transformers hides those of downloads too, which take minutes


def resolve_model(name: str) -> str:
    """Return the local path of a model, if there is one here or below the project's root, and else its name on the Hub."""
    for path in (Path(os.path.expanduser(name)), ROOT / name):
        if path.exists():
            return str(path)
    hub_obstacle()
    return name


@cache
def hub_obstacle() -> str | None:
    """Return why the Hub cannot be asked, after a single try; None where it can.

    Where it cannot, the libraries look at once for what was downloaded before. Else each file costs them half a minute.
    """
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        get_session().head(constants.ENDPOINT, timeout=10)
    except Exception as error:  # of whatever client the library uses
        constants.HF_HUB_OFFLINE = True
        return f"{constants.ENDPOINT}: {first_line(error)}"
    return None


def load_model(kind, name: str, setting: str, added: Sequence[str] = (), **options):
    """Return `kind.from_pretrained` of a model that the setting `setting` names.

    added: how the names of weights begin that the model may lack, since we train them.
    Raises UserError where there is no such model, and where it lacks other weights, which would be random numbers.
    """
    is_model = hasattr(kind, "_model_mapping") or (isinstance(kind, type) and issubclass(kind, PreTrainedModel))
    if is_model:
        options["output_loading_info"] = True
    try:
        loaded = kind.from_pretrained(resolve_model(name), **options)
    except (OSError, HFValidationError, RepositoryNotFoundError, ValueError) as error:
        reason, where = first_line(error), "nor a name on the Hub"
        if not Path(resolve_model(name)).exists() and (obstacle := hub_obstacle()):
            reason, where = obstacle, "nor was it downloaded before, and the Hub cannot be reached"
        raise UserError(f"{setting}: {name!r} is neither a folder with such a model {where} ({reason})") from None
    if not is_model:
        return loaded
    model, loading = loaded
    if missing := sorted(key for key in loading["missing_keys"] if not key.startswith(tuple(added))):
        some = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise UserError(f"{setting}: {name!r} is no whole {type(model).__name__}: it lacks the weights {some}")
    return model


def weights_digest(name: str) -> str:
    """Return a hash that tells a model's files from another's: of their names, sizes, first and last million bytes.

    A model on the Hub is known by its name.
    """
    folder, digest = Path(resolve_model(name)), hashlib.blake2b(digest_size=8)
    if not folder.is_dir():
        return name
    for path in sorted(path for kind in ("*.safetensors", "*config.json") for path in folder.glob(kind)):
        with path.open("rb") as file:
            digest.update(f"{path.name} {path.stat().st_size} ".encode() + file.read(10**6))
            file.seek(-min(path.stat().st_size, 10**6), os.SEEK_END)
            digest.update(file.read())
    return digest.hexdigest()


def model_digest(name: str) -> str:
    """Return a hash of all that a model's answers depend on: its weights_digest, tokenizer, processor and chat template."""
    folder, digest = Path(resolve_model(name)), hashlib.blake2b(weights_digest(name).encode(), digest_size=8)
    texts = [path for kind in ("*.json", "*.jinja") for path in folder.glob(kind)] if folder.is_dir() else []
    for path in sorted(path for path in texts if not path.name.startswith(".")):
        digest.update(f"{path.name} ".encode() + path.read_bytes())
    return digest.hexdigest()


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, by which others may know it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(*modules: torch.nn.Module, dtype: torch.dtype = torch.float16) -> str:
    """Return a hash of the names and shapes of all weights and some 4,096 numbers from all over each, rounded to `dtype`."""
    digest = hashlib.blake2b(digest_size=8)
    for module in modules:
        for name, weight in module.state_dict().items():
            digest.update(f"{name} {tuple(weight.shape)}".encode())
            some = weight.detach().flatten()[:: weight.numel() // 4096 + 1]
            digest.update(some.to("cpu", dtype).contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def fingerprints(*modules: torch.nn.Module) -> list[str]:
    """Return the fingerprints in float16 and bfloat16: of the same model, whatever it was loaded as, one agrees."""
    return [fingerprint(*modules, dtype=dtype) for dtype in (torch.float16, torch.bfloat16)]


def upload(folder: Path, repository: str) -> None:
    """Upload a result's folder to a repository on the Hub."""
    upload_folder(repo_id=repository, folder_path=folder, ignore_patterns=".*")


def check_repository(name: str, setting: str) -> None:
    """Raise UserError where nothing can be uploaded to the repository `name`: known before hours of training, not after."""
    try:
        create_repo(name, exist_ok=True)
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        reason = first_line(error)
        raise UserError(f"{setting}: {name!r} cannot be uploaded to ({reason}); see `hf auth login`") from None
