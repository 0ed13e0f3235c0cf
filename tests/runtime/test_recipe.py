import json

import pytest

from config.errors import UserError
from config.loading import load
from runtime.recipe import Recipe, digest, read_recipe, settings_of


@pytest.fixture
def path(tmp_path):
    return tmp_path / "recipe.json"


def recipe(what="mapper", inputs=None, **settings):
    return Recipe(what, {f"mapper.{name}": value for name, value in settings.items()}, inputs or {"balanced set": "5b1c"})


def test_a_result_is_started_then_finished(path):
    made = recipe(learning_rate=0.001, layers=(1, 2))
    assert not made.is_started(path)
    made.start(path)
    assert made.is_started(path)
    assert not made.is_finished(path)
    made.finish(path)
    assert made.is_finished(path)
    assert recipe(learning_rate=0.001, layers=[1, 2]).is_finished(path)  # as JSON gives it back
    assert not recipe(learning_rate=0.002, layers=[1, 2]).is_started(path)


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (recipe(rate=0.001, steps=9), "the data are the same"),
        (recipe(rate=0.002, steps=9), "mapper.rate 0.001 → 0.002; the data are the same"),
        (recipe(rate=0.002, steps=None), "mapper.rate 0.001 → 0.002, mapper.steps 9 → null; the data are the same"),
        (recipe(rate=0.001), "mapper.steps 9 → absent; the data are the same"),
        (recipe(rate=0.001, steps=9, ema=True), "mapper.ema absent → true; the data are the same"),
        (recipe(rate=0.001, steps=9, inputs={"balanced set": "0000"}), "changed: balanced set"),
        (recipe(rate=0.001, steps=9, inputs={"images": "5b1c"}), "changed: balanced set, images"),
        (recipe(rate=1.0, steps=9, inputs={"v": 1}), "mapper.rate 0.001 → 1.0; changed: balanced set, v"),
        (recipe("step one", rate=0.001, steps=9), "changed: kind of result"),
    ],
)
def test_it_says_what_has_changed(path, after, said):
    recipe(rate=0.001, steps=9).finish(path)
    assert after.changes(path) == said


def test_a_long_value_is_cut(path):
    recipe(prompts=["a photo of a dog"] * 20).finish(path)
    line = recipe(prompts="none").changes(path)
    assert len(line) < 130
    assert line.endswith("... → none; the data are the same")


def test_the_key_follows_the_content_alone():
    assert recipe(rate=0.001).key == recipe(rate=0.001).key
    assert len({recipe(rate=0.001).key, recipe(rate=0.002).key, recipe("step one", rate=0.001).key}) == 3
    assert digest([1, "a"]) == digest([1, "a"]) != digest([1, "b"])


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{broken", b"\xff\xfe\0", b'{"format": 1, "what": "mapper", "finished": true, "settings": []}']
)
def test_what_is_cut_off_or_damaged_is_unfinished(path, text):
    path.write_bytes(text)
    assert read_recipe(path) is None
    assert not recipe().is_started(path)
    assert not recipe().is_finished(path)
    assert recipe().changes(path) == "recipe.json is cut off or damaged, so what is there counts as unfinished"


@pytest.mark.parametrize("text", ['{"policy": "tempered"}', '{"format": 0, "what": "mapper"}'])
def test_what_another_version_wrote_is_refused_in_one_line(path, text):
    path.write_text(text)
    for look in (read_recipe, recipe().is_finished, recipe().is_started, recipe().changes):
        with pytest.raises(UserError, match=r"recipe\.json: was written by another version .*; move .* away, or"):
            look(path)
    assert path.read_text() == text


def test_no_file_is_no_recipe(path):
    assert read_recipe(path) is None
    path.write_text("a file")
    assert read_recipe(path / "recipe.json") is None  # a file stands where a folder was expected


def test_settings_have_the_names_of_the_config():
    balance = load([]).balance
    settings = settings_of("balance", balance, leave_out={"splits"})
    assert settings["balance.temperature"] == 0.5
    assert "balance.splits" not in settings
    assert json.loads(json.dumps(settings)) == settings


@pytest.mark.parametrize(
    ("unread", "read_with"),
    [
        ("balance.temperature=0.3", "balance.policy=tempered"),
        ("balance.max_repeats=2", "balance.policy=tempered"),
        ("balance.images_per_emotion=9", "balance.policy=tempered"),
        ("emotion_space.shrinkage=0.5", "emotion_space.covariance=full"),
        ("emotion_space.contrastive_temperature=1.0", "emotion_space.contrastive_weight=1.0"),
        ("mapper.dropout=0.3", "mapper.hidden_layers=2"),
    ],
)
def test_a_setting_that_nothing_reads_changes_no_recipe(unread, read_with):
    def settings(*arguments):
        section = unread.partition(".")[0]
        return settings_of(section, getattr(load(["balance.policy=emogen", *arguments]), section))

    assert settings(unread) == settings()
    assert settings(unread, read_with) != settings(read_with)
