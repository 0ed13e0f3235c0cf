"""What a completion answers: strict about the format, generous about case, spaces and punctuation; never an exception."""

import re
import string

from emoset.labels import EMOTIONS
from understanding.questions import LETTERS

TAGS = ("<think>", "</think>", "<answer>", "</answer>")
LONGEST = 100  # characters of an answer: what is longer is an essay
_AROUND = string.whitespace + string.punctuation
_NUMBER = re.compile(r"""[\s"'`*_(\[]*([0-9]{1,3}(?:\.[0-9]{1,6})?)\s*(?:%|/\s*100)?[\s"'`*_)\].,;:!]*""")


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


def read_binary(answer: str) -> bool | None:
    """Return True for yes, False for no, None for anything else, "yes and no" among them."""
    return {"yes": True, "no": False}.get(answer.strip(_AROUND).casefold())


def read_emotion(answer: str, options: tuple[str, ...], answer_by: str) -> str | None:
    """Return the one emotion that an answer names, or gives the letter of, or None.

    options: the emotions in the order of their letters. By letter, "B", "(b)" and, where they agree, "B: awe" are read.
    """
    plain = answer.strip(_AROUND).casefold()
    if answer_by == "name":
        return plain if plain in EMOTIONS else None
    letter, _, name = (part.strip(_AROUND) for part in re.sub(r"[):.,\s]+", " ", plain).partition(" "))
    place = LETTERS.casefold().find(letter) if len(letter) == 1 else -1
    if not 0 <= place < len(options) or name not in ("", options[place]):
        return None
    return options[place]


def read_score(answer: str) -> float | None:
    """Return a score from 0 to 100, as "70", "70.5", "70 %" or "70/100" give it, or None: "-5", "1e3", "101", "70 or 80"."""
    match = _NUMBER.fullmatch(answer)
    score = float(match[1]) if match else None
    return score if score is not None and score <= 100 else None
