"""What the tabs that make images answer, as methods that need no browser: the same for the page, its API and the tests."""

import secrets
from collections.abc import Callable, Iterator
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory

import gradio as gr

from app.generating import NONE, TYPED, caption_of, change_photo, make_image, parameters_of, words_for
from app.one_line import copied, one_line
from app.opinions import check_upload, distance, judged
from app.run_models import RunModels
from app.work import Work
from config.errors import UserError

MOST_SEED = 2**32 - 1
STRIP = (0, 25, 50, 75, 100)  # percent of the second emotion
Shown = tuple[list[tuple[str, str]], int]  # a gallery: (file, caption) of each image; and the seed of the first
PROGRESS = gr.Progress()  # Gradio gives each request its own


class ImageRequests:
    """What a run's generator makes for people. An error is one line.

    Galleries are yielded each time that another image is there. Every method takes `how` an image is made, too: seed,
    new_seed (whether to draw a seed instead), strength, variety, guidance, steps. Gradio hands over the request itself.
    """

    def __init__(self, models: RunModels):
        self.models, self.work = models, Work()

    def generate(
        self,
        emotion: str,
        content_from: str,
        content: str,
        count: float,
        request: gr.Request | None = None,
        progress: gr.Progress = PROGRESS,
        **how: float,
    ) -> Iterator[Shown]:
        """Make images of an emotion. The seed of each is one more than that of the image before."""
        with one_line():
            first, options = seed_and_options(**how)
            options |= words_for(content_from, content)
            seeds = [(first + number) % (MOST_SEED + 1) for number in range(int(count))]
            plan = [parameters_of(self.models, {emotion: 1.0}, seed, **options) for seed in seeds]
            yield from self._filling(plan, request, progress)

    def mix_two(
        self,
        first_emotion: str,
        second_emotion: str,
        percent_of_second: float,
        content: str,
        request: gr.Request | None = None,
        progress: gr.Progress = PROGRESS,
        **how: float,
    ) -> Iterator[Shown]:
        """Make an image of two emotions."""
        with one_line():
            mixes = [mix_of(first_emotion, second_emotion, percent_of_second)]
            yield from self._filling(self._plan(mixes, content, how), request, progress)

    def strip(
        self,
        first_emotion: str,
        second_emotion: str,
        content: str,
        request: gr.Request | None = None,
        progress: gr.Progress = PROGRESS,
        **how: float,
    ) -> Iterator[Shown]:
        """Make images from the first emotion to the second, all from the same noise."""
        with one_line():
            mixes = [mix_of(first_emotion, second_emotion, percent) for percent in STRIP]
            yield from self._filling(self._plan(mixes, content, how), request, progress)

    def mix_all(
        self, content: str, request: gr.Request | None = None, progress: gr.Progress = PROGRESS, **how: float
    ) -> Iterator[Shown]:
        """Make an image of all emotions. Each has its weight under its name."""
        with one_line():
            mix = {emotion: how.pop(emotion) for emotion in self.models.taxonomy.emotions}
            yield from self._filling(self._plan([mix], content, how), request, progress)

    def photo(
        self,
        image: str | None,
        emotion: str,
        how_much: float,
        content: str,
        request: gr.Request | None = None,
        progress: gr.Progress = PROGRESS,
        **how: float,
    ) -> Iterator[tuple[tuple[str, str], int, dict | None, dict | None, str]]:
        """Put an emotion on a photograph. how_much: percent of it that is replaced.

        Yields the image before and after, the seed, which emotions the judge sees in either, and how different they look.
        """
        with one_line(), TemporaryDirectory() as folder:
            path, models = check_upload(image), self.models
            how["steps"] = max(how["steps"], ceil(100 / how_much))  # of which one is left, at least
            (parameters,) = self._plan([{emotion: 1.0}], content, how)
            told = self._telling(progress, "Changing the photo", 1, 1, int(parameters["steps"] * how_much / 100))
            with self.work.of(request):
                files = change_photo(models, path, parameters, how_much / 100, Path(folder), told)
            seen = [judged(models, file) if models.judges else None for file in files]
            said = "0 is the same image. The larger the number, the less is left of it."
            yield tuple(map(copied, files)), parameters["seed"], *seen, f"{distance(models, *files):.2f} (LPIPS). {said}"

    def _plan(self, mixes: list[dict[str, float]], content: str | None, how: dict) -> list[dict]:
        """Return the parameters of images of mixes of emotions on one content, which may be empty, all of one seed."""
        seed, options = seed_and_options(**how)
        options |= words_for(TYPED if (content or "").strip() else NONE, content)
        return [parameters_of(self.models, mix, seed, **options) for mix in mixes]

    def _filling(self, plan: list[dict], request: gr.Request | None, progress: gr.Progress) -> Iterator[Shown]:
        """Yield the gallery each time that another image of a plan, a list of parameters, is there."""
        shown: list[tuple[str, str]] = []
        with TemporaryDirectory() as folder:
            for number, parameters in enumerate(plan, 1):
                place = Path(folder, str(number))
                place.mkdir()
                told = self._telling(progress, "Making images", number, len(plan), parameters["steps"])
                with self.work.of(request):
                    path = make_image(self.models, parameters, place, told)
                shown.append((copied(path), caption_of(parameters)))
                yield shown, plan[0]["seed"]

    def _telling(self, progress: gr.Progress, what: str, number: int, images: int, steps: int) -> Callable:
        """Return what diffusers calls after each step of image `number` of some: it tells of it, or ends the work."""

        def after_step(_pipe, step: int, _timestep, kept: dict) -> dict:
            self.work.check()
            progress(((number - 1) * steps + step + 1, images * steps), desc=what, unit="steps")
            return kept

        progress(((number - 1) * steps, images * steps), desc=what, unit="steps")
        return after_step


def mix_of(first: str, second: str, percent: float) -> dict[str, float]:
    """Return the weights of two emotions. percent: of the second."""
    if first == second:
        raise UserError("Both emotions are the same. Choose two.")
    return {first: 100.0 - percent, second: float(percent)}


def seed_and_options(
    seed: float | None, new_seed: bool, strength: float, variety: float, guidance: float, steps: float
) -> tuple[int, dict[str, float]]:
    """Return the seed, random where a new one is wanted or none is given, and the rest by the names of the settings."""
    options = dict(strength=float(strength), spread=float(variety), guidance_scale=float(guidance), steps=int(steps))
    return secrets.randbelow(2**31) if new_seed or seed is None else int(seed), options
