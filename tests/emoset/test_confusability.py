import json

import numpy as np
import pytest

from config.errors import UserError
from config.taxonomy import DEFAULT, read_taxonomy
from emoset.confusability import confusability, read_confusability, write_confusability

EMOTIONS = read_taxonomy(DEFAULT).emotions

EVEN = (1 - np.eye(8)) / 7


def write(path, **changes):
    path.write_text(json.dumps({"emotions": EMOTIONS, "rows": "true emotion", "values": EVEN.tolist()} | changes))


def test_a_classifiers_mistakes_make_the_matrix(tmp_path):
    labels = np.arange(8).repeat(2)
    probabilities = np.full((16, 8), 0.02)
    probabilities[labels == EMOTIONS.index("awe"), EMOTIONS.index("fear")] = 0.5
    probabilities[np.arange(16), labels] = 0.9  # being right says nothing about what an emotion is taken for
    matrix = confusability(probabilities, labels, EMOTIONS)
    write_confusability(tmp_path / "confusability.json", matrix, EMOTIONS, "emotion_space")
    read = read_confusability(tmp_path / "confusability.json", EMOTIONS)
    awe, fear = EMOTIONS.index("awe"), EMOTIONS.index("fear")
    assert read[awe, fear] == pytest.approx(0.5 / 0.62, abs=1e-5)
    assert read[fear, awe] == pytest.approx(1 / 7, abs=1e-5)
    assert np.allclose(read.sum(1), 1)
    assert not read.diagonal().any()
    assert json.loads((tmp_path / "confusability.json").read_text())["source"] == "emotion_space"


def test_an_emotion_that_is_never_mistaken_has_an_even_row():
    probabilities = np.full((8, 8), 1 / 8)
    probabilities[0] = np.eye(8)[0]
    assert np.allclose(confusability(probabilities, np.arange(8), EMOTIONS), EVEN)


def test_an_emotion_without_images_is_named():
    with pytest.raises(UserError, match="no image of awe, sadness"):
        confusability(np.full((6, 8), 1 / 8), np.array([0, 2, 3, 4, 5, 6]), EMOTIONS)


def test_another_order_of_emotions_is_brought_into_ours(tmp_path):
    order = [7, 2, 0, 1, 3, 6, 5, 4]
    values = np.arange(64, dtype=float).reshape(8, 8)
    np.fill_diagonal(values, 0)
    write(tmp_path / "ours.json", values=values.tolist())
    shuffled = values[np.ix_(order, order)].tolist()
    write(tmp_path / "other.json", emotions=[EMOTIONS[place] for place in order], values=shuffled)
    assert np.array_equal(
        read_confusability(tmp_path / "other.json", EMOTIONS), read_confusability(tmp_path / "ours.json", EMOTIONS)
    )


def test_rows_written_by_hand_need_not_sum_to_one(tmp_path):
    write(tmp_path / "hand.json", values=(EVEN * 7 * 3).tolist())
    assert np.allclose(read_confusability(tmp_path / "hand.json", EMOTIONS), EVEN)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": EVEN[:7].tolist()}, r"shape \(7, 8\), expected \(8, 8\)"),
        ({"values": (-EVEN).tolist()}, "negative"),
        ({"values": np.where(EVEN > 0, np.nan, 0).tolist()}, "no number"),
        ({"values": (EVEN + np.eye(8)).tolist()}, "diagonal"),
        ({"values": [[0] * 8] * 8}, "a row is all zeros"),
        ({"values": [["a"] * 8] * 8}, "8 x 8 numbers"),
        ({"emotions": ["joy", *EMOTIONS[1:]]}, "expected JSON with emotions"),
        ({"emotions": [*EMOTIONS, "joy"]}, "there are 9 emotions"),
        ({"rows": "predicted emotion"}, "rows are 'predicted emotion'"),
    ],
)
def test_a_wrong_file_gets_one_line(tmp_path, changes, message):
    write(tmp_path / "wrong.json", **changes)
    with pytest.raises(UserError, match=message) as error:
        read_confusability(tmp_path / "wrong.json", EMOTIONS)
    assert "wrong.json" in str(error.value)
    assert "\n" not in str(error.value)


def test_no_file_and_no_json_get_one_line(tmp_path):
    with pytest.raises(UserError, match=r"gone.json: cannot be read"):
        read_confusability(tmp_path / "gone.json", EMOTIONS)
    (tmp_path / "broken.json").write_text("[1, 2")
    with pytest.raises(UserError, match=r"broken.json: not valid JSON: Expecting ','"):
        read_confusability(tmp_path / "broken.json", EMOTIONS)


def test_any_number_of_emotions(tmp_path):
    three = ("joy", "fear", "anger")
    matrix = confusability(np.array([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.0, 0.5, 0.5]]), np.arange(3), three)
    write_confusability(tmp_path / "three.json", matrix, three, "mining")
    assert np.allclose(read_confusability(tmp_path / "three.json", three), [[0, 0.5, 0.5], [0.75, 0, 0.25], [0, 1, 0]])
    with pytest.raises(UserError, match=r"expected JSON with emotions \(amusement, .*\) and values, 8 x 8 numbers"):
        read_confusability(tmp_path / "three.json", EMOTIONS)
