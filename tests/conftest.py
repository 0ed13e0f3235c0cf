"""A small drawn EmoSet, drawn once for all tests, of which a test that changes it takes a copy; and scripts that run."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from config.section import ROOT
from demo.drawn.dataset import write_dataset

METADATA = Path(os.environ.get("EMOSET_METADATA", ROOT / "../shared/emoset"))


@pytest.fixture(scope="session")
def drawn(tmp_path_factory) -> Path:
    """A drawn EmoSet of 400 images, 32 pixels; not to be changed."""
    folder = tmp_path_factory.mktemp("drawn") / "EmoSet"
    write_dataset(folder, images=400, size=32, seed=0, processes=2)
    return folder


@pytest.fixture
def emoset_copy(drawn, tmp_path) -> Path:
    """A copy of the drawn EmoSet that a test may change."""
    return Path(shutil.copytree(drawn, tmp_path / "EmoSet"))


@pytest.fixture(scope="session")
def published() -> Path:
    """The published metadata of the real EmoSet: info.json, index.csv.gz, attribute_counts.csv."""
    if not (METADATA / "index.csv.gz").is_file():
        pytest.skip(f"no published metadata in {METADATA} (set EMOSET_METADATA)")
    return METADATA


@contextmanager
def warm_python(said: Path, environment: dict[str, str]) -> Iterator[Callable[..., subprocess.CompletedProcess]]:
    """Give a function that runs `python script arguments` in a folder, without importing slow libraries each time.

    said: a folder for what the scripts say.
    """
    quiet = {f"{library}_VERBOSITY": "error" for library in ("TRANSFORMERS", "DIFFUSERS")}  # as scripts set them
    files = [said / name for name in ("stdout", "stderr")]
    command = [sys.executable, Path(__file__).with_name("warm_python.py"), *files]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment | quiet}
    with subprocess.Popen(command, **pipes) as warm:

        def run(folder: Path, *words: object) -> subprocess.CompletedProcess:
            print(json.dumps([str(folder), *map(str, words)]), file=warm.stdin, flush=True)
            status = int(warm.stdout.readline())
            return subprocess.CompletedProcess(words, status, *(file.read_text() for file in files))

        yield run


@pytest.fixture(scope="session")
def python(tmp_path_factory):
    with warm_python(tmp_path_factory.mktemp("said"), os.environ | {"PYTHONPATH": str(ROOT)}) as run:
        yield run


@pytest.fixture
def script(python, tmp_path):
    """Return a function that runs a script of the project from a foreign folder, as a user would."""

    def run(name: str, *arguments: object, check: bool = True) -> subprocess.CompletedProcess:
        result = python(tmp_path, ROOT / name, *arguments)
        assert not check or result.returncode == 0, result.stderr
        return result

    return run


@pytest.fixture
def balance(script, tmp_path):
    """Return a function that runs training/dataset_balance.py on a data set, everything it writes going to tmp_path."""

    def run(emoset: Path, *arguments: object, check: bool = True) -> subprocess.CompletedProcess:
        places = f"data.attribute_root={tmp_path}/attributes data.cache={tmp_path}/cache run={tmp_path}/run".split()
        return script("training/dataset_balance.py", f"data.emoset={emoset}", *places, *arguments, check=check)

    return run
