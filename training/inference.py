"""Make images with a generator: every emotion and every mix of emotions, in every prompt, on a content that it draws.

    python training/inference.py generate.emotions=awe,fear generate.images=16
    python training/inference.py generate.contents=bag,tree
    python training/inference.py "generate.prompts=a photo of a <emotion> bag" "generate.mixes=[{awe: 0.7, fear: 0.3}]"
    python training/inference.py generate.images_from=holiday "generate.prompts=a photo of a <emotion> beach"
    accelerate launch training/inference.py generate.generator=path/to/generator       # as accelerate is configured

Everything is written to `<run>/images/`: a folder for each emotion and mix, a contact sheet beside it, and manifest.jsonl.
A PNG holds the parameters that it was made with. Run the same command again and it makes only the images that are missing
or have other parameters. An image has a seed of its own, or one of generate.seeds. Batches are the same however many
processes share them and whatever was there before. So images are the same to the bit on a CPU. In batches of another size
they differ there by a grey level at most.
"""

from runtime.script import read_settings, run

read_settings(__name__, __doc__, "data", "generate")

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from config.errors import UserError
from config.settings import Settings
from runtime.built_folder import alone_in
from runtime.checking import stops_here
from runtime.processes import start_process
from runtime.run_folder import log, open_run_folder
from training.choosing import Score
from training.conditioning import cut_off, tokenize
from training.image_files import check_places, from_photographs, plan_images, write_contact_sheets, write_manifest
from training.photographs import pixels_of, read_photographs, worked_on
from training.pipeline import EmotionPipeline
from training.sampling import load_generator, make_images, words_of, would_take

NONE = MappingProxyType({})
LoadScore = Callable[[Sequence[str], Sequence[str]], Score]


def main(settings: Settings) -> None:
    make_all(settings, "images")


def make_all(
    settings: Settings, stage: str, choosing: Mapping = NONE, load_score: LoadScore | None = None, takes: Mapping = NONE
) -> None:
    """Make the images of the settings in the folder `stage` of the run.

    choosing: parameters of every image, best_of and score, if the best of several is kept. load_score: returns the score, of
    the contents that the generator knows and of those that are asked for. takes: more lines for check=true, by what each is.
    """
    # 1. The generator.
    generate, emotions, photographs = settings.generate, settings.data.taxonomy.emotions, settings.generate.images_from
    folder, state = open_run_folder(settings, stage), start_process()
    place = generate.generator or settings.run / "generator"
    pipe, about = load_generator(place, state.device)
    check_emotions(pipe.emotion_space.emotions, emotions, place)

    # 2. The parameters of every image, by its path, and all that can be known before the first image.
    plan = plan_images(generate, emotions, settings.seed, pipe.contents)
    check_prompts(pipe, plan)
    if photographs:
        pixels = about["resolution"] ** 2 if about["resolution"] else pixels_of(pipe)
        plan = from_photographs(plan, read_photographs(photographs), generate)
        plan = {path: each | worked_on(each, pixels, pipe.vae_scale_factor) for path, each in plan.items()}
    plan = {path: parameters | about | choosing for path, parameters in plan.items()}
    check_places(folder, plan, about["resolution"] or pipe.unet.config.sample_size * pipe.vae_scale_factor)
    if settings.check and stops_here(settings, would_take(pipe, plan, folder, generate.batch_size) | takes):
        return

    # 3. The images that are not there yet.
    asked = [each["content"] for each in plan.values() if "content" in each]
    score = load_score(pipe.contents.names if pipe.contents else (), asked) if load_score else None
    with alone_in(folder):
        make_images(pipe, plan, folder, generate.batch_size, "images", photographs, score)

        # 4. Show what there is.
        if state.is_main_process:
            write_manifest(folder, plan)
            write_contact_sheets(folder, plan, photographs)
            folders = sorted({folder / parameters["emotion"] for parameters in plan.values()})
            others = sum(path.relative_to(folder).as_posix() not in plan for each in folders for path in each.glob("*.png"))
            if others:
                log.info(f"{others:,} images of earlier runs lie beside these; manifest.jsonl lists those of this run alone")
            log.info(f"wrote {', '.join(each.name for each in folders)}, a sheet of each and manifest.jsonl in {stage}/")


def check_prompts(pipe: EmotionPipeline, plan: dict[str, dict]) -> None:
    """Raise UserError for a prompt of which CLIP would not read the end."""
    tokens, most = pipe.mapper.config.tokens, pipe.tokenizer.model_max_length
    filled = {words_of(parameters) for parameters in plan.values()}
    tokenize(pipe.tokenizer, sorted(filled), tokens)  # refuses a prompt whose emotion would be cut off
    negative = next(iter(plan.values()))["negative_prompt"]
    for setting, prompt in [*(("prompts", prompt) for prompt in sorted(filled)), ("negative_prompt", negative)]:
        if end := cut_off(pipe.tokenizer, prompt, tokens):
            raise UserError(
                f"generate.{setting}: {prompt!r} is longer than the {most} tokens that CLIP takes, and {end!r} would be cut "
                "off; shorten it"
            )


def check_emotions(known: tuple[str, ...], emotions: tuple[str, ...], generator: Path) -> None:
    """Raise UserError where a generator knows other emotions than the settings."""
    if known != emotions:
        raise UserError(
            f"data.taxonomy: {generator} was trained on the emotions {', '.join(known)}, and the taxonomy lists "
            f"{', '.join(emotions)}; name the one that it was trained with"
        )


if __name__ == "__main__":
    run(main)
