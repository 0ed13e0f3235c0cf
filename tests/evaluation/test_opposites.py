"""The pairs of emotions that the evaluation mixes: they follow from the taxonomy."""

import json

import pytest

from config.section import ROOT
from config.taxonomy import DEFAULT, read_taxonomy
from evaluation.evaluate import main

TWO = 'joy: {side: positive, colour: "#e3a008"}\nfear: {side: negative, colour: "#5f3dc4"}\n'


def test_those_of_emoset_are_the_published_four_in_their_order():
    pairs = (("awe", "fear"), ("contentment", "anger"), ("amusement", "sadness"), ("excitement", "disgust"))
    assert read_taxonomy(DEFAULT).opposites == pairs
    assert "opposites" not in read_taxonomy(DEFAULT).emotions


def test_a_taxonomy_may_have_none(tmp_path):
    (tmp_path / "two.yaml").write_text(TWO)
    assert read_taxonomy(tmp_path / "two.yaml").opposites == ()


@pytest.mark.parametrize(
    ("opposites", "message"),
    [
        ("{joy: sadness}", "opposites: joy and sadness are not a positive and a negative emotion"),
        ("{fear: joy}", "opposites: fear and joy are not"),
        ("[joy, fear]", "opposites: expected"),
        ("{joy: [fear]}", "opposites"),
    ],
)
def test_a_pair_is_a_positive_and_a_negative_emotion_of_the_taxonomy(tmp_path, opposites, message):
    (tmp_path / "two.yaml").write_text(f"{TWO}opposites: {opposites}\n")
    with pytest.raises(ValueError, match=message):
        read_taxonomy(tmp_path / "two.yaml")


@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize("without", ["opposites", "contents"])
def test_an_evaluation_without_pairs_or_without_contents_has_no_such_row(quick, tmp_path, without):
    """Without contents, and without data.kinds, there is no word for CLIP to tell contents by either."""
    settings = quick(judge=None, models=[str(ROOT / "demo/models/vision_language")], baselines=False, blind=False)
    if without == "opposites":
        (tmp_path / "emoset.yaml").write_text(DEFAULT.read_text().partition("opposites:")[0])
        data, evaluate = {"taxonomy": read_taxonomy(tmp_path / "emoset.yaml")}, {}
    else:
        data, evaluate = {"kinds": []}, {"contents": []}
    settings = settings.model_copy(
        update={
            "data": settings.data.model_copy(update=data),
            "evaluate": settings.evaluate.model_copy(update=evaluate),
        }
    )
    main(settings)
    files = ("generation", "cross", "curves")
    generation, cross, curves = (json.loads((settings.run / f"evaluation/{name}.json").read_text()) for name in files)
    rows = {"ours", "prompt_only", "real"}
    rows |= {"attribute_prompt", "transfer"} if without == "opposites" else {"fusion"}
    assert generation["about"]["n"].keys() - {"photographs"} == cross["figures"].keys() == rows
    assert bool(curves["strength"]) == (without == "opposites")
    assert bool(curves["fusion"]) == (without == "contents")
    assert (settings.run / "report/index.html").is_file()
