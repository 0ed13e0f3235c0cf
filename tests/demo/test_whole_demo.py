"""The whole job in miniature, as `make demo` runs it: from the drawing of a data set to the report."""

import json
import subprocess
import sys

import pytest
import yaml

from config.settings import ROOT

GENERATION = {"emotion_accuracy", "fid", "lpips", "semantic_clarity", "semantic_diversity"}
UNDERSTANDING = {"multiple_accuracy", "multiple_balanced_accuracy", "multiple_forced_accuracy", "binary_balanced_accuracy"}
UNDERSTANDING |= {"yes_rate", "misleading_auroc", "misleading_ece", "format_rate"}


@pytest.mark.slow
def test_from_nothing_to_the_report_and_again(tmp_path):
    places = {"run": "run", "data.emoset": "EmoSet", "data.attribute_root": "attributes", "data.cache": "cache"}
    where = [f"{key}={tmp_path / name}" for key, name in places.items()]
    command = [sys.executable, str(ROOT / "demo/run.py"), "--config", "demo/miniature.yaml", *where]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "[6 of 6]" in done.stdout
    report = tmp_path / "run/report"
    assert "<html" in (report / "index.html").read_text()
    found = json.loads((report / "metrics.json").read_text())
    for row in ("ours", "prompt_only"):
        assert set(found["generation"][row]) >= GENERATION
    for row in ("before", "after", "blind"):
        assert set(found["understanding"][row]) >= UNDERSTANDING
    assert {*found["generation"]["ours"]["emotion_accuracy"]} == {"value", "low", "high", "n"}
    assert found["seed"] == 0
    assert set(found["seconds"]) > {"training", "understanding"}

    # Again: nothing is trained, and the figures are the same.
    again = subprocess.run(command, capture_output=True, text=True, timeout=900, cwd=tmp_path)
    assert again.returncode == 0, again.stderr[-3000:]
    for stage in ("mapper", "step_one", "step_two"):
        assert f"{stage}: trained before, and nothing has changed" in again.stdout
    second = json.loads((report / "metrics.json").read_text())
    assert {part: second[part] for part in ("generation", "understanding")} == {
        part: found[part] for part in ("generation", "understanding")
    }
    assert yaml.safe_load((tmp_path / "run/training/config.yaml").read_text())["mapper"]["max_train_steps"] == 6
