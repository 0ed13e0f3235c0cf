"""Opening the image files that a data set really holds."""

import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from PIL import ExifTags, Image, ImageOps

from config.errors import UserError
from runtime.files import lfs_pointer

# Image.open warns of a possible decompression bomb from 89 megapixels on; from twice that it raises, which we report.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)

HEAD_BYTES = 16384
TAIL_BYTES = 64  # some programs write a few bytes behind a JPEG's end
ORIENTATION = ExifTags.Base.Orientation
JPEG_END = b"\xff\xd9"


class ImageError(UserError):
    """An image file that cannot be used; reason: why, in a few words."""

    def __init__(self, path: str | Path, reason: str):
        super().__init__(path, reason)  # as pickle makes it again, from another process
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def load_image(path: str | Path) -> Image.Image:
    """Return the image as RGB, upright by its EXIF orientation, transparency over white, 16-bit grey scaled to 8.

    Raises ImageError, whatever the decoder stumbles over.
    """
    with reporting(path):
        check_regular(path)
        with Image.open(path) as image:
            return as_rgb(image)


def check_image(path: str | Path, decode: bool = False) -> tuple[int, int]:
    """Return the upright image's (width, height) in pixels, read from its header.

    A JPEG that does not end as one is decoded, and so is every image with `decode`. Raises ImageError where the image
    cannot be used.
    """
    with reporting(path):
        check_regular(path)
        with open(path, "rb", buffering=0) as file:
            head = tail = file.read(HEAD_BYTES)
            if len(head) == HEAD_BYTES:
                file.seek(-TAIL_BYTES, os.SEEK_END)
                tail = file.read(TAIL_BYTES)
        try:
            image = Image.open(BytesIO(head))
        except Exception:
            image = Image.open(path)  # its header is longer than that, or it is no image
        if decode or (image.format == "JPEG" and JPEG_END not in tail[-TAIL_BYTES:]):
            load_image(path)
        turned = not image.info.keys().isdisjoint({"exif", "xmp"}) and image.getexif().get(ORIENTATION) in (5, 6, 7, 8)
        return (image.height, image.width) if turned else image.size


def as_rgb(image: Image.Image) -> Image.Image:
    """Return an opened image as load_image does."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def check_regular(path: str | Path) -> None:
    """Raise ValueError for what is no file, such as a pipe or a device: opening it might wait for ever."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError("not a file")


@contextmanager
def reporting(path: str | Path) -> Iterator[None]:
    """Raise an ImageError for whatever the block raises about the image at `path`."""
    try:
        yield
    except ImageError:
        raise
    except Image.UnidentifiedImageError:
        reason = lfs_pointer(Path(path)) or ("not an image" if os.path.getsize(path) else "empty file")
        raise ImageError(path, reason) from None
    except OSError as error:
        raise ImageError(path, f"cannot be read: {error.strerror or error}".lower()) from None
    except Exception as error:  # damaged files make decoders raise whatever they stumble over
        raise ImageError(path, f"cannot be decoded: {error}".lower()) from None
