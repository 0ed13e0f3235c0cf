"""What the page answers to programs, by Gradio's client."""

import re
import time
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from asked import EMOTIONS, FIRST, HOW, SECOND
from small_disk import room

pytest.importorskip("gradio", reason="no gradio here; pip install -e .[app]")
import httpx
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from app import layout
from app import main as app_main
from app.generating import NONE
from app.generation_requests import STRIP
from app.work import Work
from config.app_settings import App
from config.section import ROOT


def test_many_requests_at_once_lose_none(client, photos, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"nothing")
    asked = []
    for number in range(100):
        if number % 4 == 0:
            asked.append(client.submit(FIRST, NONE, "", 1, **HOW | {"seed": number, "steps": 1}, api_name="/generate"))
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


def test_cancel_ends_an_image_between_its_steps(client, monkeypatch):
    """Of the request alone that is cancelled."""
    steps = []

    def slow(work: Work, check=Work.check) -> None:
        steps.append(work)
        time.sleep(0.05)
        check(work)

    monkeypatch.setattr(Work, "check", slow)
    asked = client.submit(FIRST, NONE, "", 1, **HOW | {"steps": 100}, api_name="/generate")
    while not steps:
        time.sleep(0.01)
    waiting = client.submit(FIRST, SECOND, "", **HOW, api_name="/strip")
    asked.cancel()
    assert len(waiting.result(timeout=300)[0]) == len(STRIP)
    assert len(steps) < 100


def test_an_upload_that_the_disk_has_no_room_for_is_one_line(url):
    with room(1000):
        answer = httpx.post(f"{url}/gradio_api/upload", files={"files": bytes(10**5)}, timeout=300)
    assert answer.status_code == 507
    assert re.fullmatch(r"The disk is full \(.*\)\. Ask the owner of this page to make room, and try again\.", answer.text)
    assert httpx.post(f"{url}/gradio_api/upload", files={"files": bytes(10**5)}, timeout=300).is_success


def test_the_example_of_the_docs_runs(url, photos, tmp_path, capsys):
    (example,) = re.findall(r"```py\n(.*?)```", (ROOT / "docs/app.md").read_text("utf-8"), re.S)
    exec(example.replace("http://127.0.0.1:7860", url).replace("photo.jpg", str(photos[0])))
    files, mixed, answer = capsys.readouterr().out.splitlines()[-3:]
    assert files.count("awe-") == 2
    assert mixed.startswith("70 % awe, 30 % fear · tree")
    assert re.fullmatch(rf"({'|'.join(EMOTIONS)}) \d+ of 100", answer)


def test_nothing_of_the_server_can_be_reached(url, client, run):
    assert "The report" in urlopen(f"{url}/gradio_api/file={run}/report/index.html").read().decode()
    for path in ("/etc/passwd", run / "images" / "config.yaml", run / "report" / ".." / "images" / "config.yaml"):
        with pytest.raises(HTTPError, match="403"):
            urlopen(f"{url}/gradio_api/file={path}")
    with pytest.raises(AppError) as said:
        client.predict({"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}, FIRST, api_name="/ask")
    assert "root" not in str(said.value)


def test_with_a_password_nothing_is_shown_without_it(models):
    page = app_main.build_page(models, [])
    url = app_main.serve(page, models, App(), "secret").rstrip("/")
    try:
        for place in ("config", f"gradio_api/file={models.run}/report/index.html"):
            with pytest.raises(HTTPError, match="401"):
                urlopen(f"{url}/{place}")
        assert Client(url, auth=("emotion", "secret"), verbose=False).endpoints
    finally:
        page.close(verbose=False)


def test_every_parameter_has_a_name(client):
    takes = {
        name: [each["parameter_name"] for each in about["parameters"]]
        for name, about in client.view_api(return_format="dict")["named_endpoints"].items()
    }
    assert set(takes) == {"/generate", "/mix_two", "/strip", "/mix_all", "/photo", "/ask", "/ask_many"}
    assert takes["/mix_all"] == ["content", *EMOTIONS, *HOW]
    assert not [name for names in takes.values() for name in names if name.startswith("param_")]


def test_files_of_people_are_removed_when_they_are_old(models, photos, temporary, monkeypatch):
    def files() -> set[Path]:
        return {path for path in temporary.rglob("*") if path.is_file()}

    monkeypatch.setattr(layout, "OLD", 2)
    examples = app_main.copies_of(models.examples, temporary)
    page, before = app_main.build_page(models, examples), files()
    url = app_main.serve(page, models, App(), None)
    try:
        client = Client(url, verbose=False, download_files=False)
        images, _ = client.predict(FIRST, NONE, "", 1, **HOW, api_name="/generate")
        assert len(images) == 1
        with suppress(AppError):  # where this takes so long that the photograph is gone before
            client.predict(handle_file(photos[0]), FIRST, api_name="/ask")
        for _ in range(300):
            if files() <= before:
                break
            time.sleep(0.2)
        assert set(map(Path, examples)) <= files() <= before, "the examples stay, and nothing that came later"
    finally:
        page.close(verbose=False)
