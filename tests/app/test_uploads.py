"""What people upload: an image, whatever program wrote it, is taken, and everything else is refused in one line."""

import io
import struct
import zlib

import pytest
from asked import EMOTIONS, FIRST
from PIL import Image

gr = pytest.importorskip("gradio", reason="no gradio here; pip install -e .[app]")

from app import understanding_tabs


def huge_png(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is as large as that."""
    Image.new("1", (1, 1)).save(content := io.BytesIO(), "PNG")
    head = content.getvalue()
    chunk = b"IHDR" + struct.pack(">II", width, height) + head[24:29]
    return head[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + head[33:]


def written(form: str, mode: str = "RGB", **options) -> bytes:
    """A photograph's noise as a file."""
    noise = Image.effect_noise((48, 40), 60).convert("RGB")
    noise.convert(mode).save(content := io.BytesIO(), form, **options)
    return content.getvalue()


BAD = {
    "empty.png": (b"", "empty file"),
    "text.jpg": (b"<script>alert(1)</script>", "not an image"),
    "drawing.svg": (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "not an image"),
    "zip.png": (b"PK\x03\x04" + bytes(50), "not an image"),
    "truncated.jpg": (written("JPEG")[:-300], "truncated"),
    "huge.png": (huge_png(10_000, 6_000), "10000 x 6000 pixels, more than the 50 million"),
    "bomb.png": (huge_png(30_000, 30_000), "cannot be decoded: .* pixels"),
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


GOOD = {
    "animated.gif": written("GIF", save_all=True, append_images=[Image.new("RGB", (48, 40), "red")]),
    "cmyk.jpg": written("JPEG", "CMYK"),
    "16 bits.png": written("PNG", "I;16"),
    "palette.png": written("PNG", "P", transparency=0),
    "grey with alpha.png": written("PNG", "LA"),
    "a.webp": written("WEBP"),
    "png.jpg": written("PNG"),
}


def test_what_cameras_and_programs_write_is_taken(models, tmp_path):
    for name, content in GOOD.items():
        (tmp_path / name).write_bytes(content)
    ((table, _), *_) = understanding_tabs.ask_many(models, [str(tmp_path / name) for name in GOOD])
    assert set(table["file"]) == set(GOOD)
    assert not table["problem"].any()
    assert table[list(EMOTIONS)].astype(float).sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-3)


def test_a_table_of_nothing(models, tmp_path):
    with pytest.raises(gr.Error, match="There are no files"):
        next(understanding_tabs.ask_many(models, []))
    (tmp_path / "notes.txt").write_text("x")
    ((table, _), *_) = understanding_tabs.ask_many(models, [str(tmp_path / "notes.txt")])
    assert table["problem"].tolist() == ["not an image. Try a JPEG, PNG or WebP file."]


def test_an_image_that_was_removed_is_one_line(models, tmp_path):
    with pytest.raises(gr.Error, match=r"^'old\.png: is gone"):
        understanding_tabs.ask(models, str(tmp_path / "old.png"), FIRST)
