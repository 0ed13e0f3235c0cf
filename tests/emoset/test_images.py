import os
import random
import shutil
import socket
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from emoset.images import ImageError, check_image, load_image

RED, GREEN = (204, 51, 51), (51, 153, 51)  # both are in the palette that PIL takes for GIF and P


@pytest.fixture
def two_halves():
    """60 x 40 pixels, left half red, right half green."""
    image = Image.new("RGB", (60, 40), RED)
    image.paste(GREEN, (30, 0, 60, 40))
    return image


def is_near(pixel, colour, tolerance=12):
    return all(abs(a - b) <= tolerance for a, b in zip(pixel, colour, strict=True))


@pytest.mark.parametrize(
    ("mode", "name"),
    [("RGB", "a.jpg"), ("CMYK", "a.jpg"), ("P", "a.png"), ("RGBA", "a.png"), ("RGB", "名 前.png"), ("P", "a.gif")],
)
def test_every_mode_becomes_the_same_rgb(two_halves, tmp_path, mode, name):
    two_halves.convert(mode).save(tmp_path / name)
    image = load_image(tmp_path / name)
    assert image.mode == "RGB"
    assert check_image(tmp_path / name) == image.size == (60, 40)
    assert is_near(image.getpixel((5, 20)), RED)
    assert is_near(image.getpixel((55, 20)), GREEN)


@pytest.mark.parametrize("mode", ["L", "1", "LA", "I;16"])
def test_grey(tmp_path, mode):
    value = 180
    if mode == "I;16":
        Image.fromarray(np.full((40, 60), value * 256, np.uint16)).save(tmp_path / "a.png")
    else:
        Image.new("L", (60, 40), value if mode != "1" else 255).convert(mode).save(tmp_path / "a.png")
    assert load_image(tmp_path / "a.png").getpixel((3, 3)) == ((value,) * 3 if mode != "1" else (255,) * 3)


@pytest.mark.parametrize(("kind", "name"), [(np.uint16, "a.tiff"), (">u2", "a.tiff"), (np.uint16, "a.pgm")])
def test_grey_of_16_bits_in_other_files(tmp_path, kind, name):
    Image.fromarray(np.full((40, 60), 180 * 256, kind)).save(tmp_path / name)
    assert load_image(tmp_path / name).getpixel((3, 3)) == (180, 180, 180)


@pytest.mark.parametrize(("kind", "told"), [(np.float32, "floating-point numbers"), (np.int32, "32-bit integers")])
def test_pixels_without_a_known_white_are_refused(tmp_path, kind, told):
    """They would become all white, or all black."""
    Image.fromarray(np.full((40, 60), 180, kind)).save(tmp_path / "a.tiff")
    for find in (check_image, load_image):
        with pytest.raises(ImageError, match=rf"a\.tiff: pixels are {told} .*; save it with 8 or 16 bits$"):
            find(tmp_path / "a.tiff")


def test_transparency_lies_over_white(tmp_path):
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / "a.png")
    assert load_image(tmp_path / "a.png").getpixel((0, 0)) == (255, 255, 255)


def test_a_transparent_grey_is_one_of_16_bits(tmp_path):
    pixels = np.array([[180 * 256, 180 * 256 + 7, 180]], np.uint16)
    Image.fromarray(pixels).save(tmp_path / "a.png", transparency=180 * 256)
    assert [load_image(tmp_path / "a.png").getpixel((x, 0))[0] for x in range(3)] == [255, 180, 0]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(two_halves, tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    two_halves.save(tmp_path / "a.jpg", exif=exif, quality=95)
    image = load_image(tmp_path / "a.jpg")
    assert check_image(tmp_path / "a.jpg") == image.size == ((60, 40) if orientation < 5 else (40, 60))
    red = {1: (5, 5), 2: (55, 5), 3: (55, 5), 4: (5, 5), 5: (5, 5), 6: (5, 5), 7: (5, 55), 8: (5, 55)}[orientation]
    assert is_near(image.getpixel(red), RED)


def test_a_header_longer_than_the_part_read_first(two_halves, tmp_path):
    two_halves.save(tmp_path / "a.jpg", icc_profile=os.urandom(50_000))
    assert check_image(tmp_path / "a.jpg") == (60, 40)


def test_bytes_behind_the_end_are_harmless(two_halves, tmp_path):
    two_halves.save(tmp_path / "a.jpg")
    with (tmp_path / "a.jpg").open("ab") as file:
        file.write(b"camera was here" * 20)
    assert check_image(tmp_path / "a.jpg") == (60, 40)


def broken(path, how):
    noise = Image.effect_noise((300, 300), 80)
    match how:
        case "truncated":
            noise.save(path)
            os.truncate(path, path.stat().st_size // 2)
        case "truncated in its header":
            noise.save(path)
            os.truncate(path, 100)
        case "empty file":
            path.touch()
        case "no image":
            path.write_text("<html>404</html>")
        case "a folder":
            path.mkdir()
        case "a loop of links":
            path.symlink_to(path)
        case "a bomb":
            noise.save(path, "PNG")
            header = bytearray(path.read_bytes())
            header[16:24] = (60000).to_bytes(4, "big") * 2
            header[29:33] = zlib.crc32(header[12:29]).to_bytes(4, "big")
            path.write_bytes(header)


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("truncated", "truncated"),
        ("truncated in its header", "truncated"),
        ("empty file", "empty file"),
        ("no image", "not an image"),
        ("a folder", "cannot be read: is a directory"),
        ("a loop of links", "cannot be read: too many levels of symbolic links"),
        ("missing", "cannot be read: no such file or directory"),
        ("a bomb", "cannot be decoded: image size .* exceeds limit"),
    ],
)
def test_what_cannot_be_used_has_a_reason(tmp_path, how, reason):
    broken(tmp_path / "a.jpg", how)
    with pytest.raises(ImageError, match=reason):
        check_image(tmp_path / "a.jpg")


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def damaged(path, how):
    """Write an image that begins as it should and is damaged within."""
    noise = Image.effect_noise((300, 200), 80).convert("RGB")
    options = {"progressive": True} if "progressive" in how else {}
    noise.save(path, **options)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    match how.split()[-1]:
        case "text":  # a chunk that is unpacked to many megabytes
            content[33:33] = chunk(b"zTXt", b"comment\0\0" + zlib.compress(bytes(5_000_000)))
        case "cut":  # and ended as a whole one is
            content = content[:middle] + content[-12 if path.suffix == ".png" else -2 :]
        case "marker":  # a second start of image within the pixels
            content[middle : middle + 2] = b"\xff\xd8"
        case "thumbnail":  # cut, with another image's end behind
            content = content[:middle] + b"\xff\xd8\xff\xd9"
        case "zeros":
            content[middle : middle + 4000] = bytes(4000)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        *(("a.png", "zeros"), ("a.png", "cut"), ("a.png", "text"), ("a.webp", "cut"), ("a.gif", "cut"), ("a.tiff", "cut")),
        *(("a.bmp", "cut"), ("a.jpg", "marker"), ("a.jpg", "progressive marker"), ("a.jpg", "thumbnail")),
    ],
)
def test_damage_within_is_found_and_what_is_found_is_what_cannot_be_loaded(tmp_path, name, how):
    damaged(tmp_path / name, how)
    for find in (check_image, load_image):
        with pytest.raises(ImageError, match=r"cannot be (read|decoded): |not an image") as error:
            find(tmp_path / name)
        assert (error.value.path, "\n" in str(error.value)) == (tmp_path / name, False)


