"""Opening the image files that a data set really holds."""

import errno
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image
from PIL.Image import Transpose

from config.errors import UserError, first_line
from runtime.files import lfs_pointer

# Pillow warns of what it reads nevertheless, such as broken EXIF, or 89 megapixels and more. From twice that on it raises.
warnings.filterwarnings("ignore", module=r"PIL\.")

NO_IMAGE, EMPTY = "not an image", "empty file"  # reasons
TAIL_BYTES = 64  # some programs write a few bytes behind a JPEG's end
SLENDEREST = 100  # times as long as wide: no photograph is, and scaling one up to a square's side fills the memory
SIDEWAYS = (Transpose.TRANSPOSE, Transpose.ROTATE_270, Transpose.TRANSVERSE, Transpose.ROTATE_90)
TURNS = (Transpose.FLIP_LEFT_RIGHT, Transpose.ROTATE_180, Transpose.FLIP_TOP_BOTTOM, *SIDEWAYS)  # orientations 2 to 8
NUMBERS = {"F": "floating-point numbers", "I": "32-bit integers"}  # modes whose black and white no file states
SIXTEEN_BIT = {"PNG", "PPM"}  # formats whose 16-bit grey may come in mode I
ORIENTED = {"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"}  # where Pillow finds an orientation
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


def check_image(path: str | Path, decode: bool = True) -> tuple[int, int]:
    """Return the upright image's (width, height) in pixels, after decoding it. Raises ImageError where it cannot be used.

    A JPEG is decoded in grey at an eighth of its size, which raises where decoding it whole does, in less than half the
    time. Without `decode` that is done only if its last bytes do not hold its end mark.
    """
    with reporting(path):
        check_regular(path)
        with Image.open(path) as image:
            if image.format == "JPEG":
                size = image.size[::-1] if _turn(image) in SIDEWAYS else image.size
                if decode or not _has_its_end(path):
                    image.draft("L", (1, 1))
                    image.load()
            else:
                size = as_rgb(image).size
    if max(size) > SLENDEREST * min(size):
        raise ImageError(path, f"{size[0]} x {size[1]} pixels, more than {SLENDEREST} times as long as wide")
    return size


def is_whole(path: Path) -> bool:
    """Tell whether there is an image at `path` that can be decoded: a picture of ours, say, that is to be made else."""
    try:
        check_image(path)
    except ImageError:
        return False
    return True


def as_rgb(image: Image.Image) -> Image.Image:
    """Return an opened image as load_image does. Raises UserError for pixels of 32 bits, of which nobody knows the white."""
    if image.mode in NUMBERS and image.format not in (SIXTEEN_BIT if image.mode == "I" else ()):
        raise UserError(f"pixels are {NUMBERS[image.mode]} without a known black and white; save it with 8 or 16 bits")
    image.load()
    if (turn := _turn(image)) is not None:
        image = image.transpose(turn)
        for name in ORIENTED & image.info.keys():
            del image.info[name]  # else the next who looks would turn it again
    if image.mode.startswith("I"):
        grey = image.convert("I")
        image = grey.point(lambda value: value * (1 / 256)).convert("L")
        if (clear := image.info.pop("transparency", None)) is not None:  # of 16 bits, as the pixels were
            image.putalpha(Image.fromarray(np.where(np.asarray(grey) == clear, 0, 255).astype(np.uint8)))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def check_regular(path: str | Path) -> None:
    """Raise OSError for what is no file, such as a pipe or a device: opening it might wait for ever."""
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a file, but a pipe, a socket or a device", str(path))


@contextmanager
def reporting(path: str | Path) -> Iterator[None]:
    """Raise an ImageError for whatever the block raises about the image at `path`."""
    try:
        yield
    except ImageError:
        raise
    except UserError as error:
        raise ImageError(path, str(error)) from None
    except Image.UnidentifiedImageError:
        reason = lfs_pointer(Path(path)) or (NO_IMAGE if os.path.getsize(path) else EMPTY)
        raise ImageError(path, reason) from None
    except OSError as error:
        raise ImageError(path, f"cannot be read: {error.strerror or first_line(error)}".lower()) from None
    except Exception as error:  # damaged files make decoders raise whatever they stumble over
        raise ImageError(path, f"cannot be decoded: {first_line(error)}".lower()) from None


def _turn(image: Image.Image) -> Transpose | None:
    """Return what turns an opened image upright by its EXIF orientation, if anything; broken EXIF turns nothing."""
    try:
        return dict(enumerate(TURNS, 2)).get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # damaged files make decoders raise whatever they stumble over
        return None


def _has_its_end(path: str | Path) -> bool:
    with open(path, "rb", buffering=0) as file:
        file.seek(-min(TAIL_BYTES, os.path.getsize(path)), os.SEEK_END)
        return JPEG_END in file.read()
