"""Serve a page in a browser on what a run folder holds: make images, mix emotions, ask about an image, see the report.

    python app/main.py run=runs/demo
    EMOTION_APP_PASSWORD=... python app/main.py run=runs/demo app.address=0.0.0.0

The run may hold either half alone, or both. The page only reads the run folder. What people upload and make lies in a
temporary folder, and is removed after an hour and at the end. docs/app.md tells more.
"""

from runtime.script import read_settings, run

read_settings(__name__, __doc__, "app")

import ipaddress
import logging
import os
import socket
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from config.app_settings import App
from config.errors import UserError
from config.settings import Settings
from runtime.checking import stops_here
from runtime.run_folder import log

PASSWORD, USER = "EMOTION_APP_PASSWORD", "emotion"
LARGEST = "30mb"  # of an uploaded file
EXAMPLE = 512  # pixels of the longer side of an example

if find_spec("gradio") is None:
    raise UserError("gradio is not installed; in the project's folder: pip install -r requirements.txt -e .[app]")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr

from app.layout import STYLE, build_page, theme
from app.one_line import refuse_upload
from app.run_models import RunModels
from emoset.images import load_image


def main(settings: Settings) -> None:
    log.setLevel(logging.INFO)
    log.addHandler(logging.StreamHandler(sys.stdout))
    password = os.environ.get(PASSWORD)
    check_address(settings.app, password)
    models = RunModels(settings.run)
    if stops_here(settings, {"address": settings.app.address}):
        return
    with TemporaryDirectory(prefix="emotion-app-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        page = build_page(models, copies_of(models.examples, Path(folder)))
        url = serve(page, models, settings.app, password)
        log.info(f"The page: {url}\nCtrl-C ends it.")
        page.block_thread()


def check_address(app: App, password: str | None) -> None:
    """Raise UserError unless the page is for this machine alone, or asks for a password, and the address is its own."""
    name = app.address
    own = name == "localhost" or (is_address(name) and ipaddress.ip_address(name).is_loopback)
    if not own and not password:
        raise UserError(
            f"app.address: others could use the page at {name} without a password; set one in the environment, "
            f"{PASSWORD}=..., or leave app.address at 127.0.0.1"
        )
    try:  # else Gradio would try a hundred ports, for minutes
        family = socket.getaddrinfo(name, None)[0][0]
        socket.create_server((name, 0), family=family).close()
    except (OSError, UnicodeError):  # the latter for a..b, and for parts of a name above 63 characters
        raise UserError(
            f"app.address: this machine has no address {name}; name one that it has, or leave app.address at 127.0.0.1"
        ) from None


def is_address(name: str) -> bool:
    """Tell whether a text is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def copies_of(images: list[Path], folder: Path) -> list[str]:
    """Return small copies of images in `folder`, from where Gradio may show them."""
    copies = []
    for number, path in enumerate(images, 1):
        image = load_image(path)
        image.thumbnail((EXAMPLE, EXAMPLE))
        copies.append(str(folder / f"example-{number}.png"))
        image.save(copies[-1])
    return copies


def serve(page: gr.Blocks, models: RunModels, app: App, password: str | None) -> str:
    """Start to serve the page, in threads, and return its address."""
    try:
        _, url, _ = page.launch(
            server_name=f"[{app.address}]" if ":" in app.address else app.address,
            server_port=app.port,
            auth=(USER, password) if password else None,
            auth_message=f"The user name is {USER}.",
            max_file_size=LARGEST,
            allowed_paths=[str(models.run / "report" / "index.html")],
            footer_links=["api"],
            theme=theme(),
            css=STYLE,
            quiet=True,
            ssr_mode=False,
            share=False,
            run_history=False,  # which a browser would keep, for the next person at it too
            prevent_thread_lock=True,
            app_kwargs={"exception_handlers": {OSError: refuse_upload}},
            _frontend=False,  # else a machine that is too busy to answer in 3 seconds is said to need share=True
        )
    except OSError:
        raise UserError(f"app.port: {app.port or 'each from 7860 to 7959'} is taken or not allowed; name another") from None
    return url


if __name__ == "__main__":
    run(main)
