"""The pairs of emotions that the evaluation mixes: they follow from the taxonomy."""

import pytest

from config.taxonomy import DEFAULT, read_taxonomy

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
