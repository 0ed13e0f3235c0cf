"""HTML pages that open without a network: from a Jinja template, with everything escaped, and pictures that they hold."""

import base64
from io import BytesIO
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from runtime.files import write_atomically


def write_page(path: Path, template: Path, **shown: object) -> None:
    """Write the page that `template` makes of `shown`, whole or not at all."""
    environment = Environment(
        loader=FileSystemLoader(template.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(template.name).render(**shown)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda beside: beside.write_text(page, encoding="utf-8"))


def picture(image: Image.Image, alt: str, caption: str = "") -> dict:
    """Return an image as a page shows it: {"src", "alt", "caption", "width", "height"}, the image itself in its source."""
    buffer = BytesIO()
    image.save(buffer, "WEBP", quality=88, method=4)
    source = f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return {"src": source, "alt": alt, "caption": caption, "width": image.width, "height": image.height}


def thumbnail(image: Image.Image, size: int) -> Image.Image:
    """Return a copy of the whole image, its longer side at most `size` pixels."""
    small = image.copy()
    small.thumbnail((size, size))
    return small
