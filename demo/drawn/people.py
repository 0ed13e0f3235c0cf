"""Each function draws one person, a face with an expression or a figure in action, over the pen's 100x100 box."""

from collections.abc import Sequence
from random import Random

from demo.drawn.pen import INK, Pen, Point

SKINS = ("#ffd9b8", "#f2bd93", "#d99e70", "#a8703f")
HAIRS = ("#4a3226", "#7a4a28", "#d9a23a", "#b5532a", "#2a2a3a")
CLOTHES = ("#e5484d", "#3f7fd8", "#2f9e6e", "#8a55c9", "#f08c2e")
LOOKS = (SKINS, HAIRS, CLOTHES)
TEAR, TROUSERS = "#3fa9f5", "#3d5a80"


def _drop(pen: Pen, x: float, y: float, size: float) -> None:
    """A tear or a drop of sweat, with its tip at (x, y)."""
    pen.pie(x - size, y + size, x + size, y + size * 3, 0, 360, TEAR, 0)
    pen.polygon([(x, y), (x - size, y + size * 2), (x + size, y + size * 2)], TEAR, 0)


def _face(pen: Pen, rng: Random, brows: tuple[float, float, float], eye: float, cheeks: str) -> str:
    """A head without a mouth; `brows` gives the heights of their outer end, middle and inner end. Returns its skin."""
    skin, hair, _ = map(rng.choice, LOOKS)
    if rng.random() < 0.5:
        pen.rectangle(8, 34, 92, 92, hair, radius=14)
    pen.ellipse(10, 1, 90, 80, hair)
    for x in (7, 79):
        pen.ellipse(x, 46, x + 14, 64, skin)
    pen.ellipse(15, 11, 85, 98, skin)
    pen.pie(20, 4, 80, 38, 180, 360, hair, 0)
    for x, side in ((33, 1), (67, -1)):
        pen.ellipse(x - 11 - 3 * side, 60, x + 11 - 3 * side, 74, cheeks, 0)
        pen.ellipse(x - 10, 50 - eye, x + 10, 50 + eye, "#ffffff", 2)
        r = min(5, eye - 1)
        pen.ellipse(x - r, 50 - r, x + r, 50 + r, INK, 0)
        pen.line([(x - 12 * side, brows[0]), (x - 2 * side, brows[1]), (x + 9 * side, brows[2])], INK, 5)
    return skin


def happy(pen: Pen, rng: Random) -> None:
    _face(pen, rng, (36, 32, 35), 9, "#ff9c8f")
    pen.pie(27, 46, 73, 94, 0, 180, "#8c1f2e")
    pen.rectangle(31, 71, 69, 78, "#ffffff", 0)


def sad(pen: Pen, rng: Random) -> None:
    _face(pen, rng, (42, 37, 30), 8, "#e8a08c")
    pen.arc(34, 76, 66, 104, 190, 350, INK, 5)
    for x in (28, 72):
        _drop(pen, x, 55, 8)


def angry(pen: Pen, rng: Random) -> None:
    _face(pen, rng, (31, 38, 46), 7, "#ee3b2b")
    pen.rectangle(30, 74, 70, 91, "#ffffff", 3, 5)
    for x in (40, 50, 60):
        pen.line([(x, 75), (x, 90)], INK, 2)


def fear(pen: Pen, rng: Random) -> None:
    skin = _face(pen, rng, (35, 31, 25), 13, "#b8c9e8")
    pen.line([(33, 84), (38, 77), (44, 84), (50, 77), (56, 84), (62, 77), (67, 84)], INK, 5)
    for x in (2, 76):
        pen.rectangle(x, 66, x + 22, 99, skin, 2.5, 9)
        pen.line([(x + 11, 67), (x + 11, 83)], INK, 2.5)
    _drop(pen, 92, 18, 6)


def disgust(pen: Pen, rng: Random) -> None:
    _face(pen, rng, (40, 39, 43), 4, "#9cc24f")
    pen.line([(45, 58), (50, 62), (55, 58)], INK, 2.5)
    pen.arc(28, 70, 72, 98, 190, 350, INK, 5)
    pen.rectangle(41, 71, 60, 99, "#f2607a", 2.5, 9)


def surprise(pen: Pen, rng: Random) -> None:
    _face(pen, rng, (32, 25, 28), 12, "#ffb09c")
    pen.ellipse(37, 66, 63, 95, "#8c1f2e")


def _limb(pen: Pen, points: Sequence[Point], colour: str, width: float = 9) -> None:
    """A thick outlined polyline with rounded ends."""
    for fill, thick in ((INK, width + 4), (colour, width)):
        pen.line(points, fill, thick)
        for x, y in points:
            pen.ellipse(x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2, fill, 0)


def _head(pen: Pen, x: float, y: float, skin: str, hair: str) -> None:
    pen.ellipse(x - 14, y - 16, x + 14, y + 8, hair)
    pen.ellipse(x - 12, y - 10, x + 12, y + 13, skin)
    for eye in (x - 5, x + 5):
        pen.ellipse(eye - 1.8, y - 2, eye + 1.8, y + 2, INK, 0)
    pen.arc(x - 6, y - 2, x + 6, y + 8, 20, 160, INK, 2)


