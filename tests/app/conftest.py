"""A run folder with both halves, the page on it, and people and programs that use it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from asked import EMOTIONS
from tiny_run import write_run


@pytest.fixture(scope="session")
def run(drawn, tmp_path_factory) -> Path:
    """A run folder with both halves; not to be changed."""
    return write_run(tmp_path_factory.mktemp("app") / "run", drawn)


@pytest.fixture(scope="session")
def models(run):
    from app.run_models import RunModels

    return RunModels(run)


@pytest.fixture(scope="session")
def requests(models):
    from app.generation_requests import ImageRequests

    return ImageRequests(models)


@pytest.fixture(scope="session")
def photos(drawn) -> list[Path]:
    """A photograph of each emotion."""
    return [next((drawn / "image" / emotion).glob("*.jpg")) for emotion in EMOTIONS]


@pytest.fixture(scope="module", autouse=True)
def temporary(tmp_path_factory) -> Iterator[Path]:
    """Where the page keeps its files, and Gradio's client its folders."""
    folder = tmp_path_factory.mktemp("gradio")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("client")))
        yield folder


@pytest.fixture(scope="module")
def url(models, temporary) -> Iterator[str]:
    """The address of the page, as app/main.py serves it, without a password."""
    from app import main
    from config.app_settings import App

    page = main.build_page(models, main.copies_of(models.examples, temporary))
    yield main.serve(page, models, App(), None).rstrip("/")
    page.close(verbose=False)


@pytest.fixture(scope="module")
def client(url, tmp_path_factory):
    """A program that uses the page."""
    from gradio_client import Client

    # For many tests may run beside these.
    return Client(url, verbose=False, download_files=tmp_path_factory.mktemp("got"), httpx_kwargs={"timeout": 300})
