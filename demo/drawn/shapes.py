"""Shapes that several drawings share, and a short way to write them: "x,y x,y ..."."""

from math import cos, radians, sin

from demo.drawn.pen import INK, Pen

Shape = str | list[tuple[float, ...]]


def as_points(shape: Shape) -> list[tuple[float, ...]]:
    """The tuples of numbers in "x,y x,y ..." (or "x,y,radius ..."); a list stays as it is."""
    return [tuple(map(float, part.split(","))) for part in shape.split()] if isinstance(shape, str) else shape


def mirrored(shape: Shape) -> Shape:
    """A symmetrical outline from its right half, top to bottom."""
    return as_points(shape) + [(100 - x, y) for x, y in reversed(as_points(shape)) if x != 50]


def turned(shape: Shape, degrees: float) -> Shape:
    """The shape, turned clockwise about the centre of the box."""
    c, s = cos(radians(degrees)), sin(radians(degrees))
    return [(50 + (x - 50) * c - (y - 50) * s, 50 + (x - 50) * s + (y - 50) * c) for x, y in as_points(shape)]


def around(x: float, y: float, rx: float, ry: float, start: float, end: float, steps: int = 16) -> Shape:
    """Points along an ellipse about (x, y), in degrees clockwise from three o'clock."""
    angles = [radians(start + (end - start) * i / steps) for i in range(steps + 1)]
    return [(x + rx * cos(a), y + ry * sin(a)) for a in angles]


def smooth(shape: Shape, closed: bool = True) -> Shape:
    """A Catmull-Rom curve through the points."""
    points, curve = as_points(shape), []
    p = [points[-1], *points, *points[:2]] if closed else [points[0], *points, points[-1]]
    for i in range(len(p) - 3):
        for t in (step / 8 for step in range(9)):
            weights = (t * (2 - t) - 1) * t, t * t * (3 * t - 5) + 2, (t * (4 - 3 * t) + 1) * t, (t - 1) * t * t
            curve.append(tuple(sum(w * q[axis] / 2 for w, q in zip(weights, p[i:], strict=False)) for axis in (0, 1)))
    return curve


def polygons(pen: Pen, fill: str, *shapes: Shape, outline: float = 3) -> None:
    for shape in shapes:
        pen.polygon(as_points(shape), fill, outline)


def balls(pen: Pen, fill: str, circles: Shape, outline: float = 3) -> None:
    for x, y, r in as_points(circles):
        pen.ellipse(x - r, y - r, x + r, y + r, fill, outline)


def blob(pen: Pen, fill: str, circles: Shape) -> None:
    """The union of the circles, with one ink line around it."""
    balls(pen, INK, [(x, y, r + 2.5) for x, y, r in as_points(circles)], 0)
    balls(pen, fill, circles, 0)


def tube(pen: Pen, fill: str, shape: Shape, width: float = 6) -> None:
    """A thick line with round ends and an ink line around it."""
    points = as_points(shape)
    for thick, colour in ((width + 5, INK), (width, fill)):
        pen.line(points, colour, thick)
        balls(pen, colour, [(*points[0], thick / 2), (*points[-1], thick / 2)], 0)
