"""The figures of an evaluation stand in the model cards of what it measured."""

from pathlib import Path

import pytest

from config.taxonomy import DEFAULT, read_taxonomy
from evaluation.model_cards import write_cards

TAXONOMY = read_taxonomy(DEFAULT)
FIGURE = {"value": 0.875, "low": 0.8125, "high": 0.921, "n": 64}


@pytest.fixture
def run(tmp_path) -> Path:
    for folder in ("generator", "understanding/model"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "README.md").write_text("# A model\n\n## Limits\n- It knows little.\n")
    return tmp_path


def found(run: Path, value: float = 0.875) -> tuple[dict, dict]:
    about = {"split": "val", "seed": 3, "incomplete": {}}
    figures = {"emotion_accuracy": FIGURE | {"value": value}, "joint_accuracy": FIGURE}
    generated = {
        "about": about | {"content_judges": {"CLIP": 2}, "n": {"ours": 64}},
        "figures": {"ours": {"corrected": figures, "emogen": {}}, "real": {"corrected": {}, "emogen": {}}},
    }
    models = {"before": "Qwen/some-model", "after": str(run / "understanding" / "model")}
    answered = {"before": {}, "after": {"binary_auroc": FIGURE}}
    return generated, {"about": about | {"models": models, "n": 28}, "figures": answered}


def test_each_half_gets_its_figures_behind_what_the_card_said(run):
    write_cards(run, TAXONOMY, *found(run))
    for folder, label, n in (("generator", "Emo-A", "64 generated"), ("understanding/model", "AUROC", "28")):
        card = (run / folder / "README.md").read_text()
        assert card.startswith("# A model\n\n## Limits\n- It knows little.\n\n## Evaluation\n")
        assert "on the val split, seed 3" in card
        assert f"n = {n} images" in card
        assert label in card
        assert "0.875 (0.812 to 0.921)" in card


def test_a_second_evaluation_takes_the_place_of_the_first(run):
    write_cards(run, TAXONOMY, *found(run))
    write_cards(run, TAXONOMY, *found(run, 0.5))
    card = (run / "generator" / "README.md").read_text()
    assert card.count("## Evaluation") == 1
    assert "0.5 (0.812" in card


def test_a_model_that_lies_elsewhere_gets_no_figures(run):
    _, understood = found(run)
    understood["about"]["models"] = {"other": "runs/other/understanding/model"}
    write_cards(run, TAXONOMY, None, understood)
    assert "Evaluation" not in (run / "understanding/model" / "README.md").read_text()
    assert "Evaluation" not in (run / "generator" / "README.md").read_text()


def test_a_model_that_is_named_below_the_project_s_root_is_known_from_any_folder(run, monkeypatch):
    monkeypatch.setattr("evaluation.model_cards.ROOT", run.parent)
    _, understood = found(run)
    understood["about"]["models"]["after"] = f"{run.name}/understanding/model"
    write_cards(run, TAXONOMY, None, understood)
    assert "## Evaluation" in (run / "understanding/model/README.md").read_text()
