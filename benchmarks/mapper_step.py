"""How fast the mapper trains, against the published recipe written plainly, with the same models.

    python benchmarks/mapper_step.py --config config/demo.yaml

Plain means that each step decodes one JPEG and runs the VAE and the emotion encoder on it. An update accumulates
mapper.batch_size of them. The other rows add the caches, then the batch, which is ours, and show what it costs where frozen
modules get gradients of their weights. The rounds take the rows in turn. Run it after training/main.py, whose emotion
encoder it uses.
"""

from runtime.script import read_settings, run

read_settings(__name__, __doc__, "data", "machine", "models", "caches", "emotion_space", "mapper")

import time
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from diffusers import DDPMScheduler
from torch.nn.functional import interpolate

from config.settings import Settings
from runtime.run_folder import log, open_run_folder
from training import main as training
from training.early_checks import check_training
from training.emotion_encoder import EmotionEncoder
from training.mapper import EmotionMapper
from training.mapper_data import Batch, Share, batches
from training.training_module import TrainingModule, latents_of

UPDATES = 6  # of a round
ROUNDS = 5
PLAIN = "plain: JPEG, VAE and encoder in each step, batch 1"


def main(settings: Settings) -> None:
    open_run_folder(settings, "mapper_step")
    folder = settings.run / "training"
    settings = settings.model_copy(update={"mapper": settings.mapper.model_copy(update={"lora_rank": 0})})
    images = settings.mapper.batch_size  # of an update
    rows = training.read_rows(settings.run / "balance" / "balanced.parquet", settings.mapper.content_share)
    checked = check_training(settings, rows)
    inputs = training.prepare(with_caches(settings, True), folder, rows, checked)
    live = training.prepare(with_caches(settings, False), folder, rows, checked)
    encoder = EmotionEncoder.from_pretrained(settings.run / "training" / "emotion_space" / "encoder").eval()
    encoder.requires_grad_(False)
    size = settings.emotion_space.image_size
    device = inputs.accelerator.device
    encoder.to(device)

    def plainly(batch: Batch) -> Batch:
        """Give a batch of decoded pixels its latents and its images' own emotion vectors."""
        with torch.no_grad():
            vectors, _ = encoder(interpolate(batch.pixels.float(), (size, size)).byte())
        return replace(batch, vectors=vectors, latents=latents_of(batch, inputs.stable.vae))

    def trainer(frozen_gradients: bool):
        torch.manual_seed(0)
        mapper = EmotionMapper(inputs.space.config.dimension, inputs.stable.text_encoder.config.hidden_size)
        mapper.start_from(inputs.space, inputs.stable.text_encoder.get_input_embeddings().weight.detach())
        schedule = DDPMScheduler.from_config(inputs.stable.scheduler.config)
        parts = (inputs.stable.text_encoder, inputs.stable.unet, schedule, inputs.texts, inputs.classifier)
        module = TrainingModule(mapper, *parts, settings.mapper).to(device).train()
        if frozen_gradients:
            module.unet.requires_grad_(True)
            module.text_encoder.requires_grad_(True)
        return module, torch.optim.AdamW(mapper.parameters(), 1e-3, fused=True)

    def timed(items, batch_size: int, plain: bool, frozen_gradients: bool) -> float:
        """Return the images per second of UPDATES updates, after one to warm up."""
        module, optimizer = trainer(frozen_gradients)
        # As train_mapper has it; the rows with batches of one keep what the published code has.
        module.unet.to(memory_format=torch.contiguous_format if batch_size == 1 else torch.channels_last)
        share = Share(batch_size, images // batch_size, 1, 0)
        tokenizer, scaling = inputs.stable.tokenizer, inputs.stable.vae.config.scaling_factor
        loader = batches(items, share, 0, UPDATES + 1, tokenizer, 1, 1000, scaling, loaders=0)
        for update in range(UPDATES + 1):
            if update == 1:
                _finish(device)
                start = time.perf_counter()
            for _ in range(share.accumulation):
                batch = next(loader).to(device)
                if plain:
                    batch = plainly(batch)
                (module(batch)["loss"] / share.accumulation).backward()
            optimizer.step()
            module.zero_grad()
        _finish(device)
        return UPDATES * images / (time.perf_counter() - start)

    kinds = {
        PLAIN: (live.items, 1, True, False),
        "plain, with gradients of frozen weights": (live.items, 1, True, True),
        "plain, with caches": (inputs.items, 1, False, False),
        f"ours: caches, batch {images}": (inputs.items, images, False, False),
        "ours, with gradients of frozen weights": (inputs.items, images, False, True),
    }
    speeds = {name: [] for name in kinds}
    for _ in range(ROUNDS):
        for name, arguments in kinds.items():
            speeds[name].append(timed(*arguments))
    plain = np.median(speeds[PLAIN])
    table = pd.DataFrame(
        {
            "images/s": {name: np.median(each) for name, each in speeds.items()},
            "range": {name: f"{min(each):.1f} to {max(each):.1f}" for name, each in speeds.items()},
            "of plain": {name: np.median(each) / plain for name, each in speeds.items()},
        }
    )
    log.info(f"\n{device.type}, median of {ROUNDS} rounds of {UPDATES} updates of {images} images")
    log.info(table.to_markdown(floatfmt=".2f"))


def with_caches(settings: Settings, use: bool) -> Settings:
    """Return the settings with caches.use."""
    return settings.model_copy(update={"caches": settings.caches.model_copy(update={"use": use})})


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    run(main)
