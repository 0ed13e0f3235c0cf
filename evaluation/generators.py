"""The methods that are measured beside one another, and the images that each of them makes."""

from pathlib import Path

import pandas as pd
import torch
from diffusers import StableDiffusionPipeline

from config.data_settings import Data
from config.errors import UserError
from config.generation_settings import CONTENT, CONTENT_PROMPT, PLACEHOLDER, Generate
from config.settings import Settings
from emoset.selection import equal_emotions, read_folder
from evaluation import plans
from evaluation.image_metrics import GROUPS
from evaluation.photograph_curve import ROW, as_cut, cut_photographs, photograph_plan
from evaluation.skipped import Skipped, left_out_of_folder
from runtime.hub import load_model
from runtime.processes import start_process
from runtime.run_folder import log
from training.contents import Contents, count_contents
from training.generator_parts import GENERATOR, find_generator, read_about
from training.photographs import pixels_of
from training.sampling import load_generator, make_images, ready_to_sample, sampling_dtype

FEWEST = 2 * GROUPS  # images, so that FID can leave out groups of them
TAKEN = {"prompt_only", "attribute_prompt", "real", *plans.CURVES}


def generators_of(settings: Settings) -> dict[str, Path]:
    """Return what is measured, by the names of the rows: the run folder's generator, where there is one, and the others."""
    own = settings.generate.generator or settings.run / "generator"
    named = {"ours": own} if own.is_dir() else {}
    for path in settings.evaluate.generators:
        if not path.is_dir():
            raise UserError(f"evaluate.generators: no folder {path}")
        name = path.parent.name if path.name in ("generator", "images") else path.name
        if name in TAKEN | named.keys():
            raise UserError(f"evaluate.generators: two rows would be called {name}; rename {path}")
        named[name] = path
    return named


def images_of_methods(
    named: dict[str, Path], train: pd.DataFrame, real: pd.DataFrame, folder: Path, settings: Settings
) -> tuple[dict[str, pd.DataFrame], Skipped]:
    """Make every method's images below `folder`; return tables of them (plans.as_table) by row, those of CURVES too.

    Also which images of other methods reading has left out.

    train, real: the index of the training images, whose attributes prompts name, and of those that are measured as `real`,
    from which the images of `photographs` start.
    """
    images, left_out, emotions, device = {}, {}, settings.data.taxonomy.emotions, start_process().device
    given = {
        row: read_folder(path, emotions, "evaluate.generators") for row, path in named.items() if not is_generator(path)
    }
    check_enough(given)
    for row, path in named.items():
        if row in given:
            left_out |= left_out_of_folder(row, path, given[row], emotions)
            count = len(emotions) * settings.evaluate.generated
            images[row] = equal_emotions(given[row], count, settings.seed).reset_index(drop=True).assign(content="")
            continue
        pipe, about = load_generator(path, device)
        images |= _make(pipe, about, planned(row, path, train, settings), folder, settings.generate)
        if row == "ours":
            images |= _from_photographs(pipe, about, real, folder, settings)
            file = path / GENERATOR
            base = read_about(file)["base"] if file.is_file() else settings.models.stable_diffusion
            pipe = load_base(base, str(file), device)
            about = {name: about[name] for name in ("scheduler", "resolution", "dtype", "base_hashes")}
            images |= _make(pipe, about, prompt_plans(train, settings), folder, settings.generate)
    return images, left_out


def is_generator(folder: Path) -> bool:
    """Tell whether a folder holds a generator; if not, it holds another method's images."""
    return any((folder / name).is_file() for name in (GENERATOR, "model_index.json"))


def check_enough(images: dict[str, pd.DataFrame]) -> None:
    """Raise UserError where a row has too few images for FID."""
    if few := [row for row, each in images.items() if len(each) < FEWEST]:
        raise UserError(
            f"{', '.join(few)}: fewer than {FEWEST} images, which are too few for FID; show more, or leave it out of"
            " evaluate.generators"
        )


def load_base(name: str, setting: str, device: torch.device) -> StableDiffusionPipeline:
    """Return the Stable Diffusion that prompts are given to, with the generator's scheduler."""
    options = dict(safety_checker=None, requires_safety_checker=False)
    pipe = load_model(StableDiffusionPipeline, name, setting, dtype=sampling_dtype(device), **options)
    return ready_to_sample(pipe, device)


