"""Take the picture of the page that README.md and app.md show, with Debian's Chromium.

    python docs/page_picture.py runs/demo docs/images/app.png

It needs `pip install -e .[app]` and Chromium.
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from app import main as app_main
from app.run_models import RunModels
from config.app_settings import App

EMOTION, SEED = "awe", "0"
SIZE, SHOWN = {"width": 1280, "height": 1165}, (1000, 910)


def picture(url: str) -> bytes:
    """Return the page as a PNG, after it made images of an emotion and one was clicked."""
    with sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"]).new_page(
            viewport=SIZE
        )
        page.set_default_timeout(300_000)
        page.goto(url)
        page.get_by_role("radio", name=EMOTION, exact=True).first.click()
        page.get_by_label("Seed", exact=True).first.fill(SEED)
        page.get_by_label("A new seed each time").first.uncheck()
        page.get_by_role("button", name="Make images").click()
        made = page.locator(".grid-container button")
        made.nth(3).wait_for()
        made.first.click()
        page.get_by_text("%").first.wait_for()
        page.wait_for_timeout(2000)  # for what moves
        return page.screenshot()


def main(run: Path, file: Path) -> None:
    models = RunModels(run.absolute())
    page = app_main.build_page(models, [])
    taken = picture(app_main.serve(page, models, App(), None))
    page.close(verbose=False)
    shown = Image.open(io.BytesIO(taken)).convert("RGB").resize(SHOWN, Image.Resampling.LANCZOS)
    shown.quantize(256).save(file, optimize=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
