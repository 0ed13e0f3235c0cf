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
from diffusers import AutoencoderKL, StableDiffusionPipeline
from torch.utils.data import Dataset

from config.data_settings import Data, Machine
from config.errors import UserError
from config.generation_settings import Caches
from config.settings import Settings
from emoset.balance import balance_recipe, read_balanced_set
from emoset.reading import EmoSet, read_emoset
from runtime.built_folder import check_ours, lock
from runtime.hub import fingerprint, load_model
from runtime.metrics import check_tracker
from runtime.recipe import RECIPE, Recipe, digest, read_recipe
from runtime.run_folder import is_first_process, log, open_run_folder
from runtime.tensors import tensor_digest
from training.accelerator import start_accelerator
from training.attributes import AttributeTexts, alpha_of, attribute_texts, fit_emotion_classifier
from training.caches import moments_of, pixels_of
from training.emotion_space import EmotionSpace
from training.emotion_statistics import EmotionStatistics, build_emotion_space
from training.imported_space import read_imported, read_imported_classifier, write_imported_confusability
from training.mapper_data import MapperItems
from training.mapper_training import MapperInputs, train_mapper
from training.shards import StandIns


def main(settings: Settings) -> None:
    check_tracker(settings.machine.tracker)
    folder = open_run_folder(settings, "training")
    for stage in (folder / "emotion_space", folder / "mapper"):
        read_recipe(stage / RECIPE)  # refuses what an earlier version wrote before anything is computed
    check_ours(settings.run / "generator", "generator")
    with lock(folder, wait=False) if is_first_process() else nullcontext():
        train_mapper(settings, folder / "mapper", prepare(settings, folder))


def prepare(settings: Settings, folder: Path) -> MapperInputs:
    """Run the stages before the mapper's training in `folder`; return what that takes."""
    # 1. The images, and the balanced set drawn from them.
    emoset, rows, drawn_by = read_images(settings, folder)
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
    sections = settings.data, settings.caches, settings.machine
    images = latents_or_pixels(used, stable.vae, *sections, settings.models.resolution, emoset.fingerprint)
    imported, clip, cache = settings.emotion_space.imported, settings.models.clip, settings.data.cache
    texts, classifier, alpha = None, None, np.zeros(len(rows))
    if rows["attribute"].ne("").any():
        texts = attribute_texts(sorted(rows["attribute"].unique()), clip, cache)
        classifier = emotion_classifier(texts, statistics.confidence, emotions, imported)
        alpha = alpha_of(rows, statistics.confidence, emotions, settings.mapper.alpha_threshold)

    # 4. The items that the mapper is trained on.
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
        "emotion vectors": None if statistics.vectors is None else tensor_digest(statistics.vectors),
        "VAE": fingerprint(stable.vae),
        "attribute texts": texts.key if texts else None,
        "emotion confidence": digest(statistics.confidence.to_csv(index=False)),
    }
    if texts and imported:  # a fitted one follows from the texts and the confidence
        made_from["emotion classifier"] = digest([part.tolist() for part in classifier])
    return MapperInputs(items, stable, texts, classifier, space, statistics.summary, accelerator, made_from)


def read_images(settings: Settings, folder: Path) -> tuple[EmoSet, pd.DataFrame, Recipe]:
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
    emoset = read_emoset(data, folder, settings.machine.processes)  # before torch starts its threads: it forks
    recipe = balance_recipe(data, settings.balance, settings.seed, emoset.fingerprint)
    made_from, rows, wrong = path.with_name(RECIPE), read_balanced_set(path), ""
    if not made_from.is_file():
        raise UserError(
            f"{path}: an earlier version of this project drew it; move it away, and run training/dataset_balance.py again"
        )
    if not recipe.is_started(made_from):
        wrong = f"was drawn otherwise ({recipe.changes(made_from)})"
    elif rows is None or not recipe.is_finished(made_from):
        wrong = "is damaged, or its drawing was interrupted"
    if wrong:
        raise UserError(f"{path}: {wrong}; run training/dataset_balance.py again with the same config")
    if share and not rows["attribute"].ne("").any():
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
        pixels = StandIns(pixels_of(index, *sections, space.image_size, shorter_side, data_fingerprint), index)
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


def latents_or_pixels(
    index: pd.DataFrame,
    vae: AutoencoderKL,
    data: Data,
    caches: Caches,
    machine: Machine,
    size: int,
    data_fingerprint: str,
) -> Dataset:
    """Return the VAE's moments by row of `index`, from a cache; or, without caches.use, the images. size: in pixels."""
    if caches.use:
        return moments_of(index, vae, data, caches, machine, size, data_fingerprint)
    return pixels_of(index, data, caches, machine, size, None, data_fingerprint)


def emotion_classifier(
    texts: AttributeTexts, confidence: pd.DataFrame, emotions: tuple[str, ...], imported: Path | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weight (K, d) and bias (K,) of a classifier of emotions on text features: the imported one, or a fitted one."""
    if imported:
        return read_imported_classifier(imported, texts.features.shape[1])
    return fit_emotion_classifier(texts, confidence, emotions)


if __name__ == "__main__":
    run(main)
