"""Contact sheets: images in rows, with names beside the rows and words under the images, for PNG files and pages."""

import re
from collections.abc import Sequence
from textwrap import TextWrapper

from PIL import Image, ImageDraw, ImageFont, ImageOps

GAP = 6  # pixels between cells
PLACES = re.compile(r"(\s+)|(?<=\+)")  # where a name may go on in the next line: awe-0.5+fear-0.5, never within a number


def contact_sheet(
    rows: dict[str, Sequence[Image.Image]], cell: int = 128, captions: dict[str, Sequence[str]] | None = None
) -> Image.Image:
    """Return a picture with a row of images for each name, cut to squares of `cell` pixels; long names take several lines.

    captions: words under each image, by row; what is too long for its cell is cut.
    """
    font, small = ImageFont.load_default(16), ImageFont.load_default(11)
    wrapper = TextWrapper(24, max_lines=cell // 20, placeholder=" ...")
    wrapper.wordsep_re = PLACES
    names = [wrapper.wrap(name) for name in rows]
    left = 24 + round(max(font.getlength(line) for lines in names for line in lines))
    step, columns = cell + GAP + (18 if captions else 0), max(map(len, rows.values()))
    sheet = Image.new("RGB", (left + columns * (cell + GAP), len(rows) * step + GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for place, (lines, (name, images)) in enumerate(zip(names, rows.items(), strict=True)):
        top = GAP + place * step
        pen.text((12, top + cell / 2), "\n".join(lines), "black", font, anchor="lm")
        for column, image in enumerate(images):
            across = left + column * (cell + GAP)
            sheet.paste(ImageOps.fit(image, (cell, cell), Image.Resampling.BICUBIC), (across, top))
            if captions:
                pen.text((across, top + cell + 3), _fitting(captions[name][column], cell, small), "#333333", small)
    return sheet


def strip(images: Sequence[Image.Image], columns: int, cell: int = 128, gap: int = 4) -> Image.Image:
    """Return images in rows of `columns`, each cut to a square of `cell` pixels, on a transparent ground."""
    step, rows = cell + gap, -(-len(images) // columns)
    sheet = Image.new("RGBA", (columns * step - gap, rows * step - gap), (0, 0, 0, 0))
    for place, image in enumerate(images):
        sheet.paste(ImageOps.fit(image, (cell, cell)), (place % columns * step, place // columns * step))
    return sheet


def _fitting(text: str, width: int, font: ImageFont.FreeTypeFont) -> str:
    while font.getlength(text) > width:
        text = text[:-2].rstrip(" .") + "."
    return text
