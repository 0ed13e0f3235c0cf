import os

"""Which images are hard, and which of them Step II takes."""

import numpy as np
import pandas as pd
import pytest

from config.errors import UserError
from config.taxonomy import DEFAULT, read_taxonomy
from config.understanding_settings import Mining
from emoset.confusability import read_confusability
from emoset.selection import equal_emotions, read_folder
from understanding import mining
from understanding.asking import Asker
from understanding.mining import hard_images

TAXONOMY = read_taxonomy(DEFAULT)
EMOTIONS = TAXONOMY.emotions


def errors(each: int, rates: dict[str, list[float]] | None = None) -> pd.DataFrame:
    """Return `each` images of every emotion; their error rates go round 0, 0.25, ... 1, or through `rates`."""
    rates = {emotion: [0, 0.25, 0.5, 0.75, 1] for emotion in EMOTIONS} | (rates or {})
    rows = [
        (f"{emotion}_{n}", emotion, rates[emotion][n % len(rates[emotion])]) for emotion in EMOTIONS for n in range(each)
    ]
    return pd.DataFrame(rows, columns=["image_id", "emotion", "error"])


def test_step_two_takes_as_many_hard_images_of_each_emotion_and_a_share_of_others():
    table = errors(50, {"awe": [0.0, 0.0, 0.0, 0.0, 0.75]})
    chosen = hard_images(table, TAXONOMY, Mining(lowest=0.5, highest=0.75, easy_share=0.2), seed=0).merge(table)
    is_hard = chosen["error"].between(0.5, 0.75)
    assert chosen[is_hard]["emotion"].value_counts().to_dict() == dict.fromkeys(EMOTIONS, 10)  # awe has no more
    assert (~is_hard).sum() == 20  # a fifth of all
    assert (chosen[~is_hard]["error"] < 0.5).all(), "easier ones, and none that is always answered wrong"
    assert chosen["image_id"].is_unique


def test_the_bounds_are_part_of_the_range():
    chosen = hard_images(errors(5), TAXONOMY, Mining(lowest=0.5, highest=1.0, easy_share=0.0), seed=0)
    assert len(chosen) == 3 * 8
    other = hard_images(errors(50), TAXONOMY, Mining(lowest=0.5, highest=0.5, easy_share=0.0), seed=0)
    assert len(other) == 10 * 8


def test_an_emotion_without_hard_images_is_named():
    with pytest.raises(UserError, match=r"mining: no image of fear has an error rate from 0\.5 to 1;"):
        hard_images(errors(10, {"fear": [0.0]}), TAXONOMY, Mining(), seed=0)


def test_equal_emotions_gives_what_there_is():
    table = errors(10)
    table = table[(table["emotion"] != "awe") | (table.index % 5 == 0)]  # two of awe
    chosen = equal_emotions(table, 44, seed=0)
    counts = chosen["emotion"].value_counts()
    assert counts["awe"] == 2
    assert set(counts.drop("awe")) == {6}
    assert chosen.index.is_monotonic_increasing
    assert equal_emotions(table, None, seed=0) is table
    assert not np.array_equal(chosen.index, equal_emotions(table, 44, seed=1).index)


def test_a_folder_of_another_data_set(drawn, tmp_path, caplog):
    for emotion in ("awe", "Fear"):
        (tmp_path / emotion / "deeper").mkdir(parents=True)
    image = next((drawn / "image" / "awe").iterdir()).read_bytes()
    (tmp_path / "awe" / "a.jpg").write_bytes(image)
    (tmp_path / "Fear" / "deeper" / "b.JPG").write_bytes(image)
    (tmp_path / "awe" / "broken.jpg").write_bytes(image[:100])
    (tmp_path / "awe" / "notes.txt").write_text("no image")
    (tmp_path / "joy").mkdir()
    (tmp_path / "joy" / "c.jpg").write_bytes(image)
    (tmp_path / "awe" / "Thumbs.db").write_bytes(image)
    (tmp_path / "awe" / "photo").write_bytes(image)
    os.mkfifo(tmp_path / "awe" / "pipe.jpg")
    found = read_folder(tmp_path, EMOTIONS)
    assert found[["image_id", "emotion"]].to_numpy().tolist() == [
        ["Fear/deeper/b.JPG", "fear"],
        ["awe/a.jpg", "awe"],
        ["awe/photo", "awe"],
    ]
    with pytest.raises(UserError, match="has no images in subfolders named amusement"):
        read_folder(tmp_path / "joy", EMOTIONS)
    with pytest.raises(UserError, match="no folder"):
        read_folder(tmp_path / "nowhere", EMOTIONS)


