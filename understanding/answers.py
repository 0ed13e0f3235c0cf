"""What a completion answers: strict about the format, generous about case, spaces and punctuation; never an exception.

What an answer says, its kind of question reads (understanding/kinds/).
"""

import string

TAGS = ("<think>", "</think>", "<answer>", "</answer>")
LONGEST = 100  # characters of an answer: what is longer is an essay
AROUND = string.whitespace + string.punctuation


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


def plain(answer: str) -> str:
    """Return an answer in lower case, without the space and punctuation around it."""
    return answer.strip(AROUND).casefold()