def planned(row: str, path: Path, train: pd.DataFrame, settings: Settings) -> dict[str, plans.Plan]:
    """Return the plan of a generator's images; where it is the run's own, those of the curves too.

    They have the first of generate.prompts, or the prompt of the generator in the folder `path`: with a content, where its
    training named contents. train: the index of the training images, from which a generator without contents takes them.
    Raises UserError where a prompt needs contents, and the training images have none.
    """
    taxonomy, evaluate, generate, seed = settings.data.taxonomy, settings.evaluate, settings.generate, settings.seed
    counts = find_generator(path, {})[1].get("contents")
    prompt = (generate.prompts or [CONTENT_PROMPT if counts else PLACEHOLDER])[0]
    contents = Contents.of(counts, taxonomy.emotions) if counts else contents_of(train, settings.data)
    if CONTENT in prompt and contents is None:
        raise UserError(
            f"generate.prompts: {prompt!r} says {CONTENT}, and the training images of some emotion have no attribute of "
            f"data.kinds to draw; set generate.prompts={PLACEHOLDER}"
        )
    acting, of_row = {"strength": generate.strength, "spread": generate.spread}, (prompt, contents)
    found = {row: plans.emotion_plan(row, *of_row, taxonomy.emotions, evaluate.generated, acting, seed)}
    if row == "ours":
        count = evaluate.curve_images
        found["transfer"] = plans.transfer_plan(evaluate.contents, taxonomy.emotions, count, generate.spread, seed)
        found["fusion"] = plans.fusion_plan(*of_row, taxonomy.opposites, 4 * count, acting, seed)
    return found


def prompt_plans(train: pd.DataFrame, settings: Settings) -> dict[str, plans.Plan]:
    """Return the plans of the images that Stable Diffusion makes of prompts alone. train: the index of training images."""
    emotions, count, seed = settings.data.taxonomy.emotions, settings.evaluate.generated, settings.seed
    found = {"prompt_only": plans.prompt_plan(emotions, count, seed)}
    if contents := contents_of(train, settings.data):
        return found | {"attribute_prompt": plans.attribute_plan(contents, emotions, count, seed)}
    log.info("attribute_prompt: left out, for the training images of some emotion have no attribute of data.kinds")
    return found


def contents_of(train: pd.DataFrame, data: Data) -> Contents | None:
    """Return the contents of training images; None where those of some emotion have none."""
    counts = count_contents(train, data.kinds, data.taxonomy.emotions)
    return Contents.of(counts, data.taxonomy.emotions) if counts else None


def from_photographs(real: pd.DataFrame, side: int, settings: Settings) -> plans.Plan:
    """Return the plan of images that start from real ones. real: their index. side: pixels, to which these are cut."""
    evaluate, generate, emotions = settings.evaluate, settings.generate, settings.data.taxonomy.emotions
    count, root = evaluate.curve_images * len(evaluate.contents), settings.data.emoset
    acting = {"strength": generate.strength, "spread": generate.spread}
    return photograph_plan(real, root, emotions, count, generate.steps, side, acting, settings.seed)


def _from_photographs(pipe, about: dict, real: pd.DataFrame, folder: Path, settings: Settings) -> dict[str, pd.DataFrame]:
    """Make the images that start from real ones; return a table of them, with those as they were cut, by row."""
    root, generate = settings.data.emoset, settings.generate
    plan = from_photographs(real, about["resolution"] or round(pixels_of(pipe) ** 0.5), settings)
    if not plan:
        return {}
    first = as_cut(plan)
    if start_process().is_main_process:  # the others wait in make_images
        cut_photographs(first, root, folder)
    about = {name: getattr(generate, name) for name in ("steps", "guidance_scale", "negative_prompt")} | about
    plan = {path: parameters | about for path, parameters in plan.items()}
    make_images(pipe, plan, folder, generate.batch_size, f"making {ROW}", root)
    content_of = dict(zip(real["image"], real["content"], strict=True))
    contents = [content_of[each["image"]] for each in (first | plan).values()]
    return {ROW: plans.as_table(first | plan, folder).assign(content=contents)}


def _make(pipe, about: dict, planned: dict[str, plans.Plan], folder: Path, generate: Generate) -> dict[str, pd.DataFrame]:
    """Make the images of plans; return tables of them, none of an empty plan.

    about: what the parameters of all images hold besides.
    """
    about = {name: getattr(generate, name) for name in ("steps", "guidance_scale", "negative_prompt")} | about
    tables = {}
    for name, plan in planned.items():
        if not plan:  # a taxonomy without opposites, or no evaluate.contents
            continue
        plan = {path: parameters | about for path, parameters in plan.items()}
        make_images(pipe, plan, folder, generate.batch_size, f"making {name}")
        tables[name] = plans.as_table(plan, folder)
    return tables
