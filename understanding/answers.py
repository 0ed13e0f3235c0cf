"""Reads the answer of a completion, strictly in its format and generously in its wording, and never raises.

The kind of question reads what an answer says (understanding/kinds/). An answer that names several things says none of them.
"""

import re
from collections.abc import Collection

TAGS = ("<think>", "</think>", "<answer>", "</answer>")
LONGEST = 100  # characters of an answer: what is longer is an essay
FULL_WIDTH = {letter + 0xFEE0: letter for letter in range(ord("!"), ord("~") + 1)}  # as Chinese texts write ASCII
TYPESET = FULL_WIDTH | {ord("…"): "..."}
TYPESET |= str.maketrans("“”„«»‹›「」『』‘’‚–—。、【】", '"' * 11 + "'" * 3 + "--.,[]", "¡¿")  # noqa: RUF001
PERCENT = re.compile(r"\\[dt]?frac\s*\{([0-9.]+)\}\s*\{100\}|\\%")
MARKED = re.compile(r"\\(?:text|math|bold)[a-z]*\s*\{([^{}]*)\}|</?(?:b|i|em|strong)>")  # LaTeX and HTML around words
BOXED = re.compile(r"\\boxed\s*\{([^{}]*)\}")
LEAD = re.compile(r"^(?:(?:so|thus|therefore|hence|based on the image)\W+)?"
                  r"(?:i(?:'d|\s+would)?\s+(?:think|believe|say|guess|choose|pick|select|go\s+with|answer)\s+(?:that\s+)?"
                  r"|(?:choose|pick|select)\s+)?"
                  r"(?:(?:it|this)(?:'s|\s+(?:is|must\s+be))\W+)?(?:(?:(?:the|my)\s+)?(?:(?:final|correct|best|right)\b\W*)?"
                  r"(?:answer|ans|option|choice|letter|score|rating|verdict|response|emotion|correct|答案)(?:\b|(?=是|为|:))\W*"
                  r"(?:is\b|would be\b|是|为)?\W*)*")  # fmt: skip
REFUSED = re.compile(r"(?:\b(?:not|never|neither|cannot be)|n't)\W*$")  # just before a box
# These deny nothing, and neither does a "no" that a comma follows.
CERTAIN = re.compile(
    r"\bno\s+(?:doubt|question|mistake|reason\s+to\s+doubt|(?:other|better)\s+\w+)\b"
    r"|\bwithout\s+(?:a\s+|any\s+)?doubt\b|\bnot\s+(?:only|just|merely)\b|\bnone\s+other\s+than\b|\bnothing\s+but\b"
    r"|\bmore\s+than\s+any\w*(?:\s+else)?\b|\b(?:cannot|can't)\s+(?:help\s+but|be\s+denied)\b"
)
DENIED = re.compile(
    r"\b(?:not|never|neither|nor|none|nobody|no-?\s?one|cannot|without|than|instead|except|unlikely|doubt(?:s|ful)?)(?:\W|$)"
    r"|\bno\s|n't\b|\b(?:hardly|lacks?|far from|anything but|(?:any|every)\s?\w* but|wrong)\W*(?:any\W+)?$"
    r"|\b(?:lack|absence|opposite|free|devoid) of\W+(?:any\W+|all\W+)?$"
)
AUXILIARY = "is|was|does|did|do|has|had|would|will|can|could|should|shall|may|might|must|seems?|appears?"
TAKEN_BACK = re.compile(
    rf"\s+(?:\w+n't\b|cannot\b|(?:{AUXILIARY})\s+(?:(?:to\s+)?be\s+)?"
    r"(?:not|never|no|hardly|(?:the\s+)?wrong|incorrect|false|unlikely|absent|missing|lacking|out|ruled\s+out)\b)"
    r"|\W+(?:not?|not\s+(?:at\s+all|really|quite))\s*(?:[^\w\s]|$)|.*\bbut\s+not?\s*(?:[^\w\s]|$)",
    re.DOTALL,
)


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


def in_format(answer: str, reasoning: bool, thought: str = "") -> str:
    """Return a completion that gives an answer in the right format."""
    return f"<think>{thought}</think><answer>{answer}</answer>" if reasoning else answer


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
    """Return an answer with a keyboard's quotes, dashes and letters in place of printed ones, and no LaTeX around words.

    >>> as_typed("“\\\\text{70\\\\%}”")
    '"70%"'
    """
    return MARKED.sub(lambda marked: marked[1] or "", PERCENT.sub(r"\g<1>%", answer.translate(TYPESET)))


def boxed(answer: str) -> str | None:
    """Return what stands in the only \\boxed{} of an answer; None where there is none, or it is denied."""
    boxes = list(BOXED.finditer(answer))
    if len(boxes) != 1 or REFUSED.search(answer[: boxes[0].start()].casefold()):
        return None
    return boxes[0][1]


def plain(answer: str) -> str:
    """Return an answer in lower case, without the space, punctuation and symbols around it."""
    kept = [place for place, letter in enumerate(answer) if letter.isalnum()]
    return answer[kept[0] : kept[-1] + 1].casefold() if kept else ""


def the_one(answer: str, words: Collection[str]) -> str | None:
    """Return the one of some words, in lower case, that an answer says, or None where it says none, several, or denies it.

    >>> the_one("The emotion is awe.", ["awe", "fear"])
    'awe'
    >>> [the_one(answer, ["awe", "fear"]) for answer in ("awe or fear", "not awe", "Awe is wrong", "awesome")]
    [None, None, None, None]
    """
    text = CERTAIN.sub(" ", bare(answer))
    pattern = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    found = list(re.finditer(rf"(?<![\w-])(?:{pattern})(?![\w-])", text))
    if len({match[0] for match in found}) != 1:
        return None
    sentence = re.split(r"[.!;]\s", text[: found[0].start()])[-1]
    if DENIED.search(sentence) or TAKEN_BACK.match(text, found[-1].end()):
        return None
    return found[0][0]
