"""Train the emotion-conditioned generator by EmoGen's method (Yang et al., CVPR 2024): caches, emotion space, mapper.

    python training/main.py --config config/demo.yaml                                # one process
    accelerate launch --mixed_precision bf16 training/main.py data.emoset=path/to/EmoSet
    accelerate launch --config_file config/accelerate/multi_gpu.yaml training/main.py       # several GPUs
    accelerate launch --use_deepspeed --zero_stage 2 training/main.py

It reads the balanced set that training/dataset_balance.py drew. A stage whose result is up to date is skipped. If you stop
the script, the same command resumes, to the same weights. The result is `<run>/generator/`.

Where it departs from the published code: the emotion enters the text encoder by one hook, through autograd, so any batch
size and number of processes give the right gradients. VAE moments and emotion vectors are computed once. Most prompts name
the image's attribute beside the placeholder, so that the emotion learns to leave content to the words. The generator's
folder holds p(attribute | emotion), from which images draw theirs. The attribute loss has a temperature, and thereby a
gradient. The diffusion loss counts fully, whatever an attribute's emotion confidence. Timesteps are spread evenly over the
items of an epoch. docs/generator.md says which departures stay with config/emogen.yaml.

The script first checks what it can without computing (training/early_checks.py). With check=true it stops there and prints
what the training would take.

For data without attributes set mapper.content_share=0. Then the diffusion loss alone is used.
"""

from runtime.script import read_settings, run

SECTIONS = ("data", "balance", "machine", "models", "caches", "emotion_space", "mapper", "generate")
read_settings(__name__, __doc__, *SECTIONS)

from pathlib import Path

import pandas as pd
import torch
from accelerate import Accelerator
from diffusers import AutoencoderKL, StableDiffusionPipeline
from torch.utils.data import Dataset

from config.data_settings import Data
from config.errors import UserError
from config.settings import Settings
from emoset.balance import balance_recipe, read_balanced_set
from emoset.reading import EmoSet, read_emoset
from runtime.built_folder import alone_in
from runtime.checking import stops_here
from runtime.hub import fingerprint, load_model
from runtime.recipe import RECIPE, Recipe, digest, read_recipe
from runtime.run_folder import log, open_run_folder
from runtime.tensors import tensor_digest
from training.accelerator import start_accelerator
from training.attributes import AttributeTexts, alpha_of, attribute_texts, fit_emotion_classifier
from training.caches import moments_of, pixels_of
from training.contents import count_contents
from training.early_checks import SD, WITHOUT_A_CHECKER, Checked, check_splits, check_training, share_of
from training.emotion_encoder import EmotionEncoder
from training.emotion_space import EmotionSpace
from training.emotion_statistics import EmotionStatistics, build_emotion_space
from training.imported_space import encode_imported, read_imported, read_imported_classifier, write_imported_confusability
from training.mapper_data import MapperItems
from training.mapper_training import MapperInputs, train_mapper
from training.room import what_it_takes
from training.shards import StandIns


def main(settings: Settings) -> None:
    folder = open_run_folder(settings, "training")
    for stage in (folder / "emotion_space", folder / "mapper"):
        read_recipe(stage / RECIPE)  # refuses what an earlier version wrote before anything is computed
    rows = read_rows(settings.run / "balance" / "balanced.parquet", settings.mapper.content_share)
    checked = check_training(settings, rows)
    with alone_in(folder, settings.check):
        inputs = prepare(settings, folder, rows, checked)
        if inputs:
            train_mapper(settings, folder / "mapper", inputs)


def processes_of(accelerator: Accelerator) -> str:
    """Return what the training runs on: "cpu", or "2 processes (MULTI_GPU), cuda"."""
    count, way, device = accelerator.num_processes, accelerator.distributed_type.value, accelerator.device.type
    return device if way == "NO" else f"{count} process{'es' if count > 1 else ''} ({way}), {device}"


