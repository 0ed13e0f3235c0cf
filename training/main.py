"""Train the emotion-conditioned generator: caches, emotion space, mapper; the method is EmoGen's (Yang et al., CVPR 2024).

    python training/main.py --config config/demo.yaml                                # one process
    accelerate launch training/main.py data.emoset=path/to/EmoSet                    # as accelerate is configured
    accelerate launch --config_file config/accelerate/multi_gpu.yaml training/main.py
    accelerate launch --use_deepspeed --zero_stage 2 training/main.py

It reads the balanced set that training/dataset_balance.py drew. A stage whose result is up to date is skipped. If you stop
the script, the same command resumes, to the same weights. The result is `<run>/generator/`.

Where it departs from the published code: the emotion enters the text encoder by one hook, through autograd, so any batch
size and number of processes give the right gradients. VAE moments and emotion vectors are computed once. A share of the
prompts names the image's attribute beside the placeholder, with a vector drawn from the emotion's Gaussian, so that the
emotion learns to leave content alone. The attribute loss has a temperature, and thereby a gradient. The diffusion loss
counts fully, whatever an attribute's emotion confidence. Timesteps are spread evenly over the items of an epoch. The last
departure, and the backbone's own normalisation of the encoder's images, stay with config/emogen.yaml too.

Data without attributes train with mapper.content_share=0, by the diffusion loss alone.
"""

from runtime.script import read_settings, run

SECTIONS = ("data", "balance", "machine", "models", "caches", "emotion_space", "mapper", "generate")
read_settings(__name__, __doc__, *SECTIONS)

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from diffusers import StableDiffusionPipeline
from torch.utils.data import Dataset

from config.errors import UserError
from config.settings import Settings
from emoset.balance import balance_recipe
from emoset.reading import EmoSet, read_emoset
from runtime.built_folder import lock
from runtime.hub import fingerprint, load_model
from runtime.recipe import RECIPE, Recipe, digest
from runtime.run_folder import is_first_process, log, open_run_folder
from training.accelerator import start_accelerator
from training.attributes import AttributeTexts, alpha_of, attribute_texts, fit_emotion_classifier
from training.caches import moments_of, pixels_of
from training.emotion_space import EmotionSpace
from training.emotion_statistics import EmotionStatistics, build_emotion_space
from training.imported_space import read_imported, read_imported_classifier, write_imported_confusability
from training.mapper_data import MapperItems
from training.mapper_training import MapperInputs, train_mapper


def main(settings: Settings) -> None:
    folder = open_run_folder(settings, "training")
    with lock(folder, wait=False) if is_first_process() else nullcontext():
        train_mapper(settings, folder / "mapper", prepare(settings, folder))


def prepare(settings: Settings, folder: Path) -> MapperInputs:
    """Run the stages before the mapper's training in `folder`; return what that takes."""
    # 1. The images, and the balanced set drawn from them.
    emoset, rows, drawn_by = read_balanced_set(settings, folder)
    taken = emoset.index["split"].isin(["train", "val"]) | emoset.index["image_id"].isin(rows["image_id"])
    index = emoset.index[taken].reset_index(drop=True)
    accelerator = start_accelerator(settings.mapper.mixed_precision, settings.mapper.gradient_accumulation)
    how = f"{accelerator.num_processes} processes ({accelerator.distributed_type.value}), {accelerator.device.type}"
    log.info(f"{len(rows):,} draws of {rows['image_id'].nunique():,} images; {how}")

    # 2. The emotion space.
    statistics = make_emotion_space(settings, index, folder / "emotion_space", accelerator, emoset.fingerprint)
    emotions = settings.data.taxonomy.emotions
    space = EmotionSpace.of(statistics.mean, statistics.factor, emotions)

    # 3. The frozen models, and what they say of images and attributes.
    stable = load_stable_diffusion(settings.models.stable_diffusion, accelerator)
    in_set = index["image_id"].isin(rows["image_id"])
    used = index[in_set].reset_index(drop=True)
    images = latents_or_pixels(settings, used, stable, emoset.fingerprint)
    texts, classifier = read_attribute_texts(settings, rows, statistics, emotions)

    # 4. The items that the mapper is trained on.
    alpha = np.zeros(len(rows))
    if texts:
        alpha = alpha_of(rows, statistics.confidence, emotions, settings.mapper.alpha_threshold)
    side = settings.models.resolution // stable.vae_scale_factor
    items = MapperItems(
        rows,
        images,
        used["image_id"].tolist(),
        None if statistics.vectors is None else statistics.vectors[torch.tensor(in_set.tolist())],
        space,
        texts.names if texts else [],
        alpha,
        (stable.vae.config.latent_channels, side, side),
        settings.mapper.content_share,
        settings.seed,
    )
    made_from = {
        "data set": emoset.fingerprint,
        "balanced set": drawn_by.key,
        "emotion space": fingerprint(space),
        "VAE": fingerprint(stable.vae),
        "attribute texts": texts.key if texts else None,
        "emotion confidence": digest(statistics.confidence.to_csv(index=False)),
    }
    if texts and settings.emotion_space.imported:  # a fitted one follows from the texts and the confidence
        made_from["emotion classifier"] = digest([part.tolist() for part in classifier])
    return MapperInputs(items, stable, texts, classifier, space, statistics.summary, accelerator, made_from)


