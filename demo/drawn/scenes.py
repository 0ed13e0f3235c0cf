"""Each function draws one scene of EmoSet's vocabulary over the pen's whole 100x100 box."""

from math import cos, pi, sin
from random import Random

from demo.drawn.pen import Pen, Point


def _bands(pen: Pen, *bands: tuple[float, str]) -> None:
    """The backdrop: horizontal bands, each from its top downwards."""
    for top, colour in bands:
        pen.rectangle(-5, top, 105, 105, colour, 0)


def _puff(pen: Pen, x: float, y: float, size: float, colour: str = "#ffffff") -> None:
    """A cloud, a smoke puff or a treetop, `size` units to either side."""
    for dx, dy, r in ((-0.5, 0.1, 0.5), (0.5, 0.1, 0.5), (0, -0.15, 0.6)):
        cx, cy, r = x + dx * size, y + dy * size, r * size
        pen.ellipse(cx - r, cy - r, cx + r, cy + r, colour, 0)


def _conifer(pen: Pen, x: float, base: float, height: float, colour: str) -> None:
    pen.rectangle(x - height * 0.05, base - height * 0.2, x + height * 0.05, base, "#6b4a32", 0)
    for top, bottom, half in ((0.6, 0.12, 0.3), (0.8, 0.35, 0.24), (1, 0.58, 0.18)):
        foot = base - height * bottom
        pen.polygon([(x, base - height * top), (x + half * height, foot), (x - half * height, foot)], colour, 0)


def _far(x: float, y: float, t: float) -> Point:
    """The point (x, y) drawn towards the vanishing point: there at t = 0, unmoved at t = 1."""
    return 50 + (x - 50) * t, 45 + (y - 45) * t


