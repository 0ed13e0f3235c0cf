"""Questions about one image in one row of a batch: the image and what their prompts begin with stand in it once.

After that comes a tree (answer_tree.py) of the rest of the prompts and of all answers to each question. So a model sees an
image once, however many questions are about it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from understanding.answer_tree import AnswerTree, Growth, common_prefix_length
from understanding.chat import Choices

TOGETHER = 8  # questions in a row at most: attention grows with its square


@dataclass(frozen=True)
class ImageRow:
    """Questions about one image in one row.

    places: the questions' numbers. cut: how many of the last tokens of the first one's prompt stand in the tree. asked: the
    tokens of each question's prompt after node 0. tree: its paths are those of the answers to each question in turn.
    """

    places: list[int]
    cut: int
    asked: list[list[int]]
    tree: AnswerTree


@dataclass(frozen=True)
class Asked:
    """A question and its answers as tokens. head: of the prompt before what `choices` begins with."""

    head: list[int]
    choices: Choices


def image_rows(images: Sequence[Path | Image.Image], asked: Sequence[Asked], together: int) -> list[ImageRow]:
    """Return the rows of some questions. images: of each. together: how many share a row at most."""
    of_image: dict[object, list[int]] = {}
    for place, image in enumerate(images):
        of_image.setdefault(image if isinstance(image, Path) else id(image), []).append(place)
    parts = [places[first : first + together] for places in of_image.values() for first in range(0, len(places), together)]
    return [_row(places, [asked[place] for place in places]) for places in parts]


def _row(places: list[int], asked: list[Asked]) -> ImageRow:
    prompts = [[*each.head, *each.choices.before] for each in asked]
    settled = [prompt[: len(prompt) - each.choices.reach] for prompt, each in zip(prompts, asked, strict=True)]
    alike, growth = common_prefix_length(settled), Growth()
    paths = [growth.add(prompt[alike:]) for prompt in settled]  # all of them first, for no logits are needed there
    pairs = zip(paths, (each.choices for each in asked), strict=True)
    answers = [growth.add(tail, path) for path, choices in pairs for tail in choices.tails(choices.reach)]
    tree = AnswerTree(growth.tokens, growth.parents, growth.edges, answers)
    return ImageRow(places, len(prompts[0]) - alike, [prompt[alike:] for prompt in prompts], tree)
