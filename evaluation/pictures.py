"""Sheets and strips of images that a page holds itself."""

import base64
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageOps

from emoset.images import load_image

CELL = 128  # pixels of an image in a sheet
GAP = 4


def sheet(paths: list[Path], columns: int, alt: str, caption: str = "") -> dict:
    """Return images in rows of `columns`, each cut to a square, as {"src", "alt", "caption", "width", "height"}.

    Between them the page shows.
    """
    step, rows = CELL + GAP, -(-len(paths) // columns)
    pasted = Image.new("RGBA", (columns * step - GAP, rows * step - GAP), (0, 0, 0, 0))
    for place, path in enumerate(paths):
        pasted.paste(ImageOps.fit(load_image(path), (CELL, CELL)), (place % columns * step, place // columns * step))
    return _embedded(pasted, alt, caption)


def thumbnail(path: Path, alt: str, size: int = 224) -> dict:
    """Return one image, whole, its longer side at most `size` pixels."""
    image = load_image(path)
    image.thumbnail((size, size))
    return _embedded(image, alt, "")


def _embedded(image: Image.Image, alt: str, caption: str) -> dict:
    buffer = BytesIO()
    image.save(buffer, "WEBP", quality=88, method=4)
    source = f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return {"src": source, "alt": alt, "caption": caption, "width": image.width, "height": image.height}
