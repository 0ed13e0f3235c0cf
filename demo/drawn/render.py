"""Draws the cues of an image: a scene or a plain backdrop, things or a person before it, and the light over all."""

from collections.abc import Callable
from random import Random

from PIL import Image, ImageChops, ImageEnhance, ImageStat

from demo.drawn.objects import OBJECTS
from demo.drawn.pen import Pen
from demo.drawn.people import ACTIONS, FACES
from demo.drawn.scenes import SCENES
from demo.drawn.world import Cues

OVERSAMPLING = 4  # drawn so many times larger, then scaled down: smooth edges
BACKDROPS = (("#dfe7ea", "#c3cfd3"), ("#efe6d8", "#d8c8b0"), ("#e4e0ec", "#c9c2d8"), ("#dcebe0", "#bcd2c4"))

# light: (colour to multiply by, saturation, brightness)
LIGHTS = {
    "clear": ((255, 255, 255), 1.0, 1.0),
    "vivid": ((255, 255, 255), 1.9, 1.05),
    "sunny": ((255, 250, 205), 1.2, 1.15),
    "golden": ((255, 196, 110), 1.0, 1.0),
    "pastel": ((255, 240, 246), 0.55, 1.2),
    "grey": ((190, 200, 215), 0.15, 0.8),
    "night": ((100, 115, 195), 0.8, 0.85),
    "red": ((255, 110, 90), 1.2, 0.9),
    "murky": ((165, 180, 85), 0.7, 0.8),
}
# composition: [(left, bottom, width)] of each copy of the object, in hundredths of the image; width before a scene
COMPOSED = {
    "near": ([(9, 97, 82)], [(19, 99, 62)]),
    "far": ([(29, 80, 42)], [(30, 96, 42)]),
    "tilted": ([(14, 95, 72)], [(20, 98, 60)]),
    "many": ([(3, 56, 46), (51, 50, 46), (26, 99, 48)], [(1, 96, 42), (57, 96, 42), (29, 72, 42)]),
}


def render(cues: Cues, size: int, rng: Random) -> Image.Image:
    """Return the RGB image, `size` pixels wide and high; `rng` varies what the cues leave open."""
    image = Image.new("RGB", (size * OVERSAMPLING, size * OVERSAMPLING))
    if cues.scene:
        SCENES[cues.scene](Pen(image), rng)
    else:
        _backdrop(Pen(image), rng)
    if cues.object:
        _place(image, OBJECTS[cues.object], cues, rng)
    person = FACES.get(cues.facial_expression) or ACTIONS.get(cues.human_action)
    if person:
        _paste(image, person, rng.uniform(5, 11), rng.uniform(94, 99), 84, 0, rng)
    return _lit(image.resize((size, size), Image.Resampling.LANCZOS), cues.light)


def measure(image: Image.Image) -> tuple[float, float]:
    """Return (brightness, colorfulness), 0 to 1.

    brightness: mean luma. colorfulness: the metric M of Hasler and Süsstrunk (2003), divided by 109, which they call
    extremely colourful, and cut at 1.
    """
    red, green, blue = image.split()
    luma = ImageStat.Stat(image.convert("L")).mean[0] / 255
    # PIL computes (a - b) / scale + offset, cut to 0..255: half the differences, moved to the middle.
    rg = ImageStat.Stat(ImageChops.subtract(red, green, 2, 128))
    yellow = ImageChops.add(red, green, 2)
    yb = ImageStat.Stat(ImageChops.subtract(yellow, blue, 2, 128))
    spread = (4 * rg.var[0] + 4 * yb.var[0]) ** 0.5
    centre = ((2 * rg.mean[0] - 256) ** 2 + (2 * yb.mean[0] - 256) ** 2) ** 0.5
    return luma, min(1.0, (spread + 0.3 * centre) / 109)


def _backdrop(pen: Pen, rng: Random) -> None:
    wall, floor = rng.choice(BACKDROPS)
    pen.rectangle(-5, -5, 105, 105, wall, 0)
    pen.rectangle(-5, rng.uniform(64, 78), 105, 105, floor, 0)


def _place(image: Image.Image, draw: Callable, cues: Cues, rng: Random) -> None:
    look = rng.getrandbits(32)  # copies of an object look alike
    angle = rng.choice((-1, 1)) * rng.uniform(18, 30) if cues.composition == "tilted" else 0
    for left, bottom, width in COMPOSED[cues.composition][cues.scene is not None]:
        left, bottom = left + rng.uniform(-3, 3), bottom - rng.uniform(0, 3)
        _paste(image, draw, left, bottom, width, angle, Random(look))


def _paste(image: Image.Image, draw: Callable, left: float, bottom: float, width: float, angle: float, rng: Random) -> None:
    """Draw something in a square of `width` with its lower left corner at (left, bottom), all in hundredths of the image."""
    unit = image.width / 100
    layer = Image.new("RGBA", (round(width * unit),) * 2)
    draw(Pen(layer), rng)
    if angle:
        layer = layer.rotate(angle, Image.Resampling.BICUBIC)
    image.paste(layer, (round(left * unit), round((bottom - width) * unit)), layer)


def _lit(image: Image.Image, light: str) -> Image.Image:
    colour, saturation, brightness = LIGHTS[light]
    image = ImageEnhance.Color(image).enhance(saturation)
    image = ImageEnhance.Brightness(image).enhance(brightness)
    return ImageChops.multiply(image, Image.new("RGB", image.size, colour))
