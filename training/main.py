"""Train the emotion-conditioned generator: caches, emotion space, mapper; the method is EmoGen's (Yang et al., CVPR 2024).

    python training/main.py --config config/demo.yaml                                # one process
    accelerate launch training/main.py data.emoset=path/to/EmoSet                    # as accelerate is configured
    accelerate launch --config_file config/accelerate/multi_gpu.yaml training/main.py
    accelerate launch --use_deepspeed --zero_stage 2 training/main.py

It reads the balanced set that training/dataset_balance.py drew. A stage is skipped where its result is there and
unchanged; the same command again goes on where it stopped, to the same weights. The result is `<run>/generator/`.

Where it departs from the published code: the emotion enters the text encoder by one hook, through autograd, so any batch
size and number of processes give the right gradients; VAE moments and emotion vectors are computed once; a share of the
prompts names the image's attribute beside the placeholder, with a vector drawn from the emotion's Gaussian, so that the
emotion learns to leave content alone; the attribute loss has a temperature, and thereby a gradient; the diffusion loss
counts fully, whatever an attribute's emotion confidence; timesteps are spread evenly over the items of an epoch. The last
departure, and the backbone's own normalisation of the encoder's images, stay with config/emogen.yaml too.
"""

import sys
from contextlib import nullcontext
from pathlib import Path

from config.errors import UserError
from runtime.run_folder import is_first_process, log, open_run_folder
from runtime.script import run
from config.settings import Settings


def main(settings: Settings) -> None:
    from runtime.built_folder import lock
    from training.mapper_training import train_mapper

    folder = open_run_folder(settings, "training")
    with lock(folder, wait=False) if is_first_process() else nullcontext():
        train_mapper(settings, folder / "mapper", **prepare(settings, folder))


def prepare(settings: Settings, folder: Path) -> dict:
    """Run the stages before the mapper's training in `folder`; return what that takes (train_mapper)."""
    # Imported here, so that --help and an error in the config answer at once.
    from hashlib import blake2b

    import pandas as pd
    import torch
    from diffusers import StableDiffusionPipeline

    from emoset.balance import balance_recipe, recipe_of
    from runtime.built_folder import lock
    from runtime.hub import fingerprint, load_model
    from emoset.reading import read_emoset
    from training.attributes import alpha_of, attribute_texts, fit_emotion_classifier
    from training.caches import moments_of, pixels_of
    from training.emotion_space import EmotionSpace
    from training.emotion_statistics import build_emotion_space
    from training.imported import read_imported, read_imported_classifier, write_imported_confusability
    from training.mapper_data import MapperItems
    from training.processes import start

    data, models = settings.data, settings.models

    # 1. The images, and the balanced set drawn from them.
    path = settings.run / "balance" / "balanced.parquet"
    if not path.exists():
        raise UserError(
            f"{path} is not there; draw the balanced set first: training/dataset_balance.py with the same config"
        )
    rows = pd.read_parquet(path)
    with lock(data.cache / "index"):  # the first process reads, the others find it read
        emoset = read_emoset(data, folder)  # before torch starts its threads: it forks
    if recipe_of(path) != balance_recipe(settings, emoset.fingerprint):
        raise UserError(
            f"{path}: was drawn with other settings or data; run training/dataset_balance.py again with the same config"
        )
    taken = emoset.index["split"].isin(["train", "val"]) | emoset.index["image_id"].isin(rows["image_id"])
    index = emoset.index[taken].reset_index(drop=True)
    accelerator = start(settings.mapper.mixed_precision, settings.mapper.gradient_accumulation)
    how = f"{accelerator.num_processes} processes ({accelerator.distributed_type.value}), {accelerator.device.type}"
    log.info(f"{len(rows):,} draws of {rows['image_id'].nunique():,} images; {how}")

    # 2. The emotion space.
    imported = settings.emotion_space.imported
    if imported:
        emotions = read_imported(imported, index, data.kinds)
        if accelerator.is_main_process:
            write_imported_confusability(folder / "emotion_space", emotions.mean)
    else:
        size = settings.emotion_space.image_size
        pixels = pixels_of(index, data.emoset, size, round(size * 8 / 7), settings, accelerator, emoset.fingerprint)
        emotions = build_emotion_space(settings, index, pixels, folder / "emotion_space", accelerator, emoset.fingerprint)
    space = EmotionSpace.of(emotions.mean, emotions.factor)

    # 3. The frozen models, and what they say of images and attributes.
    checker = dict(safety_checker=None, requires_safety_checker=False, dtype=torch.float32)
    stable = load_model(StableDiffusionPipeline, models.stable_diffusion, "models.stable_diffusion", **checker)
    stable.to(accelerator.device).vae.to(memory_format=torch.channels_last)  # a fifth faster on CPUs
    used = index[index["image_id"].isin(rows["image_id"])].reset_index(drop=True)
    if settings.caches.use:
        images = moments_of(
            used, data.emoset, stable.vae, fingerprint(stable.vae), settings, accelerator, emoset.fingerprint
        )
    else:
        images = pixels_of(used, data.emoset, models.resolution, None, settings, accelerator, emoset.fingerprint)
    texts = attribute_texts(sorted(rows["attribute"].unique()), models.clip, data.cache)
    told = blake2b(emotions.confidence.to_csv(index=False).encode(), digest_size=8)
    if imported:
        classifier = read_imported_classifier(imported, texts.features.shape[1])
        told.update(b"".join(part.numpy().tobytes() for part in classifier))
    else:  # it follows from the texts and the confidences
        classifier = fit_emotion_classifier(texts, emotions.confidence)

    # 4. The items that the mapper is trained on.
    own = torch.tensor(index["image_id"].isin(used["image_id"]).tolist())
    side = models.resolution // stable.vae_scale_factor
    items = MapperItems(
        f"{recipe_of(path)} {fingerprint(space, stable.vae)} {texts.key} {told.hexdigest()}",
        rows,
        images,
        used["image_id"].tolist(),
        None if emotions.vectors is None else emotions.vectors[own],
        space,
        texts.names,
        alpha_of(rows, emotions.confidence, settings.mapper.alpha_threshold),
        (stable.vae.config.latent_channels, side, side),
        settings.mapper.content_share,
        settings.seed,
    )
    return {
        "items": items,
        "stable": stable,
        "texts": texts,
        "classifier": classifier,
        "space": space,
        "summary": emotions.summary,
        "accelerator": accelerator,
    }


if __name__ == "__main__":
    run(main, __doc__)
