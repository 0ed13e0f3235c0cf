"""Each function draws one object of EmoSet's vocabulary, filling the pen's 100x100 box."""

from itertools import pairwise
from random import Random

from demo.drawn.pen import INK, Pen
from demo.drawn.shapes import around, as_points, balls, blob, mirrored, polygons, smooth, tube, turned

WHITE, CREAM, GLASS, GOLD, RED, BLUE = "#ffffff", "#fff1d6", "#bfe6f7", "#ffd34d", "#e0393e", "#2f7fd0"
GREEN, WOOD, BARK, STONE, STEEL = "#4f9e45", "#b97a45", "#7a4a2b", "#b9b6b0", "#d5dbe2"


def balloon(pen: Pen, rng: Random) -> None:
    pen.line(smooth("50,78 55,84 45,90 51,96", closed=False), width=3.5)
    body = smooth(mirrored("50,3 70,9 81,26 79,46 64,66 50,73"))
    polygons(pen, rng.choice(("#e5383b", "#2f86e0", "#f5b81c")), "50,68 39,80 61,80", body)
    pen.line(smooth("30,38 32,26 40,17", closed=False), CREAM, 6)


def ice_cream(pen: Pen, rng: Random) -> None:
    polygons(pen, "#e5a856", "24,46 76,46 50,97")
    for line in ("36,58 58,80", "46,56 63,71", "64,58 42,80", "54,56 37,71"):
        pen.line(as_points(line), "#a8682a", 2.5)
    scoop, sprinkles = rng.choice((("#ff9fb8", RED), ("#8a5636", GOLD), ("#b6e3a8", "#5b3420"), ("#fff0c4", BLUE)))
    blob(pen, scoop, "50,33,25 27,47,7 42,52,8 58,50,7 73,47,7")
    balls(pen, sprinkles, "34,28,3 45,40,3 61,25,3 67,39,3", 0)
    balls(pen, RED, "50,10,7")


def teddy_bear(pen: Pen, rng: Random) -> None:
    fur, light = rng.choice((("#a86a3a", "#ecc795"), ("#c98f4e", "#f7dfb3"), ("#7d4f32", "#d9ae80")))
    tube(pen, fur, "16,68 36,60 64,60 84,68", 13)
    balls(pen, fur, "27,16,13 73,16,13 50,72,25 50,32,28 24,84,13 76,84,13")
    balls(pen, light, "25,13,6 75,13,6 50,75,12 50,43,13 24,84,6 76,84,6", 0)
    balls(pen, INK, "37,27,4.5 63,27,4.5 50,38,6", 0)
    pen.arc(42, 39, 58, 51, 20, 160)


def pumpkin(pen: Pen, rng: Random) -> None:
    skin = rng.choice(("#f28a1e", "#e8741a", "#f79f2d"))
    polygons(pen, GREEN, "44,30 40,4 54,8 58,30")
    for x0, x1 in ((3, 45), (55, 97), (15, 60), (40, 85), (30, 70)):
        pen.ellipse(x0, 20, x1, 96, skin)
    polygons(pen, GOLD, "18,52 43,52 33,32", "57,52 82,52 67,32", "50,46 43,57 57,57")
    polygons(pen, GOLD, mirrored("50,65 58,65 58,74 68,73 68,64 87,60 79,77 66,87 50,90"))


def castle(pen: Pen, rng: Random) -> None:
    roof = rng.choice((RED, "#4c6fb5", "#7d4fa0"))
    polygons(pen, GOLD, "49,3 68,9 49,15", "49,3 51,3 51,30 49,30")
    polygons(pen, "#a5a29c", mirrored("50,27 54,27 54,33 59,33 59,27 67,27 67,60"))
    polygons(pen, STONE, mirrored("50,52 54,52 54,46 62,46 62,52 76,52 76,96"))
    for x in (5, 69):
        pen.rectangle(x, 40, x + 26, 96, STONE, 3)
        polygons(pen, roof, [(x - 3, 43), (x + 13, 12), (x + 29, 43)])
        pen.rectangle(x + 9, 54, x + 17, 68, INK, 0, 4)
    polygons(pen, BARK, [*around(50, 78, 12, 13, 180, 360), (62, 96), (38, 96)])


