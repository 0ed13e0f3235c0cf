import doctest
import random
from collections import Counter

import pandas as pd
import pytest

from config.errors import UserError
from config.loading import load
from config.taxonomy import DEFAULT, read_taxonomy
from emoset import balance
from emoset.balance import (
    balance_recipe,
    balanced_set,
    emogen_pool,
    flattened_counts,
    rarest_attribute,
    tempered,
    write_balanced_set,
)
from emoset.balance_report import attribute_shares, balance_table

EMOTIONS = read_taxonomy(DEFAULT).emotions


def drawn_from(index, *arguments):
    """Return the balanced set that a command line draws from an index."""
    settings = load(list(arguments))
    return balanced_set(index, settings.data, settings.balance, settings.seed)


def index(*rows):
    """Return an index of (emotion, scene, objects) or (emotion, scene, objects, split)."""
    rows = [(*row, "train") if len(row) == 3 else row for row in rows]
    frame = pd.DataFrame(rows, columns=["emotion", "scene", "object", "split"])
    frame["image_id"] = [f"{emotion}_{number:05d}" for number, emotion in enumerate(frame["emotion"])]
    return frame.assign(facial_expression=None, human_action=None)


# Every emotion has 4 dogs, 1 kite and 2 parks; awe has 6 dogs more.
SMALL = index(
    *[(emotion, None, ["dog"]) for emotion in EMOTIONS for _ in range(4)],
    *[(emotion, None, ["kite", "dog"]) for emotion in EMOTIONS],
    *[(emotion, "park", None) for emotion in EMOTIONS for _ in range(2)],
    *[("awe", None, ["dog"]) for _ in range(6)],
)


def test_the_example_in_the_docstring():
    assert doctest.testmod(balance).attempted == 1
    assert doctest.testmod(balance).failed == 0


@pytest.mark.parametrize(
    ("images", "total", "temperature", "max_repeats", "expected"),
    [
        ([100, 16, 1], 60, 0.5, 2, [41, 17, 2]),  # shares 40, 16, 4; the last takes 2; 58 in proportion 10 : 4
        ([100, 16, 1], 60, 1, 2, [51, 8, 1]),  # as they are: 60 * 100/117, 60 * 16/117, 60 * 1/117
        ([100, 16, 1], 60, 0, 2, [29, 29, 2]),  # equal, as far as the last can follow
        ([3, 3, 3], 10, 0.5, 4, [4, 3, 3]),
        ([1, 1], 8, 0.5, 4, [4, 4]),  # all that is possible
        ([5], 7, 0, 2, [7]),
    ],
)
def test_flattened_counts(images, total, temperature, max_repeats, expected):
    assert flattened_counts(images, total, temperature, max_repeats).tolist() == expected


def test_flattened_counts_keep_their_sum_and_their_bound():
    rng = random.Random(0)
    for _ in range(300):
        images = [rng.randint(1, 50) ** rng.randint(1, 2) for _ in range(rng.randint(1, 20))]
        repeats = rng.randint(1, 5)
        total = rng.randint(1, repeats * sum(images))
        counts = flattened_counts(images, total, rng.choice([0, 0.3, 0.5, 1]), repeats)
        assert counts.sum() == total
        assert all(0 <= count <= repeats * image for count, image in zip(counts, images, strict=True))


def test_rarest_attribute_takes_each_image_once():
    rows = balance.memberships(SMALL, ["object", "scene"])
    pool = rarest_attribute(rows)
    assert len(rows) == len(SMALL) + 8  # the kites count as dogs too
    assert sorted(pool["image_id"]) == sorted(SMALL["image_id"])
    assert Counter(pool["attribute"]) == {"dog": 38, "kite": 8, "park": 16}


def test_tempered_by_hand():
    rows = tempered(rarest_attribute(balance.memberships(SMALL, ["object", "scene"])), EMOTIONS, 0, 2, None, seed=0)
    assert rows.groupby("emotion").size().to_dict() == dict.fromkeys(EMOTIONS, 13)  # awe's 13 images, others 7 * 2 at most
    per = rows.groupby(["emotion", "attribute"]).size()
    assert per["anger"].to_dict() == {"dog": 7, "kite": 2, "park": 4}  # kite and park at their bounds
    assert per["awe"].to_dict() == {"dog": 7, "kite": 2, "park": 4}
    assert rows.groupby("image_id").size().max() == 2


def test_tempered_keeps_the_tail_at_temperature_one():
    pool = rarest_attribute(balance.memberships(SMALL, ["object", "scene"]))
    rows = tempered(pool, EMOTIONS, 1, 2, 7, seed=0)
    assert rows.query("emotion == 'anger'").groupby("attribute").size().to_dict() == {"dog": 4, "kite": 1, "park": 2}
    assert rows.query("emotion == 'anger'")["image_id"].is_unique


def test_tempered_says_what_is_possible():
    pool = rarest_attribute(balance.memberships(SMALL, ["object", "scene"]))
    with pytest.raises(UserError, match=r"15 is too many: amusement has 7 images, times balance\.max_repeats 2 makes 14"):
        tempered(pool, EMOTIONS, 0.5, 2, 15, seed=0)