def prepare(
    settings: Settings, folder: Path, rows: pd.DataFrame, checked: Checked, trains_encoder: bool = True
) -> MapperInputs | None:
    """Run the stages before the mapper's training in `folder`. Return what that takes, or None with check=true.

    trains_encoder: if not, the emotion space must be there already (build_emotion_space).
    """
    # 1. The images, and what is known of the training before anything is computed.
    emoset, drawn_by = read_images(settings, folder)
    taken = emoset.index["split"].isin(["train", "val"]) | emoset.index["image_id"].isin(rows["image_id"])
    index = emoset.index[taken].reset_index(drop=True)
    used = index[in_set := index["image_id"].isin(rows["image_id"])].reset_index(drop=True)
    if checked.encoder and not settings.emotion_space.imported:
        check_splits(index, settings.data.taxonomy.emotions, share_of(settings.mapper).processes)
    takes = what_it_takes(settings, checked, index, used, len(rows), share_of(settings.mapper), emoset.fingerprint)
    if stops_here(settings, takes):
        return None
    accelerator = start_accelerator(settings.mapper.mixed_precision, settings.mapper.gradient_accumulation)
    log.info(f"{len(rows):,} draws of {rows['image_id'].nunique():,} images; {processes_of(accelerator)}")

    # 2. The emotion space.
    emotions, of_data, place = settings.data.taxonomy.emotions, emoset.fingerprint, folder / "emotion_space"
    statistics = make_emotion_space(settings, index, place, accelerator, checked.encoder, of_data, trains_encoder)
    space = EmotionSpace.of(statistics.mean, statistics.factor, emotions)

    # 3. The frozen models, and what they say of images and attributes.
    stable = load_stable_diffusion(settings.models.stable_diffusion, accelerator)
    images = latents_or_pixels(settings, used, stable.vae, of_data)
    texts, classifier = compared_with(settings, rows, checked, statistics.confidence)

    # 4. The items that the mapper is trained on.
    side = settings.models.resolution // stable.vae_scale_factor
    items = MapperItems(
        rows,
        images,
        used["image_id"].tolist(),
        None if statistics.vectors is None else statistics.vectors[torch.tensor(in_set.tolist())],
        space,
        texts.names if texts else [],
        alpha_of(rows, statistics.confidence, emotions, settings.mapper.alpha_threshold),
        (stable.vae.config.latent_channels, side, side),
        settings.mapper.content_share,
        settings.seed,
        settings.mapper.mirrored_vectors,
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
    if texts and settings.emotion_space.imported:  # a fitted one follows from the texts and the confidence
        made_from["emotion classifier"] = digest([part.tolist() for part in classifier])
    contents = contents_of(settings.data, settings.mapper.content_share, emoset)
    return MapperInputs(items, stable, texts, classifier, space, statistics.summary, accelerator, made_from, contents)


def read_rows(path: Path, share: float) -> pd.DataFrame:
    """Return the balanced set in a file.

    Raises UserError where there is none, or a share of the prompts would name attributes and it has none.
    """
    if not path.exists():
        raise UserError(
            f"{path} is not there; draw the balanced set first: training/dataset_balance.py with the same config"
        )
    if not path.with_name(RECIPE).is_file():
        raise UserError(
            f"{path}: an earlier version of this project drew it; move it away, and run training/dataset_balance.py again"
        )
    rows = read_balanced_set(path)
    if rows is None or rows.empty:
        raise UserError(
            f"{path}: is damaged, or its drawing was interrupted; run training/dataset_balance.py again with the same config"
        )
    if share and not rows["attribute"].ne("").any():
        raise UserError(
            f"mapper.content_share: {share:g} of the prompts would name the image's attribute, and no image has one of "
            "data.kinds; set mapper.content_share=0"
        )
    return rows


def read_images(settings: Settings, folder: Path) -> tuple[EmoSet, Recipe]:
    """Return the data set, and the recipe by which the balanced set was drawn from it.

    Raises UserError where that was drawn otherwise.
    """
    # Before torch starts its threads: it forks.
    emoset = read_emoset(settings.data, folder, settings.machine.processes, settings.check)
    recipe = balance_recipe(settings.data, settings.balance, settings.seed, emoset.fingerprint)
    path, wrong = settings.run / "balance" / "balanced.parquet", ""
    made_from = path.with_name(RECIPE)
    if not recipe.is_started(made_from):
        wrong = f"was drawn otherwise ({recipe.changes(made_from)})"
    elif not recipe.is_finished(made_from):
        wrong = "is damaged, or its drawing was interrupted"
    if wrong:
        raise UserError(f"{path}: {wrong}; run training/dataset_balance.py again with the same config")
    return emoset, recipe


def make_emotion_space(
    settings: Settings,
    index: pd.DataFrame,
    folder: Path,
    accelerator: Accelerator,
    encoder: EmotionEncoder | None,
    data_fingerprint: str,
    trains: bool = True,
) -> EmotionStatistics:
    """Train the emotion encoder on the images of `index`, or read the emotion space that was imported.

    encoder: the imported one, where there is one. trains: as in build_emotion_space.
    """
    data, imported, loaders = settings.data, settings.emotion_space.imported, settings.machine.loaders
    emotions, pixels = data.taxonomy.emotions, None
    if encoder:
        size = encoder.sizes["image_size"]
        sections = data, settings.caches, settings.machine
        pixels = StandIns(pixels_of(index, *sections, size, round(size * 8 / 7), data_fingerprint), index)
    if not imported:
        return build_emotion_space(settings, index, pixels, folder, accelerator, data_fingerprint, trains)
    encoded = encode_imported(encoder, index, pixels, folder, accelerator, loaders, data_fingerprint) if encoder else None
    statistics = read_imported(imported, index, emotions, data.kinds, encoded)
    if accelerator.is_main_process:
        write_imported_confusability(folder, statistics.mean, emotions)
    return statistics


def load_stable_diffusion(name: str, accelerator: Accelerator) -> StableDiffusionPipeline:
    """Return models.stable_diffusion, which is `name`, in float32 on the accelerator's device."""
    stable = load_model(StableDiffusionPipeline, name, SD, dtype=torch.float32, **WITHOUT_A_CHECKER)
    stable.to(accelerator.device).vae.to(memory_format=torch.channels_last)  # a fifth faster on CPUs
    return stable


def latents_or_pixels(settings: Settings, index: pd.DataFrame, vae: AutoencoderKL, data_fingerprint: str) -> Dataset:
    """Return the VAE's moments by row of `index`, from a cache; or, without caches.use, the images."""
    sections = settings.data, settings.caches, settings.machine
    size, squeeze = settings.models.resolution, settings.mapper.resize == "squeeze"
    if settings.caches.use:
        return moments_of(index, vae, *sections, size, data_fingerprint, squeeze)
    return pixels_of(index, *sections, size, None, data_fingerprint, squeeze)


def contents_of(data: Data, content_share: float, emoset: EmoSet) -> dict[str, dict[str, int]]:
    """Return how many training images of each emotion carry each attribute; nothing where no prompt names an attribute."""
    train = emoset.index[emoset.index["split"] == "train"]
    return count_contents(train, data.kinds, data.taxonomy.emotions) if content_share else {}


def compared_with(
    settings: Settings, rows: pd.DataFrame, checked: Checked, confidence: pd.DataFrame
) -> tuple[AttributeTexts | None, tuple[torch.Tensor, torch.Tensor] | None]:
    """Return the texts of attributes that the mapper's losses compare with, and a classifier of emotions on their features.

    None for both where no loss compares. confidence: of the emotion space.
    """
    if not checked.compares:
        return None, None
    names = sorted(set(rows["attribute"]).union(checked.counted or []) - {""})
    texts = attribute_texts(names, settings.models.clip, settings.data.cache)
    classifier = emotion_classifier(texts, confidence, settings.data.taxonomy.emotions, settings.emotion_space.imported)
    return (texts.only(checked.counted) if checked.counted else texts), classifier


def emotion_classifier(
    texts: AttributeTexts, confidence: pd.DataFrame, emotions: tuple[str, ...], imported: Path | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weight (K, d) and bias (K,) of a classifier of emotions on text features: the imported one, or a fitted one."""
    if imported:
        return read_imported_classifier(imported, texts.features.shape[1])
    return fit_emotion_classifier(texts, confidence, emotions)


if __name__ == "__main__":
    run(main)
