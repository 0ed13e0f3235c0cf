"""What the page's functions answer, without a browser."""

import csv
import errno
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from asked import EMOTIONS, FIRST, HOW, SECOND
from PIL import ExifTags, Image
from tiny_generator import CONTENTS

gr = pytest.importorskip("gradio", reason="no gradio here; pip install -e .[app]")

from app import generation_requests, understanding_tabs
from app import main as app_main
from app.generating import DRAWN, NONE, TYPED
from app.generation_requests import ImageRequests
from app.run_models import RunModels
from config.errors import UserError
from training.image_files import read_parameters
from understanding.asking import Asker


def last(shown: Iterator) -> list[tuple[bytes, str, dict]]:
    """Return the last images that a request shows: pixels, caption, and the parameters in the file."""
    for images, _ in shown:
        found = [(pixels(path), caption, read_parameters(Path(path))) for path, caption in images]
    return found


def pixels(path: str | Path) -> bytes:
    with Image.open(path) as image:
        return image.convert("RGB").tobytes()


def test_an_image_follows_from_its_seed_and_tells_how_it_was_made(requests):
    first, second = last(requests.generate(FIRST, TYPED, " tree ", 2, **HOW))
    (again,) = last(requests.generate(FIRST, TYPED, "tree", 1, **HOW | {"seed": 8}))
    assert second[0] == again[0] != first[0]
    assert first[1] == f"{FIRST} · tree · seed 7 · strength 0.6 · variety 0.5 · guidance 5 · 2 steps"
    told = {name: first[2][name] for name in ("content", "emotion", "seed", "steps")}
    assert told == {"content": "tree", "emotion": FIRST, "seed": 7, "steps": 2}


def test_the_content_is_drawn_typed_or_none(requests):
    drawn = [each["content"] for *_, each in last(requests.generate(FIRST, DRAWN, "", 4, **HOW))]
    assert set(drawn) <= set(CONTENTS)
    assert len(set(drawn)) > 1
    (alone,) = last(requests.generate(FIRST, NONE, "tree", 1, **HOW))
    assert alone[2]["prompt"] == "<emotion>"
    with pytest.raises(gr.Error, match="No content is typed"):
        next(requests.generate(FIRST, TYPED, " ", 1, **HOW))


def test_a_strip_begins_and_ends_with_the_emotions_themselves(requests):
    strip = last(requests.strip(FIRST, SECOND, "tree", **HOW))
    ends = [last(requests.generate(each, TYPED, "tree", 1, **HOW))[0][0] for each in (FIRST, SECOND)]
    assert [strip[0][0], strip[-1][0]] == ends
    assert strip[1][1].startswith(f"75 % {FIRST}, 25 % {SECOND} · tree")
    weights = {each: 100.0 * (each == SECOND) for each in EMOTIONS}
    (alone,) = last(requests.mix_all("tree", **weights, **HOW))
    assert alone[0] == ends[1]


def test_less_of_a_photo_stays_the_more_is_replaced(requests, photos):
    def difference(percent: float) -> float:
        asked = requests.photo(str(photos[0]), FIRST, percent, "tree", **HOW | {"steps": 10})
        (files, seed, *seen, told) = next(asked)
        before, after = map(Image.open, files)
        assert before.size == after.size
        assert (seed, read_parameters(Path(files[1]))["image_strength"]) == (7, percent / 100)
        assert [sum(each.values()) for each in seen] == pytest.approx([1, 1], abs=1e-3)
        return float(told.split()[0])

    assert difference(10) < difference(90)


def test_a_model_tells_emotions_a_word_and_a_score(models, photos):
    answered = understanding_tabs.ask(models, str(photos[0]), SECOND)
    emotions, words, score, scores, _ = answered[:5]
    assert list(emotions) == list(EMOTIONS)
    assert [sum(emotions.values()), sum(words.values()), scores["probability"].sum()] == pytest.approx([1, 1, 1], abs=1e-4)
    assert score == f"{(scores['score'] * scores['probability']).sum():.0f} of 100"
    assert answered[5] == emotions  # this run's model was not trained


