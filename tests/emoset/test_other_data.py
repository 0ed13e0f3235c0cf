"""Data sets that are not EmoSet, and runs that take up what another run left, through training/dataset_balance.py."""

import json
import shutil

import pandas as pd
import pytest
from PIL import Image

from config.section import ROOT
from config.taxonomy import DEFAULT, read_taxonomy
from emoset.model_card import about_data

EMOTIONS = read_taxonomy(DEFAULT).emotions


def balanced(folder):
    return pd.read_parquet(folder / "run/balance/balanced.parquet")


@pytest.mark.parametrize("without", ["annotation", "attributes", "data.kinds="])
def test_data_without_attributes_get_a_set_with_equal_emotions(emoset_copy, balance, tmp_path, without):
    """The folder annotation/ may be missing, hold no attributes, or be left alone by an empty data.kinds."""
    arguments = []
    if without == "annotation":
        shutil.rmtree(emoset_copy / "annotation")
    elif without == "attributes":
        for path in emoset_copy.glob("annotation/*/*.json"):
            path.write_text(json.dumps({"emotion": path.parent.name}))
    else:
        arguments = [without]
    shown = balance(emoset_copy, *arguments).stdout
    assert "400 usable, 0 problems" in shown
    assert "attribute folders: none, for no image has an attribute of data.kinds; emotions alone are balanced" in shown
    rows = balanced(tmp_path)
    assert list(rows.columns) == ["image_id", "emotion", "kind", "attribute"]
    assert (rows[["kind", "attribute"]] == "").all(axis=None)
    assert set(rows["emotion"]) == set(EMOTIONS)
    assert rows.groupby("emotion").size().nunique() == 1
    assert not (tmp_path / "attributes").exists()
    with Image.open(tmp_path / "run/balance/balance.png") as picture:
        assert picture.width > 1000
    assert "nothing has changed" in balance(emoset_copy, *arguments).stdout


def test_the_taxonomy_must_be_that_of_the_data(emoset_copy, balance):
    result = balance(emoset_copy, f"data.taxonomy={ROOT}/config/taxonomies/ekman6.yaml", check=False)
    assert result.returncode == 1
    assert "its emotions are amusement, awe," in result.stderr
    assert "and data.taxonomy lists anger, disgust, fear, joy, sadness, surprise; name the taxonomy" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_rerun_says_which_setting_has_changed(drawn, balance):
    balance(drawn)
    shown = balance(drawn, "balance.temperature=0.3").stdout
    assert "balanced set: balance.temperature 0.5 → 0.3; the data are the same" in shown


def test_a_rerun_says_that_the_data_have_changed(emoset_copy, balance):
    balance(emoset_copy)
    rows = json.loads((emoset_copy / "train.json").read_text())
    (emoset_copy / "train.json").write_text(json.dumps(rows[1:]))
    assert "balanced set: changed: data set" in balance(emoset_copy).stdout


def test_what_an_earlier_version_built_is_refused_and_left_alone(drawn, balance, tmp_path):
    (tmp_path / "attributes").mkdir()
    (tmp_path / "attributes/.built.json").write_text('{"what": "attribute root"}')
    result = balance(drawn, check=False)
    assert result.returncode == 1
    assert "attributes was built by an earlier version of this project; remove it, or name another folder" in result.stderr
    assert result.stderr.count("\n") == 1
    assert [path.name for path in (tmp_path / "attributes").iterdir()] == [".built.json"]


def test_a_drawn_set_of_the_old_format_is_refused(script, tmp_path):
    place = tmp_path / "EmoSet"
    place.mkdir()
    (place / ".built.json").write_text('{"what": "drawn EmoSet"}')
    result = script("demo/draw.py", f"data.emoset={place}", f"run={tmp_path}/run", "drawn.images=80", check=False)
    assert "was built by an earlier version of this project" in result.stderr
    assert [path.name for path in place.iterdir()] == [".built.json"]


def test_a_model_card_names_emoset_for_its_own_emotions_alone(tmp_path):
    emoset = about_data(tmp_path / "EmoSet", read_taxonomy(DEFAULT))
    assert (emoset["data"], "emoset-terms" in emoset["licence"]) == ("EmoSet", True)
    other = about_data(tmp_path / "mine", read_taxonomy("config/taxonomies/ekman6.yaml"))
    assert (other["data"], other["licence"]) == ("the images of mine", "")
    assert "surprise" in other["limits"]
    assert "EmoSet" not in other["limits"]


def test_a_balanced_set_of_an_earlier_version_is_left_alone(drawn, balance, tmp_path):
    balance(drawn)
    (tmp_path / "run/balance/recipe.json").unlink()  # which earlier versions did not write
    before = (tmp_path / "run/balance/balanced.parquet").read_bytes()
    refused = balance(drawn, check=False)
    assert refused.returncode == 1
    assert "an earlier version of this project drew it" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert (tmp_path / "run/balance/balanced.parquet").read_bytes() == before
