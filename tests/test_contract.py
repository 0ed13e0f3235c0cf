"""What CONTRIBUTING.md promises of the code: which room may import which, how long files and functions are, where emotions
are listed, and that a script's --help explains the settings that it reads."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from config.section import ROOT
from config.settings import Settings
from config.taxonomy import DEFAULT, read_taxonomy
from config.text import is_section

ROOMS = ["config", "runtime", "emoset", "training", "understanding", "evaluation", "loop", "app", "demo"]
PRODUCT = ROOMS[:-1]  # demo makes the toy
ALLOWED = {room: set(ROOMS[: place + 1]) for place, room in enumerate(ROOMS)}
ALLOWED["understanding"] -= {"training"}  # the halves know nothing of each other
TRAINING_LOOPS = {"training.mapper_training.train_mapper", "training.encoder_training.fit_encoder"}
SECTIONS = {name for name, field in Settings.model_fields.items() if is_section(field.annotation)} | {"runs"}


def files(*rooms: str) -> list[Path]:
    found = [path for room in rooms for path in sorted((ROOT / room).rglob("*.py"))]
    return [*found, ROOT / "understanding.py"] if "understanding" in rooms else found


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path: Path) -> set[str]:
    """The project's modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in found if name.partition(".")[0] in ROOMS}


PRODUCT_FILES = [pytest.param(path, id=name_of(path)) for path in files(*PRODUCT)]
SCRIPTS = [path for path in files(*ROOMS) if "\nread_settings(__name__" in path.read_text(encoding="utf-8")]


def test_no_arrow_climbs():
    for path in files(*ROOMS):
        wrong = {name for name in imports(path) if name.partition(".")[0] not in ALLOWED[room_of(path)]}
        assert not wrong, f"{name_of(path)} imports {', '.join(sorted(wrong))}"


def test_there_is_no_circle():
    modules = {name_of(path).removesuffix(".__init__"): path for path in files(*ROOMS)}
    seen, stack = set(), []

    def visit(name: str) -> None:
        assert name not in stack, " -> ".join([*stack[stack.index(name) :], name])
        if name in seen:
            return
        stack.append(name)
        for other in sorted(imports(modules[name]) & modules.keys() - {name, name.rpartition(".")[0]}):
            visit(other)
        seen.add(stack.pop())

    for name in modules:
        visit(name)


@pytest.mark.parametrize("path", PRODUCT_FILES)
def test_files_and_functions_are_short(path):
    assert path.read_text(encoding="utf-8").count("\n") < 300
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            limit = 100 if f"{name_of(path)}.{node.name}" in TRAINING_LOOPS else 60
            assert node.end_lineno - node.lineno + 1 < limit, f"{name_of(path)}.{node.name}"


def test_no_two_files_share_a_name():
    names = [path.name for path in files(*PRODUCT) if path.name not in ("__init__.py", "main.py", "inference.py")]
    assert not {name for name in names if names.count(name) > 1} - {"understanding.py"}


@pytest.mark.parametrize("path", PRODUCT_FILES)
def test_emotions_stand_in_taxonomies_alone(path):
    """An example may name one or two; a list, a count or a level of chance may not."""
    text = path.read_text(encoding="utf-8")
    named = {emotion for emotion in read_taxonomy(DEFAULT).emotions if re.search(rf"\b{emotion}\b", text)}
    assert len(named) <= 3, f"lists {', '.join(sorted(named))}"
    text = text.replace("seven eight nine", "")  # where numbers are written as words
    assert not re.search(r"\beight\b|\b1 ?/ ?8\b|\[:4\]|\[4:\]|\(2, 4\)|// 4\b", text, re.I)


@pytest.mark.parametrize("path", sorted([*(ROOT / "evaluation").glob("*.jinja"), *(ROOT / "config").glob("*.yaml")]))
def test_neither_pages_nor_configs_count_emotions(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\beight\b", text, re.I), path.name
    named = {emotion for emotion in read_taxonomy(DEFAULT).emotions if re.search(rf"\b{emotion}\b", text)}
    assert len(named) <= 3, f"lists {', '.join(sorted(named))}"


def test_every_room_is_known():
    """A new folder with a package in it has its place among the rooms, from which its imports follow."""
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages == set(ROOMS)


@pytest.mark.parametrize("path", PRODUCT_FILES)
def test_a_function_takes_the_sections_that_it_needs(path):
    """All settings go to a script's main, to functions that hand them on, and to those that read three parts or more."""
    for node in ast.walk(tree(path)):
        if not isinstance(node, ast.FunctionDef) or path.parent.name in ("config", "runtime") or node.name == "main":
            continue
        parameters = [*node.args.args, *node.args.kwonlyargs]
        assert all(each.annotation for each in parameters if each.arg == "settings"), f"{name_of(path)}.{node.name}"
        if "Settings" not in [ast.unparse(each.annotation) for each in parameters if each.annotation]:
            continue
        read = {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute) and is_settings(each.value)}
        handed_on = any(is_settings(given) for call in ast.walk(node) if isinstance(call, ast.Call) for given in call.args)
        assert handed_on or len(read) >= 3, f"{name_of(path)}.{node.name} reads {', '.join(sorted(read))} alone"


def is_settings(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "settings"


@pytest.mark.parametrize("path", [pytest.param(path, id=name_of(path)) for path in SCRIPTS])
def test_help_explains_what_the_script_reads(path):
    (call,) = [
        node.value
        for node in tree(path).body
        if isinstance(node, ast.Expr) and ast.unparse(node.value).startswith("read_settings(")
    ]
    declared = set().union(*(values(argument, tree(path)) for argument in call.args[2:]))
    declared = {key.partition(".")[0] for key in declared}  # of single keys their sections
    assert declared <= SECTIONS
    assert sections_read(path) <= declared, f"reads {sections_read(path) - declared} too"
    reachable = set().union(*(sections_read(each) for each in closure(path)))
    assert declared <= reachable, f"nothing reads {declared - reachable}"


def values(argument: ast.expr, module: ast.Module) -> set[str]:
    """The strings that an argument of a call gives; `*NAME` gives those of a tuple of the module."""
    if not isinstance(argument, ast.Starred):
        return {argument.value}
    assigned = {ast.unparse(node.targets[0]): node.value for node in module.body if isinstance(node, ast.Assign)}
    return set(ast.literal_eval(assigned[ast.unparse(argument.value)]))


def sections_read(path: Path) -> set[str]:
    """The sections of `settings` that a file's functions name."""
    return {
        node.attr
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "settings"
    } & SECTIONS


def closure(path: Path) -> set[Path]:
    """A file and all files of the project that it imports, directly or not."""
    modules = {name_of(each).removesuffix(".__init__"): each for each in files(*ROOMS)}
    found, left = {path}, [path]
    while left:
        for name in imports(left.pop()) & modules.keys():
            if modules[name] not in found:
                found.add(modules[name])
                left.append(modules[name])
    return found


@pytest.mark.parametrize("path", SCRIPTS, ids=name_of)
def test_every_script_stops_after_its_checks_where_it_is_told_to(path):
    """By itself, or by make_all, which training/inference.py and loop/inference.py share."""
    stopping = {"stops_here": "runtime.checking.stops_here", "make_all": "training.inference.make_all"}
    called = {getattr(node.func, "id", "") for node in ast.walk(tree(path)) if isinstance(node, ast.Call)}
    assert any(name in called and whole in imports(path) for name, whole in stopping.items())
