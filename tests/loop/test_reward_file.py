"""A reward of the user's own: what its file gives, and what is said of a file that gives nothing."""

import json
import sys

import pytest
import torch
from accelerate.state import AcceleratorState
from mapper_runs import arguments
from PIL import Image

import loop.inference
import loop.main
from config.errors import UserError
from config.loading import load
from config.loop_settings import Loop
from config.section import ROOT
from loop.reward_file import RewardFile
from loop.scores import reward_file, reward_key
from training.choosing import Condition

RED = """
def score(images, conditions):
    assert all(condition.prompt for condition in conditions)
    red = [image.getpixel((0, 0))[0] for image in images]
    return [each + 1000 * (condition.emotion == "anger") for each, condition in zip(red, conditions)]
"""


@pytest.fixture
def written(tmp_path):
    def write(text: str):
        file = tmp_path / "mine.py"
        file.write_text(text, encoding="utf-8")
        return file

    return write


def test_it_scores_images_and_conditions(written):
    images = [Image.new("RGB", (8, 8), (red, 0, 0)) for red in (10, 200)]
    found = RewardFile(written(RED))(images, [Condition("awe", "awe"), Condition("anger", "anger")])
    assert torch.equal(found, torch.tensor([10.0, 1200.0], dtype=torch.float64))


def test_it_may_change_what_it_gets(written):
    changing = "images[0].thumbnail((2, 2)), images.clear(), conditions.clear()"
    text = f"def score(images, conditions):\n    {changing}\n    return [1.0]"
    images, conditions = [Image.new("RGB", (8, 8))], [Condition("awe", "awe")]
    assert RewardFile(written(text))(images, conditions).tolist() == [1.0]
    assert (len(conditions), [image.size for image in images]) == (1, [(8, 8)])


def test_it_may_import_files_beside_it(written):
    file = written("import beside_one\ndef score(*given):\n    import beside_two\n    return [beside_two.VALUE]")
    before = sys.path[:]
    for name in ("beside_one", "beside_two"):
        (file.parent / f"{name}.py").write_text("VALUE = 2.0", encoding="utf-8")
    found = RewardFile(file)([Image.new("RGB", (8, 8))], [Condition("awe", "awe")])
    assert found.tolist() == [2.0]
    assert sys.path == before


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import nothing_of_this_name", r"mine.py, line 1: ModuleNotFoundError"),
        ("def scores(images, conditions): ...", r"mine.py has no function score\(images, conditions\)"),
        ("def score(images, conditions):\n    return images[9]", r"mine.py, line 2: IndexError"),
        ("def score(images, conditions): return 1.0", r"mine.py: returned numbers of shape \(\) for 2 images"),
        ("def score(images, conditions): return [1.0]", r"numbers of shape \(1,\) for 2 images"),
        ("def score(images, conditions): return [1.0, float('nan')]", "returned NaN for 2 images"),
        ("def score(images, conditions): return [1.0, float('inf')]", "not finite for 2 images"),
        ("def score(images, conditions): return [1.0, 1j]", r"consist of real numbers \(type list\)"),
        ("def score(images, conditions): return 'high'", r"consist of real numbers \(type str\)"),
        ("def score(images, conditions): return None", r"mine.py: returned None for 2 images; return a number for each"),
        ("def score(images, conditions)", r"mine.py: SyntaxError"),
        ("raise SystemExit(0)", r"mine.py, line 1: SystemExit: 0$"),
        ("import sys\ndef score(images, conditions):\n    sys.exit()", r"mine.py, line 3: SystemExit$"),
        ("def score(images, conditions):\n    raise ValueError('one\\ntwo')", r"mine.py, line 2: ValueError: one$"),
    ],
)
def test_a_file_that_gives_no_numbers_is_one_line(written, text, told):
    images = [Image.new("RGB", (8, 8))] * 2
    with pytest.raises(UserError, match=told) as error:
        RewardFile(written(text))(images, [Condition("awe", "awe")] * 2)
    assert "\n" not in str(error.value)


def test_the_end_that_a_cluster_asks_for_comes_through(written, monkeypatch):
    monkeypatch.setattr("loop.reward_file.has_sigterm", lambda: True)
    with pytest.raises(SystemExit):
        RewardFile(written("raise SystemExit(143)"))


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        RewardFile(tmp_path / "none.py")


def test_it_may_hold_a_dataclass(written):
    text = "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass Own:\n    size: int\n"
    found = RewardFile(written(text + "def score(images, conditions): return [Own(len(images)).size]"))
    assert found([Image.new("RGB", (8, 8))], [Condition("awe", "awe")]).tolist() == [1.0]


def test_its_path_counts_from_the_working_folder(written, monkeypatch):
    file = written(RED)
    monkeypatch.chdir(file.parent)
    assert reward_file(Loop(reward="mine.py")) == file
    monkeypatch.chdir(ROOT)
    assert reward_file(Loop(reward="loop/rounds.py")) == ROOT / "loop/rounds.py"


def test_choosing_refuses_one_that_is_not_there(loop_settings, loop_run, tmp_path):
    given = arguments(loop_settings, run=loop_run(), loop__reward=tmp_path / "none.py", check="true")
    with pytest.raises(UserError, match=r"none\.py: no such file"):
        loop.inference.main(load(given))


def test_another_text_is_another_reward(loop_settings, loop_run, written):
    settings = load(arguments(loop_settings, run=loop_run(), loop__reward=written(RED)))
    first = reward_key(settings)
    written(RED + "# changed")
    assert reward_key(settings) != first


def test_the_loop_trains_by_it_and_measures_it(loop_settings, loop_run, written, monkeypatch):
    monkeypatch.setattr("runtime.figures.RESAMPLES", 50)
    monkeypatch.setattr(loop.main, "write_report", lambda *given: None)
    run, file = loop_run(), written(RED)
    AcceleratorState._reset_state(reset_partial_state=True)  # else the first run's precision is that of all
    loop.main.main(load(arguments(loop_settings, run=run, loop__reward=file, loop__control="false")))
    found = json.loads((run / "loop" / "metrics.json").read_text())
    assert found["about"]["gate"] == "encoder"
    assert len(list((run / "loop/rewards").rglob("*.safetensors"))) == 8  # of 64 images of two rows, 16 at a time
    assert found["about"]["reward"].startswith("mine.py")
    assert found["figures"]["best of 2"]["reward"]["value"] > found["figures"]["untouched"]["reward"]["value"] > 100