def test_many_images_become_a_table(models, photos, tmp_path):
    formula, broken = tmp_path / "=1+1.jpg", tmp_path / "a.jpg"
    shutil.copy(photos[1], formula)
    broken.write_bytes(photos[2].read_bytes()[:200])
    for table, file in understanding_tabs.ask_many(models, [str(photos[0]), str(formula), str(broken)]):
        filled, lines = table, list(csv.DictReader(Path(file).read_text("utf-8").splitlines())) if file else []
    assert [line["file"] for line in lines] == ["'=1+1.jpg", "a.jpg", photos[0].name]
    for number in (0, 2):
        likely = filled[list(EMOTIONS)].iloc[number].astype(float)
        assert lines[number]["emotion"] == likely.idxmax()
        assert likely.sum() == pytest.approx(1, abs=1e-3)
    assert "cannot be" in lines[1]["problem"]


def test_stop_ends_an_image_between_its_steps(requests):
    mine, other = SimpleNamespace(session_hash="mine"), SimpleNamespace(session_hash="other")
    steps = []

    def told(done: tuple[int, int], **_) -> None:
        steps.append(done)
        if done[0] in (1, 3):
            requests.work.stop(other if done[0] == 1 else mine)

    with pytest.raises(gr.Error, match="stopped") as said:
        next(requests.generate(FIRST, NONE, "", 2, mine, told, **HOW | {"steps": 20}))
    assert not said.value.visible
    assert steps == [(0, 40), (1, 40), (2, 40), (3, 40)], "another person's Stop changes nothing"
    assert last(requests.generate(FIRST, NONE, "", 1, mine, **HOW))


def test_a_photo_that_lies_on_its_side_is_turned(requests, models, photos, tmp_path):
    with Image.open(photos[0]) as image:
        upright = image.convert("RGB").resize((48, 32))
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = 6  # to be turned right
    paths = str(tmp_path / "upright.png"), str(tmp_path / "turned.png")
    upright.save(paths[0])
    upright.transpose(Image.Transpose.ROTATE_90).save(paths[1], exif=tags)
    asked = [understanding_tabs.ask(models, path, FIRST)[0] for path in paths]
    tables = [next(understanding_tabs.ask_many(models, [path]))[0][list(EMOTIONS)].to_numpy().tolist() for path in paths]
    changed = [
        [pixels(file) for file in files] for path in paths for files, *_ in requests.photo(path, FIRST, 50, "", **HOW)
    ]
    for of_upright, of_turned in (asked, tables, changed):
        assert of_upright == of_turned


def test_a_model_that_reasons_shows_its_reasoning(run, photos, tmp_path, monkeypatch):
    copy = shutil.copytree(run, tmp_path / "run", symlinks=True)
    config = copy / "understanding" / "config.yaml"
    settings = yaml.safe_load(config.read_text())
    settings["answers"] |= {"reasoning": True, "tokens": 24}
    config.write_text(yaml.safe_dump(settings))
    said = "<think>a spider & a <b>web</b></think><answer>fear</answer>"
    monkeypatch.setattr(Asker, "answers", lambda self, questions, images: [[said]] * len(questions))
    models = RunModels(copy)
    answered = understanding_tabs.ask(models, str(photos[0]), SECOND)
    assert answered[9].count("?\na spider & a <b>web</b>\nIts answer: fear") == 3, "for each question"
    page = app_main.build_page(models, [])
    assert all(block.visible for block in page.blocks.values() if getattr(block, "label", None) == "Its reasoning")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "x"), "The disk is full"),
        (torch.OutOfMemoryError("CUDA out of memory"), "memory of the graphics card is full"),
        (RuntimeError("<b>\nbad"), "This did not work: RuntimeError: &lt;b&gt;"),
    ],
)
def test_a_crash_is_one_line_for_who_asked(requests, monkeypatch, error, line):
    def fail(*_):
        raise error

    monkeypatch.setattr(generation_requests, "make_image", fail)
    with pytest.raises(gr.Error, match=line) as said:
        next(requests.generate(FIRST, NONE, "", 1, **HOW))
    assert "\n" not in str(said.value)
    monkeypatch.undo()
    assert last(requests.generate(FIRST, NONE, "", 1, **HOW))


