"""Another data set asked about by its own names, in miniature, and soft labels by hand."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from config.errors import UserError
from config.loading import load
from config.section import ROOT
from config.taxonomy import read_taxonomy
from evaluation import evaluate
from evaluation.soft_labels import soft_statistics
from runtime import figures
from runtime.recipe import Recipe, settings_of

VLM = ROOT / "demo" / "models" / "vision_language"
EKMAN = read_taxonomy("config/taxonomies/ekman6.yaml")
OTHER = {"joy": "amusement", "surprise": "excitement", "fear": "fear", "neutral": "contentment"}  # drawn ones that stand in


@pytest.fixture
def measured(drawn, tmp_path, monkeypatch):
    """Return a function that evaluates the demo's model on a drawn Emotion6 of four classes, and gives the run folder."""
    monkeypatch.setattr(figures, "RESAMPLES", 100)
    for name, emotion in OTHER.items():
        (tmp_path / "six" / name).mkdir(parents=True)
        for path in sorted((drawn / "image" / emotion).iterdir())[:4]:
            shutil.copy(path, tmp_path / "six" / name)

    def measure(*changed: str):
        arguments = ["answers.reasoning=false", "answers.tokens=6", "understanding.dtype=float32", f"evaluate.models={VLM}"]
        places = [f"run={tmp_path}/run", f"data.emoset={drawn}", f"data.cache={tmp_path}/cache"]
        given = [f"evaluate.folder={tmp_path}/six", f"models.clip={ROOT}/demo/models/clip"]
        evaluate.main(load([*arguments, *places, *given, *changed]))
        return tmp_path / "run"

    return measure


def test_a_model_is_asked_by_the_names_of_the_data_set_and_measured_by_its_votes(measured, tmp_path):
    names = sorted(path.relative_to(tmp_path / "six").as_posix() for path in (tmp_path / "six").rglob("*.jpg"))
    rows = [{"image": name, "joy": 3, "fear": 1, "surprise": 0, "neutral": 1} for name in names if "neutral" not in name]
    pd.DataFrame(rows).to_csv(tmp_path / "votes.csv", index=False)
    run = measured(f"evaluate.class_map={ROOT}/config/class_maps/emotion6.yaml", f"evaluate.votes={tmp_path}/votes.csv")
    found = json.loads((run / "other_data" / "emotion6" / "figures.json").read_text())
    assert found["about"]["n"] == 12
    assert found["about"]["left_out"] == {"neutral": 12}
    seeing, blind = (row for name, row in found["figures"].items() if "CLIP" not in name)
    assert found["figures"].keys() >= {"CLIP, zero-shot"}
    assert "CLIP, linear probe" not in found["figures"], "the training split has other names"
    for row in (seeing, blind):
        assert row["soft_ceiling"]["value"] == pytest.approx(0.75)
        assert row["soft_expected_accuracy"]["value"] <= 0.75
        assert row["soft_cross_entropy"]["value"] >= row["soft_entropy"]["value"] == pytest.approx(0.5623, abs=1e-4)
    answers = pd.read_parquet(run / "other_data" / "emotion6" / "answers-blind.parquet")
    assert answers[[f"p_{name}" for name in EKMAN.emotions]].sum(axis=1).to_numpy() == pytest.approx(1)
    assert set(answers["said_emotion"].dropna()) <= set(EKMAN.emotions)
    assert not (run / "evaluation").exists(), "the run's own figures stay as they are"
    page = (run / "report" / "index.html").read_text()
    for shown in (
        "Answers about Emotion6",
        "These votes map to none of the names and are left out: neutral (12).",
        "Votes, expected",
    ):
        assert shown in page, shown


def test_what_maps_to_nothing_is_told_and_clip_s_probe_stands_beside_the_same_names(measured, tmp_path, capsys):
    (tmp_path / "map.yaml").write_text(
        "name: Own\ntaxonomy: config/taxonomies/emoset.yaml\nclasses: {joy: amusement, neutral: ''}"
    )
    run = measured(f"evaluate.class_map={tmp_path}/map.yaml", "evaluate.blind=false")
    found = json.loads((run / "other_data" / "own" / "figures.json").read_text())
    assert found["about"]["left_out"] == {"neutral": 4, "surprise": 4}
    assert found["about"]["n"] == 8
    assert "Own: images that map to nothing: neutral (4), surprise (4)" in capsys.readouterr().out
    assert found["figures"]["CLIP, linear probe"]["multiple_forced_accuracy"]["n"] == 8
    assert next(iter(found["about"]["incomplete"].values())) == "2 of 8 emotions"


@pytest.mark.parametrize(("key", "with_map"), [("folder", False), ("folder", True), ("votes", True)])
def test_figures_of_another_data_set_of_the_same_name_are_not_replaced(measured, tmp_path, key, with_map):
    """Without a class map the name is that of the folder, and `images` is a common one."""
    (tmp_path / "map.yaml").write_text("name: images\ntaxonomy: config/taxonomies/emoset.yaml\n")
    places = {"folder": tmp_path / "a/images", "votes": tmp_path / "a.csv", "class_map": tmp_path / "map.yaml"}
    shown = [f"evaluate.{name}={place}" for name, place in places.items() if with_map or name != "class_map"]
    folder = tmp_path / "run/other_data/images"
    folder.mkdir(parents=True)
    (folder / "figures.json").write_text("{}")
    earlier = load([*shown, f"evaluate.{key}={tmp_path}/other/images"]).evaluate
    Recipe("figures of images", settings_of("evaluate", earlier), {}).start(folder / "recipe.json")
    with pytest.raises(UserError, match=rf"^evaluate\.{key}: .*/other_data/images holds figures by .* run=") as error:
        measured(*shown)
    assert "\n" not in str(error.value)
    assert "class_map with another name" in str(error.value)
    assert (folder / "figures.json").read_text() == "{}"


def test_soft_figures_by_hand():
    """Two images: the model is sure of joy where 3 of 4 voters are, and leans to fear where votes are even."""
    shares = [[0, 0, 0, 0.75, 0.25, 0], [0, 0, 0.5, 0.5, 0, 0]]
    likely = [[0, 0, 0, 0.8, 0.2, 0], [0, 0, 0.6, 0.3, 0.1, 0]]
    images = pd.DataFrame(shares, columns=[f"share_{name}" for name in EKMAN.emotions]).assign(image_id=["a", "b"])
    answers = pd.DataFrame(likely, columns=[f"p_{name}" for name in EKMAN.emotions]).assign(image_id=["a", "b"])
    found = {
        name: each.of(np.arange(2)) for name, each in soft_statistics(answers.iloc[::-1], images, EKMAN.emotions).items()
    }
    assert found["soft_accuracy"] == 1, "of names with equally many votes each is right"
    assert found["soft_expected_accuracy"] == found["soft_ceiling"] == (0.75 + 0.5) / 2
    first = -(0.75 * np.log(0.8) + 0.25 * np.log(0.2))
    second = -(0.5 * np.log(0.6) + 0.5 * np.log(0.3))
    assert found["soft_cross_entropy"] == pytest.approx((first + second) / 2)
    assert found["soft_entropy"] == pytest.approx((0.5623351 + np.log(2)) / 2)


def test_a_class_map_without_a_folder_is_one_line():
    with pytest.raises(UserError, match=r"evaluate\.class_map: needs evaluate\.folder; set evaluate\.folder too"):
        load([f"evaluate.class_map={ROOT}/config/class_maps/fi.yaml"])
