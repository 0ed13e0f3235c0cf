"""The emogen policy on a dataset rebuilt from the published metadata (skipped where that is absent)."""

import csv
import importlib.util
from collections import Counter

import pytest

from config.section import ROOT
from config.taxonomy import DEFAULT, read_taxonomy
from emoset.attribute_folders import memberships
from emoset.balance import emogen, rarest_attribute, tempered

EMOTIONS = read_taxonomy(DEFAULT).emotions
OBJECTS = {"amusement": 8739, "contentment": 8483, "excitement": 8057, "anger": 4705, "sadness": 4606, "awe": 4405}
OBJECTS |= {"fear": 4379, "disgust": 3911}
SCENES = {"excitement": 7879, "awe": 7197, "amusement": 4140, "sadness": 3532, "contentment": 2579, "anger": 1066}
SCENES |= {"disgust": 1042, "fear": 740}


@pytest.fixture(scope="module")
def index(published):
    """The index of 118,102 rebuilt annotations, among them scenes called bakery/shop, which the published rule loses."""
    spec = importlib.util.spec_from_file_location("real_shape", ROOT / "benchmarks/real_shape.py")
    real_shape = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(real_shape)
    annotations = real_shape.rebuilt_annotations(published)
    without = [image_id for image_id, facts in annotations.items() if not {"object", "scene"} & facts.keys()]
    for image_id in without[:50]:
        annotations[image_id] |= {"scene": "bakery/shop", "object": ["Bread", "Tree"]}
    return real_shape.index_of(annotations, published / "info.json")


def test_the_rebuilt_set_has_the_published_counts(index, published):
    assert len(index) == 118_102
    with open(published / "attribute_counts.csv", encoding="utf-8") as file:
        counts = {(row["kind"], row["attribute"].lower()): int(row["images"]) for row in csv.DictReader(file)}
    found = memberships(index[index["scene"] != "bakery/shop"], ["object"]).groupby("attribute").size()
    assert all(found[attribute] == count for (kind, attribute), count in counts.items() if kind == "object")


def test_emogen_yields_exactly_the_published_set(index):
    rows = emogen(index, EMOTIONS, ["object", "scene"], seed=0)
    sizes = rows.groupby(["kind", "emotion"]).size()
    assert sizes["object"].to_dict() == dict.fromkeys(EMOTIONS, 8739)
    assert sizes["scene"].to_dict() == dict.fromkeys(EMOTIONS, 7879)
    unique = rows.groupby(["kind", "emotion"])["image_id"].nunique()
    assert unique["object"].to_dict() == OBJECTS
    assert unique["scene"].to_dict() == SCENES
    assert rows.groupby("kind")["image_id"].nunique().to_dict() == {"object": 47_285, "scene": 28_175}
    assert rows.groupby("kind")["attribute"].nunique().to_dict() == {"object": 381, "scene": 253}
    assert rows["image_id"].nunique() == 75_296
    fear = rows.query("kind == 'scene' and emotion == 'fear'").groupby("image_id").size()
    assert Counter(fear) == {10: 261, 11: 479}


def test_tempered_bounds_repeats_where_emogen_does_not(index):
    rows = tempered(rarest_attribute(memberships(index, ["object", "scene"])), EMOTIONS, 0.5, 4, None, seed=0)
    assert rows.groupby("emotion").size().nunique() == 1
    assert rows.groupby("image_id").size().max() <= 4
