"""The sheet of samples that the mapper's training draws now and then: a row of images for each emotion."""

from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline, UniPCMultistepScheduler

from config.generation_settings import Generate
from runtime.contact_sheet import contact_sheet
from runtime.files import write_atomically
from training.emotion_lora import taken_out
from training.emotion_space import EmotionSpace
from training.mapper import EmotionMapper
from training.pipeline import EmotionPipeline

MOST_STEPS = 25  # denoising steps


def save_samples(
    path: Path,
    stable: StableDiffusionPipeline,
    mapper: EmotionMapper,
    space: EmotionSpace,
    contents: dict[str, dict[str, int]],
    generate: Generate,
    images: int,
    resolution: int,
) -> None:
    """Save a sheet with so many images of each emotion, from the same noise every time.

    stable: with the U-Net and the text encoder that are trained on, in any precision, and its VAE in float32.
    """
    # A copy of the space: the pipeline moves it to the device, and the items are made on the CPU.
    copy = EmotionSpace.of(space.mean, space.factor, space.emotions)
    with taken_out(stable.unet) as lora:
        pipe = EmotionPipeline(**stable.components, mapper=mapper, emotion_space=copy, contents=contents, unet_lora=lora)
        pipe.scheduler = UniPCMultistepScheduler.from_config(stable.scheduler.config)
        pipe.set_progress_bar_config(disable=True)
        rows = {}
        for number, emotion in enumerate(space.emotions):
            latents = pipe(
                emotion=[emotion] * images,
                emotion_strength=1.0,
                emotion_spread=generate.spread,
                output_type="latent",
                generator=[torch.Generator().manual_seed(number * images + each) for each in range(images)],
                num_inference_steps=min(generate.steps, MOST_STEPS),
                guidance_scale=generate.guidance_scale,
                height=resolution,
                width=resolution,
            ).images
            with torch.no_grad():  # the VAE stays in float32, whatever the others are in
                decoded = stable.vae.decode(latents.float() / stable.vae.config.scaling_factor).sample
            rows[emotion] = pipe.image_processor.postprocess(decoded)
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, contact_sheet(rows).save)
