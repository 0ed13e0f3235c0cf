"""A run folder with both halves, as the page reads it: models of the demo, of which nothing was trained."""

import json
from pathlib import Path

from tiny_generator import write_random_generator

from config.loading import dump, load
from config.section import ROOT

STAGES = ("training", "images", "understanding", "evaluation")


def write_run(run: Path, emoset: Path) -> Path:
    """Write a run folder on a drawn EmoSet; return it."""
    places = [f"run={run}", f"data.emoset={emoset}", f"data.cache={run}/cache"]
    settings = load(["--config", str(ROOT / "config/demo.yaml"), *places, "models.resolution=32", "generate.steps=2"])
    for stage in STAGES:
        (run / stage).mkdir(parents=True)
        (run / stage / "config.yaml").write_text(dump(settings), encoding="utf-8")
    write_random_generator(run / "generator", settings.data.taxonomy.emotions)
    (run / "understanding" / "model").symlink_to(ROOT / "demo/models/vision_language")
    figures = {
        row: {"multiple_balanced_accuracy": {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 64}}
        for row, value in (("before", 0.4), ("after", 0.7))
    }
    paired = {"after - before": {"multiple_balanced_accuracy": {"value": 0.3, "low": 0.2, "high": 0.4, "n": 64}}}
    about = {"n": 64, "split": "val", "seed": 0, "seconds": 1.0, "models": {"before": "base", "after": "model"}}
    found = {"about": about, "figures": figures, "paired": paired}
    (run / "evaluation" / "understanding.json").write_text(json.dumps(found))
    (run / "report").mkdir()
    (run / "report" / "index.html").write_text("<!doctype html><title>Report</title><h1>The report</h1>")
    return run
