"""Train the tiny models of the demo on drawn images: Stable Diffusion's parts, a whole CLIP, and three classifiers.

    python demo/making/base_models.py run=runs/base_models
    torchrun --standalone --nproc-per-node 2 demo/making/base_models.py run=runs/base_models        # on two cores

Everything learns from images of uniformly drawn content with captions of it (demo/making/captions.py); only the judge sees
emotions. Run the same command again to resume. On 2 cores it takes two and a quarter hours. The result is `<run>/models/`.
It draws single things less well than demo/models/, whose U-Net learned for longer: demo/models/README.md has both.

    stable_diffusion/  StableDiffusionPipeline: CLIP text tower, KL autoencoder, U-Net (predicts velocity), tokenizer
    clip/              the CLIP with both towers and projections
    backbone/          a ResNet that knows content: what ImageNet's ResNet-50 is to the full job
    content/           a ResNet that names what an image shows, for measuring; training never sees it
    judge/             a ResNet that names the emotion of a drawn image, for measuring; training never sees it
"""

from runtime.script import read_settings, run

read_settings(__name__, __doc__, "machine")

from functools import partial

import torch
from transformers import ViTImageProcessorPil

from config.settings import Settings
from demo.drawn.world import EMOTIONS
from demo.making import small_models as small
from demo.making.fitting import fit
from demo.making.small_models import draw_images
from runtime.checking import in_words, stops_here
from runtime.processes import start_process
from runtime.run_folder import is_first_process, open_run_folder

IMAGES = 60_000
UPDATES = {
    "backbone": 1800,
    "content": 4000,
    "judge": 1600,
    "autoencoder": 6000,
    "clip": 1000,
    "unet": 10_000,
}


def main(settings: Settings) -> None:
    folder = open_run_folder(settings, "models")
    seed = settings.seed
    takes = {"updates": ", ".join(f"{count:,} of {name}" for name, count in UPDATES.items())}
    if stops_here(settings, takes | {"drawings": f"{2 * IMAGES:,}", "disk": in_words(2 * IMAGES * 3 * small.SIZE**2)}):
        return
    work = settings.run / f"work-{seed}"
    work.mkdir(exist_ok=True)
    fit_here = partial(fit, work, images=IMAGES, seed=seed)
    # The classifiers train too briefly for a moving average, and their batch norms' statistics are not those of one.
    fit_classifier = partial(fit_here, batch=64, rate=2e-3, averaged=False)

    with start_process().main_process_first():
        contents = draw_images(work / "contents", IMAGES, small.SIZE, seed, False, settings.machine.processes)
        emotions = draw_images(work / "emotions", IMAGES, small.SIZE, seed, True, settings.machine.processes)
    narrow = partial(small.make_resnet, small.CONTENTS, (24, 48, 96, 128))
    backbone = fit_classifier("backbone", narrow, small.content_loss(contents), UPDATES["backbone"])
    tokenizer = small.make_tokenizer(seed)
    reconstruction = small.reconstruction_loss(contents, backbone)
    vae = fit_here("autoencoder", small.make_autoencoder, reconstruction, UPDATES["autoencoder"], 16, 1.5e-3)
    contrast = small.contrastive_loss(contents, tokenizer)
    clip = fit_here("clip", partial(small.make_clip, tokenizer), contrast, UPDATES["clip"], 128, 1e-3)
    moments = small.encode_latents(vae, contents)
    denoising = small.denoising_loss(moments, contents, clip, tokenizer)
    # Things in places, a fifth of the images, are learned last: they come more often.
    both = [row for row, cues in enumerate(contents.cues) if cues.object and cues.scene]
    rows = torch.tensor([*range(IMAGES), *both * 4])
    fit_unet = partial(fit, work, images=len(rows), seed=seed, rate_of_matrices=0.02)
    unet = fit_unet("unet", small.make_unet, lambda unet, drawn: denoising(unet, rows[drawn]), UPDATES["unet"], 64, 1.5e-3)
    # Those that measure come last: nothing above needs them.
    wide = (32, 64, 96, 128)
    content = partial(small.make_resnet, small.CONTENTS, wide)
    content = fit_classifier("content", content, small.content_loss(contents, soft=0.5), UPDATES["content"])
    judge = partial(small.make_resnet, list(EMOTIONS), wide)
    judge = fit_classifier("judge", judge, small.emotion_loss(emotions), UPDATES["judge"])

    if not is_first_process():
        return
    small.save_stable_diffusion(folder, vae, clip, unet, tokenizer)
    size = dict(height=small.SIZE, width=small.SIZE)
    processor = ViTImageProcessorPil(size=size, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    for name, classifier in (("backbone", backbone), ("content", content), ("judge", judge)):
        classifier.half().save_pretrained(folder / name)
        processor.save_pretrained(folder / name)


if __name__ == "__main__":
    run(main)
