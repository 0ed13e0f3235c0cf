"""Measure whether the demo's Stable Diffusion draws what its captions say, by a classifier that it never saw.

    python demo/making/measure.py run=runs/base_models

Reads `<run>/models/`, or demo/models/ where there is none. 512 images of captions that name everything, of content drawn
uniformly: a caption is right where its objects, scenes, faces or actions are those that the classifier finds likeliest.
Prints the shares right, with 95 % intervals, for two seeds of the noise, with guidance and without, and how well the
autoencoder repeats drawings of those captions that no model has seen. Leaves `captions-<seed>-guidance-<scale>.png`,
`captions.txt` and `reconstructions.png` (each drawing above what the autoencoder makes of it) in `<run>/measure/`.
"""

from runtime.script import read_settings, run

read_settings(__name__, __doc__)

from collections import defaultdict
from random import Random

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UniPCMultistepScheduler
from PIL import Image
from transformers import ResNetForImageClassification

from config.section import ROOT
from config.settings import Settings
from demo.drawn.render import render
from demo.drawn.world import Cues
from demo.making.captions import caption, draw_content
from demo.making.small_models import SIZE
from runtime.checking import stops_here
from runtime.contact_sheet import contact_sheet
from runtime.figures import of_share
from runtime.files import write_atomically
from runtime.processes import start_process
from runtime.run_folder import log, open_run_folder, progress

IMAGES = 512
BATCH = 64
STEPS, GUIDANCE = 25, 4.0
KINDS = ("object", "scene", "facial_expression", "human_action")


def main(settings: Settings) -> None:
    folder = open_run_folder(settings, "measure")
    if stops_here(settings, {"images": f"{4 * IMAGES:,}", "U-Net calls": f"{6 * IMAGES * STEPS:,}"}):
        return
    start_process()
    models = settings.run / "models"
    models = models if models.is_dir() and (models / "content").is_dir() else ROOT / "demo" / "models"
    pipe = StableDiffusionPipeline.from_pretrained(models / "stable_diffusion", dtype=torch.float32)
    pipe.scheduler = UniPCMultistepScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    classifier = ResNetForImageClassification.from_pretrained(models / "content", dtype=torch.float32).eval()

    rng = Random(f"{settings.seed} measure")
    cues = [draw_content(rng) for _ in range(IMAGES)]
    texts = [caption(each, rng, detail=1.0) for each in cues]
    (folder / "captions.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    drawings = [render(each, SIZE, rng) for each in cues]
    repeated, decibels, hue = reconstructions(pipe.vae, drawings)
    log.info(f"drawings through the autoencoder: {decibels:.2f} dB; hue of saturated pixels {hue:.1f} degrees off, mean")
    rows = {}
    for first in range(0, 40, 10):
        rows |= {f"{first} to {first + 9}": drawings[first : first + 10], f"{first}, repeated": repeated[first : first + 10]}
    write_atomically(folder / "reconstructions.png", contact_sheet(rows, 96).save)

    for guidance in (GUIDANCE, 1.0):
        for sampling in range(2):
            images = []
            for first in progress(range(0, IMAGES, BATCH), "drawing", IMAGES // BATCH):
                numbers = range(sampling * IMAGES + first, sampling * IMAGES + first + BATCH)
                images += pipe(
                    texts[first : first + BATCH],
                    num_inference_steps=STEPS,
                    guidance_scale=guidance,
                    generator=[torch.Generator().manual_seed(number) for number in numbers],
                ).images
            for name, values in captions_right(classifier, images, cues).items():
                share = of_share(values, seed=0)
                shown = f"{share['value']:.3f} right ({share['low']:.3f} to {share['high']:.3f}), n = {share['n']}"
                log.info(f"guidance {guidance:g}, noise {sampling}, {name}: {shown}")
            rows = {f"{first} to {first + 11}": images[first : first + 12] for first in range(0, 96, 12)}
            write_atomically(folder / f"captions-{sampling}-guidance-{guidance:g}.png", contact_sheet(rows, 96).save)


def captions_right(classifier: ResNetForImageClassification, images: list, cues: list[Cues]) -> dict[str, list[bool]]:
    """Return which captions are right: all their content, light and composition too, and each kind of name by itself."""
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2)
    with torch.no_grad():
        logits = torch.cat([classifier(batch.float() / 127.5 - 1).logits for batch in pixels.split(128)])
    names = classifier.config.id2label
    found = defaultdict(list)
    for each, row in zip(cues, logits, strict=True):
        right = {}
        for kind in (*KINDS, "light", "composition"):
            wanted = getattr(each, kind)
            if wanted is not None:
                places = [number for number, name in names.items() if name.startswith(f"{kind}: ")]
                right[kind] = names[places[row[places].argmax()]] == f"{kind}: {wanted}"
                found[kind].append(right[kind])
        content = all(right[kind] for kind in KINDS if kind in right)
        found["captions, all their content"].append(content)
        found["captions, content, light and composition"].append(all(right.values()))
        if each.object and each.scene:
            found["captions of an object in a scene"].append(content)
    return dict(found)


@torch.no_grad()
def reconstructions(vae: AutoencoderKL, drawings: list[Image.Image]) -> tuple[list[Image.Image], float, float]:
    """Return what the autoencoder makes of drawings, its mean PSNR (dB), and by how many degrees hues are off.

    Hues are those of the drawings' saturated pixels: HSV saturation above 0.5, value above 0.3.
    """
    pixels = torch.from_numpy(np.stack([np.asarray(drawing) for drawing in drawings])).permute(0, 3, 1, 2) / 255
    parts = [vae.decode(vae.encode(part * 2 - 1).latent_dist.mode()).sample for part in pixels.split(BATCH)]
    repeated = ((torch.cat(parts) + 1) / 2).clamp(0, 1)
    decibels = -10 * (repeated - pixels).square().mean((1, 2, 3)).log10()
    images = [Image.fromarray(np.uint8(each.permute(1, 2, 0).numpy() * 255 + 0.5)) for each in repeated]
    wanted, found = (np.stack([np.asarray(image.convert("HSV"), float) for image in some]) for some in (drawings, images))
    saturated = (wanted[..., 1] > 0.5 * 255) & (wanted[..., 2] > 0.3 * 255)
    off = np.abs(wanted[..., 0] - found[..., 0])[saturated]
    return images, decibels.mean().item(), np.minimum(off, 256 - off).mean() * 360 / 256


if __name__ == "__main__":
    run(main)