def test_the_published_rule():
    images = index(
        ("awe", None, ["tree", "plant"]),  # under its first object alone
        ("awe", "tower", ["clock", "tower"]),  # a scene, and the object that is spelled like it
        ("awe", "street", ["car"]),  # a scene, so not under its object
        ("awe", None, None),  # neither
        ("awe", "bakery/shop", ["bread"]),  # lost: the published code compares with the last part of a path
    )
    pool = emogen_pool(images, ["object", "scene"])
    assert sorted(pool[["image_id", "kind", "attribute"]].itertuples(index=False, name=None)) == [
        ("awe_00000", "object", "tree"),
        ("awe_00001", "object", "tower"),
        ("awe_00001", "scene", "tower"),
        ("awe_00002", "scene", "street"),
    ]


def test_emogen_repeats_to_the_size_of_the_largest():
    rows = balance.emogen(SMALL, EMOTIONS, ["object", "scene"], seed=0)
    sizes = rows.groupby(["kind", "emotion"]).size()
    assert set(sizes["object"]) == {11}  # awe: 4 + 1 + 6
    assert set(sizes["scene"]) == {2}
    repeats = rows.query("kind == 'object' and emotion == 'fear'").groupby("image_id").size()
    assert sorted(repeats) == [2, 2, 2, 2, 3]


@pytest.mark.parametrize("policy", ["tempered", "emogen"])
def test_only_the_chosen_splits_are_drawn(policy):
    held_out = SMALL.assign(split="test", image_id="test_" + SMALL["image_id"])
    both = pd.concat([SMALL, held_out])
    rows = drawn_from(both, f"balance.policy={policy}")
    assert not rows["image_id"].str.startswith("test_").any()
    assert drawn_from(both, f"balance.policy={policy}", "balance.splits=test")["image_id"].str.startswith("test_").all()


@pytest.mark.parametrize("policy", ["tempered", "emogen"])
def test_the_seed_decides_and_the_order_of_the_index_does_not(policy):
    once = drawn_from(SMALL, f"balance.policy={policy}")
    again = drawn_from(SMALL.sample(frac=1, random_state=1), f"balance.policy={policy}")
    other = drawn_from(SMALL, f"balance.policy={policy}", "seed=1")
    pd.testing.assert_frame_equal(once, again)
    assert not once.equals(other)
    if policy == "tempered":  # which images, not how many of an attribute
        assert once.groupby(["emotion", "attribute"]).size().equals(other.groupby(["emotion", "attribute"]).size())


@pytest.mark.parametrize("policy", ["tempered", "emogen"])
def test_an_emotion_without_images(policy):
    with pytest.raises(
        UserError, match=r"balance\.splits: train has no image of fear, sadness, and a balanced set needs every emotion"
    ):
        drawn_from(SMALL[~SMALL["emotion"].isin(["fear", "sadness"])], f"balance.policy={policy}")


def test_written_and_read(tmp_path):
    rows = drawn_from(SMALL)
    write_balanced_set(rows, tmp_path / "balanced.parquet")
    read = pd.read_parquet(tmp_path / "balanced.parquet")
    assert list(read.columns) == ["image_id", "emotion", "kind", "attribute"]
    pd.testing.assert_frame_equal(read, rows, check_dtype=False)


@pytest.mark.parametrize("arguments", [[], ["data.kinds="]])
def test_without_attributes_the_emotions_alone_are_balanced(arguments):
    images = SMALL if arguments else SMALL.assign(scene=None, object=None)
    rows = drawn_from(images, *arguments)
    assert rows.groupby("emotion").size().to_dict() == dict.fromkeys(EMOTIONS, 13)
    assert (rows[["kind", "attribute"]] == "").all(axis=None)
    assert rows["image_id"].nunique() == len(SMALL)  # each is drawn once or twice, and none left out
    shares = attribute_shares(images, rows, ["train"], [])
    assert shares.empty
    table = balance_table(images, rows, EMOTIONS, ["train"], [])
    assert table.loc["awe"].to_dict() == {"images": 13, "with attribute": 0, "draws": 13, "unique": 13, "most repeats": 1}


def test_the_published_policy_needs_attributes():
    with pytest.raises(
        UserError, match=r"balance\.policy: emogen draws by attributes, and no image has one; choose tempered"
    ):
        drawn_from(SMALL.assign(scene=None, object=None), "balance.policy=emogen")


@pytest.mark.parametrize("policy", ["tempered", "emogen"])
def test_an_emotion_without_attributes(policy):
    images = SMALL.copy()
    images.loc[images["emotion"] == "fear", ["scene", "object"]] = None
    with pytest.raises(
        UserError, match=r"data\.kinds: no image of fear in balance\.splits has an attribute of the kinds?\b"
    ):
        drawn_from(images, f"balance.policy={policy}")


def test_an_emotion_without_images_where_there_are_no_attributes():
    images = SMALL[SMALL["emotion"] != "fear"]
    with pytest.raises(UserError, match=r"balance\.splits: train has no image of fear, and"):
        drawn_from(images, "data.kinds=")


def test_its_recipe_names_what_has_changed(tmp_path):
    before = load([])
    balance_recipe(before.data, before.balance, 0, "abc").finish(tmp_path / "recipe.json")
    after = load(["balance.temperature=0.3"])
    recipe = balance_recipe(after.data, after.balance, 0, "abc")
    assert recipe.changes(tmp_path / "recipe.json") == "balance.temperature 0.5 → 0.3; the data are the same"
    assert balance_recipe(before.data, before.balance, 0, "abc").is_finished(tmp_path / "recipe.json")
