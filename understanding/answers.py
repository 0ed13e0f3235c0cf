"""Reads the answer of a completion, strictly in its format and generously in its wording, and never raises.

The kind of question reads what an answer says (understanding/kinds/). An answer that names several things says none of them.
"""

import re
import string
from collections.abc import Collection

TAGS = ("<think>", "</think>", "<answer>", "</answer>")
LONGEST = 100  # characters of an answer: what is longer is an essay
AROUND = string.whitespace + string.punctuation
FULL_WIDTH = {letter + 0xFEE0: letter for letter in range(ord("!"), ord("~") + 1)}  # as Chinese texts write ASCII
TYPESET = FULL_WIDTH | {ord("…"): "..."}
TYPESET |= str.maketrans("“”„«»‹›「」『』‘’‚–—。、【】", '"' * 11 + "'" * 3 + "--.,[]", "¡¿")  # noqa: RUF001
PERCENT = re.compile(r"\\[dt]?frac\s*\{([0-9.]+)\}\s*\{100\}|\\%")
BOXED = re.compile(r"\\boxed\s*\{(?:\\(?:text|math)\w*\s*\{)?([^{}]*)\}")
LEAD = re.compile(r"^(?:(?:so|thus|therefore|hence)\W+)?"
                  r"(?:i(?:'d|\s+would)?\s+(?:think|believe|say|guess|choose|pick)\s+(?:that\s+)?)?"
                  r"(?:it(?:'s|\s+is)\s+)?(?:(?:(?:the|my)\s+)?(?:(?:final|correct|best|right)\s+)?"
                  r"(?:answer|option|choice|letter|score|emotion)\b\W*(?:is\b|would be\b)?\W*)*")  # fmt: skip
REFUSED = re.compile(r"(?:\b(?:not|never|neither|cannot be)|n't)\W*$")  # just before a box
DENIED = re.compile(r"\b(?:not|never|neither|cannot|without|than|instead)(?:\W|$)"
                    r"|\bno\s+(?!(?:doubt|question)\b)|n't\b|\b(?:hardly|lacks?|far from|anything but)\W*$")  # fmt: skip
TAKEN_BACK = re.compile(r"\s*(?:(?:is|was|does|do|would|can|could|seems)(?:\s+be)?(?:n't|\s+(?:not|never|no|wrong|false)\b)"
                        r"|\W+no\s*(?:[^\w\s]|$))")  # fmt: skip


def extract_answer(completion: str, reasoning: bool) -> str | None:
    """Return what stands between <answer> and </answer>, stripped, or None where the format is not kept.

    The format is <think>...</think><answer>...</answer>, each tag once, in this order, white space alone around and between
    them; without `reasoning` it is an answer with no tag at all. An answer is neither empty nor longer than LONGEST.
    """
    text = completion.strip()
    if not reasoning:
        return text if 0 < len(text) <= LONGEST and not any(tag in text for tag in TAGS) else None
    if [text.count(tag) for tag in TAGS] != [1, 1, 1, 1]:
        return None
    start, _, rest = text.partition("</think>")
    between, opened, rest = rest.partition("<answer>")
    answer, closed, after = rest.partition("</answer>")
    whole = opened and closed and start.startswith("<think>") and not between.strip() and not after
    answer = answer.strip()
    return answer if whole and 0 < len(answer) <= LONGEST else None


def bare(answer: str) -> str:
    """Return an answer in lower case, without what models write around it: \\boxed{}, "the answer is", space, punctuation.

    >>> bare("**The answer is:** B.")
    'b'
    """
    answer = as_typed(answer)
    inside = boxed(answer)
    text = plain(answer if inside is None else inside)
    return plain(LEAD.sub("", text))


def as_typed(answer: str) -> str:
    """Return an answer with the quotes, dashes and letters of a keyboard in place of printed ones, LaTeX's per cent as %.

    >>> as_typed("“70\\\\%”")
    '"70%"'
    """
    return PERCENT.sub(r"\g<1>%", answer.translate(TYPESET))


def boxed(answer: str) -> str | None:
    """Return what stands in the only \\boxed{} of an answer; None where there is none, or it is denied."""
    boxes = list(BOXED.finditer(answer))
    if len(boxes) != 1 or REFUSED.search(answer[: boxes[0].start()].casefold()):
        return None
    return boxes[0][1]


def plain(answer: str) -> str:
    """Return an answer in lower case, without the space and punctuation around it."""
    return answer.strip(AROUND).casefold()


def the_one(answer: str, words: Collection[str]) -> str | None:
    """Return the one of some words, in lower case, that an answer says, or None where it says none, several, or denies it.

    >>> the_one("The emotion is awe.", ["awe", "fear"])
    'awe'
    >>> [the_one(answer, ["awe", "fear"]) for answer in ("awe or fear", "not awe", "Awe is wrong", "awesome")]
    [None, None, None, None]
    """
    text = bare(answer)
    pattern = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    found = list(re.finditer(rf"(?<![\w-])(?:{pattern})(?![\w-])", text))
    if len({match[0] for match in found}) != 1 or DENIED.search(text[: found[0].start()]):
        return None
    if TAKEN_BACK.match(text, found[-1].end()):
        return None
    return found[0][0]
