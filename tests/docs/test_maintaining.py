"""What maintainers and machines read: the citation, the hooks before a commit, CI, and the version."""

import re
import tomllib

import yaml

from config.section import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def loaded(path: str):
    return yaml.safe_load((ROOT / path).read_text("utf-8"))


def test_the_citation_is_of_this_version_and_names_what_it_builds_on():
    citation = loaded("CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])
    assert citation["title"] == PROJECT["description"]
    assert [each["title"].partition(":")[0] for each in citation["references"]] == ["Unified-Emotion", "EmoSet", "EmoGen"]
    assert all({"type", "title", "authors"} <= each.keys() for each in citation["references"])
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_hooks_run_the_ruff_that_make_lint_runs():
    (hooks,) = loaded(".pre-commit-config.yaml")["repos"]
    assert f"ruff=={hooks['rev'].removeprefix('v')}\n" in (ROOT / "requirements.txt").read_text("utf-8")
    assert [each["id"] for each in hooks["hooks"]] == ["ruff-check", "ruff-format"]


def test_ci_runs_what_a_newcomer_runs():
    (job,) = loaded(".github/workflows/ci.yml")["jobs"].values()
    assert ".ci/run" in [step.get("run") for step in job["steps"]]
    oldest = re.search(r"[\d.]+", PROJECT["requires-python"]).group()
    assert oldest in job["strategy"]["matrix"]["python"]
