"""One question about the emotion of an image."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """A question about one image.

    kind: the name of one of understanding.kinds.
    emotion: the true emotion.
    asked: the emotion that the question names. None if it names none, or all.
    options: the emotions in the order of the prompt. Empty if the prompt lists none.
    phrasing: which of the kind's PHRASINGS the prompt has.
    """

    kind: str
    image_id: str
    emotion: str
    asked: str | None
    options: tuple[str, ...]
    phrasing: int
    prompt: str

    @property
    def is_true(self) -> bool:
        """Tell whether the emotion that the question names is that of the image."""
        return self.asked == self.emotion


@dataclass(frozen=True)
class OwnChoice(Question):
    """A question of a benchmark, of no kind in understanding.kinds. answers: all that it allows, in the options' order."""

    answers: tuple[str, ...] = ()
