"""Which images are hard, and which of them Step II takes."""

import os

import numpy as np
import pandas as pd
import pytest
import torch

from config.errors import UserError
from config.taxonomy import DEFAULT, read_taxonomy
from config.understanding_settings import Answers, Mining
from emoset.confusability import read_confusability
from emoset.reading import read_emoset
from emoset.selection import equal_emotions, read_folder
from understanding import mining
from understanding.asking import Asker, load_asker
from understanding.hard_images import check_hard, hard_images, has_hard, is_hard
from understanding.questions import multiple_choice

TAXONOMY = read_taxonomy(DEFAULT)
EMOTIONS = TAXONOMY.emotions


def errors(each: int, **counts: int) -> pd.DataFrame:
    """Return `each` images of every emotion, or as many as `counts` says, whose errors are spread evenly from 0 to 1."""
    rows = [
        (f"{emotion}_{number}", emotion, number / counts.get(emotion, each))
        for emotion in EMOTIONS
        for number in range(counts.get(emotion, each))
    ]
    return pd.DataFrame(rows, columns=["image_id", "emotion", "error"]).sample(frac=1, random_state=0)


def test_step_two_takes_the_hard_of_each_emotion_but_the_doubtful_and_a_share_of_easier_ones():
    table = errors(50, awe=20)
    table.loc[table["emotion"] == "fear", "error"] /= 10  # hard is what is hard for its emotion
    chosen = hard_images(table, TAXONOMY, Mining(lowest=0.6, highest=0.9, easy_share=0.2), seed=0).merge(table)
    ranks = table.set_index("image_id").groupby("emotion")["error"].rank(pct=True)[chosen["image_id"]].to_numpy()
    hard = (ranks > 0.6) & (ranks <= 0.9)
    assert chosen[hard]["emotion"].value_counts().to_dict() == dict.fromkeys(EMOTIONS, 15) | {"awe": 6}
    assert (~hard).sum() == round(111 / 4), "a fifth of all"
    assert (ranks[~hard] <= 0.6).all(), "easier ones, and none that is doubtful"
    assert chosen["image_id"].is_unique


@pytest.mark.parametrize(("lowest", "highest", "count"), [(0.0, 1.0, 10), (0.5, 1.0, 5), (0.9, 1.0, 1), (0.0, 0.1, 1)])
def test_equal_errors_are_taken_apart(lowest, highest, count):
    table = errors(10).assign(error=0.5)
    chosen = hard_images(table, TAXONOMY, Mining(lowest=lowest, highest=highest, easy_share=0.0), seed=0)
    assert chosen["emotion"].value_counts().to_dict() == dict.fromkeys(EMOTIONS, count)


def test_an_emotion_without_hard_images_is_named():
    with pytest.raises(UserError, match=r"mining: no image of fear ranks from 0\.6 to 0\.9 by its error; lower mining"):
        hard_images(errors(10, fear=1), TAXONOMY, Mining(), seed=0)


@pytest.mark.parametrize("bounds", [(0.6, 0.9), (0.0, 1.0), (0.95, 1.0), (0.6, 0.65)])
def test_it_is_known_before_mining_of_how_many_images_any_is_hard(bounds):
    """As ranks has it of errors that are all different, and of none."""
    some = Mining(lowest=bounds[0], highest=bounds[1], easy_share=0.0)
    assert not has_hard(0, some)
    for count in range(1, 25):
        assert has_hard(count, some) == is_hard(errors(count), some).any(), count


def test_too_few_images_to_mine_are_told_before_any_training(quick, fine_tune):
    check_hard(errors(10), Mining())
    with pytest.raises(UserError, match=r"mining: too few images of fear \(1\) for any to rank from 0\.6 to 0\.9 by"):
        check_hard(errors(10, fear=1), Mining())
    settings = quick(mining={"images": None, "lowest": 0.98, "highest": 0.981})
    with pytest.raises(UserError, match=r"mining: too few images of .* to rank from 0\.98 to 0\.981 by its error; lower"):
        fine_tune(settings)
    assert not (settings.run / "understanding" / "step_one").exists()


@pytest.mark.parametrize(("asked", "each", "enough"), [(8, 1, 32), (23, 2, 32)])
def test_a_number_of_images_that_can_leave_none_hard_is_refused(asked, each, enough):
    some = Mining(images=asked, lowest=0.7, highest=0.95)
    with pytest.raises(UserError, match=rf"mining\.images: {asked} are {each} of each .* raise it to {enough}, or set null"):
        mining.check_count(some, TAXONOMY)
    mining.check_count(some.model_copy(update={"images": enough}), TAXONOMY)
    mining.check_count(some.model_copy(update={"images": None}), TAXONOMY)


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


def certain(monkeypatch, said) -> None:
    """Let a model find the emotions as likely as `said` has it, given a question: {emotion: probability}."""

    def likelihoods(self, questions, images, completions):
        assert all("Give nothing but the answer." in question.prompt for question in questions), (
            "also where training reasons"
        )
        return torch.tensor([[said(question).get(emotion, 0.0) for emotion in EMOTIONS] for question in questions])

    monkeypatch.setattr(Asker, "likelihoods", likelihoods)