def test_an_image_that_cannot_be_kept_for_the_page_is_one_line(requests, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "file"))  # where Gradio would fail without a reason
    with pytest.raises(gr.Error, match="Not a directory") as said:
        next(requests.generate(FIRST, NONE, "", 1, **HOW))
    assert str(tmp_path) not in str(said.value)


def test_a_run_folder_that_vanished_is_one_line_in_each_tab(run, photos, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run", symlinks=True)
    models = RunModels(copy)
    requests = ImageRequests(models)
    shutil.rmtree(copy)
    for ask in (
        lambda: next(requests.generate(FIRST, NONE, "", 1, **HOW)),
        lambda: next(requests.strip(FIRST, SECOND, "", **HOW)),
        lambda: next(requests.photo(str(photos[0]), FIRST, 50, "", **HOW)),
        lambda: understanding_tabs.ask(models, str(photos[0]), FIRST),
        lambda: next(understanding_tabs.ask_many(models, [str(photos[0])])),
    ):
        with pytest.raises(gr.Error, match=r"config\.yaml: is not there; run the stage again") as said:
            ask()
        assert "\n" not in str(said.value)


@pytest.mark.parametrize("place", ["the data set", "images of the run"])
def test_an_example_is_a_whole_image(run, emoset_copy, photos, tmp_path, place):
    """One broken file must not keep the page from starting."""
    copy, made = shutil.copytree(run, tmp_path / "run", symlinks=True), []
    for name in ("0.png", "1.png"):
        made.append(copy / "images" / FIRST / name)
        made[-1].parent.mkdir(exist_ok=True)
        shutil.copy(photos[0], made[-1])
    models = RunModels(copy)
    if place == "the data set":
        shutil.rmtree(made[0].parent)
        val = [image for emotion, _, image, _ in json.loads((emoset_copy / "val.json").read_text()) if emotion == FIRST]
        broken, expected = emoset_copy / val[0], emoset_copy / val[1]
        data = models.settings.data.model_copy(update={"emoset": emoset_copy})
    else:
        broken, expected = made
        data = models.settings.data.model_copy(update={"emoset": tmp_path / "gone"})
    broken.write_bytes(broken.read_bytes()[:200])
    models.settings = models.settings.model_copy(update={"data": data})
    assert models.examples[0] == expected
    assert app_main.copies_of(models.examples, tmp_path)


def test_no_run_names_the_command_that_makes_one(tmp_path):
    with pytest.raises(UserError, match="make demo"):
        RunModels(tmp_path)


def test_a_damaged_generator_is_one_line(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run", symlinks=True)
    (copy / "generator" / "generator.json").write_text('{"contents": {"awe": 3}}')
    with pytest.raises(UserError, match=r"generator\.json: is not what training/main\.py wrote \(contents\.awe: "):
        RunModels(copy).contents  # noqa: B018


@pytest.mark.parametrize(("half", "other"), [("generator", "understanding"), ("understanding", "generator")])
def test_one_half_alone(run, tmp_path, half, other):
    copy = shutil.copytree(run, tmp_path / "run", symlinks=True)
    shutil.rmtree(copy / other)
    page = app_main.build_page(RunModels(copy), [])
    names = {function.api_name for function in page.fns.values()}
    assert ("generate" in names, "ask" in names) == (half == "generator", half == "understanding")
    said = " ".join(str(block.value) for block in page.blocks.values() if isinstance(block, gr.Markdown))
    assert f"accelerate launch {'understanding.py' if half == 'generator' else 'training/main.py'}" in said
