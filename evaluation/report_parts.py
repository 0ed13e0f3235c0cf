"""What the page is made of: sections, their folded parts, and the blocks that a part shows."""

from collections.abc import Mapping, Sequence

# A block: the macro of report_blocks.html.jinja that shows it, and what it shows.
Block = tuple[str, object]
UNFOLD = "Click a folded heading, or press Enter on it, to open it."


def section(
    name: str, title: str, parts: Sequence[dict | None], warnings: Mapping[str, list[str]] | None = None
) -> dict | None:
    """Return a section of the page; None where it has no part.

    name: its address on the page. warnings: the rows that each is about.
    """
    shown = [part for part in parts if part]
    return {"name": name, "title": title, "parts": shown, "warnings": warnings or {}} if shown else None


def part(title: str, *blocks: Block, note: str = "") -> dict | None:
    """Return what the page folds under a title; None where no block has anything to show. note: stands above the blocks."""
    shown = [(macro, content) for macro, content in blocks if content]
    return {"title": title, "note": note, "blocks": shown} if shown else None