def dancing(pen: Pen, rng: Random) -> None:
    skin, hair, dress = map(rng.choice, LOOKS)
    _limb(pen, [(46, 68), (44, 94)], skin)
    _limb(pen, [(58, 64), (78, 72), (92, 58)], skin)
    _limb(pen, [(44, 42), (22, 40), (12, 22)], skin, 7)
    _limb(pen, [(56, 42), (76, 34), (72, 10)], skin, 7)
    pen.polygon([(42, 36), (58, 36), (58, 50), (80, 70), (50, 80), (20, 70), (42, 50)], dress)
    _head(pen, 48, 20, skin, hair)
    for x, y in ((28, 10), (92, 28)):
        pen.line([(x, y + 12), (x, y), (x + 7, y + 3)], INK, 3)
        pen.ellipse(x - 7, y + 8, x + 1, y + 15, INK, 0)


def crying(pen: Pen, rng: Random) -> None:
    skin, hair, shirt = map(rng.choice, LOOKS)
    pen.ellipse(4, 84, 96, 99, TEAR, 0)
    pen.rectangle(32, 46, 68, 90, shirt, radius=12)
    _head(pen, 50, 36, skin, hair)
    for side in (-1, 1):
        _limb(pen, [(50 + 12 * side, 88), (50 + 28 * side, 68), (50 + 32 * side, 92)], TROUSERS, 11)
        _limb(pen, [(50 + 20 * side, 52), (50 + 27 * side, 64), (50 + 7 * side, 38)], skin, 8)
        for x, y in ((22, 12), (36, 28)):
            _drop(pen, 50 + x * side, y, 5)


def boxing(pen: Pen, rng: Random) -> None:
    skin, hair, shorts = map(rng.choice, LOOKS)
    _limb(pen, [(44, 66), (28, 78), (24, 94)], skin)
    _limb(pen, [(56, 66), (70, 78), (76, 94)], skin)
    pen.rectangle(36, 34, 64, 66, skin, radius=8)
    pen.polygon([(36, 58), (64, 58), (74, 76), (58, 80), (50, 72), (42, 80), (26, 76)], shorts)
    _head(pen, 50, 20, skin, hair)
    _limb(pen, [(38, 42), (20, 54), (28, 36)], skin)
    _limb(pen, [(62, 42), (80, 48), (74, 32)], skin)
    for x, y in ((32, 32), (70, 28)):
        pen.ellipse(x - 13, y - 13, x + 13, y + 13, "#e0202c")


def yoga(pen: Pen, rng: Random) -> None:
    skin, hair, shirt = map(rng.choice, LOOKS)
    pen.rectangle(2, 87, 98, 98, "#8a55c9", radius=4)
    for side in (-1, 1):
        _limb(pen, [(50 + 14 * side, 50), (50 + 24 * side, 26), (50, 6)], skin, 7)
    pen.rectangle(35, 42, 65, 82, shirt, radius=7)
    _head(pen, 50, 32, skin, hair)
    for side in (-1, 1):
        _limb(pen, [(50 + 12 * side, 76), (50 + 36 * side, 80), (50 - 12 * side, 86)], TROUSERS, 10)


def celebrating(pen: Pen, rng: Random) -> None:
    skin, hair, shirt = map(rng.choice, LOOKS)
    for side in (-1, 1):
        _limb(pen, [(50 + 12 * side, 46), (50 + 26 * side, 32), (50 + 30 * side, 12)], skin, 8)
        _limb(pen, [(50 + 7 * side, 70), (50 + 22 * side, 76), (50 + 16 * side, 92)], TROUSERS)
    pen.rectangle(36, 40, 64, 74, shirt, radius=8)
    _head(pen, 50, 28, skin, hair)
    pen.polygon([(50, -2), (60, 16), (40, 16)], "#ffd23f")
    for i, (x, y) in enumerate(((8, 10), (34, 8), (66, 8), (92, 12), (8, 40), (92, 42), (14, 66), (86, 66))):
        x, y = x + rng.uniform(-2, 2), y + rng.uniform(-3, 3)
        pen.rectangle(x - 3, y - 3, x + 3, y + 3, CLOTHES[i % 5], 0)


def cleaning_toilet(pen: Pen, rng: Random) -> None:
    skin, hair, shirt = map(rng.choice, LOOKS)
    pen.rectangle(78, 28, 97, 66, "#ffffff", radius=3)
    pen.polygon([(62, 74), (90, 66), (86, 96), (66, 96)], "#ffffff")
    pen.pie(48, 40, 97, 86, 0, 180, "#ffffff")
    pen.line([(50, 34), (62, 52)], "#e5484d", 5)
    pen.ellipse(55, 44, 71, 64, "#3f7fd8")
    pen.rectangle(45, 56, 80, 65, "#e3edf5", radius=4)
    _limb(pen, [(20, 70), (38, 84), (18, 93)], TROUSERS, 10)
    pen.polygon([(10, 76), (14, 46), (32, 42), (34, 76)], shirt)
    _head(pen, 26, 28, skin, hair)
    _limb(pen, [(26, 52), (40, 52), (50, 36)], "#ffd23f", 8)


FACES = {draw.__name__: draw for draw in (happy, sad, angry, fear, disgust, surprise)}
ACTIONS = {draw.__name__: draw for draw in (dancing, crying, yoga, celebrating)}
ACTIONS |= {"boxing ": boxing, "cleaning toilet": cleaning_toilet}  # EmoSet spells boxing with the space
