"""The page on a run folder: what its functions answer, what its API answers, and what a person meets in a real browser."""

import csv
import errno
import io
import re
import shutil
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
import torch
from PIL import Image
from tiny_generator import CONTENTS
from tiny_run import write_run

gr = pytest.importorskip("gradio", reason="no gradio here; pip install -e .[app]")
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from app import generation_requests as requests
from app import main as app_main
from app import understanding_tabs
from app.generating import DRAWN, NONE, TYPED
from app.run_models import RunModels
from config.app_settings import App
from config.errors import UserError
from config.section import ROOT
from config.taxonomy import DEFAULT, read_taxonomy
from training.image_files import read_parameters

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
EMOTIONS = read_taxonomy(DEFAULT).emotions
FIRST, SECOND = EMOTIONS[:2]
QUICK = (0.6, 0.5, 5.0, 2)  # strength, variety, guidance, steps
SEED = (7, False)
WIDTHS = (1280, 390)
PATIENT = {"httpx_kwargs": {"timeout": 300}, "verbose": False}  # for many tests may run beside these


@pytest.fixture(scope="module")
def run(drawn, tmp_path_factory) -> Path:
    """A run folder with both halves; not to be changed."""
    return write_run(tmp_path_factory.mktemp("app") / "run", drawn)


@pytest.fixture(scope="module")
def models(run) -> RunModels:
    return RunModels(run)


@pytest.fixture(scope="module")
def photos(drawn) -> list[Path]:
    return [next((drawn / "image" / emotion).glob("*.jpg")) for emotion in EMOTIONS]


@pytest.fixture(scope="module")
def url(models, tmp_path_factory) -> Iterator[str]:
    """The address of the page, as app/main.py serves it, without a password."""
    folder = tmp_path_factory.mktemp("served")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        page = app_main.build_page(models, app_main.copies_of(models.examples, folder))
        yield app_main.serve(page, models, App(), None).rstrip("/")
        page.close(verbose=False)


def last(shown: Iterator) -> list[tuple[bytes, str, dict]]:
    """Return the last images that a request shows: pixels, caption, and the parameters in the file."""
    for images, _ in shown:
        found = [(pixels(path), caption, read_parameters(Path(path))) for path, caption in images]
    return found


def pixels(path: str | Path) -> bytes:
    with Image.open(path) as image:
        return image.convert("RGB").tobytes()


# What the functions answer


def test_an_image_follows_from_its_seed_and_tells_how_it_was_made(models):
    first, second = last(requests.generate(models, FIRST, TYPED, " tree ", 2, *SEED, *QUICK))
    (again,) = last(requests.generate(models, FIRST, TYPED, "tree", 1, 8, False, *QUICK))
    assert second[0] == again[0] != first[0]
    assert first[1] == f"{FIRST} · tree · seed 7 · strength 0.6 · variety 0.5 · guidance 5 · 2 steps"
    told = {name: first[2][name] for name in ("content", "emotion", "seed", "steps")}
    assert told == {"content": "tree", "emotion": FIRST, "seed": 7, "steps": 2}


def test_the_content_is_drawn_typed_or_none(models):
    drawn = [each["content"] for *_, each in last(requests.generate(models, FIRST, DRAWN, "", 4, *SEED, *QUICK))]
    assert set(drawn) <= set(CONTENTS)
    assert len(set(drawn)) > 1
    (alone,) = last(requests.generate(models, FIRST, NONE, "tree", 1, *SEED, *QUICK))
    assert alone[2]["prompt"] == "<emotion>"
    with pytest.raises(gr.Error, match="No content is typed"):
        next(requests.generate(models, FIRST, TYPED, " ", 1, *SEED, *QUICK))


def test_a_strip_begins_and_ends_with_the_emotions_themselves(models):
    strip = last(requests.strip(models, FIRST, SECOND, "tree", *SEED, *QUICK))
    ends = [last(requests.generate(models, each, TYPED, "tree", 1, *SEED, *QUICK))[0][0] for each in (FIRST, SECOND)]
    assert [strip[0][0], strip[-1][0]] == ends
    assert strip[1][1].startswith(f"75 % {FIRST}, 25 % {SECOND} · tree")
    weights = [100.0 * (each == SECOND) for each in EMOTIONS]
    (alone,) = last(requests.mix_all(models, "tree", *SEED, *QUICK, gr.Progress(), *weights))
    assert alone[0] == ends[1]