def amusement_park(pen: Pen, rng: Random) -> None:
    _bands(pen, (-5, "#a9dcf5"), (80, "#8fcf6d"))
    pen.line([(30, 90), (50, 40), (70, 90)], "#4a5068", 4)
    pen.arc(17, 7, 83, 73, 0, 360, "#4a5068", 3.5)
    turn, colours = rng.uniform(0, 2), ("#e5484d", "#ffd23f", "#7b4fd0", "#2f9e6e")
    for i in range(8):
        x, y = 50 + 32 * cos(pi * i / 4 + turn), 40 + 32 * sin(pi * i / 4 + turn)
        pen.line([(50, 40), (x, y)], "#4a5068", 2)
        pen.ellipse(x - 6.5, y - 6.5, x + 6.5, y + 6.5, colours[i % 4], 0)
    pen.ellipse(44, 34, 56, 46, "#ffd23f", 0)
    for i, x in enumerate((-4, 3, 10, 17, 76, 83, 90, 97)):
        peak, colour = (10, 90)[i // 4], ("#e5484d", "#fff6e0")[i % 2]
        pen.polygon([(peak, 48), (x, 68), (x, 94), (x + 7, 94), (x + 7, 68)], colour, 0)


def beach(pen: Pen, rng: Random) -> None:
    _bands(pen, (-5, "#9edcf7"), (42, rng.choice(["#1f8fd0", "#1a9cc4"])), (62, "#f4d999"))
    sun = rng.uniform(62, 80)
    pen.ellipse(sun - 11, 6, sun + 11, 28, "#ffd83d", 0)
    for x in range(-5, 105, 22):
        pen.ellipse(x, 56, x + 22, 70, "#ffffff", 0)
        pen.ellipse(x, 60, x + 22, 74, "#f4d999", 0)
    pen.line([(12, 92), (14, 70), (19, 50), (28, 30)], "#8a5a34", 6)
    for dx, dy in ((-26, 8), (26, 10), (-20, -8), (22, -8), (-14, 22), (16, 24)):
        x, y = 28 + dx / 2, 28 + dy / 2
        pen.polygon([(28, 30), (x, y - 8), (28 + dx, 28 + dy), (x, y + 3), (28, 33)], "#2c9a48", 0)
    pen.line([(89, 66), (89, 94)], "#7a5230", 3)
    for i in range(4):
        pen.pie(72, 52, 106, 86, 180 + 45 * i, 225 + 45 * i, ("#e5484d", "#ffffff")[i % 2], 0)


def mountain_snowy(pen: Pen, rng: Random) -> None:
    _bands(pen, (-5, "#7fc4f0"), (76, "#eef6fc"))
    for x, top, half in ((16, 28, 34), (88, 24, 36), (52 + rng.uniform(-4, 4), 5, 42)):
        snow, side = (78 - top) * 0.42, half * 0.42
        pen.polygon([(x, top), (x + half, 78), (x - half, 78)], "#65788f", 0)
        pen.polygon([(x, top), (x + half, 78), (x + 6, 78)], "#4d5e75", 0)
        jags = [(x + side * i / 2, top + snow * (1, 0.75, 1.2, 0.75, 1)[i + 2]) for i in range(-2, 3)]
        pen.polygon([(x, top), *jags], "#ffffff", 0)
    for x, height in ((6, 44), (22, 30), (80, 30), (95, 42)):
        _conifer(pen, x, 72 + height / 2, height, "#2b6a55")


def waterfall(pen: Pen, rng: Random) -> None:
    rock, shade = rng.choice([("#8a776a", "#65554b"), ("#85807a", "#625d59")])
    _bands(pen, (-5, "#a8dcf2"), (15, rock), (75, "#2f9fc4"))
    for dx, y in ((24, 26), (36, 38), (22, 50), (44, 56)):
        for x in (46 - dx, 50 + dx):
            pen.polygon([(x, y), (x + 8, y - 3), (x + 13, y + 5), (x + 3, y + 10), (x - 4, y + 6)], shade, 0)
    pen.polygon([(33, 12), (67, 12), (72, 80), (28, 80)], "#eefaff", 0)
    for dx in (-12, -4, 5, 13):
        pen.line([(50 + dx * 0.8, 20 + rng.uniform(0, 8)), (50 + dx, 70)], "#8fd0ee", 3)
    for x, y in ((4, 14), (21, 13), (79, 13), (97, 14), (-2, 74), (102, 74)):
        _puff(pen, x, y, 12, "#3f9a4a")
    for x in (28, 42, 58, 72):
        _puff(pen, x, 78, 10)


def wheat_field(pen: Pen, rng: Random) -> None:
    _bands(pen, (-5, "#5fb4ee"), (46, "#f0bf3c"))
    _puff(pen, rng.uniform(34, 44), 14, 11)
    _puff(pen, rng.uniform(60, 70), 26, 9)
    for x in range(14, 87, 8):
        pen.polygon([(x, 46), (x * 6.5 - 285, 105), (x * 6.5 - 263, 105)], "#d0922a", 0)
    for x, top in ((5, 20), (20, 36), (80, 36), (95, 20)):
        pen.line([(x, top), (x, 105)], "#99610f", 3)
        for y in range(top, top + 40, 8):
            for side in (-1, 1):
                grain = [(x, y + 7), (x + side, y), (x + 8 * side, y - 4), (x + 7 * side, y + 3)]
                pen.polygon(grain, "#ffdf6b", 1)
        pen.ellipse(x - 3, top - 10, x + 3, top + 3, "#ffdf6b", 1)


def bedroom(pen: Pen, rng: Random) -> None:
    _bands(pen, (-5, rng.choice(["#e6d3bd", "#d9d4e8"])), (74, "#b98b5e"))
    pen.rectangle(34, 4, 66, 27, "#8fd0f5", 1.5)
    pen.line([(50, 4), (50, 27)], "#ffffff", 2.5)
    pen.rectangle(19, 32, 81, 70, "#7a4a2a", 1, 8)
    pen.rectangle(22, 50, 78, 105, "#ffffff", 1, 3)
    for x in (24, 51):
        pen.rectangle(x, 39, x + 25, 57, "#ffffff", 1, 6)
    pen.polygon([(20, 62), (80, 62), (86, 105), (14, 105)], rng.choice(["#4f7fd0", "#5aa58c", "#d0607a"]), 1)
    for x in (7, 93):
        pen.rectangle(x - 9, 66, x + 9, 96, "#8f5c36", 1)
        pen.line([(x, 50), (x, 66)], "#5a4030", 3)
        pen.polygon([(x - 4, 36), (x + 4, 36), (x + 10, 54), (x - 10, 54)], "#ffd65c", 1)


def stage(pen: Pen, rng: Random) -> None:
    _bands(pen, (-5, "#3a2a4a"), (72, "#c08a52"))
    for x in range(-50, 151, 20):
        pen.line([_far(x, 105, 0.45), (x, 105)], "#8a5c34", 1.6)
    for x in (35, 65):
        pen.polygon([(x - 3, 20), (x + 3, 20), (x + 13, 80), (x - 13, 80)], "#fbeaa0", 0)
        pen.ellipse(x - 13, 75, x + 13, 85, "#fff6cf", 0)
        pen.rectangle(x - 6, 12, x + 6, 25, "#8b8fa3", 0, 3)
    folds = rng.choice([("#d22b38", "#9c1a2a"), ("#c42440", "#8c1630")])
    for i, x in enumerate((-2, 4, 10, 16, 78, 84, 90, 96)):
        pen.rectangle(x, -5, x + 6, 90, folds[i % 2], 0)
    for x in range(-4, 100, 18):
        pen.ellipse(x, -16, x + 18, 16, folds[0], 0)
        pen.arc(x, -16, x + 18, 16, 0, 180, "#ffcf4a", 2.5)


def football_field(pen: Pen, rng: Random) -> None:
    light, dark = "#5cbf5f", "#3fa34d"
    _bands(pen, (-5, "#9ad6f5"), (22, "#5a6078"), (46, dark), (54, light), (64, dark), (76, light), (90, dark))
    for i in range(36):
        x, y = i % 12 * 9 - 1 + i // 12 % 2 * 4, 24 + i // 12 * 7
        pen.ellipse(x, y, x + 5, y + 5, rng.choice(["#ffd23f", "#e5484d", "#ffffff", "#5fb4ee"]), 0)
    pen.rectangle(26, 18, 74, 50, "#cfe3d8", 0)
    for i in range(0, 48, 6):
        pen.line([(26 + i, 18), (26 + i, 50)], "#8fa5a0", 1)
        pen.line([(26, 18 + i * 2 / 3), (74, 18 + i * 2 / 3)], "#8fa5a0", 1)
    pen.line([(-5, 51), (26, 51), (26, 17), (74, 17), (74, 51), (105, 51)], "#ffffff", 3.5)
    pen.line([(16, 51), (4, 72), (96, 72), (84, 51)], "#ffffff", 3)
    pen.arc(30, 62, 70, 82, 0, 180, "#ffffff", 3)


def volcano(pen: Pen, rng: Random) -> None:
    _bands(pen, (-5, "#bcd8e6"), (86, "#5b6b46"))
    for x, y, size in ((14, 8, 14), (86, 6, 14), (34, 12, 16), (66, 12, 16), (50, 8, 20)):
        _puff(pen, x, y, size, "#6d6670")
    for colour, size in (("#f2401f", 1), ("#ffb02e", 0.6)):
        for x, y in ((-24, 22), (-12, 36), (0, 30), (12, 36), (24, 22)):
            tip = (50 + x * size + rng.uniform(-2, 2), 44 - y * size)
            pen.polygon([(42, 46), tip, (58, 46)], colour, 0)
    pen.polygon([(38, 42), (62, 42), (108, 94), (-8, 94)], "#5a4542", 0)
    pen.polygon([(38, 42), (44, 42), (20, 94), (-8, 94)], "#75594f", 0)
    for x, bend, foot in ((41, 22, 12), (50, 53, 50), (59, 80, 88)):
        pen.line([(x, 42), ((x + bend) / 2 + 3, 58), (bend, 72), (foot, 94)], "#f2401f", 7.5)
    pen.ellipse(37, 38, 63, 46, "#ffb02e", 0)


def boxing_ring(pen: Pen, rng: Random) -> None:
    _bands(pen, (-5, "#4a4f68"), (60, "#33374a"), (92, "#c22f38"))
    for x in (16, 50, 84):
        pen.polygon([(x - 5, -5), (x + 5, -5), (x + 9, 7), (x - 9, 7)], "#fff3b0", 0)
    pen.polygon([(24, 56), (76, 56), (100, 92), (0, 92)], rng.choice(["#e8ebf0", "#cfe4f5"]), 0)
    for i, colour in enumerate(("#e5343d", "#ffffff", "#3a7de0")):
        y, front = 26 + 9 * i, 32 + 15 * i
        pen.line([(3, front), (23, y), (77, y), (97, front)], colour, 3.5)
    for x, top, foot, half in ((23, 20, 58, 4), (77, 20, 58, 4), (3, 24, 96, 6), (97, 24, 96, 6)):
        pen.rectangle(x - half, top, x + half, foot, "#d6262f" if x < 50 else "#2b62c4", 1, 2)


def industrial_area(pen: Pen, rng: Random) -> None:
    _bands(pen, (-5, "#cdd3d6"))
    for x, top in ((8, 34), (28, 24), (78, 28)):
        for i in range(4):
            _puff(pen, x + 2 + i * 5, top - 4 - i * 9 + rng.uniform(-2, 2), 6 + 2 * i, "#77787f")
        pen.polygon([(x - 5, top), (x + 5, top), (x + 7, 84), (x - 7, 84)], "#b5493a", 0)
        pen.rectangle(x - 5.5, top + 5, x + 5.5, top + 11, "#ffffff", 0)
    for x in (-2, 24, 50, 76):
        pen.polygon([(x, 62), (x, 44), (x + 26, 62)], "#5b6472", 0)
    _bands(pen, (60, "#8f5a48"), (88, "#7d7f80"))
    for x in range(2, 100, 16):
        pen.rectangle(x, 66, x + 9, 76, "#ffdc73", 0)


def landfill(pen: Pen, rng: Random) -> None:
    _bands(pen, (-5, "#cfdde0"), (72, "#8a7355"))
    for x, colour in ((50, "#7f6a48"), (6, "#94794f"), (94, "#a1865a")):
        pen.ellipse(x - 37, 38, x + 37, 125, colour, 0)
    for i, (x, y) in enumerate(((18, 46), (82, 42), (6, 66), (52, 74), (94, 64))):
        colour = ("#3a3d46", "#2f5f4a", "#2d3038")[i % 3]
        pen.polygon([(x, y - 6), (x - 6, y - 14), (x + 6, y - 14)], colour, 1)
        pen.ellipse(x - 13, y - 9, x + 13, y + 13, colour, 1)
    for x, y in ((42, 40), (86, 88)):
        pen.arc(x - 12, y - 12, x + 12, y + 12, 0, 360, "#25252a", 7)
    for x, y, colour in ((62, 42, "#e5484d"), (12, 86, "#3f8fe0"), (27, 84, "#e5484d")):
        pen.rectangle(x - 5, y - 7, x + 5, y + 9, colour, 1)
        pen.ellipse(x - 5, y - 10, x + 5, y - 4, "#d5dade", 1)
    for x in range(14, 90, 15):
        y = rng.uniform(8, 24)
        pen.line([(x - 5, y - 4), (x, y), (x + 5, y - 4)], "#ffffff", 2.5)
        pen.ellipse(x - 2.5, y - 2, x + 2.5, y + 3, "#1c1c20", 0)


def bathroom(pen: Pen, rng: Random) -> None:
    _bands(pen, (-5, rng.choice(["#a5dcdc", "#a9d3ee"])))
    for i in range(-5, 106, 13):
        pen.line([(i, -5), (i, 105)], "#ffffff", 1.5)
        pen.line([(-5, i), (105, i)], "#ffffff", 1.5)
    _bands(pen, (80, "#7a97a8"))
    pen.ellipse(3, 8, 31, 46, "#e3f5fd", 2.5)
    pen.rectangle(12, 60, 22, 92, "#ffffff", 1)
    pen.pie(0, 42, 34, 76, 0, 180, "#ffffff", 1)
    pen.line([(94, 62), (94, 12), (76, 12), (76, 18)], "#6b7580", 4)
    pen.pie(64, 14, 88, 36, 180, 360, "#6b7580", 0)
    for x in (67, 76, 85):
        for y in (28, 38, 48):
            pen.line([(x, y), (x, y + rng.uniform(4, 7))], "#2f7fd0", 2.5)
    pen.rectangle(42, 60, 102, 92, "#ffffff", 1, 12)
    pen.rectangle(38, 57, 105, 65, "#ffffff", 1, 4)


def corridor(pen: Pen, rng: Random) -> None:
    _bands(pen, (-5, "#f2efe8"), (45, "#e6dcc8"))
    wall, door = rng.choice([("#9fc1b5", "#8a5330"), ("#c9b98f", "#7a4a3a")])
    for i, t in enumerate((0.2, 0.29, 0.42, 0.61, 0.88)):
        for x in range(20 * (i % 2), 100, 40):
            near = [_far(x + 20, 100, 1.45 * t), _far(x, 100, 1.45 * t)]
            pen.polygon([_far(x, 100, t), _far(x + 20, 100, t), *near], "#a9825c", 0)
        pen.rectangle(*_far(38, 0, t * 1.2), *_far(62, 0, t), "#ffe9a0", 0)
    for x in (0, 100):
        pen.polygon([_far(x, 0, 1.2), _far(x, 100, 1.2), _far(x, 100, 0.2), _far(x, 0, 0.2)], wall, 0)
        for t in (0.92, 0.56, 0.34):
            far = 0.72 * t
            pen.polygon([_far(x, 100, t), _far(x, 100, far), _far(x, 18, far), _far(x, 18, t)], door, 1)
    pen.rectangle(*_far(0, 0, 0.2), *_far(100, 100, 0.2), "#fff6d8", 1)


def forest(pen: Pen, rng: Random) -> None:
    _bands(pen, (-5, "#d9f0c4"))
    for colour, base, height, step in (("#a5d09c", 74, 62, 14), ("#4f9a62", 82, 58, 19)):
        for x in range(-6, 110, step):
            _conifer(pen, x + rng.uniform(-2, 2), base, height, colour)
    _bands(pen, (70, "#5f8f45"))
    for x, base, half in ((39, 80, 3), (62, 82, 3), (22, 90, 5), (79, 88, 5), (2, 100, 8), (98, 100, 8)):
        pen.polygon([(x - half, -5), (x + half, -5), (x + half * 1.4, base), (x - half * 1.4, base)], "#6e452b", 0)
    for x in range(0, 101, 14):
        _puff(pen, x, rng.uniform(2, 8), 13, ("#2f7a3f", "#256a38")[x % 4 // 2])


def cemetery(pen: Pen, rng: Random) -> None:
    _bands(pen, (-5, "#bcd3e2"), (56, "#7f9a5c"))
    for x in range(-2, 105, 8):
        pen.line([(x, 42), (x, 60)], "#4a4d55", 2)
    pen.line([(-5, 47), (105, 47)], "#4a4d55", 2)
    pen.line([(84, 80), (82, 50), (85, 4)], "#4b3a33", 6)
    for path in ([(83, 46), (66, 28), (65, 6)], [(83, 36), (98, 18)], [(68, 32), (56, 20)], [(84, 24), (76, 8)]):
        pen.line(path, "#4b3a33", 4)
    stone = rng.choice(["#b4b8c0", "#c0bbb2"])
    for x, y, half in ((42, 40, 8), (15, 40, 14), (92, 56, 12), (62, 48, 6)):
        pen.rectangle(x - half, y, x + half, y + half * 3.4, stone, 1.5, half * 0.9)
        pen.ellipse(x - half * 1.4, y + half * 2.6, x + half * 1.4, y + half * 3.7, "#5f7d43", 0)
        pen.line([(x, y + half * 0.4), (x, y + half * 2.3)], "#3f434d", half / 2.4)
        pen.line([(x - half * 0.6, y + half), (x + half * 0.6, y + half)], "#3f434d", half / 2.4)


def street(pen: Pen, rng: Random) -> None:
    _bands(pen, (-5, "#a6d8f5"), (45, "#c9c4ba"))
    pen.polygon([(50, 43), _far(10, 100, 1.2), _far(90, 100, 1.2)], "#5f626b", 0)
    for t in (0.2, 0.36, 0.6, 1):
        pen.polygon([_far(47, 100, t), _far(53, 100, t), _far(53, 100, t * 1.3), _far(47, 100, t * 1.3)], "#ffffff", 0)
    colours = rng.sample(["#e07a5f", "#f2cc6b", "#81b29a", "#d98cae", "#7fa8d9", "#f0e3cf"], 6)
    for i, t in enumerate((0.22, 0.22, 0.42, 0.42, 0.8, 0.8)):
        x, near = 100 * (i % 2), t * 1.9
        roof = [_far(x, 5, t), _far(x, -17, t * 1.38), _far(x, 5, near)]
        pen.polygon([_far(x, 92, t), *roof, _far(x, 92, near)], colours[i], 1)
        for y, a in ((13, t * 1.12), (13, t * 1.46), (43, t * 1.12), (43, t * 1.46)):
            b = a * 1.18
            pen.polygon([_far(x, y, a), _far(x, y, b), _far(x, y + 18, b), _far(x, y + 18, a)], "#3f5a78", 0)


def ocean(pen: Pen, rng: Random) -> None:
    sky, sea, shift = "#a9dff5", rng.choice(["#4a9fd8", "#46a6cc"]), rng.uniform(0, 3)
    _bands(pen, (-5, sky), (48, sea))
    pen.ellipse(-44, 6, 64, 120, "#1b66ad", 0)
    for inset in (10, 22):
        pen.arc(-44 + inset, 6 + inset, 64 - inset, 120, 200, 310, "#4fa5e0", 3)
    pen.ellipse(18, 26, 86, 70, sky, 0)
    pen.pie(18, 26, 86, 70, 0, 180, sea, 0)
    for x, y in ((20, 8), (34, 11), (47, 17), (57, 26), (53, 33)):
        _puff(pen, x, y, 7.5)
    for top, colour in ((58, "#2f86c9"), (72, "#2372b6"), (86, "#185c9c")):
        for y, fill in ((top, "#ffffff"), (top + 4, colour)):
            crest = [(x, y + 10 * abs(sin((x + top) / 9 + shift))) for x in range(-5, 107, 2)]
            pen.polygon([(-5, 105), *crest, (105, 105)], fill, 0)


def park(pen: Pen, rng: Random) -> None:
    _bands(pen, (-5, "#a9dff5"), (44, "#86cf5f"))
    for x, y, size in ((12, 22, 17), (88, 24, 17), (36, 32, 9), (64, 32, 9)):
        pen.rectangle(x - size / 6, y, x + size / 6, y + size * 1.7, "#7a5230", 0)
        _puff(pen, x, y, size, rng.choice(["#3f9e48", "#35924a", "#55ad4c"]))
    pen.polygon([(47, 44), (53, 44), (58, 60), (52, 76), (74, 105), (26, 105), (38, 76), (50, 60)], "#ecd9a8", 0)
    pen.ellipse(62, 62, 112, 88, "#58b4e8", 0)
    for x in (4, 28):
        pen.rectangle(x, 58, x + 3, 84, "#4a4d55", 0)
    for y in (56, 62, 70):
        pen.rectangle(0, y, 34, y + 4.5, "#a2602d", 1)


_ALL = [
    amusement_park, beach, mountain_snowy, waterfall, wheat_field, bedroom, stage, football_field, volcano,
    boxing_ring, industrial_area, landfill, bathroom, corridor, forest, cemetery, street, ocean, park,
]  # fmt: skip
SCENES = {draw.__name__: draw for draw in _ALL}