def lighthouse(pen: Pen, rng: Random) -> None:
    colour = rng.choice((RED, "#2d62a8", "#d9562b"))
    polygons(pen, "#ffe26e", "3,5 97,37 97,5 3,37", outline=0)
    polygons(pen, "#8d8a86", smooth("7,94 16,82 34,84 50,78 66,84 84,81 93,94"))
    polygons(pen, WHITE, "38,32 62,32 71,91 29,91")
    polygons(pen, colour, "37,45 63,45 65,58 35,58", "33,70 67,70 69,82 31,82")
    pen.rectangle(39, 13, 61, 30, GOLD)
    pen.rectangle(31, 28, 69, 36, colour)
    pen.pie(34, 3, 66, 29, 180, 360, colour)


def airplane(pen: Pen, rng: Random) -> None:
    colour = rng.choice((BLUE, RED, "#f08a24"))
    polygons(pen, colour, *(turned(part, -18) for part in ("46,44 65,44 47,6 33,6", "13,48 12,18 24,18 40,44")))
    polygons(pen, WHITE, turned(smooth("9,48 24,39 55,37 83,38 96,46 98,53 91,60 55,63 28,59"), -18))
    polygons(pen, colour, *(turned(part, -18) for part in ("41,54 66,54 40,92 25,92", "13,51 31,51 20,67 8,67")))
    polygons(pen, "#5ab4e0", turned("81,41 94,49 81,49", -18), outline=0)
    balls(pen, "#3f6f9e", [(x, y, 3.5) for x, y in turned("36,47 47,47 58,47 69,47", -18)], 0)


def boat(pen: Pen, rng: Random) -> None:
    sail, hull = rng.choice((WHITE, "#ffb53d", "#f2605c")), rng.choice(("#a65a2e", "#2f62a3", "#b5343c"))
    pen.line([(49, 4), (49, 74)], width=4)
    polygons(pen, sail, [*smooth("54,7 76,32 92,64", closed=False), (54, 64)])
    polygons(pen, CREAM, [*smooth("10,64 26,42 44,16", closed=False), (44, 64)])
    polygons(pen, hull, "3,72 97,72 82,96 20,96")
    pen.line([(12, 80), (88, 80)], WHITE, 4)


def flower(pen: Pen, rng: Random) -> None:
    tube(pen, GREEN, "50,50 50,91", 5)
    polygons(pen, GREEN, smooth("49,88 30,86 14,68 35,71"), smooth("51,88 70,86 86,68 65,71"))
    petals = [(x, y, 13) for x, y in around(50, 35, 20, 20, -90, 270, rng.choice((6, 7)))[1:]]
    balls(pen, rng.choice(("#ef4f6b", "#f58ac0", "#9a6be0", WHITE)), petals)
    balls(pen, GOLD, "50,35,13")


def cat(pen: Pen, rng: Random) -> None:
    fur, light = rng.choice((("#f0933b", "#ffe3bd"), ("#8e939e", "#e4e6ea"), ("#5a5666", "#c9c6d2"), (CREAM, WHITE)))
    tube(pen, fur, smooth("66,90 86,88 90,74 82,64", closed=False), 8)
    polygons(pen, fur, smooth(mirrored("50,48 64,54 74,76 76,96 50,96")))
    balls(pen, light, "41,88,7.5 59,88,7.5")
    polygons(pen, fur, "20,36 20,3 48,14", "80,36 80,3 52,14")
    pen.ellipse(15, 10, 85, 60, fur, 3)
    for y in (39, 46, 53):
        pen.line([(4, y), (50, 46), (96, y)], width=2)
    pen.ellipse(35, 37, 65, 58, light, 0)
    balls(pen, "#cfe85a", "34,30,8 66,30,8", 2)
    polygons(pen, INK, "34,23 37,30 34,37 31,30", "66,23 69,30 66,37 63,30", outline=0)
    polygons(pen, "#e8747f", "43,40 57,40 50,47", "23,16 23,8 32,12", "77,16 77,8 68,12", outline=0)
    pen.line(smooth("40,48 45,53 50,48 55,53 60,48", closed=False), width=2.5)


