"""What is checked before anything is measured or written, with all that is wrong told at once, and what it would take.

Data come first, for reading them forks; then each network sees a blank image, and each generator is loaded. A model that
answers questions is only looked at: its weights are large, and are known by their names and shapes.
"""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import pandas as pd
import torch

from config.errors import UserError, first_line, tell_together
from config.evaluation_settings import Evaluate
from config.settings import Settings
from config.understanding_settings import Understanding
from emoset.labels import attribute_name
from emoset.selection import read_folder
from evaluation import networks
from evaluation.completeness import gaps, unknown_folders
from evaluation.features import BLANK, feature_cache, width_of
from evaluation.generators import check_enough, from_photographs, is_generator, load_base, planned, prompt_plans
from evaluation.judge import check_judge, check_probe, load_judge
from evaluation.measure_generation import images_of_emoset
from evaluation.measure_understanding import images_of, questions_of
from evaluation.perceptual import load_lpips
from runtime.checking import check_room, check_writable, in_words
from runtime.hub import hide_loading
from runtime.processes import free_memory, start_process
from runtime.run_folder import log
from training.conditioning import tokenize
from training.inference import check_emotions
from training.pipeline import GENERATOR
from training.sampling import load_pipeline, words_of
from understanding.kinds import check_kinds
from understanding.model_check import check_extras, check_model

BYTES_OF_PIXEL = 3  # of a PNG, which hardly compresses an image with noise in it
OTHERS = 10**8  # bytes that answers, tables and the report take at most


def check_evaluation(
    settings: Settings, models: dict[str, str], generators: dict[str, Path], folder: Path
) -> dict[str, str]:
    """Return what the evaluation would take, in words. Raises one UserError for all that would end it.

    models, generators: by label. folder: of the evaluation, in the run folder.
    """
    evaluate, clip, found = settings.evaluate, settings.models.clip, {}
    start_process()
    hide_loading(diffusers)

    def note(name: str, value: Callable[[], Any]) -> None:
        found[name] = value()

    data = [
        partial(check_writable, settings.data.cache, "data.cache"),
        partial(check_kinds, settings.questions, settings.rewards),
    ]
    if generators:
        data.append(partial(note, "data", partial(_data_of_generation, settings, folder)))
    if models:
        data.append(partial(note, "asked", partial(images_of, settings, folder)))
    others = [
        partial(note, row, partial(read_folder, path, settings.data.taxonomy.emotions, "evaluate.generators"))
        for row, path in generators.items()
        if not is_generator(path)
    ]
    checks = [*data, *others, partial(_check_contents, evaluate)]
    if models:
        weigh = partial(_check_model, settings.understanding, download=not settings.check)
        checks += [
            partial(note, f"model {label}", partial(weigh, name, f"evaluate.models: {label}"))
            for label, name in models.items()
        ]
    if generators or evaluate.baselines:
        checks += [partial(check_clip, clip)]
    if generators:
        checks += checks_of_networks(settings)
        checks += [partial(check_judge, evaluate, clip, path) for path in generators.values()]
        checks += [
            partial(note, f"generator {row}", partial(_check_generator, settings, row, path, found))
            for row, path in generators.items()
            if is_generator(path)
        ]
    tell_together(*checks)
    given = {row: found[row] for row in generators if row in found}
    check_enough(given)
    if generators:
        _tell_gaps(settings.data.taxonomy.emotions, given, generators)
    if models and evaluate.folder:
        for text in unknown_folders(evaluate.folder, settings.data.taxonomy.emotions):
            log.info(f"warning: evaluate.folder: {text}")
    return _takes(settings, models, generators, folder, found)


def _check_model(understanding: Understanding, name: str, setting: str, download: bool) -> int:
    """Return the bytes that a model's weights take; raises UserError where it cannot be asked."""
    check_extras(understanding)
    return check_model(understanding, name, setting, download).bytes


