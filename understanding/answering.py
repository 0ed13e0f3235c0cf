"""Many questions answered, and the answers kept: resumable, and the same however many processes share the work."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import torch
from PIL import Image

from config.errors import UserError
from runtime.files import file_states
from runtime.kept_batches import kept_batches
from runtime.recipe import Recipe, digest
from understanding import kinds
from understanding.asking import GREY, Asker
from understanding.question import OwnChoice, Question
from understanding.showing import tell_left_out


def answer_all(
    asker: Asker,
    questions: list[Question],
    images: dict[str, Path],
    folder: Path,
    batch_size: int,
    blind: bool = False,
    forced: bool = False,
) -> pd.DataFrame:
    """Ask all questions and return a row for each greedy answer, in the order of the questions.

    All processes call it together.
    Columns: those of a Question but its prompt, completion and, with `forced`, what the kinds keep of the distribution over
    all answers that a question allows, such as p_<emotion> (NaN in rows of other kinds). Images that cannot be shown have no
    rows, and the log names them. Raises UserError where none can, or answers.tokens are too few for what a question allows.
    images: the file of every image id. blind: show a grey image instead.
    Answers are kept in `folder`/answers/, a Parquet file for every `batch_size` questions, so a killed run resumes.
    """

    def make(batch: list[Question]) -> list[dict]:
        shown = [GREY if blind else images[question.image_id] for question in batch]
        return list(_answered(asker, batch, shown, forced))

    asker.check_lengths(questions)
    how = {"blind": blind, "likelihoods of all answers": forced}
    order = by_image(questions)
    ordered = [questions[place] for place in order]
    answered = _kept(asker, ordered, {} if blind else images, folder / "answers", batch_size, make, how)
    known = {image_id for rows in answered for image_id in rows["image_id"]}
    asked = dict.fromkeys(question.image_id for question in questions)
    tell_left_out([image_id for image_id in asked if image_id not in known], images, asker.obstacle)
    if not answered:
        raise UserError(f"none of {len(asked):,} images can be shown to the model")
    table = pd.concat(answered)
    table.index = [place for place in order if questions[place].image_id in known]
    return table.sort_index()


def by_image(questions: list[Question]) -> list[int]:
    """Return the numbers of questions in the order in which they are asked: those about an image together.

    So they share a batch, and the model sees the image once for all of them.
    """
    first = {}
    for place, question in enumerate(questions):
        first.setdefault(question.image_id, place)
    return sorted(range(len(questions)), key=lambda place: first[questions[place].image_id])


def answer_distributions(
    asker: Asker, questions: list[Question], images: dict[str, Path], folder: Path, batch_size: int
) -> list[list[float] | None]:
    """Return the probabilities of the answers that each question allows, in their order; they sum to 1.

    None for a question whose image cannot be shown. All processes call it together. Kept in `folder`/distributions/, so a
    killed run resumes. images: the file of every image id.
    """

    def make(batch: list[Question]) -> list[dict]:
        usable = [each for each in batch if asker.obstacle(images[each.image_id]) is None]
        shown = [images[each.image_id] for each in usable]
        found = asker.likelihoods(usable, shown, [""] * len(usable)).tolist() if usable else []
        known = {each: row[: len(asker.allowed(each))] for each, row in zip(usable, found, strict=True)}
        return [{"probabilities": known.get(each)} for each in batch]

    parts = _kept(asker, questions, images, folder / "distributions", batch_size, make, {})
    return [None if row is None else list(row) for part in parts for row in part["probabilities"]]


def answer_choices(
    asker: Asker, questions: list[OwnChoice], images: dict[str, Path], folder: Path, batch_size: int
) -> list[tuple[str, list[float]] | None]:
    """Return a greedy completion to each question, and the probabilities of its answers, in their order, after its thought.

    None for a question whose image cannot be shown. All processes call it together. Kept in `folder`/choices/, so a killed
    run resumes. images: the file of every image id.
    """

    def make(batch: list[OwnChoice]) -> list[dict]:
        usable = [each for each in batch if asker.obstacle(images[each.image_id]) is None]
        shown = [images[each.image_id] for each in usable]
        said, found = asker.answers_with_likelihoods(usable, shown) if usable else ([], torch.empty(0))
        known = {
            each: (text, row[: len(each.answers)]) for each, text, row in zip(usable, said, found.tolist(), strict=True)
        }
        rows = [known.get(each, (None, None)) for each in batch]
        return [{"completion": text, "probabilities": row} for text, row in rows]

    asker.check_lengths(questions)
    order = by_image(questions)
    parts = _kept(asker, [questions[place] for place in order], images, folder / "choices", batch_size, make, {})
    rows = [row for part in parts for row in zip(part["completion"], part["probabilities"], strict=True)]
    found = dict(zip(order, rows, strict=True))
    rows = [found[place] for place in range(len(questions))]
    return [None if probabilities is None else (text, list(probabilities)) for text, probabilities in rows]


def _kept(
    asker: Asker,
    questions: list[Question],
    images: dict[str, Path],
    folder: Path,
    batch_size: int,
    make: Callable[[list[Question]], list[dict]],
    how: dict[str, object],
) -> list[pd.DataFrame]:
    """Return the tables of rows that `make` gives of each batch of questions, but empty ones; kept in `folder`.

    how: what the rows depend on beside the asker, the questions and their images, which are none where blind.
    """
    how |= {"batch size": batch_size, "model, tokens and pixels": asker.recipe, "arithmetic": asker.arithmetic}
    files = file_states(images[question.image_id] for question in questions if images)
    contents = digest([asdict(question) for question in questions])
    recipe = Recipe(folder.name, {}, how | {"questions": contents, "images": digest(files)})
    batches = [questions[first : first + batch_size] for first in range(0, len(questions), batch_size)]
    paths = kept_batches(
        folder, recipe, len(batches), ".parquet", lambda number: pd.DataFrame(make(batches[number])).to_parquet(), "asking"
    )
    return [rows for rows in map(pd.read_parquet, paths) if len(rows)]


def _answered(asker: Asker, batch: list[Question], shown: list[Path | Image.Image], forced: bool) -> Iterator[dict]:
    usable = [place for place, image in enumerate(shown) if asker.obstacle(image) is None]
    if not usable:
        return
    batch, shown = [batch[place] for place in usable], [shown[place] for place in usable]
    columns = [name for kind in kinds.KINDS for name in kind.likely_columns(asker.taxonomy)] if forced else []
    if forced:
        answers, found = asker.answers_with_likelihoods(batch, shown)
        found = found.tolist()
    else:
        answers, found = [completion for (completion,) in asker.answers(batch, shown)], [()] * len(batch)
    for question, completion, probabilities in zip(batch, answers, found, strict=True):
        row = {name: value for name, value in asdict(question).items() if name != "prompt"}
        row |= {"options": list(question.options)} | dict.fromkeys(columns)
        if forced:
            kind, own = kinds.kind_named(question.kind), probabilities[: len(asker.allowed(question))]
            likely = kind.likely(question, own, asker.taxonomy, asker.form)
            row |= dict(zip(kind.likely_columns(asker.taxonomy), likely, strict=True))
        yield row | {"completion": completion}
