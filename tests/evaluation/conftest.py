"""A generator that was hardly trained, settings that measure it in seconds, and a made-up run with its report."""

from functools import partial
from pathlib import Path

import pytest
import yaml
from made_run import make_cross, make_generation, make_understanding, report_of
from tiny_generator import write_random_generator

from config.loading import load
from config.section import ROOT
from config.settings import Settings
from config.taxonomy import DEFAULT, read_taxonomy

MODELS = ROOT / "demo" / "models"


@pytest.fixture(scope="session")
def generator(tmp_path_factory) -> Path:
    """A generator's folder with a random mapper; not to be changed."""
    return write_random_generator(tmp_path_factory.mktemp("run") / "generator", read_taxonomy(DEFAULT).emotions)


@pytest.fixture
def write_generator():
    """Return a function that writes a generator of some emotions, with a random mapper, into a folder."""
    return write_random_generator


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory, drawn) -> Path:
    """A made-up run of both halves, with its report; not to be changed."""
    run = tmp_path_factory.mktemp("run")
    make_generation(run)
    make_understanding(run, drawn)
    make_cross(run)
    return report_of(run, drawn)


@pytest.fixture
def few_resamples(monkeypatch):
    """Let intervals be rough, whose exact ones take a third of an evaluation."""
    monkeypatch.setattr("runtime.figures.RESAMPLES", 50)


@pytest.fixture(scope="session")
def quick_in(drawn, generator):
    """Return a function that gives settings which measure the generator in seconds, in a run folder below a given one."""

    def settings(place: Path, name: str = "run", **evaluate) -> Settings:
        content = {
            "run": str(place / name),
            "data": {"emoset": str(drawn), "cache": str(place / f"{name}-cache")},
            "models": {"clip": str(MODELS / "clip"), "resolution": 32},
            "generate": {"generator": str(generator), "steps": 2, "batch_size": 16},
            "answers": {"reasoning": False, "tokens": 6},
            "understanding": {"model": str(MODELS / "vision_language"), "dtype": "float32"},
            "evaluate": {
                "generated": 4,
                "images": 16,
                "reference": 80,
                "pairs": 48,
                "batch_size": 32,
                "judge": str(MODELS / "judge"),
                "fid_network": str(MODELS / "backbone"),
                "lpips_network": str(MODELS / "backbone"),
                "object_classifier": str(MODELS / "content"),
                "scene_classifier": str(MODELS / "content"),
                "contents": ["tree"],
                "curve_images": 1,
            }
            | evaluate,
        }
        path = place / f"{name}.yaml"
        path.write_text(yaml.safe_dump(content))
        return load(["--config", str(path)])

    return settings


@pytest.fixture
def quick(quick_in, tmp_path):
    """Return a function that gives settings which measure the generator in seconds, in a run folder of its own."""
    return partial(quick_in, tmp_path)
