"""Every command that README.md and docs/ tell a reader to type: its script and settings exist, and it runs.

Commands that take seconds are run, on a drawn EmoSet in a copy of the project; of the others --help is, and their settings
are read. A command that is neither Python nor named below fails the test.
"""

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import partial

import pytest
from accelerate.commands.launch import launch_command_parser

from config.loading import load
from config.settings import ROOT
from evaluation.report import PARTS

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.S | re.M)
INLINE = re.compile(r"`((?:python|accelerate launch) [^`]*\.py[^`]*)`")
# What cannot run in a test, by how it begins.
CANNOT_RUN = {
    "git clone": "names a place that a reader fills in",
    "conda env create": "downloads an environment",
    "conda activate": "changes the reader's shell",
    "pip install": "installs",
    "docker build": "needs a daemon",
    "docker run": "needs a daemon",
    "tensorboard": "serves until it is stopped",
    "make": "installs first; its targets are looked up",
}
# Run on the drawn EmoSet, which has the place that the pages give EmoSet; the others need a model, hours, or other data.
RUN = {"emoset/draw.py", "training/dataset_balance.py", "evaluation/report.py", "docs/configuration.py"}
SMALL = ["drawn.images=400", "drawn.size=32"]


def blocks(language: str) -> list[tuple[str, str]]:
    return [
        (page.name, text) for page in PAGES for _, told, text in FENCE.findall(page.read_text("utf-8")) if told == language
    ]


def commands() -> list[tuple[str, str]]:
    """Return (page, command) for every line of a block of commands, and for every script that a sentence tells to run."""
    found = []
    for page, text in [*blocks(""), *blocks("bash"), *blocks("sh")]:
        lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]
        if any(line.startswith(("python ", "accelerate ", *CANNOT_RUN)) for line in lines):
            found += [(page, line) for line in lines]
    for page in PAGES:
        found += [(page.name, command) for command in INLINE.findall(FENCE.sub("", page.read_text("utf-8")))]
    return list(dict.fromkeys(found))


def script_and_arguments(command: str) -> tuple[str, list[str]]:
    """Return the script that a command starts, and its arguments; accelerate's own options must be such."""
    words = shlex.split(command, comments=True)
    if words[0] == "python":
        return words[1], words[2:]
    told = launch_command_parser().parse_args(words[2:])
    assert told.config_file is None or (ROOT / told.config_file).is_file()
    return told.training_script, told.training_script_args


def takes_settings(script: str) -> bool:
    return "run(main" in (ROOT / script).read_text("utf-8")


PYTHON = [(page, command) for page, command in commands() if command.startswith(("python ", "accelerate "))]
SCRIPTS = sorted({script_and_arguments(command)[0] for _, command in PYTHON})


@pytest.mark.parametrize(("page", "command"), [each for each in commands() if each not in PYTHON])
def test_a_command_that_cannot_run_is_known(page, command):
    assert command.startswith(tuple(CANNOT_RUN)), f"{page}: neither Python nor in CANNOT_RUN: {command}"
    if command.startswith("make "):
        target = shlex.split(command, comments=True)[1]
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M), f"{page}: no such target: {command}"
    for named in re.findall(r"\S+\.(?:yaml|txt)", command):
        assert (ROOT / named).is_file(), f"{page}: {command}"


@pytest.mark.parametrize(("page", "command"), PYTHON)
def test_script_and_settings_exist(page, command):
    script, arguments = script_and_arguments(command)
    assert (ROOT / script).is_file(), f"{page}: no such script: {command}"
    if takes_settings(script) and "--help" not in arguments:
        load([os.path.join(ROOT, word) if word.startswith("config/") else word for word in arguments])


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part[0])
def test_the_report_names_scripts_that_exist(part):
    assert (ROOT / script_and_arguments(part[2])[0]).is_file()


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory) -> partial:
    """Return a function that runs a command in a copy of the project where a drawn EmoSet lies in the places of EmoSet."""
    copy = tmp_path_factory.mktemp("sandbox") / "project"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "data", "runs", "models", "*.egg-info", "__pycache__"))
    # In the copy, the copy's packages are imported, and its folder is the project's.
    environment = os.environ | {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
    run = partial(subprocess.run, cwd=copy, env=environment, capture_output=True, text=True, timeout=60)
    run([sys.executable, "emoset/draw.py", "--config", "config/demo.yaml", *SMALL], check=True)
    for place in ("data/EmoSet", "path/to/EmoSet"):
        (copy / place).parent.mkdir(parents=True, exist_ok=True)
        (copy / place).symlink_to(copy / "data/drawn/EmoSet")
    for run_folder in ("runs/demo", "runs/full"):
        (copy / run_folder / "generator").mkdir(parents=True)
        (copy / run_folder / "generator/generator.json").touch()
    return run


@pytest.mark.parametrize(("page", "command"), [each for each in PYTHON if script_and_arguments(each[1])[0] in RUN])
def test_it_runs(page, command, sandbox):
    script, arguments = script_and_arguments(command)
    if script == "emoset/draw.py":
        arguments = ["--config", "config/demo.yaml", *arguments, *SMALL, "data.emoset=data/drawn/again"]
    done = sandbox([sys.executable, script, *arguments])
    assert done.returncode == 0, f"{page}: {command}\n{done.stderr}"


@pytest.mark.parametrize("script", [script for script in SCRIPTS if script not in RUN and takes_settings(script)])
def test_its_help_runs(script, sandbox):
    done = sandbox([sys.executable, script, "--help"])
    assert done.returncode == 0, done.stderr
    assert "key=value" in done.stdout


@pytest.mark.parametrize(("page", "text"), blocks("python"))
def test_python_imports_what_exists(page, text):
    """Without importing it: that takes long. A name that a page imports of the project stands at the top of its module."""
    for statement in ast.walk(ast.parse(text)):
        if isinstance(statement, ast.ImportFrom):
            path = ROOT / f"{statement.module.replace('.', '/')}.py"
            if path.is_file():
                defined = {getattr(each, "name", None) for each in ast.parse(path.read_text("utf-8")).body}
                assert {each.name for each in statement.names} <= defined, f"{page}: {ast.unparse(statement)}"


def test_links_lead_to_files():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?://|#|mailto:)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