def tree(pen: Pen, rng: Random) -> None:
    leaves, light = rng.choice((("#4a9a3f", "#76c05c"), ("#2f7d46", "#58ab68"), ("#7aa832", "#a8d055")))
    polygons(pen, BARK, mirrored("50,50 62,50 60,80 74,96"))
    blob(pen, leaves, "50,26,20 27,31,16 73,31,16 21,49,15 79,49,15 38,55,14 62,55,14 50,42,20")
    balls(pen, light, [(x + rng.uniform(-3, 3), y, r) for x, y, r in as_points("45,22,10 27,42,7 66,40,8")], 0)


def coffee_cup(pen: Pen, rng: Random) -> None:
    cup = rng.choice((WHITE, "#e5575a", "#4f9ac9", "#f2c14e"))
    for x in (34, 58):
        tube(pen, WHITE, smooth([(x, 29), (x - 5, 22), (x + 5, 13), (x, 7)], closed=False), 5)
    pen.ellipse(3, 77, 91, 97, cup, 3)
    tube(pen, cup, around(81, 58, 11, 12, 0, 360), 5)
    polygons(pen, cup, [*around(46, 60, 35, 31, 180, 0), (81, 42), (11, 42)])
    pen.ellipse(11, 33, 81, 52, cup, 3)
    pen.ellipse(18, 37, 74, 48, "#5b3420", 0)


def guitar(pen: Pen, rng: Random) -> None:
    body = smooth(mirrored("50,43 65,43 73,54 67,65 79,77 77,91 62,96 50,96"))
    polygons(pen, rng.choice(("#d98e3f", "#b5562c", "#e8b25e")), body)
    balls(pen, INK, "50,63,10", 0)
    polygons(pen, INK, "34,6 66,6 66,11 34,11", "34,15 66,15 66,20 34,20", outline=0)
    polygons(pen, "#6b3f22", "39,3 61,3 58,23 42,23", "44,21 56,21 56,60 44,60", "37,80 63,80 63,87 37,87")
    pen.line([(50, 24), (50, 82)], "#e5c9a0", 3)


def kite(pen: Pen, rng: Random) -> None:
    one, two = rng.choice(((RED, GOLD), ("#2f86e0", "#ffb53d"), ("#8a4fc0", "#7ed957")))
    pen.line(smooth("50,60 58,70 42,84 48,97", closed=False))
    polygons(pen, one, "50,3 50,28 15,28", "50,62 85,28 50,28")
    polygons(pen, two, "50,3 85,28 50,28", "50,62 50,28 15,28")
    for x, y, colour in ((55, 72, two), (45, 89, one)):
        polygons(pen, colour, *([(x, y), (x + w, y - 7), (x + w, y + 7)] for w in (-16, 16)))


def drum(pen: Pen, rng: Random) -> None:
    for y, fill in ((80, GOLD), (70, rng.choice((RED, "#2f6fc0", "#2f8f5a"))), (50, GOLD)):
        polygons(pen, fill, [*around(50, y, 44, 16, 0, 180), (6, 42), (94, 42)])
    pen.line(as_points("9,60 19,79 31,67 43,85 56,69 68,83 81,64 91,76"), CREAM, 4)
    pen.ellipse(6, 26, 94, 58, CREAM, 3)
    for stick, tip in (("14,7 84,38", "84,38,6"), ("86,7 16,38", "16,38,6")):
        tube(pen, WOOD, stick, 4)
        balls(pen, WOOD, tip)


