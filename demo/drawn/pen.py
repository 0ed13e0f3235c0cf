"""A pen over a PIL image, with coordinates from 0 to 100 whatever the image's size."""

from collections.abc import Sequence

from PIL import Image, ImageDraw

INK = "#2a2630"
Point = tuple[float, float]


class Pen:
    """Draws filled, outlined shapes on an image.

    Coordinates: x runs from 0 (left) to 100 (right), y from 0 (top) to 100 (bottom). Colours: anything that PIL takes.
    `outline` is the width of the ink line around a shape, in the same units; 0 leaves it out.
    """

    def __init__(self, image: Image.Image):
        self.unit = image.width / 100
        self.draw = ImageDraw.Draw(image)

    def _pixels(self, points: Sequence[Point]) -> list[tuple[int, int]]:
        return [(round(x * self.unit), round(y * self.unit)) for x, y in points]

    def _style(self, outline: float) -> dict:
        width = round(outline * self.unit)
        return {"outline": INK, "width": width} if width else {}

    def polygon(self, points: Sequence[Point], fill, outline: float = 2.5) -> None:
        self.draw.polygon(self._pixels(points), fill=fill, **self._style(outline))

    def ellipse(self, x0: float, y0: float, x1: float, y1: float, fill, outline: float = 2.5) -> None:
        self.draw.ellipse(self._pixels([(x0, y0), (x1, y1)]), fill=fill, **self._style(outline))

    def rectangle(self, x0: float, y0: float, x1: float, y1: float, fill, outline: float = 2.5, radius: float = 0) -> None:
        self.draw.rounded_rectangle(
            self._pixels([(x0, y0), (x1, y1)]), round(radius * self.unit), fill=fill, **self._style(outline)
        )

    def line(self, points: Sequence[Point], fill=INK, width: float = 3) -> None:
        """A polyline with rounded joints."""
        self.draw.line(self._pixels(points), fill=fill, width=max(1, round(width * self.unit)), joint="curve")

    def arc(self, x0: float, y0: float, x1: float, y1: float, start: float, end: float, fill=INK, width: float = 3) -> None:
        """Part of an ellipse's outline, from `start` to `end` degrees, clockwise from three o'clock."""
        self.draw.arc(self._pixels([(x0, y0), (x1, y1)]), start, end, fill=fill, width=max(1, round(width * self.unit)))

    def pie(self, x0: float, y0: float, x1: float, y1: float, start: float, end: float, fill, outline: float = 2.5) -> None:
        """A slice of an ellipse, from `start` to `end` degrees, clockwise from three o'clock."""
        self.draw.pieslice(self._pixels([(x0, y0), (x1, y1)]), start, end, fill=fill, **self._style(outline))
