"""Finds models that the config names, on the Hub or in a folder, and sends results to the Hub."""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import torch
import transformers
from huggingface_hub import constants, create_repo, upload_folder, whoami
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import enable_progress_bars, get_session, validate_repo_id
from safetensors import SafetensorError, safe_open

from config.errors import UserError, first_line
from config.section import ROOT
from runtime.files import lfs_pointer

_VARIANT = re.compile(r"^[^.]+?(?:\.(\w+?))?(?:-\d+-of-\d+)?\.safetensors$")

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
    """Return why the Hub cannot be asked, after a single try, or None where it can.

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
    """Return the model, pipeline or tokenizer `name`, which the setting `setting` names, as `kind.from_pretrained` loads it.

    added: prefixes of the names of weights that the model may lack, since we train them. With device_map="meta" the function
    checks that the weights are there and reads none. If a folder holds one variant of the weights alone, such as fp16, it
    loads that variant. A pipeline can be one .safetensors file, whose configs diffusers gets from the Hub or its cache.
    Raises UserError if there is no such model, if its files are damaged, or if it lacks a weight or has one in another
    shape, which would leave random numbers in the model.
    """
    if is_single_file(name):
        with _naming(kind, name, setting) as place:
            return kind.from_single_file(place, **options)
    if hasattr(kind, "components"):
        folder, _ = check_pipeline(kind, name, setting, **options)
        with _naming(kind, name, setting):
            return kind.from_pretrained(folder, **{"variant": _variant(folder)} | options)
    with _naming(kind, name, setting) as place:
        if not _is_model(kind):
            return kind.from_pretrained(place, **options)
        local = {"variant": _variant(Path(place))} if Path(place).is_dir() else {}
        asked = {"output_loading_info": True, "ignore_mismatched_sizes": True}
        model, loading = kind.from_pretrained(place, **local | options | asked)
    lacks = sorted(key for key in loading["missing_keys"] if not key.startswith(tuple(added)))
    others = [f"{key} {_shape(found)} instead of {_shape(own)}" for key, found, own in sorted(loading["mismatched_keys"])]
    for what, weights in {"it lacks the weights": lacks, "its weights have other shapes:": others}.items():
        if weights:
            some = ", ".join(weights[:3]) + (f" and {len(weights) - 3} more" if len(weights) > 3 else "")
            raise UserError(f"{setting}: {str(name)!r} is no whole {type(model).__name__}: {what} {some}")
    return model


def is_single_file(name: str) -> bool:
    """Tell whether a model is one file and no folder."""
    return Path(resolve_model(name)).is_file()


def check_pipeline(kind, name: str, setting: str, **options) -> tuple[Path, dict[str, torch.nn.Module]]:
    """Return a pipeline's folder, and its models by name, without their numbers: on the meta device. It takes a second.

    options: as for load_model. A part that is given among them, or is None there, is not looked at. A pipeline on the Hub is
    downloaded. Raises UserError as load_model does.
    """
    import diffusers  # it takes a second

    libraries = {"diffusers": diffusers, "transformers": transformers}
    with _naming(kind, name, setting) as place:
        folder = Path(place if Path(place).exists() else kind.download(place, **options))
        index = kind.load_config(folder)
    parts = {}
    for part, listed in index.items():
        if part in options or not isinstance(listed, list | tuple) or listed[0] is None:
            continue
        if not (folder / part).is_dir():
            raise UserError(f"{setting}: {str(name)!r} is no whole {index['_class_name']}: it lacks the folder {part}")
        of = getattr(libraries.get(listed[0]) or getattr(diffusers.pipelines, listed[0], None), listed[1], None)
        if _is_model(of):
            parts[part] = load_model(of, str(folder / part), setting, device_map="meta")
        elif hasattr(of, "vocab_files_names"):
            with _naming(of, str(folder / part), setting):
                pass
    return folder, parts


@contextmanager
def _naming(kind, name: str, setting: str) -> Iterator[str]:
    """Yield where a model is loaded from: its folder, or its name on the Hub. One line names what a library raises."""
    place, called = Path(resolve_model(name)), f"{setting}: {str(name)!r}"
    if place.exists():
        _check_files(place, kind, called)
    else:
        hub_obstacle()  # where there is one, nothing is tried ten times
    try:
        yield str(place)
    except UserError:
        raise
    except Exception as error:  # libraries raise whatever they stumble over in a damaged file, or in one of another kind
        reason = _shortened(error)
        if place.is_file() and hub_obstacle():
            reason += f"; the file's configs are on the Hub, which cannot be reached ({hub_obstacle()}), or in its cache"
        if place.is_file() or (place.exists() and any(place.iterdir())):
            raise UserError(f"{called} cannot be loaded as {kind.__name__}: {_damage(place) or reason}") from None
        raise not_found(place, called, reason) from None


def not_found(place: Path, called: str, reason: str) -> UserError:
    """Return the error of a model that is in no folder, and that the Hub does not give."""
    where = "is neither a folder with such a model nor a name on the Hub"
    if not place.exists() and (obstacle := hub_obstacle()):
        where, reason = f"{where} that was downloaded before, and the Hub cannot be reached", obstacle
    return UserError(f"{called} {where} ({reason})")


def _is_model(kind) -> bool:
    return hasattr(kind, "_model_mapping") or (isinstance(kind, type) and issubclass(kind, torch.nn.Module))


def _shortened(error: Exception) -> str:
    """Return what an error says, in one line that is not too long: the first, but for one that only introduces others."""
    line = first_line(error)
    line = " ".join(str(error).split()) if line.endswith(":") else line
    return line if len(line) <= 300 else f"{line[:297]}..."


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "1"


def _check_files(place: Path, kind, called: str) -> None:
    """Raise UserError where a model's place is a file, or a folder that shows at once that it cannot be loaded as `kind`."""
    if not place.is_dir():
        told = lfs_pointer(place)
        if not told and hasattr(kind, "components"):
            if place.suffix == ".safetensors":
                hub_obstacle()
                return
            told = "a file that may hold a pickle, of which none are loaded; name a .safetensors file or a folder"
        raise UserError(f"{called} is {told or 'a file; name the folder of the model'}")
    for path in sorted(path for depth in ("*", "*/*") for path in place.glob(depth)):
        if told := lfs_pointer(path):
            raise UserError(f"{called}: {path.relative_to(place)} is {told}")
    # Without these files a tokenizer is loaded all the same, and knows no word.
    vocabulary = set(getattr(kind, "vocab_files_names", {}).values())
    if vocabulary and not any((place / file).is_file() for file in vocabulary):
        raise UserError(f"{called} holds no tokenizer: no {' or '.join(sorted(vocabulary))}")
    own, config = getattr(kind, "config_class", None), place / "config.json"
    if own and not own.base_config_key and config.is_file():  # else the model would be made in its default size first
        with suppress(ValueError, RecursionError):
            found = json.loads(config.read_bytes()).get("model_type", own.model_type)
            if found != own.model_type:
                raise UserError(f"{called} is a model of the kind {found}, and {own.model_type} is needed")