def test_the_command_counts_wrong_answers_and_what_was_named_instead(quick, monkeypatch):
    """A model that takes every emotion for the next one, in one of two answers, and once names nothing."""

    def said(self, questions, images, count, temperature):
        assert temperature > 0, "greedy answers would all be the same"
        wrong = ["?", *(EMOTIONS[(EMOTIONS.index(question.emotion) + 1) % 8] for question in questions[1:])]
        return [[named, question.emotion] for named, question in zip(wrong, questions, strict=True)]

    settings = quick(mining={"images": 32, "answers": 2})
    monkeypatch.setattr(Asker, "answers", said)
    mining.main(settings)
    folder = settings.run / "mining"
    errors = pd.read_parquet(folder / "errors.parquet")
    assert errors["emotion"].value_counts().to_dict() == dict.fromkeys(EMOTIONS, 4)
    assert set(errors["error"]) == {0.5}
    shares = errors[list(EMOTIONS)].to_numpy()
    assert (np.sort(shares, 1)[:, :-2] == 0).all()
    assert np.allclose(read_confusability(folder / "confusability.json", EMOTIONS), np.roll(np.eye(8), 1, axis=1))
    assert (folder / "errors.png").stat().st_size > 1000


def test_what_was_mined_is_taken_up_without_the_model_until_something_changes(quick, monkeypatch):
    loaded, load = [], mining.load_asker
    monkeypatch.setattr(mining, "load_asker", lambda *given: loaded.append(given) or load(*given))
    monkeypatch.setattr(Asker, "answers", lambda self, questions, *_: [["awe", "fear"]] * len(questions))
    mining.main(quick(mining={"images": 32}))
    errors = pd.read_parquet(quick().run / "mining" / "errors.parquet")
    mining.main(quick(mining={"images": 32, "lowest": 0.5}, grpo={"learning_rate": 0.5}))
    assert len(loaded) == 1, "neither changes an answer"
    pd.testing.assert_frame_equal(pd.read_parquet(quick().run / "mining" / "errors.parquet"), errors)
    for number, dtype in enumerate(("bfloat16", "float32")):
        mining.main(quick(mining={"images": 40}, understanding={"dtype": dtype}))
        assert len(loaded) == 2 + number


def test_a_confusability_that_no_longer_holds_is_removed(quick, monkeypatch, capsys):
    """Of an emotion that is never mistaken, nobody knows what it is taken for."""
    file = quick().run / "mining" / "confusability.json"
    wrong = {emotion: EMOTIONS[number - 1] for number, emotion in enumerate(EMOTIONS)}
    for mistaken in (wrong, wrong | {"awe": "awe", "fear": "?"}):
        monkeypatch.setattr(
            Asker, "answers", lambda self, questions, *_, said=mistaken: [[said[each.emotion]] * 2 for each in questions]
        )
        mining.main(quick(mining={"images": 32}, answers={"tokens": 6 + (mistaken is not wrong)}))
        assert file.exists() == (mistaken is wrong)
    assert "never taken for another emotion: awe, fear; so there is no confusability.json" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changed", "stage"),
    [({"mining": {"reference": "step_one"}}, "step_one"), ({"warmup": {"steps": 2}}, "warm_up")],
)
def test_a_reference_that_training_makes_must_be_there(quick, changed, stage):
    with pytest.raises(UserError, match=rf"run/understanding/{stage}/model is not there; understanding\.py makes it"):
        mining.main(quick(**changed))