def read_balanced_set(settings: Settings, folder: Path) -> tuple[EmoSet, pd.DataFrame, Recipe]:
    """Return the data set, the balanced set drawn from it, and the recipe by which it was drawn.

    Raises UserError where there is no balanced set, where it was drawn otherwise, and where prompts would name attributes
    that the data do not have.
    """
    data, share = settings.data, settings.mapper.content_share
    path = settings.run / "balance" / "balanced.parquet"
    if not path.exists():
        raise UserError(
            f"{path} is not there; draw the balanced set first: training/dataset_balance.py with the same config"
        )
    with lock(data.cache / "index"):  # the first process reads, the others find it read
        emoset = read_emoset(data, folder, settings.machine.processes)  # before torch starts its threads: it forks
    recipe = balance_recipe(data, settings.balance, settings.seed, emoset.fingerprint)
    if not recipe.is_finished(path.with_name(RECIPE)):
        why = "drawing it was not finished" if recipe.is_started(path.with_name(RECIPE)) else "it was drawn otherwise"
        raise UserError(
            f"{path}: {why} ({recipe.changes(path.with_name(RECIPE))}); run training/dataset_balance.py again with the "
            "same config"
        )
    rows = pd.read_parquet(path)
    if share and not _names_attributes(rows):
        raise UserError(
            f"mapper.content_share: {share:g} of the prompts would name the image's attribute, and no image has one of "
            "data.kinds; set mapper.content_share=0"
        )
    return emoset, rows, recipe


def make_emotion_space(
    settings: Settings, index: pd.DataFrame, folder: Path, accelerator: Accelerator, data_fingerprint: str
) -> EmotionStatistics:
    """Train the emotion encoder on the images of `index`, or read the emotion space that was imported."""
    data, space = settings.data, settings.emotion_space
    if not space.imported:
        shorter_side = round(space.image_size * 8 / 7)
        sections = data, settings.caches, settings.machine
        pixels = pixels_of(index, *sections, space.image_size, shorter_side, data_fingerprint)
        return build_emotion_space(settings, index, pixels, folder, accelerator, data_fingerprint)
    statistics = read_imported(space.imported, index, data.taxonomy.emotions, data.kinds)
    if accelerator.is_main_process:
        write_imported_confusability(folder, statistics.mean, data.taxonomy.emotions)
    return statistics


def load_stable_diffusion(name: str, accelerator: Accelerator) -> StableDiffusionPipeline:
    """Return models.stable_diffusion, which is `name`, in float32 on the accelerator's device."""
    options = dict(safety_checker=None, requires_safety_checker=False, dtype=torch.float32)
    stable = load_model(StableDiffusionPipeline, name, "models.stable_diffusion", **options)
    stable.to(accelerator.device).vae.to(memory_format=torch.channels_last)  # a fifth faster on CPUs
    return stable


def latents_or_pixels(settings: Settings, index: pd.DataFrame, stable: StableDiffusionPipeline, data: str) -> Dataset:
    """Return the VAE's moments by row of `index`, from a cache; or, without caches.use, the images.

    data: the data set's fingerprint.
    """
    sections, size = (settings.data, settings.caches, settings.machine), settings.models.resolution
    if settings.caches.use:
        return moments_of(index, stable.vae, *sections, size, data)
    return pixels_of(index, *sections, size, None, data)


def read_attribute_texts(
    settings: Settings, rows: pd.DataFrame, statistics: EmotionStatistics, emotions: tuple[str, ...]
) -> tuple[AttributeTexts | None, tuple[torch.Tensor, torch.Tensor] | None]:
    """Return what CLIP says of the attributes of the balanced set, and a classifier of emotions on its text features.

    Both are None where no image has an attribute.
    """
    if not _names_attributes(rows):
        return None, None
    texts = attribute_texts(sorted(rows["attribute"].unique()), settings.models.clip, settings.data.cache)
    if settings.emotion_space.imported:
        return texts, read_imported_classifier(settings.emotion_space.imported, texts.features.shape[1])
    return texts, fit_emotion_classifier(texts, statistics.confidence, emotions)


def _names_attributes(rows: pd.DataFrame) -> bool:
    return bool(rows["attribute"].ne("").any())


if __name__ == "__main__":
    run(main)
