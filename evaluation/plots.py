"""Plots as SVG that a page holds itself: on a light or a dark page, as the reader's system says."""

import base64
import re
from io import BytesIO
from textwrap import fill

import matplotlib
from matplotlib.figure import Figure

from evaluation.metric_labels import number, value

# name: on light, on dark. A plot is drawn in the light ones, which then become CSS variables.
COLOURS = {
    "ink": ("#1d2733", "#e6e9ee"),
    "faint": ("#8c96a3", "#7d8794"),
    "accent": ("#c2384f", "#ff8795"),
    "blue": ("#1f6fb2", "#6cb4f0"),
    "green": ("#2b7f52", "#6fcf97"),
    "amber": ("#9a6b00", "#e6b84c"),
    "purple": ("#6b4fb3", "#b9a4f7"),
}
INK, FAINT, ACCENT = (COLOURS[name][0] for name in ("ink", "faint", "accent"))
LINES = [COLOURS[name][0] for name in ("accent", "blue", "green", "amber", "purple", "ink", "faint")]
OTHERS = [colour for colour in LINES if colour != ACCENT]
MARKERS = "osD^vPX"  # lines differ without colours too
DASHES = ("-", "--", ":")
WIDTH = 4.4  # inches, so that text keeps its size where a phone shrinks a plot a little
STYLE = {
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "report",  # the same bytes for the same figures
}


def dots(figures: dict[str, dict[str, dict]], chances: dict[str, float | None], own: str, caption: str) -> dict:
    """Return a picture (svg_picture) of a dot with its 95 % interval for each figure, by metric and by row.

    chances: what a guess gives, by metric. own: the row that stands out; a mark in parentheses may follow its name.
    """
    rows = list(dict.fromkeys(row for group in figures.values() for row in group))
    step = 1 / (len(rows) + 1.5)
    with matplotlib.rc_context(STYLE):
        plot = Figure(
            (WIDTH, 0.9 + (0.16 * len(rows) + 0.2) * len(figures) + 0.2 * -(-len(rows) // 2)), layout="constrained"
        )
        axes = plot.subplots()
        for number, row in enumerate(rows):
            places = [place + (number + 1.25) * step for place, each in enumerate(figures.values()) if row in each]
            shown = [each[row] for each in figures.values() if row in each]
            colour = ACCENT if row.partition(" (")[0] == own else OTHERS[number % len(OTHERS)]
            axes.hlines(
                places, [each["low"] for each in shown], [each["high"] for each in shown], color=colour, linewidth=1.8
            )
            marks = {"color": colour, "marker": MARKERS[number % len(MARKERS)], "markersize": 6, "linestyle": "none"}
            axes.plot([each["value"] for each in shown], places, label=row, **marks)
        for place, name in enumerate(figures):
            if chances.get(name) is not None:
                axes.vlines(chances[name], place + 0.1, place + 0.9, color=INK, linewidth=1.2, linestyle=":")
            if place:
                axes.axhline(place, color=FAINT, linewidth=0.6, alpha=0.5)
        axes.set_yticks([place + 0.5 for place in range(len(figures))], [fill(name, 20) for name in figures])
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(figures), 0)
        if all(each["low"] >= 0 and each["high"] <= 1 for group in figures.values() for each in group.values()):
            axes.set_xlim(-0.02, 1.02)
        if any(chances.get(name) is not None for name in figures):
            axes.set_xlabel("dotted: chance")
        axes.locator_params(axis="x", nbins=6)
        axes.grid(axis="x", color=FAINT, alpha=0.25)
        plot.legend(loc="outside lower center", ncols=2, frameon=False)
    spoken = [
        f"{name}: {'; '.join(f'{row} {value(each)}' for row, each in group.items())}" for name, group in figures.items()
    ]
    return svg_picture(plot, f"{caption}. {'. '.join(spoken)}", "")


def lines(series: dict[str, list[tuple]], x_label: str, caption: str) -> dict:
    """Return a picture of a line for each series by name, of points (x, y) or (x, y, low, high)."""
    with matplotlib.rc_context(STYLE):
        plot = Figure((WIDTH, 2.9 + 0.2 * -(-len(series) // 2)), layout="constrained")
        axes = plot.subplots()
        for place, (name, points) in enumerate(series.items()):
            x, y, *bounds = zip(*points, strict=True)
            colour, marker = LINES[place % len(LINES)], MARKERS[place % len(MARKERS)]
            sparse = {"marker": marker, "markersize": 4, "markevery": max(1, len(points) // 8)}
            dashes = DASHES[place // len(LINES) % len(DASHES)]  # where there are more lines than colours
            axes.plot(x, y, color=colour, label=name, linewidth=1.6, linestyle=dashes, **sparse)
            if bounds:
                axes.fill_between(x, *bounds, color=colour, alpha=0.18, linewidth=0)
        if all(len(point) == 4 and point[2] >= 0 for points in series.values() for point in points):
            axes.set_ylim(bottom=0)  # shares and scores, whose differences would look larger than they are
        axes.set_xlabel(x_label)
        axes.locator_params(nbins=6)
        axes.grid(color=FAINT, alpha=0.25)
        plot.legend(loc="outside lower center", ncols=2, frameon=False)
    ends = [f"{name} from {number(points[0][1])} to {number(points[-1][1])}" for name, points in series.items()]
    return svg_picture(plot, f"{caption}, by {x_label}: {'; '.join(ends)}", caption)


def svg_picture(plot: Figure, alt: str, caption: str) -> dict:
    """Return a plot as {"src", "alt", "caption", "width", "height"}, the source an SVG that knows light and dark."""
    with matplotlib.rc_context(STYLE):
        buffer = BytesIO()
        plot.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue().decode()
    text = text[text.index("<svg") :]
    for name, (light, _) in COLOURS.items():
        text = text.replace(light, f"var(--{name})")
    palettes = [";".join(f"--{name}:{pair[side]}" for name, pair in COLOURS.items()) for side in (0, 1)]
    style = f"<style>svg{{{palettes[0]}}}@media(prefers-color-scheme:dark){{svg{{{palettes[1]}}}}}</style>"
    text = re.sub(r"(<svg[^>]*>)", lambda tag: tag[1] + style, text, count=1)
    width, height = (round(inches * 96) for inches in plot.get_size_inches())
    source = f"data:image/svg+xml;base64,{base64.b64encode(text.encode()).decode()}"
    return {"src": source, "alt": alt, "caption": caption, "width": width, "height": height}