def test_a_jpeg_can_be_checked_by_its_header_and_end_alone(tmp_path):
    damaged(tmp_path / "a.jpg", "marker")
    assert check_image(tmp_path / "a.jpg", decode=False) == (300, 200)
    os.truncate(tmp_path / "a.jpg", 5000)
    with pytest.raises(ImageError, match="truncated"):
        check_image(tmp_path / "a.jpg", decode=False)


def test_a_png_whose_metadata_are_long_is_sound(two_halves, tmp_path):
    two_halves.save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    notes = b"".join(chunk(b"tEXt", b"note\0" + bytes([65 + number]) * 900) for number in range(40))
    (tmp_path / "a.png").write_bytes(content[:33] + notes + content[33:])
    assert check_image(tmp_path / "a.png") == load_image(tmp_path / "a.png").size == (60, 40)


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_what_is_no_file_is_not_waited_for(tmp_path, kind):
    path = tmp_path / "a.jpg"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
    for find in (check_image, load_image):
        with pytest.raises(ImageError, match="not a file, but a pipe, a socket or a device"):
            find(path)


@pytest.mark.parametrize("size", [(1, 1), (100, 1), (1, 100)])
def test_extreme_images_that_can_be_used(tmp_path, size):
    Image.new("RGB", size, RED).save(tmp_path / "a.png")
    assert check_image(tmp_path / "a.png") == size


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_an_image_as_long_as_no_photograph_is_refused_by_name(tmp_path, name):
    Image.new("RGB", (1, 200)).save(tmp_path / name)
    with pytest.raises(ImageError, match=rf"{name}: 1 x 200 pixels, more than 100 times as long as wide"):
        check_image(tmp_path / name)


@pytest.mark.parametrize("orientation", [0, 9, 700])
def test_odd_orientations_turn_nothing(two_halves, tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    two_halves.save(tmp_path / "a.jpg", exif=exif)
    assert check_image(tmp_path / "a.jpg") == load_image(tmp_path / "a.jpg").size == (60, 40)


def test_an_orientation_written_as_text_turns_nothing(two_halves, tmp_path):
    ascii_six = struct.pack("<HHI4s", 0x0112, 2, 2, b"6\0\0\0")
    two_halves.save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0" + ascii_six + bytes(4))
    assert check_image(tmp_path / "a.jpg") == load_image(tmp_path / "a.jpg").size == (60, 40)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_any_byte_may_be_wrong(two_halves, tmp_path):
    """Whatever is damaged, the image is read or refused with a reason."""
    exif = Image.Exif()
    exif[0x0112] = 6
    rng, refused = random.Random(0), 0
    for name in ("a.jpg", "a.png", "a.gif", "a.webp", "a.tiff"):
        two_halves.save(tmp_path / name, exif=exif)
        sound = (tmp_path / name).read_bytes()
        for _ in range(150):
            content = bytearray(sound)
            for _ in range(4):
                content[rng.randrange(len(content))] = rng.randrange(256)
            (tmp_path / name).write_bytes(content)
            try:
                assert all(check_image(tmp_path / name, decode=rng.random() < 0.5))
            except ImageError:
                refused += 1
            else:
                if name != "a.jpg":  # the others are decoded in any case
                    load_image(tmp_path / name)
    assert 20 < refused < 700


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable(two_halves, tmp_path):
    two_halves.save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").chmod(0)
    with pytest.raises(ImageError, match="permission denied"):
        check_image(tmp_path / "a.jpg")
    shutil.rmtree(tmp_path, ignore_errors=True)
