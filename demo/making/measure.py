"""Measure whether the demo's Stable Diffusion draws what its captions say, by a classifier that it never saw.

    python demo/making/measure.py run=runs/base_models

Reads `<run>/models/`, or demo/models/ where there is none. 512 images of captions that name everything, of content drawn
uniformly: a caption is right where its objects, scenes, faces or actions are those that the classifier finds likeliest.
Prints the shares right, with 95 % intervals, and leaves `captions.png` in `<run>/measure/`.
"""

from runtime.script import read_settings, run

read_settings(__name__, __doc__)

from random import Random

import numpy as np
import torch
from diffusers import StableDiffusionPipeline, UniPCMultistepScheduler
from transformers import ResNetForImageClassification

from config.section import ROOT
from config.settings import Settings
from demo.making.captions import caption, draw_content
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
    if stops_here(settings, {"images": f"{IMAGES:,}", "U-Net calls": f"{IMAGES * STEPS:,}, each with guidance"}):
        return
    start_process()
    models = settings.run / "models"
    models = models if models.is_dir() and (models / "content").is_dir() else ROOT / "demo" / "models"
    pipe = StableDiffusionPipeline.from_pretrained(models / "stable_diffusion", dtype=torch.float32)
    pipe.scheduler = UniPCMultistepScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    classifier = ResNetForImageClassification.from_pretrained(models / "content", dtype=torch.float32).eval()
    names = classifier.config.id2label

    rng = Random(f"{settings.seed} measure")
    cues = [draw_content(rng) for _ in range(IMAGES)]
    texts = [caption(each, rng, detail=1.0) for each in cues]
    images = []
    for first in progress(range(0, IMAGES, BATCH), "drawing", IMAGES // BATCH):
        generators = [torch.Generator().manual_seed(seed) for seed in range(first, first + BATCH)]
        images += pipe(
            texts[first : first + BATCH], num_inference_steps=STEPS, guidance_scale=GUIDANCE, generator=generators
        ).images
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2)
    with torch.no_grad():
        logits = torch.cat([classifier(batch.float() / 127.5 - 1).logits for batch in pixels.split(128)])

    found = {kind: [] for kind in (*KINDS, "light", "composition")}
    contents, wholes, both = [], [], []
    for each, row in zip(cues, logits, strict=True):
        right = {}
        for kind in found:
            wanted = getattr(each, kind)
            if wanted is not None:
                places = [number for number, name in names.items() if name.startswith(f"{kind}: ")]
                right[kind] = names[places[row[places].argmax()]] == f"{kind}: {wanted}"
                found[kind].append(right[kind])
        contents.append(all(right[kind] for kind in KINDS if kind in right))
        wholes.append(all(right.values()))
        if each.object and each.scene:
            both.append(contents[-1])
    totals = {"captions, all their content": contents, "captions, content, light and composition": wholes}
    totals["captions of an object in a scene"] = both
    for name, values in {**totals, **found}.items():
        share = of_share(values, seed=0)
        log.info(f"{name}: {share['value']:.3f} right ({share['low']:.3f} to {share['high']:.3f}), n = {share['n']}")
    rows = {f"{first} to {first + 11}": images[first : first + 12] for first in range(0, 96, 12)}
    write_atomically(folder / "captions.png", contact_sheet(rows, 96).save)
    (folder / "captions.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(main)
