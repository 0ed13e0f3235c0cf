"""Many questions answered, and the answers kept: resumable, and the same however many processes share the work."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import torch
from PIL import Image

from config.errors import UserError
from runtime.files import file_states
from runtime.kept_batches import kept_batches
from runtime.recipe import Recipe, digest
from runtime.seeds import derived_seed
from understanding import kinds
from understanding.asking import GREY, Asker
from understanding.question import Question
from understanding.showing import tell_left_out


def answer_all(
    asker: Asker,
    questions: list[Question],
    images: dict[str, Path],
    folder: Path,
    batch_size: int,
    blind: bool = False,
    count: int = 1,
    temperature: float = 0.0,
    forced: bool = False,
) -> pd.DataFrame:
    """Ask all questions and return a row for each answer, in the order of the questions. All processes call it together.

    Columns: those of a Question but its prompt, completion and, with `forced`, what the kinds keep of the distribution over
    all answers that a question allows, such as p_<emotion> (NaN in rows of other kinds). Images that cannot be shown have no
    rows, and the log names them; raises UserError where none can.
    images: the file of every image id. blind: show a grey image instead. count, temperature: answers sampled to each
    question; greedy ones at 0.
    Answers are kept in `folder`/answers/, a Parquet file for every `batch_size` questions, so a killed run resumes.
    """
    contents = [asdict(question) for question in questions]
    # Not of what rounds: a model in half precision samples by the same numbers.
    seed = derived_seed(asker.recipe, contents, batch_size, blind, count, temperature, forced)
    files = [] if blind else file_states(images[question.image_id] for question in questions)
    how = {"batch size": batch_size, "blind": blind, "answers to a question": count, "temperature": temperature}
    how |= {"likelihoods of all answers": forced, "model, tokens and pixels": asker.recipe, "arithmetic": asker.arithmetic}
    recipe = Recipe("answers", {}, how | {"questions": digest(contents), "images": digest(files)})
    batches = [questions[first : first + batch_size] for first in range(0, len(questions), batch_size)]

    def make(number: int) -> bytes:
        shown = [GREY if blind else images[question.image_id] for question in batches[number]]
        torch.manual_seed(seed + number)  # the same answers, whichever process samples them
        return pd.DataFrame(list(_answered(asker, batches[number], shown, count, temperature, forced))).to_parquet()

    paths = kept_batches(folder / "answers", recipe, len(batches), ".parquet", make, "answering")
    batches_of_rows = [pd.read_parquet(path) for path in paths]
    answered = [rows for rows in batches_of_rows if len(rows)]
    known = {image_id for rows in answered for image_id in rows["image_id"]}
    asked = dict.fromkeys(question.image_id for question in questions)
    tell_left_out([image_id for image_id in asked if image_id not in known], images, asker.obstacle)
    if not answered:
        raise UserError(f"none of {len(asked):,} images can be shown to the model")
    return pd.concat(answered, ignore_index=True)


def answer_distributions(
    asker: Asker, questions: list[Question], images: dict[str, Path], folder: Path, batch_size: int
) -> list[list[float] | None]:
    """Return the probabilities of the answers that each question allows, in their order; they sum to 1.

    None for a question whose image cannot be shown. All processes call it together. Kept in `folder`/distributions/, so a
    killed run resumes. images: the file of every image id.
    """
    how = {"batch size": batch_size, "model, tokens and pixels": asker.recipe, "arithmetic": asker.arithmetic}
    files = file_states(images[question.image_id] for question in questions)
    asked = digest([asdict(question) for question in questions])
    recipe = Recipe("distributions", {}, how | {"questions": asked, "images": digest(files)})
    batches = [questions[first : first + batch_size] for first in range(0, len(questions), batch_size)]

    def make(number: int) -> bytes:
        usable = [each for each in batches[number] if asker.obstacle(images[each.image_id]) is None]
        shown = [images[each.image_id] for each in usable]
        found = asker.likelihoods(usable, shown, [""] * len(usable)).tolist() if usable else []
        known = {each: row[: len(asker.allowed(each))] for each, row in zip(usable, found, strict=True)}
        rows = [known.get(each) for each in batches[number]]
        return pd.DataFrame({"probabilities": pd.Series(rows, dtype=object)}).to_parquet()

    paths = kept_batches(folder / "distributions", recipe, len(batches), ".parquet", make, "asking for all answers")
    return [None if row is None else list(row) for path in paths for row in pd.read_parquet(path)["probabilities"]]


def _answered(
    asker: Asker, batch: list[Question], shown: list[Path | Image.Image], count: int, temperature: float, forced: bool
) -> Iterator[dict]:
    usable = [place for place, image in enumerate(shown) if asker.obstacle(image) is None]
    if not usable:
        return
    batch, shown = [batch[place] for place in usable], [shown[place] for place in usable]
    answers = asker.answers(batch, shown, count, temperature)
    columns = [name for kind in kinds.KINDS for name in kind.likely_columns(asker.taxonomy)] if forced else []
    found = asker.likelihoods(batch, shown, [each[0] for each in answers]).tolist() if forced else [()] * len(batch)
    for question, completions, probabilities in zip(batch, answers, found, strict=True):
        row = {name: value for name, value in asdict(question).items() if name != "prompt"}
        row |= {"options": list(question.options)} | dict.fromkeys(columns)
        if forced:
            kind, own = kinds.kind_named(question.kind), probabilities[: len(asker.allowed(question))]
            likely = kind.likely(question, own, asker.taxonomy, asker.form)
            row |= dict(zip(kind.likely_columns(asker.taxonomy), likely, strict=True))
        for completion in completions:
            yield row | {"completion": completion}
