"""Train the demo's base vision-language model, a tiny Qwen2.5-VL, on questions about drawn images.

    python demo/making/vision_language.py run=runs/base_vlm

It stands in for Qwen2.5-VL-3B: it sees and names what an image shows, answers in the format that it is asked for, and has
but a weak notion of emotions (demo/making/content_questions.py). First its vision tower learns to name all content through a
linear layer, and to see as demo/models/backbone does, since it learns slowly through language alone; then the language
model learns to compare and to answer, at last mostly about emotions.
Run the same command again to resume. It takes fifty minutes on 2 newer cores, longer on older. The result,
`<run>/models/`, is committed as demo/models/vision_language/; demo/making/measure_vlm.py measures it.
"""

from runtime.script import read_settings, run

read_settings(__name__, __doc__, "machine")

from functools import partial

import torch
from transformers import ResNetModel

from config.section import ROOT
from config.settings import Settings
from demo.making import small_vlm as small
from demo.making.fitting import DEVICE, fit
from demo.making.small_models import SIZE, draw_images
from demo.making.vlm_answers import Answering, answer_loss
from runtime.checking import in_words, stops_here
from runtime.processes import start_process
from runtime.run_folder import is_first_process, log, open_run_folder

IMAGES = 60_000
UPDATES = {"vision": 2000, "answers": 3400, "guesses": 1700}


def main(settings: Settings) -> None:
    folder = open_run_folder(settings, "models")
    seed = settings.seed
    takes = {"updates": ", ".join(f"{count:,} of {name}" for name, count in UPDATES.items())}
    if stops_here(settings, takes | {"drawings": f"{2 * IMAGES:,}", "disk": in_words(2 * IMAGES * 3 * SIZE**2)}):
        return
    work = settings.run / f"work-{seed}"
    work.mkdir(exist_ok=True)
    torch.manual_seed(seed)

    with start_process().main_process_first():
        contents = draw_images(work / "contents", IMAGES, SIZE, seed, False, settings.machine.processes)
        emotions = draw_images(work / "emotions", IMAGES, SIZE, seed, True, settings.machine.processes)
    processor = small.make_processor(seed)
    model = small.make_vlm(processor.tokenizer)
    fit_here = partial(fit, work, images=IMAGES, seed=seed)
    backbone = ResNetModel.from_pretrained(ROOT / "demo/models/backbone", dtype=torch.float32)
    backbone = backbone.to(DEVICE).eval().requires_grad_(False)
    naming = partial(small.ContentNaming, model.model.visual, backbone)
    naming = fit_here("vision", naming, small.naming_loss(contents, backbone), UPDATES["vision"], 64, 3e-3)
    model.model.visual.load_state_dict(naming.tower.state_dict())
    answering = Answering(model)
    model.model.visual.requires_grad_(False)
    data = (contents, emotions, processor, seed)

    def fit_answers(name, loss, updates, batch, rate):
        # A moving average would remember how the language model began.
        return fit_here(name, lambda: answering, loss, updates, batch, rate, averaged=False)

    answering = fit_answers("answers", answer_loss(*data, guesses=1), UPDATES["answers"], 24, 1.2e-3)
    answering.model.model.language_model.requires_grad_(True)
    answering.probe.requires_grad_(True)
    model = fit_answers("guesses", answer_loss(*data, guesses=6), UPDATES["guesses"], 8, 5e-4).model
    if is_first_process():
        small.save_vlm(folder, model, processor)
    log.info(f"{sum(weight.numel() for weight in model.parameters()):,} parameters in {folder}")


if __name__ == "__main__":
    run(main)
