"""Grids of images with their names beside them."""

from textwrap import wrap

from PIL import Image, ImageDraw, ImageFont


def grid(rows: dict[str, list[Image.Image]], cell: int = 128) -> Image.Image:
    """Return a picture with a row of images for each name, in squares of `cell` pixels; long names take several lines."""
    font = ImageFont.load_default(16)
    names = [wrap(name, 24, break_on_hyphens=False, max_lines=cell // 20, placeholder=" ...") for name in rows]
    left, gap = 24 + round(max(font.getlength(line) for lines in names for line in lines)), 6
    columns = max(len(images) for images in rows.values())
    sheet = Image.new("RGB", (left + columns * (cell + gap), len(rows) * (cell + gap) + gap), "white")
    pen = ImageDraw.Draw(sheet)
    for row, (lines, images) in enumerate(zip(names, rows.values(), strict=True)):
        top = gap + row * (cell + gap)
        pen.text((12, top + cell / 2), "\n".join(lines), "black", font, anchor="lm")
        for column, image in enumerate(images):
            resized = image.resize((cell, cell), Image.Resampling.BICUBIC)
            sheet.paste(resized, (left + column * (cell + gap), top))
    return sheet
