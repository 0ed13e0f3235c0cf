"""What the tabs that make images answer, as functions of a run's models: the same for the page, its API and the tests.

Those that make images yield them with their captions as they come, and the seed of the first. An error is one line.
"""

import secrets
from collections.abc import Iterator
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory

import gradio as gr

from app.generating import NONE, TYPED, caption_of, change_photo, make_image, parameters_of, words_for
from app.one_line import one_line
from app.opinions import check_upload, distance, judged
from app.run_models import RunModels
from config.errors import UserError

MOST_SEED = 2**32 - 1
STRIP = (0, 25, 50, 75, 100)  # percent of the second emotion
Shown = tuple[list[tuple[str, str]], int]  # a gallery: (file, caption) of each image; and the seed of the first
PROGRESS = gr.Progress()  # Gradio gives each request its own


def generate(
    models: RunModels,
    emotion: str,
    content_from: str,
    content: str,
    count: float,
    seed: float,
    new_seed: bool,
    strength: float,
    variety: float,
    guidance: float,
    steps: float,
    progress: gr.Progress = PROGRESS,
) -> Iterator[Shown]:
    """Make images of an emotion. The seed of each is one more than that of the image before."""
    with one_line():
        first, options = seed_of(seed, new_seed), options_of(strength, variety, guidance, steps)
        options |= words_for(content_from, content)
        seeds = [(first + number) % (MOST_SEED + 1) for number in range(int(count))]
        plan = [parameters_of(models, {emotion: 1.0}, each, **options) for each in seeds]
        yield from filling(models, plan, first, progress)


def mix_two(
    models: RunModels,
    first_emotion: str,
    second_emotion: str,
    percent_of_second: float,
    content: str,
    seed: float,
    new_seed: bool,
    strength: float,
    variety: float,
    guidance: float,
    steps: float,
    progress: gr.Progress = PROGRESS,
) -> Iterator[Shown]:
    """Make an image of two emotions."""
    with one_line():
        mixes = [mix_of(first_emotion, second_emotion, percent_of_second)]
        options = options_of(strength, variety, guidance, steps)
        yield from of_mixes(models, mixes, content, seed_of(seed, new_seed), options, progress)


def strip(
    models: RunModels,
    first_emotion: str,
    second_emotion: str,
    content: str,
    seed: float,
    new_seed: bool,
    strength: float,
    variety: float,
    guidance: float,
    steps: float,
    progress: gr.Progress = PROGRESS,
) -> Iterator[Shown]:
    """Make images from the first emotion to the second, all from the same noise."""
    with one_line():
        mixes = [mix_of(first_emotion, second_emotion, percent) for percent in STRIP]
        options = options_of(strength, variety, guidance, steps)
        yield from of_mixes(models, mixes, content, seed_of(seed, new_seed), options, progress)


def mix_all(
    models: RunModels,
    content: str,
    seed: float,
    new_seed: bool,
    strength: float,
    variety: float,
    guidance: float,
    steps: float,
    progress: gr.Progress = PROGRESS,
    *weights: float,
) -> Iterator[Shown]:
    """Make an image of all emotions. weights: of each, in the taxonomy's order."""
    with one_line():
        mixes = [dict(zip(models.taxonomy.emotions, weights, strict=True))]
        options = options_of(strength, variety, guidance, steps)
        yield from of_mixes(models, mixes, content, seed_of(seed, new_seed), options, progress)


def photo(
    models: RunModels,
    image: str | None,
    emotion: str,
    how_much: float,
    content: str,
    seed: float,
    new_seed: bool,
    strength: float,
    variety: float,
    guidance: float,
    steps: float,
) -> Iterator[tuple[tuple[str, str], int, dict | None, dict | None, str]]:
    """Put an emotion on a photograph. how_much: percent of it that is made anew.

    Yields the image before and after, the seed, which emotions the judge sees in either, and how different they look.
    """
    with one_line(), TemporaryDirectory() as folder:
        path, chosen = check_upload(image), seed_of(seed, new_seed)
        enough = max(steps, ceil(100 / how_much))  # of which one is left, at least
        options = options_of(strength, variety, guidance, enough) | optional(content)
        parameters = parameters_of(models, {emotion: 1.0}, chosen, **options)
        files = change_photo(models, path, parameters, how_much / 100, Path(folder))
        seen = [judged(models, file) if models.judges else None for file in files]
        told = f"{distance(models, *files):.2f} (LPIPS). 0 is the same image. The larger the number, the less is left of it."
        yield tuple(map(str, files)), chosen, *seen, told


def of_mixes(
    models: RunModels, mixes: list[dict[str, float]], content: str, seed: int, options: dict, progress: gr.Progress
) -> Iterator[Shown]:
    """Yield images of mixes of emotions on one content, which may be empty, all of one seed."""
    options |= optional(content)
    yield from filling(models, [parameters_of(models, mix, seed, **options) for mix in mixes], seed, progress)


def filling(models: RunModels, plan: list[dict], seed: int, progress: gr.Progress) -> Iterator[Shown]:
    """Yield the gallery each time that another image of a plan, a list of parameters, is there."""
    shown: list[tuple[str, str]] = []
    with TemporaryDirectory() as folder:  # Gradio copies what it shows
        for number, parameters in enumerate(plan):
            progress((number, len(plan)), desc="Making images", unit="images")
            place = Path(folder, str(number))
            place.mkdir()
            shown.append((str(make_image(models, parameters, place)), caption_of(parameters)))
            yield shown, seed


def mix_of(first: str, second: str, percent: float) -> dict[str, float]:
    """Return the weights of two emotions. percent: of the second."""
    if first == second:
        raise UserError("Both emotions are the same. Choose two.")
    return {first: 100.0 - percent, second: float(percent)}


def options_of(strength: float, variety: float, guidance: float, steps: float) -> dict[str, float]:
    """Return what the sliders say, by the names of the settings."""
    return dict(strength=float(strength), spread=float(variety), guidance_scale=float(guidance), steps=int(steps))


def optional(content: str | None) -> dict:
    """Return the settings of a content that may stay empty."""
    return words_for(TYPED if (content or "").strip() else NONE, content)


def seed_of(seed: float | None, new_seed: bool) -> int:
    """Return the seed of the first image: a random one where a new one is wanted, or none is given."""
    return secrets.randbelow(2**31) if new_seed or seed is None else int(seed)
