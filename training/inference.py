"""Make images with a generator: every emotion and every mix of emotions, in every prompt.

    python training/inference.py generate.emotions=awe,fear generate.images=16
    python training/inference.py "generate.prompts=a photo of a <emotion> bag" "generate.mixes=[{awe: 0.7, fear: 0.3}]"
    accelerate launch training/inference.py generate.generator=path/to/generator       # as accelerate is configured

Everything goes to `<run>/images/`: a folder for each emotion and mix, a contact sheet beside it, and manifest.jsonl. A PNG
holds the parameters that it was made with. The same command again makes what is missing, or was made otherwise. An image
has a seed of its own, or one of generate.seeds. Batches are the same however many processes share them and whatever was
there before, and so, to the bit on a CPU, are images; in batches of another size they differ there by a grey level at most.
"""

import sys

from runtime.run_folder import log, open_run_folder, progress
from runtime.script import run
from config.settings import Settings


def main(settings: Settings) -> None:
    # Imported here, so that --help and an error in the config answer at once.
    import torch
    from accelerate.utils import gather_object

    from training.conditioning import tokenize
    from training.generation import (
        load_generator,
        plan_images,
        read_parameters,
        save_image,
        write_contact_sheets,
        write_manifest,
    )
    from training.processes import start

    # 1. Every image that is to be, by its path.
    generate = settings.generate
    planned = plan_images(settings)
    folder = open_run_folder(settings, "images")
    accelerator = start()
    rank, processes = accelerator.process_index, accelerator.num_processes

    # 2. The generator.
    pipe, about = load_generator(generate.generator or settings.run / "generator", accelerator.device)
    tokenize(pipe.tokenizer, generate.prompts, pipe.mapper.config.tokens)  # refuses a prompt that is too long
    planned = {path: parameters | about for path, parameters in planned.items()}

    # 3. What is not there yet. Nobody writes before all have looked.
    folders = sorted({folder / parameters["emotion"] for parameters in planned.values()})
    if rank == 0:
        for left_by_a_killed_run in [path for each in folders for path in each.glob(".*.png")]:
            left_by_a_killed_run.unlink()
    looked_at = list(planned)[rank::processes]
    missing = [path for path in looked_at if read_parameters(folder / path) != planned[path]]
    missing = dict(gather_object([(path, (folder / path).exists()) for path in missing]))
    log.info(
        f"{len(planned):,} images, {processes} processes: {len(missing):,} to make, {len(planned) - len(missing):,} kept as "
        f"they are, {sum(missing.values()):,} replaced (damaged, or of other parameters)"
    )

    # 4. Make them. Batches follow from the plan alone, and one is made again whole when any of it is missing: in another
    # batch an image would come out a little otherwise.
    paths = list(planned)
    batches = [paths[first : first + generate.batch_size] for first in range(0, len(paths), generate.batch_size)]
    share = [batch for batch in batches if missing.keys() & batch][rank::processes]
    for batch in progress(share, "images", len(share), unit=" batches") if rank == 0 else share:
        parameters = [planned[path] for path in batch]
        images = pipe(
            prompt=[each["prompt"] for each in parameters],
            emotion=[each["weights"] for each in parameters],
            emotion_strength=generate.strength,
            emotion_spread=generate.spread,
            negative_prompt=generate.negative_prompt,
            generator=[torch.Generator().manual_seed(each["seed"]) for each in parameters],
            num_inference_steps=generate.steps,
            guidance_scale=generate.guidance_scale,
            height=about["resolution"],
            width=about["resolution"],
        ).images
        for path, image in zip(batch, images, strict=True):
            if path in missing:
                save_image(folder / path, image, planned[path])
    accelerator.wait_for_everyone()

    # 5. Show what there is.
    if rank == 0:
        write_manifest(folder, planned)
        write_contact_sheets(folder, planned)
        others = sum(path.relative_to(folder).as_posix() not in planned for each in folders for path in each.glob("*.png"))
        if others:
            log.info(f"{others:,} images of earlier runs lie beside these; manifest.jsonl lists those of this run alone")
        log.info(f"wrote {', '.join(each.name for each in folders)}, a sheet of each and manifest.jsonl in images/")


if __name__ == "__main__":
    run(main, __doc__)
