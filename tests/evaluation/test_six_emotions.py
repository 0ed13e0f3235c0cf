"""Both halves and each by the other with Ekman's six emotions, and with the fourth kind of question, in miniature."""

import html
import json
import os
import re

import pandas as pd
import pytest

from config.loading import load
from config.section import ROOT
from config.taxonomy import read_taxonomy
from evaluation.evaluate import main
from runtime import figures

EKMAN = "config/taxonomies/ekman6.yaml"
EMOTIONS = read_taxonomy(EKMAN).emotions
DRAWN_AS = {"joy": "amusement", "surprise": "excitement"}  # emotions of the drawn EmoSet that stand in for others


@pytest.fixture
def six(drawn, tmp_path):
    """The folder of a data set of Ekman's emotions in EmoSet's layout, without annotations: no image has an attribute."""
    root = tmp_path / "six"
    for split in ("train", "val", "test"):
        entries = []
        listed = json.loads((drawn / f"{split}.json").read_text())
        for emotion in EMOTIONS:
            own = [entry for entry in listed if entry[0] == DRAWN_AS.get(emotion, emotion)]
            (root / "image" / emotion).mkdir(parents=True, exist_ok=True)
            for _, image_id, image, _ in own:
                os.link(drawn / image, root / "image" / emotion / f"{image_id}.jpg")
                entries.append([emotion, image_id, f"image/{emotion}/{image_id}.jpg", ""])
        (root / f"{split}.json").write_text(json.dumps(entries))
    labels = {"label2idx": {emotion: number for number, emotion in enumerate(EMOTIONS)}}
    (root / "info.json").write_text(json.dumps({"emotion": labels}))
    return root


def test_six_emotions_and_four_kinds_of_question(quick, six, write_generator, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "RESAMPLES", 100)
    vlm = ROOT / "demo" / "models" / "vision_language"
    quick(images=48, folder=str(six / "image"), models=[str(vlm)], judge=None)
    settings = load([
        *("--config", f"{tmp_path}/run.yaml", f"data.taxonomy={ROOT / EKMAN}", f"data.emoset={six}"),
        *(f"generate.generator={write_generator(tmp_path / 'generator', EMOTIONS)}", "questions.valence=1"),
    ])  # fmt: skip
    main(settings)
    evaluated = settings.run / "evaluation"
    generation, understanding, cross, curves = (
        json.loads((evaluated / f"{part}.json").read_text()) for part in ("generation", "understanding", "cross", "curves")
    )

    # Generation: no row of attributes, for there are none; one pair of opposites; tables of six.
    assert generation["figures"].keys() == {"ours", "prompt_only", "real", "transfer"}
    assert "attribute_prompt: left out" in (evaluated / "log.txt").read_text()
    assert generation["figures"]["ours"]["by_emotion"].keys() == set(EMOTIONS)
    assert generation["about"]["n"] == {
        "ours": 24, "transfer": 30, "fusion": 20, "photographs": 24, "prompt_only": 24, "real": 24
    }  # fmt: skip
    assert curves["fusion"].keys() == {"joy-sadness"}
    matrix = pd.read_csv(evaluated / "confusion-generation-ours.csv", index_col=0)
    assert tuple(matrix.index) == tuple(matrix.columns) == EMOTIONS

    # Understanding: figures of valence, by emotion too; blind ones at chance; a matrix of its answers.
    seeing, blind = (row for name, row in understanding["figures"].items() if "CLIP" not in name)
    assert {f"{kind}_{emotion}" for kind in ("multiple", "valence") for emotion in EMOTIONS} <= seeing.keys()
    assert blind["binary_balanced_accuracy"]["value"] == 0.5
    assert blind["valence_balanced_accuracy"]["value"] <= 0.5, "this model may answer with neither word"
    assert seeing["valence_balanced_accuracy"]["n"] == 32, "an equal number of every case"
    matrix = pd.read_csv(next(evaluated.glob("confusion-valence-demo*.csv")), index_col=0)
    assert list(matrix.columns) == ["negative", "positive", "none"]
    assert matrix.to_numpy().sum() == 32
    assert cross["figures"]["fusion"]["joy-sadness"]["0.5"].keys() == {"joy", "sadness", "judge"}

    # The page: the fourth kind in the verdict, in dots with their chance, by emotion and in a matrix; six everywhere.
    page = (settings.run / "report" / "index.html").read_text()
    for shown in (
        "<dt>Valence, balanced</dt>",
        " Valence, balanced: ",
        ">Valence: right answers about each emotion</caption>",
        ": valence questions</caption>",
    ):
        assert shown in page, shown
    assert "The 6 emotions (anger, disgust, fear, joy, sadness, surprise)" in page
    own = re.sub(r'src="[^"]*"|<dd tabindex="0">.*?</dd>', "", page, flags=re.S)  # what the model says is its own affair
    assert not re.search(r"\b(eight|awe|contentment)\b", html.unescape(own), re.I)
    assert "Valence" in (settings.run / "report" / "table.md").read_text()
