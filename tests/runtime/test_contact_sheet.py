import pytest
from PIL import Image, ImageDraw

from runtime.contact_sheet import GAP, contact_sheet, strip

COLOURS = ("red", "lime", "blue")


def squares(count, size=10):
    return [Image.new("RGB", (size, size), COLOURS[number % 3]) for number in range(count)]


def coloured(picture):
    """Return how many pixels of each colour a picture has."""
    counts = {colour: count for count, colour in picture.convert("RGB").getcolors(10**6)}
    return [counts.get(colour, 0) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]


def test_every_image_has_its_cell():
    sheet = contact_sheet({"awe": squares(3), "fear": squares(1)}, cell=32)
    assert coloured(sheet) == [2 * 32**2, 32**2, 32**2]
    assert sheet.height == 2 * (32 + GAP) + GAP


def test_captions_have_room_of_their_own():
    plain = contact_sheet({"awe": squares(2)}, cell=64)
    named = contact_sheet({"awe": squares(2)}, 64, {"awe": ["dog", "a caption that is far too long for its cell"]})
    assert named.height == plain.height + 18
    assert named.width == plain.width
    assert coloured(named) == coloured(plain)


def test_a_long_name_takes_lines_and_no_more_width():
    name = "an emotion on a content " * 10
    assert contact_sheet({name: squares(1)}, cell=64).width < contact_sheet({"m" * 24: squares(1)}, cell=64).width + 40


@pytest.mark.parametrize(("count", "columns", "size"), [(5, 3, (3, 2)), (3, 3, (3, 1)), (1, 1, (1, 1))])
def test_a_strip_is_a_grid_of_squares(count, columns, size):
    picture = strip([Image.new("RGB", (30, 20), "red")] * count, columns, cell=16, gap=4)
    assert picture.size == tuple(side * 20 - 4 for side in size)
    assert picture.getchannel("A").histogram()[255] == count * 16**2


def test_a_name_is_never_broken_within_a_number(monkeypatch):
    written = []
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda pen, place, text, *how, **more: written.append(text))
    names = ("amusement-0.5+sadness-0.5", "contentment_of_the_day-0.25", "an amusement-0.5+sadness-0.5 tree")
    contact_sheet({name: squares(1) for name in names})
    assert written == [
        "amusement-0.5+\nsadness-0.5",
        "contentment_of_the_day-\n0.25",
        "an amusement-0.5+\nsadness-0.5 tree",
    ]