def _variant(folder: Path) -> str | None:
    """Return the variant of a model's weights, such as fp16, where a part of it has no others: model.fp16.safetensors."""
    variants: dict[Path, set[str]] = {}
    for path in (path for kind in ("*.safetensors", "*/*.safetensors") for path in folder.glob(kind)):
        named = _VARIANT.match(path.name)
        variants.setdefault(path.parent, set()).add(named and named[1])
    return min((min(each) for each in variants.values() if None not in each), default=None)


def _damage(folder: Path) -> str:
    """Return which file of a model's folder cannot be read, and why; nothing where all can."""
    paths = [folder] if folder.is_file() else [path for kind in ("*", "*/*") for path in folder.glob(kind)]
    for path in sorted(path for path in paths if path.is_file()):
        try:
            if path.suffix == ".safetensors":
                safe_open(path, "pt").__enter__()
            elif path.suffix == ".json":
                json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError, SafetensorError) as error:
            return (
                f"{path.relative_to(folder) if path != folder else path.name} is damaged ({first_line(error)}); get it again"
            )
    return ""


def weights_digest(name: str) -> str:
    """Return a hash that tells a model's files from another's: of their names, sizes, first and last million bytes.

    A model on the Hub is known by its name.
    """
    folder, digest = Path(resolve_model(name)), hashlib.blake2b(digest_size=8)
    if not folder.is_dir():
        return name
    weights = [*folder.glob("*.safetensors")] or folder.glob("*model*.bin")  # which are loaded where there are no others
    for path in sorted([*weights, *folder.glob("*config.json")]):
        with path.open("rb") as file:
            digest.update(f"{path.name} {path.stat().st_size} ".encode() + file.read(10**6))
            file.seek(-min(path.stat().st_size, 10**6), os.SEEK_END)
            digest.update(file.read())
    return digest.hexdigest()


def network_digest(name: str) -> str:
    """Return a hash that knows a network's weights again, whatever the files: of each tensor's shape and first row, in half.

    A model on the Hub is known by its name, and one without safetensors by its weights_digest.
    """
    folder, found = Path(resolve_model(name)), []
    if damage := _damage(folder):
        raise UserError(f"{name}: {damage}")
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            for tensor in file.offset_keys():
                part = file.get_slice(tensor)
                row = part[:1] if part.get_shape() else file.get_tensor(tensor)
                found.append(f"{part.get_shape()} ".encode() + row.half().numpy().tobytes())
    return hashlib.blake2b(b"".join(sorted(found)), digest_size=8).hexdigest() if found else weights_digest(name)


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


def check_repository(name: str, setting: str, create: bool = True) -> None:
    """Raise UserError where nothing can be uploaded to the repository `name`: known before hours of training, not after.

    create: make the repository; else nothing but the name and the login is checked.
    """
    try:
        validate_repo_id(name)
        create_repo(name, exist_ok=True) if create else whoami()
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        reason = first_line(error)
        raise UserError(f"{setting}: {name!r} cannot be uploaded to ({reason}); see `hf auth login`") from None