def _data_of_generation(settings: Settings, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the tables of training images and real ones, where there are enough of them."""
    train, real, *_ = images_of_emoset(settings, folder)
    if train.empty or real.empty:
        split = "train" if train.empty else settings.evaluate.split
        raise UserError(f"data.emoset: {settings.data.emoset} has no usable image in the split {split}; see problems.csv")
    check_probe(train)
    check_enough({"real": real})
    return train, real


def _check_contents(evaluate: Evaluate) -> None:
    for content in evaluate.contents:
        if not attribute_name(content) or "/" in content or content.startswith("."):
            raise UserError(f"evaluate.contents: {content!r} cannot name a folder of images; name a thing, such as bag")


def check_clip(name: str) -> None:
    _try("models.clip", name, lambda: (width_of(networks.clip_network(name)), networks.clip_texts(name, ["a bag"])))


def checks_of_networks(settings: Settings, judge: str = "evaluate.judge") -> list[Callable[[], Any]]:
    """Return a check of each network that the metrics of images rest on: it is loaded, and sees an image.

    judge: the setting that evaluate.judge comes from, for the error.
    """
    evaluate, emotions = settings.evaluate, settings.data.taxonomy.emotions
    seen = {
        "object_classifier": partial(_see_by_classifier, "evaluate.object_classifier"),
        "scene_classifier": partial(_see_by_classifier, "evaluate.scene_classifier"),
        "fid_network": lambda name: width_of(networks.fid_network(name, published=False)),
        "lpips_network": _lpips_of_blanks,
    }
    checks = [
        partial(_try, f"evaluate.{key}", getattr(evaluate, key), partial(see, getattr(evaluate, key)))
        for key, see in seen.items()
    ]
    if evaluate.judge:  # a probe is fitted, not loaded
        cache = feature_cache(settings.data, evaluate)
        load = partial(load_judge, evaluate.judge, settings.models.clip, None, emotions, cache, judge)
        checks.append(partial(_try, judge, evaluate.judge, load))
    return checks


def _try(setting: str, name: str, see: Callable[[], Any]) -> None:
    """Raise UserError, naming the setting, for whatever a network raises that is of another kind than is needed."""
    try:
        with torch.no_grad():
            see()
    except UserError:
        raise
    except Exception as error:  # libraries raise whatever they stumble over in a model of another kind
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise UserError(
            f"{setting}: {name} sees no image, so it is of another kind than is needed; name another ({reason})"
        ) from None


def _see_by_classifier(setting: str, name: str) -> None:
    """Let a classifier see an image, and log where its classes have no names but those that transformers gives them."""
    network = networks.classifier(name, setting)
    width_of(network)
    if all(re.fullmatch(r"LABEL_\d+", label) for label in network.names):
        log.info(
            f"warning: {setting}: {name} does not name its classes, so it judges no content, and CLIP judges what the other"
            " classifier does not know; for a judge, name a model whose config.json names its classes (id2label)"
        )


def _lpips_of_blanks(name: str) -> None:
    pixels = torch.zeros(1, 3, *BLANK.size)
    load_lpips(name)[1](pixels, pixels)


def _check_generator(settings: Settings, row: str, path: Path, found: dict) -> int:
    """Return the bytes of a generator's weights; raises UserError where it cannot make the images that are planned of it.

    found: the data, by name; where they are wrong themselves, no image is planned.
    """
    pipe = load_pipeline(path)
    if row == "ours" and not (path / GENERATOR).is_file():
        load_base(settings.models.stable_diffusion, "models.stable_diffusion", torch.device("cpu"))
    check_emotions(pipe.emotion_space.emotions, settings.data.taxonomy.emotions, path)
    plans = planned(row, path, found["data"][0], settings).values() if "data" in found else []
    prompts = {words_of(parameters) for plan in plans for parameters in plan.values()}
    tokenize(pipe.tokenizer, sorted(prompts), pipe.mapper.config.tokens)
    parts = [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]
    size = sum(weight.nbytes for part in parts for weight in part.parameters())
    del pipe, parts
    free_memory()
    return size


def _tell_gaps(emotions: tuple[str, ...], given: dict[str, pd.DataFrame], generators: dict[str, Path]) -> None:
    """Log what other methods' folders lack, which the figures will be marked with."""
    for row, images in given.items():
        for text in gaps(images["emotion"], emotions) + unknown_folders(generators[row], emotions):
            log.info(f"warning: {row}: {text}")


def _takes(settings: Settings, models: dict, generators: dict, folder: Path, found: dict) -> dict[str, str]:
    """Return what the evaluation would take; raises UserError where the disk has no room for the images. found: by name."""
    evaluate, generate, takes, images, answers = settings.evaluate, settings.generate, {}, {}, 0
    if generators:
        train, real = found["data"]
        plans = [planned(row, path, train, settings) for row, path in generators.items() if is_generator(path)]
        plans += [prompt_plans(train, settings)] if "ours" in generators else []
        plan = {path: each for named in plans for own in named.values() for path, each in own.items()}
        if "ours" in generators:
            plan |= from_photographs(real, settings.models.resolution, settings)
        images = {path: each for path, each in plan.items() if not (folder / "images" / path).is_file()}
        steps = {path: int(generate.steps * each.get("image_strength", 1)) for path, each in images.items()}
        calls = sum(steps[path] * _passes(each, generate.guidance_scale) for path, each in images.items())
        takes["images"] = f"{len(images):,} to make, {len(plan) - len(images):,} are there"
        takes["U-Net calls"] = f"{calls:,}, each of one image"
        takes["images to look at"] = f"{len(plan) + len(real) + len(train):,} and those of other methods, by 5 networks"
    if models:
        asked, *_ = found["asked"]
        first, *others = (len(each.questions) for each in questions_of(settings, asked))
        answers = first * (len(models) + evaluate.blind) + sum(others) * len(models)
        takes["answers"] = f"{answers:,} about {len(asked):,} images"
    if models and generators:
        takes["answers"] += ", and one about each generated image"
    size = len(images) * BYTES_OF_PIXEL * settings.models.resolution**2 + OTHERS
    check_room(folder, size, "the evaluation")
    takes["disk"] = f"up to {in_words(size)}"
    if sizes := [size for name, size in found.items() if name.startswith(("model ", "generator "))]:
        takes["memory of the largest model's weights"] = in_words(max(sizes))
    return takes


def _passes(parameters: dict, guidance_scale: float) -> int:
    """Return how many images go through the U-Net at each step of one: of its conditions, and of the negative prompt."""
    strength = parameters.get("strength", 1.0)
    return (2 if strength not in (0, 1) else 1) + (guidance_scale > 1)
