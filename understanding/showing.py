"""Images as a model is shown them: of a bounded size and aspect, and refused by name where they cannot be shown."""

import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import chain
from pathlib import Path

from PIL import Image
from transformers import ProcessorMixin

from config.errors import UserError, first_line
from emoset.images import ImageError, load_image
from runtime.run_folder import is_first_process, log
from understanding.model import bounded
from understanding.question import Question

ODD = 28, 20  # an image with a shorter side, or longer than so many times its width, is tried on the processor alone


def show(path: Path, max_pixels: int, processor: ProcessorMixin | None = None) -> Image.Image:
    """Return an image as the model is shown it. Raises ImageError where it cannot be read, or the processor refuses it."""
    image = bounded(load_image(path), max_pixels)
    shorter, longer = sorted(image.size)
    if processor is not None and (shorter < ODD[0] or longer > ODD[1] * shorter):
        try:
            processor.image_processor(images=[image], return_tensors="pt")
        except Exception as error:  # each processor has limits and exceptions of its own
            size = f"{image.width} x {image.height} pixels"
            raise ImageError(path, f"{size} are nothing that the model's processor takes ({first_line(error)})") from None
    return image


def substitute(
    questions: list[Question], images: Mapping[str, Path], max_pixels: int, processor: ProcessorMixin | None
) -> Callable[[int], tuple[int, Image.Image]]:
    """Return a function that gives, for a question's number, the number of the question to ask in its place, and its image.

    That is the question itself. Where its image cannot be shown, it is the next question of its kind whose image can: the
    same in every process and after a resumed run. The image is named once, and not tried again.
    The function raises UserError where there is no such question.
    """
    broken: set[str] = set()

    @lru_cache(maxsize=64)  # a question is asked once for every answer of its group
    def load(image_id: str) -> Image.Image:
        return show(images[image_id], max_pixels, processor)

    def found(number: int) -> tuple[int, Image.Image]:
        asked = questions[number]
        for place in chain(range(number, len(questions)), range(number)):
            question = questions[place]
            if question.kind != asked.kind or question.image_id in broken:
                continue
            try:
                return place, load(question.image_id)
            except ImageError as error:
                broken.add(question.image_id)
                _tell(f"{error}; a {question.kind} question about another image is asked instead")
        raise UserError(f"no image of a {asked.kind} question can be shown to the model; check data.emoset")

    return found


def tell_left_out(ids: list[str], images: Mapping[str, Path], reason: Callable[[Path], str | None]) -> None:
    """Log how many images were left out, and the first five of them with the `reason` why they cannot be shown."""
    if ids:
        some = [f"{images[each]} ({reason(images[each]) or 'it can be read now'})" for each in ids[:5]]
        log.warning(f"{len(ids):,} images cannot be shown and are left out: {', '.join(some)}{', ...' if ids[5:] else ''}")


def _tell(text: str) -> None:
    """Log a warning on whichever process meets it; all but the first are silent otherwise."""
    if is_first_process():
        log.warning(text)
    else:
        print(text, file=sys.stderr, flush=True)
