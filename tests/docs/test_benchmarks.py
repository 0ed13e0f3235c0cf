"""Every benchmark is quoted by a page, or helps another one, and calls the project's functions as they are today."""

import ast
import importlib
import inspect
import re

import pytest
from documented import PAGES

from config.section import ROOT

BENCHMARKS = sorted((ROOT / "benchmarks").glob("*.py"))
PACKAGES = {path.parent.name for path in ROOT.glob("*/__init__.py")}


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda path: path.stem)
def test_it_is_quoted_or_helps_another(benchmark):
    quoted = any(f"benchmarks/{benchmark.name}" in page.read_text("utf-8") for page in PAGES)
    helps = [other for other in BENCHMARKS if re.search(rf"^from {benchmark.stem} import", other.read_text("utf-8"), re.M)]
    assert quoted or helps


def wrong_calls(source: str, names: dict) -> list[str]:
    """Return the calls in a module's source whose arguments a function of the project does not take.

    names: what the module has imported. Calls of methods, and calls with *arguments, are not looked at.
    """
    wrong = []
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        words = ast.unparse(call.func).split(".")
        called = names.get(words[0])
        for word in words[1:]:
            called = getattr(called, word, None)
        if not inspect.isfunction(called) or called.__module__.split(".")[0] not in PACKAGES:
            continue
        if any(isinstance(each, ast.Starred) for each in call.args) or any(each.arg is None for each in call.keywords):
            continue
        try:
            inspect.signature(called).bind(*call.args, **{each.arg: each for each in call.keywords})
        except TypeError as error:
            wrong.append(f"line {call.lineno}: {ast.unparse(call)}: {error}")
    return wrong


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda path: path.stem)
def test_it_calls_the_project_as_it_is(benchmark, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")  # some import others
    module = importlib.import_module(benchmark.stem)
    assert wrong_calls(benchmark.read_text("utf-8"), vars(module)) == []


def test_a_missing_argument_is_seen():
    from training import main as training

    assert len(wrong_calls("training.prepare(1, 2)", {"training": training})) == 1