def after(emotion: str) -> str:
    return EMOTIONS[(EMOTIONS.index(emotion) + 1) % 8]


def test_the_command_tells_errors_and_what_was_likely_instead(quick, monkeypatch):
    """A model that takes every emotion for the next one, with a probability of a quarter."""
    settings = quick(mining={"images": 32}, answers={"reasoning": True})
    certain(monkeypatch, lambda question: {question.emotion: 0.75, after(question.emotion): 0.25})
    mining.main(settings)
    folder = settings.run / "mining"
    errors = pd.read_parquet(folder / "errors.parquet")
    assert errors["emotion"].value_counts().to_dict() == dict.fromkeys(EMOTIONS, 4)
    assert set(errors["error"]) == {0.25}
    shares = errors[list(EMOTIONS)].to_numpy()
    assert np.sort(shares, 1)[:, -2:].tolist() == [[0.25, 0.75]] * 32
    assert np.allclose(read_confusability(folder / "confusability.json", EMOTIONS), np.roll(np.eye(8), 1, axis=1))
    assert (folder / "errors.png").stat().st_size > 1000


def test_an_error_is_one_minus_the_forced_choice_of_the_model(quick, tmp_path):
    settings = quick(mining={"images": 16, "batch_size": 3})
    mining.main(settings)
    errors = pd.read_parquet(settings.run / "mining/errors.parquet")
    index = read_emoset(settings.data, tmp_path, 2).index
    images = equal_emotions(index[index["split"] == "train"], 16, settings.seed)
    questions = multiple_choice(images, TAXONOMY, settings.answers, settings.seed)
    asker = load_asker(
        settings.understanding, settings.answers, TAXONOMY, settings.understanding.model, "understanding.model"
    )
    shown = [settings.data.emoset / image for image in images["image"]]
    expected = asker.likelihoods(questions, shown, [""] * len(questions))
    np.testing.assert_allclose(errors[list(EMOTIONS)].to_numpy(), expected.numpy(), atol=1e-5)
    true = expected[range(16), [EMOTIONS.index(emotion) for emotion in images["emotion"]]]
    np.testing.assert_allclose(errors["error"], 1 - true.numpy(), atol=1e-5)
    assert errors["error"].nunique() == 16


def test_what_was_mined_is_taken_up_without_the_model_until_something_changes(quick, monkeypatch):
    loaded, load = [], mining.load_asker
    monkeypatch.setattr(mining, "load_asker", lambda *given: loaded.append(given) or load(*given))
    certain(monkeypatch, lambda question: {"awe": 0.5, "fear": 0.5})
    mining.main(quick(mining={"images": 32}))
    errors = pd.read_parquet(quick().run / "mining" / "errors.parquet")
    mining.main(quick(mining={"images": 32, "lowest": 0.5}, grpo={"learning_rate": 0.5}, answers={"tokens": 3}))
    assert len(loaded) == 1, "none of them changes an error"
    pd.testing.assert_frame_equal(pd.read_parquet(quick().run / "mining" / "errors.parquet"), errors)
    for number, dtype in enumerate(("bfloat16", "float32")):
        mining.main(quick(mining={"images": 40}, understanding={"dtype": dtype}))
        assert len(loaded) == 2 + number


def test_a_confusability_that_no_longer_holds_is_removed(quick, monkeypatch, capsys):
    """Of an emotion that is never mistaken, nobody knows what it is taken for."""
    file = quick().run / "mining" / "confusability.json"
    for images, sure in ((32, ()), (40, ("awe", "fear"))):
        certain(
            monkeypatch,
            lambda question, sure=sure: {question.emotion if question.emotion in sure else after(question.emotion): 1.0},
        )
        mining.main(quick(mining={"images": images}))
        assert file.exists() == (not sure)
    assert "never taken for another emotion: awe, fear; so there is no confusability.json" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changed", "stage"),
    [({"mining": {"reference": "step_one"}}, "step_one"), ({"warmup": {"steps": 2}}, "warm_up")],
)
def test_a_reference_that_training_makes_must_be_there(quick, changed, stage):
    with pytest.raises(UserError, match=rf"run/understanding/{stage}/model is not there; understanding\.py makes it"):
        mining.main(quick(**changed))


def test_probabilities_that_are_no_numbers_end_mining_in_one_line():
    images = pd.DataFrame({"image_id": ["a", "b", "c"], "emotion": ["awe", "fear", "awe"]})
    questions = multiple_choice(images, TAXONOMY, Answers(reasoning=False), seed=0)
    even = [1 / len(EMOTIONS)] * len(EMOTIONS)
    found = mining.errors_of(questions, [even, None, even], TAXONOMY)
    assert found["error"].tolist() == pytest.approx([7 / 8, 7 / 8])
    with pytest.raises(UserError, match=r"\(NaN\) for 1 of 2 images; with understanding\.dtype=float16 choose"):
        mining.errors_of(questions, [even, None, [float("nan")] * len(EMOTIONS)], TAXONOMY)
