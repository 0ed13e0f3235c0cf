"""What a person meets on the page, in a real browser: as wide as a desk's and light, as narrow as a phone's and dark."""

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from asked import FIRST, SECOND
from diffusers import UniPCMultistepScheduler

pytest.importorskip("gradio", reason="no gradio here; pip install -e .[app]")

LOOKS = {1280: "light", 390: "dark"}  # by width


@pytest.fixture(params=LOOKS)
def person(browser, url, request) -> Iterator:
    """The page in a browser of some width. What is fetched from elsewhere, an error, and what sticks out, fails the test."""
    context = browser.new_context(viewport={"width": request.param, "height": 900}, color_scheme=LOOKS[request.param])
    context.set_default_timeout(180_000)  # many tests may run beside this one
    page = context.new_page()
    page.wrong = wrong = []
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


def test_generate_by_keyboard(person):
    tab = open_tab(person, "Generate")
    example = tab.get_by_role("button", name=re.compile(f"^{SECOND}, "))
    example.focus()
    person.keyboard.press("Enter")
    assert tab.get_by_label("Your words").input_value() == example.inner_text().partition(", ")[2]
    number = tab.get_by_role("slider", name="Number of images")
    number.focus()
    for key in ("Home", "ArrowRight"):
        person.keyboard.press(key)
    assert number.input_value() == "2"
    for _ in range(20):  # on to the button
        person.keyboard.press("Tab")
        assert person.evaluate(MARKED), "one sees where one is"
        if person.evaluate("document.activeElement.innerText") == "Make images":
            break
    person.keyboard.press("Enter")
    made = tab.locator(".grid-container button")
    made.nth(1).wait_for()
    made.nth(1).focus()
    person.keyboard.press("Enter")
    tab.get_by_text("%").first.wait_for()
    told = tab.get_by_label("How the image was made")
    assert told.input_value().startswith(f"{SECOND} · ")
    first = int(tab.get_by_label("Seed", exact=True).input_value())
    assert f"seed {first + 1} " in told.input_value()
    person.keyboard.press("ArrowLeft")  # to the image before
    before = f"seed {first} "
    person.wait_for_function(
        "words => [...document.querySelectorAll('textarea')].some(e => e.value.includes(words))", arg=before
    )
    assert before in person.get_by_test_id("detailed-image").get_attribute("title"), (
        "the words are of the image that is shown"
    )


# Whether something marks the place that has the focus.
MARKED = """[document.activeElement, document.activeElement.closest("label") ?? document.activeElement]
    .some(each => getComputedStyle(each).outlineStyle != "none")"""


def test_stop_and_reload_end_the_work(person, monkeypatch):
    step = UniPCMultistepScheduler.step

    def slowly(*given, **named):  # else all images may be made before the browser has pressed a button
        time.sleep(0.02)
        return step(*given, **named)

    monkeypatch.setattr(UniPCMultistepScheduler, "step", slowly)
    tab = open_tab(person, "Generate")
    tab.get_by_role("slider", name="Number of images").fill("16")
    tab.get_by_role("button", name="More settings").click()
    tab.get_by_role("slider", name="Steps").fill("100")
    tab.get_by_role("button", name="Make images").click()
    made = tab.locator(".grid-container button")
    made.first.wait_for()
    tab.get_by_role("button", name="Stop").click()
    person.wait_for_timeout(1000)
    stopped = made.count()
    person.wait_for_timeout(1500)
    assert made.count() == stopped < 16
    tab.get_by_role("button", name="Make images").click()
    made.nth(stopped).wait_for(state="hidden")
    person.reload()
    person.wrong.clear()  # of what the page says that was left
    tab = open_tab(person, "Generate")
    tab.get_by_role("slider", name="Number of images").fill("1")
    tab.get_by_role("button", name="Make images").click()
    tab.locator(".grid-container button").first.wait_for()


def test_mix_in_a_browser(person):
    tab = open_tab(person, "Mix")
    tab.get_by_role("button", name="Make a strip").click()
    made = tab.locator(".grid-container button")
    made.nth(4).wait_for()
    assert made.count() == 5, "one for each weight"
    below = "each => each.querySelector('.caption-label').offsetTop >= each.querySelector('img').offsetHeight"
    assert made.nth(1).evaluate(below)
    assert re.match(r"50 % .*, 50 % .* steps$", made.nth(2).inner_text(), re.S), "whole"
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
    tab.get_by_text("Before training it did so for 0.400").wait_for()
    with person.expect_popup() as opened:
        tab.get_by_role("link", name="Open the report").click()
    opened.value.get_by_role("heading", name="The report").wait_for()