def test_less_of_a_photo_stays_the_more_is_made_anew(models, photos):
    def difference(percent: float) -> float:
        asked = requests.photo(models, str(photos[0]), FIRST, percent, "tree", *SEED, *QUICK[:3], 10)
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
    formula, broken = tmp_path / "=1+1.jpg", tmp_path / "broken.jpg"
    shutil.copy(photos[1], formula)
    broken.write_bytes(photos[2].read_bytes()[:200])
    for table, file in understanding_tabs.ask_many(models, [str(photos[0]), str(formula), str(broken)]):
        filled, lines = table, list(csv.DictReader(Path(file).read_text("utf-8").splitlines())) if file else []
    assert [line["file"] for line in lines] == ["'=1+1.jpg", photos[0].name, "broken.jpg"]
    likely = filled[list(EMOTIONS)].iloc[0].astype(float)
    assert lines[0]["emotion"] == likely.idxmax()
    assert likely.sum() == pytest.approx(1, abs=1e-3)
    assert "cannot be" in lines[2]["problem"]


def huge_png() -> bytes:
    """A PNG of a few bytes that says it has 60 million pixels."""
    Image.new("1", (1, 1)).save(content := io.BytesIO(), "PNG")
    head = content.getvalue()
    chunk = b"IHDR" + struct.pack(">II", 10000, 6000) + head[24:29]
    return head[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + head[33:]


BAD = {
    "empty.png": (b"", "empty file"),
    "text.jpg": (b"<script>alert(1)</script>", "not an image"),
    "drawing.svg": (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "not an image"),
    "huge.png": (huge_png(), "10000 x 6000 pixels, more than the 50 million"),
    "<img src=x onerror=alert(1)>.png": (b"", "&lt;img src=x onerror=alert\\(1\\)&gt;.png: empty file"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_image_is_one_line(models, tmp_path, name):
    content, line = BAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(gr.Error, match=line) as said:
        understanding_tabs.ask(models, str(tmp_path / name), FIRST)
    assert "<" not in str(said.value)
    assert "\n" not in str(said.value)
    assert str(tmp_path) not in str(said.value)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "x"), "The disk is full"),
        (torch.OutOfMemoryError("CUDA out of memory"), "memory of the graphics card is full"),
        (RuntimeError("<b>\nbad"), "This did not work: RuntimeError: &lt;b&gt;"),
    ],
)
def test_a_crash_is_one_line_for_who_asked(models, monkeypatch, error, line):
    def fail(*_):
        raise error

    monkeypatch.setattr(requests, "make_image", fail)
    with pytest.raises(gr.Error, match=line) as said:
        next(requests.generate(models, FIRST, NONE, "", 1, *SEED, *QUICK))
    assert "\n" not in str(said.value)
    monkeypatch.undo()
    assert last(requests.generate(models, FIRST, NONE, "", 1, *SEED, *QUICK))


