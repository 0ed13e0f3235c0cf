"""A disk that takes no more is one error that names the file, whatever the library that writes makes of it."""

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from safetensors.torch import save_file
from small_disk import room

from runtime.built_folder import building
from runtime.files import write_atomically, write_json
from runtime.full_disk import naming, no_room
from runtime.recipe import Recipe
from runtime.tensors import write_state, write_tensors

NUMBERS = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
TWO = {"a": NUMBERS, "b": NUMBERS + 1}
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8))
TABLE = pd.DataFrame({"number": NUMBERS.numpy()})


def save_to_file_object(path):
    with path.open("wb") as file:
        torch.save(TWO, file)


def plot(path):
    figure = Figure(figsize=(2, 2))
    figure.add_axes((0, 0, 1, 1)).imshow(np.asarray(NOISE))
    figure.savefig(path, dpi=50)


WRITERS = {
    "torch.save": lambda path: torch.save(TWO, path),
    "torch.save to a file": save_to_file_object,
    "safetensors": lambda path: save_file({"a": NUMBERS}, path),
    "PNG": lambda path: NOISE.save(path),
    "Parquet": lambda path: TABLE.to_parquet(path),
    "CSV": lambda path: TABLE.to_csv(path),
    "plot": plot,
    "bytes": lambda path: path.write_bytes(bytes(60_000)),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_every_writer_s_is_told_the_same_at_every_size(tmp_path, writer):
    suffix = {"PNG": ".png", "plot": ".png"}.get(writer, ".file")
    path = tmp_path / f"result{suffix}"
    write_atomically(path, WRITERS[writer])
    whole = path.read_bytes()
    for size in np.linspace(0, len(whole) - 1, 12).astype(int).tolist():
        with room(size), pytest.raises(OSError, match="File too large") as told:
            write_atomically(path, WRITERS[writer])
        assert (told.value.errno, told.value.filename) == (errno.EFBIG, str(path))
        assert os.listdir(tmp_path) == [path.name]
    assert path.read_bytes() == whole


@pytest.mark.parametrize("size", [0, 1, 3000, 79_000, 100_000])
def test_our_own_states_and_tensors_too(tmp_path, size):
    for write, content in ((write_state, TWO), (write_tensors, TWO)):
        with room(size), pytest.raises(OSError, match="File too large") as told:
            write(tmp_path / "result", content)
        assert told.value.filename == str(tmp_path / "result")
        assert not os.listdir(tmp_path)


def test_of_a_folder_it_names_the_file_that_it_will_be(tmp_path):
    folder, recipe = tmp_path / "generator", Recipe("generator", {}, {})

    def build(fails):
        with building(folder, recipe) as work:
            (work / "mapper").mkdir()
            (work / "mapper" / "config.json").write_text("{}")
            fails(work / "mapper" / "model.safetensors")

    for fails in (lambda path: save_file({"a": NUMBERS}, path), save_to_file_object):
        with room(5000), pytest.raises(OSError, match="File too large") as told:
            build(fails)
        assert told.value.filename == str(folder / "mapper" / "model.safetensors")
        assert not os.listdir(tmp_path)
    with room(5000), pytest.raises(OSError, match="File too large") as told, building(folder, recipe) as work:
        write_json(work / "about.json", ["x" * 9000])
    assert told.value.filename == str(folder / "about.json")


def test_an_error_of_another_kind_stays_what_it_is(tmp_path):
    for error in (RuntimeError("a fault"), OSError(errno.EINVAL, "Invalid argument", "elsewhere"), KeyError("name")):
        with pytest.raises(type(error)) as told, naming(tmp_path):
            raise error
        assert told.value is error
        assert no_room(error, [tmp_path]) is None
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_what_a_library_says_far_from_its_file_names_the_newest(tmp_path, code):
    (tmp_path / "older").write_text("")
    os.utime(tmp_path / "older", (1, 1))
    (tmp_path / "events").write_text("half")
    wrapped = RuntimeError("writer failed")
    wrapped.__cause__ = OSError(code, os.strerror(code))
    said = RuntimeError(f"Error while serializing: I/O error: something (os error {code})")
    for error in (OSError(code, os.strerror(code)), wrapped, said, shutil.Error([("a", "b", os.strerror(code))])):
        told = no_room(error, [tmp_path, tmp_path / "none"])
        assert (told.errno, told.filename) == (code, str(tmp_path / "events"))


def test_a_disk_that_is_only_read_is_no_full_one_and_raises_nothing(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    assert no_room(OSError(errno.EROFS, "Read-only file system"), [tmp_path]) is None
