"""Files of tensors: safetensors of ours, and .pt files of others, of which nothing but tensors is loaded."""

from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from config.errors import UserError, first_line
from runtime.files import DIGEST_SIZE, digest_of, file_digest, lfs_pointer, write_atomically


def write_tensors(path: Path, tensors: dict[str, Tensor], about: dict[str, str] | None = None) -> None:
    """Write a safetensors file whole or not at all; about: its metadata.

    Not by save_file, which lets nobody but its owner read the file, whatever the umask.
    """
    write_atomically(path, lambda beside: beside.write_bytes(save(tensors, about)))


def read_whole(path: Path) -> dict[str, Tensor] | None:
    """Return the tensors of a safetensors file of ours, or None where there is none, or one that is empty or cut off."""
    try:
        return load_file(path)
    except (FileNotFoundError, SafetensorError):
        return None


def are_whole(folder: Path, *names: str) -> bool:
    """Tell whether the tensors in these files of a folder of ours, and in all others below it, can be read."""
    return all(read_whole(path) is not None for path in {*(folder / name for name in names), *folder.rglob("*.safetensors")})


def write_state(path: Path, state: Any) -> None:
    """Write the state of a training, as torch.save does, whole or not at all; a hash follows, which torch.load passes by."""

    def write(beside: Path) -> None:
        torch.save(state, beside)
        written = file_digest(beside)
        with beside.open("ab") as file:
            file.write(bytes.fromhex(written))

    write_atomically(path, write)


def read_state(path: Path) -> Any:
    """Return what `write_state` wrote, on the CPU, or None where there is none, or it is cut off or damaged."""
    content = path.read_bytes() if path.is_file() else b""
    if digest_of(content[:-DIGEST_SIZE]) != content[-DIGEST_SIZE:].hex():
        return None
    return torch.load(BytesIO(content), map_location="cpu", weights_only=True)


def tensor_digest(tensor: Tensor) -> str:
    """Return a hash of the numbers of a tensor on the CPU."""
    return blake2b(memoryview(tensor.contiguous().numpy()).cast("B"), digest_size=8).hexdigest()


def read_tensors(path: Path, kind: type, setting: str) -> Any:
    """Return the tensor, or the dictionary, in a .pt file; kind: torch.Tensor or dict.

    Raises UserError, which names `setting`, for anything else, or where the file holds more than tensors.
    """
    if told := lfs_pointer(path):
        raise UserError(f"{setting}: {path.name} is {told}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{setting}: {path.name} cannot be read: {error.strerror or first_line(error)}") from None
    except Exception:  # torch raises whatever it stumbles over in a file of another kind, and its words are about pickles
        raise UserError(
            f"{setting}: {path.name} is no file of tensors (.pth) and no model's folder, or it is damaged or holds more "
            "than tensors; name another"
        ) from None
    if not isinstance(content, kind):
        raise UserError(f"{setting}: {path.name} holds a {type(content).__name__}, expected a {kind.__name__}")
    return content


def read_state_dict(path: Path, setting: str) -> dict[str, Tensor]:
    """Return the tensors of a network in a .pt file, or of the state_dict in it, by name, without DataParallel's module.

    Raises UserError as read_tensors does.
    """
    content = read_tensors(path, dict, setting)
    inner = content.get("state_dict")
    tensors = (inner if isinstance(inner, dict) else content).items()
    return {str(name).removeprefix("module."): tensor for name, tensor in tensors if isinstance(tensor, Tensor)}