def football(pen: Pen, rng: Random) -> None:
    turn = rng.choice((0, 12, 36))
    balls(pen, WHITE, "50,50,46")
    for angle in range(turn, turn + 360, 72):
        pen.line(turned("50,50 50,20", angle))
        pen.line(turned("61,15 80,29", angle))
        polygons(pen, INK, turned("50,21 39,15 37,6 50,4 63,6 61,15", angle), outline=0)
    polygons(pen, INK, turned("50,32 67,45 61,65 39,65 33,45", turn), outline=0)


def cannon(pen: Pen, rng: Random) -> None:
    tube(pen, WOOD, "36,70 9,89", 8)
    parts = "4,44 10,33 34,30 34,64 10,61", "34,31 86,36 86,58 34,63", "85,30 97,30 97,64 85,64"
    polygons(pen, rng.choice(("#5c6170", "#4a4e5a", "#a8793a")), *(turned(part, -28) for part in parts))
    balls(pen, WOOD, "46,68,28")
    balls(pen, CREAM, "46,68,20")
    for rim in around(46, 68, 21, 21, 0, 360, 8):
        pen.line([(46, 68), rim], width=4)
    balls(pen, WOOD, "46,68,8")


def knife(pen: Pen, rng: Random) -> None:
    edge = smooth("42,-8 59,4 69,27 70,58", closed=False)
    polygons(pen, STEEL, turned([*edge, (42, 58)], 42))
    pen.line(turned("48,11 48,54", 42), WHITE, 4)
    handle = turned("42,57 61,57 59,79 65,103 47,104 42,85", 42)
    polygons(pen, rng.choice((BARK, "#55535f", "#b5343c")), handle)
    balls(pen, STEEL, [(x, y, 3) for x, y in turned("51,69 51,81 54,94", 42)], 0)


def traffic_light(pen: Pen, rng: Random) -> None:
    case = rng.choice(("#4b505c", "#f0b429", "#2f6b4f"))
    pen.rectangle(43, 78, 57, 97, "#7b808a", 3)
    polygons(pen, case, *(mirrored(f"50,{y} 90,{y} 72,{y + 18} 50,{y + 18}") for y in (10, 36, 62)))
    pen.rectangle(26, 3, 74, 85, case, 3, 9)
    for y, light in ((17, "#ff2b2b"), (44, "#6e5a20"), (71, "#1f5a36")):
        balls(pen, light, [(50, y, 12.5)])
    balls(pen, "#ffc2b8", "45,12,3.5", 0)


def car(pen: Pen, rng: Random) -> None:
    colour = rng.choice((RED, BLUE, "#f0b429", "#45a35a"))
    polygons(pen, colour, smooth("16,60 30,34 38,30 62,30 70,34 86,60"))
    pen.rectangle(3, 54, 97, 86, colour, 3, 10)
    polygons(pen, GLASS, "24,55 35,36 48,36 48,55", "53,36 64,36 77,55 53,55")
    pen.rectangle(87, 60, 97, 71, GOLD)
    balls(pen, INK, "25,82,14.5 75,82,14.5", 0)
    balls(pen, STEEL, "25,82,7 75,82,7", 0)


def snake(pen: Pen, rng: Random) -> None:
    skin, spot = rng.choice((("#5fae3c", "#2f6f2a"), ("#d9a53a", "#8a5a22"), ("#3fa08a", "#1f5f5a")))
    spine = smooth("60,18 36,19 20,33 36,46 66,52 80,69 62,84 34,86 8,78", closed=False)
    pen.line(as_points("97,9 86,18 70,18 86,18 97,27"), RED, 4.5)
    blob(pen, skin, [(x, y, 10 - 8 * (i / len(spine)) ** 3) for i, (x, y) in enumerate(spine)])
    balls(pen, spot, [(x, y, 4.5) for x, y in spine[14:-8:7]], 0)
    pen.ellipse(46, 3, 84, 33, skin, 3)
    balls(pen, WHITE, "67,14,5.5", 2)
    balls(pen, INK, "69,14,3", 0)


