"""The measurable rules of plain English, over README.md, CONTRIBUTING.md, all pages of docs/ and the settings' help texts.

A page speaks to its reader, chains no sentences by semicolons, and has no sentence that a tired reader must read twice.
Prose is what stands in paragraphs and lists: no code, no tables, no headings. A piece of code within a sentence counts as
one word.
"""

import re

import pytest
from documented import FENCE, PAGES

from config.loading import leaf_fields
from config.section import ROOT
from config.settings import Settings

WRITTEN = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "demo/models/README.md"]
ITEM = re.compile(r"^ *([-*]|\d+\.) +", re.M)
NO_PROSE = re.compile(r"^ *(\||!\[|#|</?\w).*$", re.M)
WORD = re.compile(r"[A-Za-z][\w'-]*|\d[\d.,]*\d|\d")
TO_READER = re.compile(r"you(r|rs|rself|'re|'ll)?", re.I)
LEAST_YOU, MOST_SEMICOLONS, LONGEST = 8, 3, 40  # the first two in 1,000 words, the third in words


def prose(text: str) -> list[str]:
    """Return the paragraphs and list items of a page, each in one line."""
    text = NO_PROSE.sub("\n", FENCE.sub("\n", text))
    text = re.sub(r"`[^`]*`", "code", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return [" ".join(each.split()) for each in re.split(r"\n\s*\n", ITEM.sub("\n\n", text)) if each.strip()]


def sentences(text: str) -> list[str]:
    return [sentence for paragraph in prose(text) for sentence in re.split(r"(?<=[.!?])[)*_\"”]* +", paragraph)]


def in_thousand(count: int, text: str) -> float:
    return 1000 * count / len(WORD.findall(" ".join(prose(text))))


def test_what_is_counted():
    page = "# A title; of a page\n\nYou read `a; b`, and\nyour\nfriend too. It is\n\n- one\n- two; three\n\n| a; | b |\n"
    assert prose(page) == ["You read code, and your friend too. It is", "one", "two; three"]
    assert sentences(page) == ["You read code, and your friend too.", "It is", "one", "two; three"]
    assert in_thousand(2, page) == pytest.approx(2000 / 12)


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_is_plain_english(page):
    text = page.read_text("utf-8")
    words = WORD.findall(" ".join(prose(text)))
    assert in_thousand(sum(bool(TO_READER.fullmatch(word)) for word in words), text) >= LEAST_YOU, "says too seldom 'you'"
    assert in_thousand(" ".join(prose(text)).count(";"), text) <= MOST_SEMICOLONS, "too many semicolons"
    assert not [each for each in sentences(text) if len(WORD.findall(each)) > LONGEST], f"over {LONGEST} words"


def test_help_texts_are_plain_english():
    texts = [field.description for _, field in leaf_fields(Settings)]
    assert not [each for text in texts for each in sentences(text) if len(WORD.findall(each)) > LONGEST]
    assert in_thousand(" ".join(texts).count(";"), "\n\n".join(texts)) <= MOST_SEMICOLONS
