"""Every command that README.md and docs/ tell a reader to type names scripts, settings and files that exist.

A command that is neither Python nor in CANNOT_RUN fails. What can run on any machine is run by test_running.py.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from documented import CANNOT_RUN, FENCE, PAGES, PYTHON, commands, script_and_arguments

from config.loading import load
from config.section import ROOT
from evaluation.report import PARTS
from evaluation.run_files import COMMANDS

SCRIPTS = sorted({script_and_arguments(command)[0] for _, command in PYTHON})


def takes_settings(script: str) -> bool:
    return "run(main" in (ROOT / script).read_text("utf-8")


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


@pytest.mark.parametrize("folder", sorted({path.partition("/")[0] for path in PARTS} | COMMANDS.keys()))
def test_the_report_names_scripts_that_exist(folder):
    assert (ROOT / script_and_arguments(COMMANDS[folder])[0]).is_file()


@pytest.mark.parametrize("script", [script for script in SCRIPTS if takes_settings(script)])
def test_its_help_runs(script):
    done = subprocess.run([sys.executable, script, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "key=value" in done.stdout


def test_links_lead_to_files_and_to_headings():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?://|mailto:)([^)]+)", page.read_text("utf-8")):
            file, _, heading = target.partition("#")
            linked = page.parent / file if file else page
            assert linked.exists(), f"{page.name}: {target}"
            assert not heading or heading in anchors(linked), f"{page.name}: {target}"


def anchors(page: Path) -> set[str]:
    """Return the names by which a page's headings are linked, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text("utf-8")), re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