def worm(pen: Pen, rng: Random) -> None:
    skin, band = rng.choice((("#f29aa5", "#d9707f"), ("#e88f8a", "#c9605e"), ("#f5a8b8", "#e07a92")))
    path = smooth("30,80 27,62 28,40 42,20 60,19 72,32 74,44", closed=False)[::6]
    for i, (x, y) in enumerate(path):
        balls(pen, band if i in (3, 4) else skin, [(x, y, 14)])
    balls(pen, INK, [(x - 5, y - 3, 3), (x + 6, y - 3, 3)], 0)
    pen.arc(x - 6, y - 3, x + 7, y + 8, 20, 160)
    polygons(pen, BARK, smooth("5,92 15,78 30,70 50,75 70,70 87,80 95,92 50,95"))
    balls(pen, WOOD, "24,85,4 48,86,4 72,82,4", 0)


def toilet(pen: Pen, rng: Random) -> None:
    glaze, shade = rng.choice(((WHITE, "#c9d6de"), ("#d9effa", "#a5cfe2"), ("#fbe3e4", "#e8b5b8")))
    polygons(pen, glaze, smooth("30,58 94,56 89,74 70,83 73,95 38,95 37,78"))
    polygons(pen, shade, smooth("36,58 40,22 46,10 56,12 58,24 50,58"))
    pen.rectangle(6, 16, 37, 64, glaze, 3, 4)
    pen.rectangle(3, 8, 40, 21, glaze, 3, 4)
    pen.ellipse(29, 45, 97, 67, glaze, 3)
    pen.ellipse(41, 50, 87, 61, "#7fc4e8")
    pen.line([(12, 32), (23, 32)], "#8a929a", 5)


def fish(pen: Pen, rng: Random) -> None:
    skin, fin = rng.choice((("#f58a2c", "#ffc145"), ("#3f8fd9", "#8fd0f5"), ("#e0505a", "#ffa79a")))
    polygons(pen, fin, smooth("34,50 12,22 4,26 12,50 4,76 12,80"))
    polygons(pen, fin, smooth("36,32 44,10 62,14 76,32 68,68 58,93 43,89 42,68"))
    polygons(pen, skin, smooth("20,50 42,28 68,24 90,40 96,52 90,64 68,78 42,72"))
    pen.arc(46, 28, 74, 74, 290, 70)
    for x, y in as_points("32,46 32,57 44,38 44,50 44,62 56,44 56,56"):
        pen.arc(x - 6, y - 6, x + 6, y + 6, 280, 80, width=2.5)
    balls(pen, WHITE, "82,44,7")
    balls(pen, INK, "84,44,3", 0)


def mushroom(pen: Pen, rng: Random) -> None:
    polygons(pen, CREAM, smooth(mirrored("50,50 63,52 63,74 71,93 50,96")))
    cap = smooth(mirrored("50,4 78,13 94,38 95,54 78,60 50,62"))
    polygons(pen, rng.choice((RED, "#d9552b", "#a0643a")), cap)
    polygons(pen, "#e8cfa8", smooth(mirrored("50,52 72,54 78,59 50,64")))
    balls(pen, WHITE, "50,22,10 27,33,7 74,31,8 17,49,5 84,49,5 51,44,5", 0)


def skull(pen: Pen, rng: Random) -> None:
    head = smooth(mirrored("50,3 76,9 92,30 90,54 74,68 72,88 62,96 50,96"))
    polygons(pen, rng.choice(("#f5efdf", "#e8dcc0", WHITE)), head)
    balls(pen, INK, "32,48,14 68,48,14", 0)
    polygons(pen, INK, "50,58 42,73 58,73", outline=0)
    for x in (38, 50, 62):
        pen.line([(x, 80), (x, 96)])