def test_a_run_folder_that_vanished_is_one_line(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run", symlinks=True)
    models = RunModels(copy)
    shutil.rmtree(copy)
    with pytest.raises(gr.Error, match=r"config.yaml: is not there|no generator"):
        next(requests.generate(models, FIRST, NONE, "", 1, *SEED, *QUICK))


def test_no_run_names_the_command_that_makes_one(tmp_path):
    with pytest.raises(UserError, match="make demo"):
        RunModels(tmp_path)


@pytest.mark.parametrize(("half", "other"), [("generator", "understanding"), ("understanding", "generator")])
def test_one_half_alone(run, tmp_path, half, other):
    copy = shutil.copytree(run, tmp_path / "run", symlinks=True)
    shutil.rmtree(copy / other)
    page = app_main.build_page(RunModels(copy), [])
    names = {function.api_name for function in page.fns.values()}
    assert ("generate" in names, "ask" in names) == (half == "generator", half == "understanding")
    said = " ".join(str(block.value) for block in page.blocks.values() if isinstance(block, gr.Markdown))
    assert f"accelerate launch {'understanding.py' if half == 'generator' else 'training/main.py'}" in said


def test_others_need_a_password():
    for own in ("127.0.0.1", "localhost", "::1"):
        app_main.check_address(App(address=own), None)
    app_main.check_address(App(address="0.0.0.0"), "secret")
    with pytest.raises(UserError, match="EMOTION_APP_PASSWORD"):
        app_main.check_address(App(address="0.0.0.0"), None)


# What the page answers to programs


def test_many_requests_at_once_lose_none(url, photos, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"nothing")
    client = Client(url, **PATIENT)
    asked = []
    for number in range(100):
        if number % 4 == 0:
            asked.append(client.submit(FIRST, NONE, "", 1, number, False, *QUICK[:3], 1, api_name="/generate"))
        elif number % 4 == 3:
            asked.append(client.submit(handle_file(bad), FIRST, api_name="/ask"))
        else:
            asked.append(client.submit([handle_file(photos[number % len(photos)])], api_name="/ask_many"))
    for number, each in enumerate(asked):
        if number % 4 == 3:
            with pytest.raises(AppError, match=r"bad\.png: not an image"):
                each.result(timeout=300)
        elif number % 4 == 0:
            images, seed = each.result(timeout=300)
            assert (len(images), seed) == (1, number)
        else:
            table, _ = each.result(timeout=300)
            assert table["data"][0][0] == photos[number % len(photos)].name


def test_the_example_of_the_docs_runs(url, photos, tmp_path, capsys):
    (example,) = re.findall(r"```py\n(.*?)```", (ROOT / "docs/app.md").read_text("utf-8"), re.S)
    exec(example.replace("http://127.0.0.1:7860", url).replace("photo.jpg", str(photos[0])))
    files, answer = capsys.readouterr().out.splitlines()[-2:]
    assert files.count("awe-") == 2
    assert re.fullmatch(rf"({'|'.join(EMOTIONS)}) \d+ of 100", answer)


def test_nothing_of_the_server_can_be_reached(url, run):
    assert "The report" in urlopen(f"{url}/gradio_api/file={run}/report/index.html").read().decode()
    for path in ("/etc/passwd", run / "images" / "config.yaml", run / "report" / ".." / "images" / "config.yaml"):
        with pytest.raises(HTTPError, match="403"):
            urlopen(f"{url}/gradio_api/file={path}")
    with pytest.raises(AppError) as said:
        Client(url, **PATIENT).predict({"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}, FIRST, api_name="/ask")
    assert "root" not in str(said.value)


def test_with_a_password_nothing_is_shown_without_it(models, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    page = app_main.build_page(models, [])
    url = app_main.serve(page, models, App(), "secret").rstrip("/")
    try:
        for place in ("config", f"gradio_api/file={models.run}/report/index.html"):
            with pytest.raises(HTTPError, match="401"):
                urlopen(f"{url}/{place}")
        assert Client(url, auth=("emotion", "secret"), **PATIENT).endpoints
    finally:
        page.close(verbose=False)


# What a person meets in a browser


@pytest.fixture(scope="module")
def browser() -> Iterator:
    if not CHROMIUM:
        pytest.skip("no Chromium here; apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright here; pip install -e .[app]")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(params=WIDTHS)
def person(browser, url, request) -> Iterator:
    """The page in a browser of some width. What is fetched from elsewhere, an error, and what sticks out, fails the test."""
    context = browser.new_context(viewport={"width": request.param, "height": 900})
    context.set_default_timeout(180_000)  # many tests may run beside this one
    page, wrong = context.new_page(), []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda asked: None if asked.url.startswith((url, "data:", "blob:")) else wrong.append(asked.url))
    page.goto(url)
    page.get_by_role("button", name="Make images").wait_for()
    yield page
    assert not wrong
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert not page.evaluate(NAMELESS)
    context.close()


# What a screen reader could not name.
NAMELESS = """[...document.querySelectorAll("input, textarea, select, button")].filter(each => each.checkVisibility()
    && each.type != "file" && !(each.labels?.length || each.ariaLabel || each.title || each.innerText.trim()
    || each.getAttribute("aria-labelledby") || each.querySelector("img[alt]"))).map(each => each.outerHTML)"""


def open_tab(person, name: str):
    """Open a tab, which a narrow page keeps in a menu once it has measured its tabs; return its panel."""
    more = person.get_by_role("button", name="More tabs").first
    listed = person.locator(".overflow-dropdown").get_by_text(name, exact=True)
    place = person.get_by_role("tab", name=name, exact=True).or_(listed).filter(visible=True)
    for _ in range(100):
        if place.count():
            break
        if more.is_visible():
            more.click()
        person.wait_for_timeout(200)
    place.first.click()
    return person.get_by_role("tabpanel").filter(visible=True).first


def test_generate_in_a_browser(person):
    tab = open_tab(person, "Generate")
    tab.locator(".tr-body").nth(1).click()  # an example
    tab.get_by_role("slider", name="Number of images").fill("2")
    tab.get_by_role("button", name="Make images").click()
    made = tab.locator(".grid-container button")
    made.nth(1).click()
    tab.get_by_text("%").first.wait_for()
    assert tab.get_by_label("How the image was made").input_value().startswith(f"{SECOND} · ")
    person.reload()
    open_tab(person, "Generate").get_by_role("button", name="Make images").wait_for()


def test_stop_ends_the_work(person):
    tab = open_tab(person, "Generate")
    tab.get_by_role("slider", name="Number of images").fill("16")
    tab.get_by_role("button", name="Make images").click()
    made = tab.locator(".grid-container button")
    made.first.wait_for()
    tab.get_by_role("button", name="Stop").click()
    person.wait_for_timeout(1500)
    stopped = made.count()
    person.wait_for_timeout(1500)
    assert made.count() == stopped < 16


def test_mix_in_a_browser(person):
    tab = open_tab(person, "Mix")
    tab.get_by_role("button", name="Make a strip").click()
    made = tab.locator(".grid-container button")
    made.nth(4).wait_for()
    assert made.count() == 5, "one for each weight"
    tab.get_by_role("tab", name="All emotions").click()
    tab.get_by_role("slider", name=FIRST).filter(visible=True).fill("100")
    tab.get_by_role("button", name="Make an image").filter(visible=True).click()
    made.nth(1).wait_for(state="hidden")
    made.first.wait_for()
    assert made.count() == 1, "the strip is gone"


def test_a_photo_in_a_browser(person, photos):
    tab = open_tab(person, "Your photo")
    tab.locator("input[type=file]").first.set_input_files(photos[0])
    tab.get_by_role("slider", name="Percent").fill("30")
    tab.get_by_role("button", name="Change the photo").click()
    person.wait_for_function("[...document.querySelectorAll('textarea, input')].some(each => each.value.includes('LPIPS'))")
    said = [each.input_value() for each in tab.locator("textarea").all()]
    assert any(float(each.split()[0]) > 0 for each in said if "LPIPS" in each), "the photograph has changed"


def test_ask_in_a_browser(person, tmp_path, photos):
    tab = open_tab(person, "Ask")
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"nothing")
    tab.locator("input[type=file]").first.set_input_files(bad)
    tab.get_by_role("button", name="Ask the model").click()
    person.get_by_text("bad.png: not an image").wait_for()
    tab.get_by_label("Remove Image").first.click()
    tab.locator("input[type=file]").first.set_input_files(photos[0])
    tab.get_by_role("button", name="Ask the model").click()
    person.wait_for_function("[...document.querySelectorAll('textarea, input')].some(each => each.value.endsWith('of 100'))")
    tab.get_by_text("Many images at once").click()
    shutil.copy(photos[0], tmp_path / "a.jpg")
    with person.expect_file_chooser() as chosen:
        tab.get_by_role("button", name="Choose a folder").click()
    chosen.value.set_files(tmp_path)
    with person.expect_download() as table:
        tab.locator("a", has_text="⇣").click()
    lines = Path(table.value.path()).read_text("utf-8").splitlines()
    assert [line.split(",")[0] for line in lines] == ["file", "a.jpg", "bad.png"]


def test_the_run_in_a_browser(person):
    tab = open_tab(person, "The run")
    tab.get_by_text("better than before training").wait_for()
    with person.expect_popup() as opened:
        tab.get_by_role("link", name="Open the report").click()
    opened.value.get_by_role("heading", name="The report").wait_for()
