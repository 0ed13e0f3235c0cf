"""Every benchmark is quoted by a page, or helps another one, and its imports are of what the project has today."""

import os
import re
import subprocess

import pytest
from documented import PAGES

from config.section import ROOT

BENCHMARKS = sorted((ROOT / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda path: path.stem)
def test_it_is_quoted_or_helps_another(benchmark):
    quoted = any(f"benchmarks/{benchmark.name}" in page.read_text("utf-8") for page in PAGES)
    helps = [other for other in BENCHMARKS if re.search(rf"^from {benchmark.stem} import", other.read_text("utf-8"), re.M)]
    assert quoted or helps


def test_they_import(python):
    names = ", ".join(benchmark.stem for benchmark in BENCHMARKS)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [python, "-c", f"import {names}"]
    done = subprocess.run(command, cwd=ROOT / "benchmarks", env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
