"""Many questions answered, and the answers kept: resumable, and the same however many processes share the work."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path

import pandas as pd
import torch
from accelerate import PartialState
from PIL import Image

from runtime.files import write_atomically
from runtime.run_folder import progress
from emoset.labels import EMOTIONS
from understanding.asking import GREY, Asker
from understanding.questions import Question


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
    """Ask all questions and return a row for each answer, in the order of the questions.

    Columns: those of a Question but its prompt, completion and, with `forced`, a column p_<emotion> for each of the eight,
    their likelihoods (NaN but for multiple-choice questions).
    images: the file of every image id. blind: show a grey image instead. count, temperature: answers sampled to each
    question; greedy ones at 0.
    Answers are kept in `folder`/answers/, a Parquet file for every `batch_size` questions: a killed run goes on.
    """
    state = PartialState()
    recipe = [asker.recipe, [asdict(question) for question in questions], batch_size, blind, count, temperature, forced]
    seed = int(digest(recipe), 16)  # not of what rounds: a model in half precision samples by the same numbers
    files = [] if blind else file_states(images[question.image_id] for question in questions)
    key = digest([recipe, asker.arithmetic, files])
    kept = folder / "answers" / key
    if state.is_main_process:
        kept.mkdir(parents=True, exist_ok=True)
    state.wait_for_everyone()
    batches = [questions[first : first + batch_size] for first in range(0, len(questions), batch_size)]
    missing = [number for number in range(len(batches)) if not (kept / _name(number)).exists()]
    state.wait_for_everyone()  # before anybody writes, all have looked
    own = missing[state.process_index :: state.num_processes]
    for number in progress(own, "answering", len(own)) if state.is_main_process else own:
        batch = batches[number]
        shown = [GREY if blind else images[question.image_id] for question in batch]
        torch.manual_seed(seed + number)  # the same answers, whichever process samples them
        rows = pd.DataFrame(list(_answered(asker, batch, shown, count, temperature, forced)))
        write_atomically(kept / _name(number), rows.to_parquet)
    state.wait_for_everyone()
    return pd.concat([pd.read_parquet(kept / _name(number)) for number in range(len(batches))], ignore_index=True)


def _answered(
    asker: Asker, batch: list[Question], shown: list[Path | Image.Image], count: int, temperature: float, forced: bool
) -> Iterator[dict]:
    answers = asker.answers(batch, shown, count, temperature)
    likely = {}
    chosen = [place for place, question in enumerate(batch) if forced and question.kind == "multiple"]
    if chosen:
        firsts = [answers[place][0] for place in chosen]
        found = asker.likelihoods([batch[place] for place in chosen], [shown[place] for place in chosen], firsts)
        likely = dict(zip(chosen, found.tolist(), strict=True))
    for place, (question, completions) in enumerate(zip(batch, answers, strict=True)):
        columns = {name: value for name, value in asdict(question).items() if name != "prompt"}
        columns["options"] = list(question.options)
        if forced:
            columns |= {f"p_{emotion}": p for emotion, p in zip(EMOTIONS, likely.get(place, [None] * 8), strict=True)}
        for completion in completions:
            yield columns | {"completion": completion}


def digest(recipe: list) -> str:
    """Return a hash of what JSON can write."""
    return blake2b(json.dumps(recipe).encode(), digest_size=6).hexdigest()


def file_states(paths: Iterable[Path]) -> list[list[int]]:
    """Return the sizes and times of files, which tell an image made anew from the one before."""
    return [[state.st_size, state.st_mtime_ns] for state in (path.stat() for path in paths)]


def _name(number: int) -> str:
    return f"{number:06d}.parquet"