def spider(pen: Pen, rng: Random) -> None:
    body, mark = rng.choice((("#4a4552", RED), ("#6b4630", "#e0a85a"), ("#5a3f75", "#c9a0f0")))
    for leg in ("75,5 71,32 50,44", "95,20 80,42 50,48", "95,80 80,60 50,54", "76,95 72,70 50,58"):
        pen.line(mirrored(leg), width=5)
    balls(pen, body, "50,65,26 50,32,19")
    polygons(pen, mark, "40,56 60,56 40,80 60,80", outline=0)
    balls(pen, WHITE, "41,29,7 59,29,7", 2)
    balls(pen, INK, "43,29,3.5 57,29,3.5", 0)


def umbrella(pen: Pen, rng: Random) -> None:
    outer, inner = rng.choice(((RED, CREAM), ("#2f6fc0", "#9fd0f5"), ("#8a4fb0", "#f5c542")))
    pen.line([(50, 3), (50, 20)], width=5)
    tube(pen, WOOD, [(50, 40), (50, 84), *around(41, 84, 9, 9, 0, 180)], 4)
    for i, fill in enumerate((outer, inner, outer)):
        edges = (3, 22, 40, 60, 78, 97)[i : 6 - i]
        hem = [p for a, b in pairwise(edges) for p in around((a + b) / 2, 56, (b - a) / 2, 6, 180, 360, 6)]
        polygons(pen, fill, around(50, 56, edges[-1] - 50, 47, 360, 180) + hem)


def candle(pen: Pen, rng: Random) -> None:
    wax = rng.choice((CREAM, "#f2d5e5", "#e8605a", "#a8d0ea"))
    polygons(pen, "#ffa41f", smooth(mirrored("50,3 61,17 64,28 50,38")))
    polygons(pen, "#fff2a8", smooth(mirrored("50,18 56,27 50,34")), outline=0)
    pen.line([(50, 32), (50, 44)])
    tube(pen, "#e0a93f", around(83, 78, 9, 9, 0, 360), 4)
    pen.rectangle(32, 46, 68, 88, wax, 3)
    blob(pen, wax, "35,48,5 35,58,5 35,62,5 44,47,5 53,48,5 53,52,5 60,47,5 65,48,5 65,58,5 65,66,5 65,70,5")
    polygons(pen, "#e0a93f", smooth(mirrored("50,82 84,82 76,95 50,96")))


def chair(pen: Pen, rng: Random) -> None:
    wood = rng.choice((WOOD, "#8a5230", "#d9a05b"))
    posts = "44,8 46,52 46,78", "86,60 88,84", "9,13 14,60 11,90", "54,68 56,92"
    for part in ("11,25 44,17", "13,43 45,35", *posts):
        tube(pen, wood, part)
    polygons(pen, wood, "8,58 46,49 94,57 94,64 54,76 8,65")


def house(pen: Pen, rng: Random) -> None:
    wall, roof = rng.choice((("#f7e3b5", "#c8452f"), ("#cfe3ee", "#5a4f6b"), ("#f5c9a8", "#8a4a2b")))
    pen.rectangle(68, 8, 83, 40, "#b5583f", 3)
    pen.rectangle(13, 44, 87, 96, wall, 3)
    polygons(pen, roof, "50,4 97,50 3,50")
    pen.rectangle(41, 63, 59, 96, BARK, 3)
    polygons(pen, GLASS, "19,59 36,59 36,77 19,77", "64,59 81,59 81,77 64,77")


_ALL = [
    balloon, ice_cream, teddy_bear, pumpkin, castle, lighthouse, airplane, boat, flower, cat, tree, coffee_cup,
    guitar, kite, drum, football, cannon, knife, traffic_light, car, snake, worm, toilet, fish, mushroom, skull,
    spider, umbrella, candle, chair, house,
]  # fmt: skip
OBJECTS = {draw.__name__.replace("_", " ").capitalize(): draw for draw in _ALL}
