"""A small drawn EmoSet, drawn once for all tests, of which a test that changes it takes a copy; and scripts that run."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from warm_python import warm_python

from config.section import ROOT
from demo.drawn.dataset import write_dataset

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
METADATA = Path(os.environ.get("EMOSET_METADATA", ROOT / "../shared/emoset"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that hold slow tests, so that no process is left with one of them at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def _precision_of_its_own():
    """Let no test train in the precision that one before it has given its process."""
    yield
    os.environ.pop("ACCELERATE_MIXED_PRECISION", None)


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


@pytest.fixture(scope="session")
def python() -> Iterator[str]:
    """The path of a `python` that has imported slow libraries."""
    with warm_python() as python:
        yield python


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """Debian's Chromium, as playwright drives it."""
    if not CHROMIUM:
        pytest.skip("no Chromium here; apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright here; pip install -e .[app]")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def script(python, tmp_path):
    """Return a function that runs a script of the project from a foreign folder, as a user would."""

    def run(name: str, *arguments: object, check: bool = True) -> subprocess.CompletedProcess:
        command = [python, ROOT / name, *map(str, arguments)]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
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
