"""Many questions answered, and the answers kept: resumable, and the same however many processes share the work."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import torch
from PIL import Image

from runtime.files import write_atomically
from runtime.processes import shared_work, start_process
from runtime.recipe import RECIPE, Recipe, digest
from runtime.run_folder import progress
from runtime.seeds import derived_seed
from understanding import kinds
from understanding.asking import GREY, Asker
from understanding.kinds.multiple import likelihood_columns
from understanding.question import Question


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

    Columns: those of a Question but its prompt, completion and, with `forced`, a column p_<emotion> for each of the K, their
    likelihoods (NaN for kinds of question that have no forced choice).
    images: the file of every image id. blind: show a grey image instead. count, temperature: answers sampled to each
    question; greedy ones at 0.
    Answers are kept in `folder`/answers/, a Parquet file for every `batch_size` questions, so a killed run resumes.
    """
    contents = [asdict(question) for question in questions]
    # Not of what rounds: a model in half precision samples by the same numbers.
    seed = derived_seed(asker.recipe, contents, batch_size, blind, count, temperature, forced)
    files = [] if blind else file_states(images[question.image_id] for question in questions)
    how = {"batch size": batch_size, "blind": blind, "answers to a question": count, "temperature": temperature}
    how |= {"forced choice": forced, "model, tokens and pixels": asker.recipe, "arithmetic": asker.arithmetic}
    recipe = Recipe("answers", {}, how | {"questions": digest(contents), "images": digest(files)})
    kept = folder / "answers" / recipe.key
    batches = [questions[first : first + batch_size] for first in range(0, len(questions), batch_size)]
    paths = [kept / f"{number:06d}.parquet" for number in range(len(batches))]
    is_main = start_process().is_main_process
    with shared_work(range(len(batches)), lambda number: not paths[number].exists()) as (missing, own):
        if is_main and missing:
            kept.mkdir(parents=True, exist_ok=True)
            recipe.start(kept / RECIPE)
        start_process().wait_for_everyone()  # the folder is there
        for number in progress(own, "answering", len(own)) if is_main else own:
            shown = [GREY if blind else images[question.image_id] for question in batches[number]]
            torch.manual_seed(seed + number)  # the same answers, whichever process samples them
            rows = pd.DataFrame(list(_answered(asker, batches[number], shown, count, temperature, forced)))
            write_atomically(paths[number], rows.to_parquet)
    if is_main and missing:
        recipe.finish(kept / RECIPE)
    return pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True)


def _answered(
    asker: Asker, batch: list[Question], shown: list[Path | Image.Image], count: int, temperature: float, forced: bool
) -> Iterator[dict]:
    answers = asker.answers(batch, shown, count, temperature)
    columns, likely = likelihood_columns(asker.taxonomy.emotions) if forced else [], {}
    choices = [place for place, each in enumerate(batch) if forced and kinds.kind_named(each.kind).FORCED_CHOICE]
    if choices:
        firsts = [answers[place][0] for place in choices]
        found = asker.likelihoods([batch[place] for place in choices], [shown[place] for place in choices], firsts)
        likely = dict(zip(choices, found.tolist(), strict=True))
    for place, (question, completions) in enumerate(zip(batch, answers, strict=True)):
        row = {name: value for name, value in asdict(question).items() if name != "prompt"}
        row["options"] = list(question.options)
        row |= dict(zip(columns, likely.get(place, [None] * len(columns)), strict=True))
        for completion in completions:
            yield row | {"completion": completion}


def file_states(paths: Iterable[Path]) -> list[list[int]]:
    """Return the sizes and times of files, which tell an image made anew from the one before."""
    return [[state.st_size, state.st_mtime_ns] for state in (path.stat() for path in paths)]
