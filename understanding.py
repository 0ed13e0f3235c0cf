"""Fine-tune a vision-language model to tell emotions, by GRPO: Step I on training images, Step II on the hard among them.

    python understanding.py --config config/demo.yaml                                  # one process
    accelerate launch --config_file config/accelerate/multi_gpu.yaml understanding.py data.emoset=path/to/EmoSet
    accelerate launch --use_deepspeed --zero_stage 2 understanding.py

Every question is of one of three kinds: binary, multiple choice and misleading choice (understanding/questions.py). A stage
is skipped where its result is there and unchanged; the same command again goes on where it stopped, to the same weights.
All goes to `<run>/understanding/`, the result to its folder `model/`: an adapter, or whole weights, and its processor.
"""

import sys
from contextlib import nullcontext
from pathlib import Path

from runtime.run_folder import is_first_process, open_run_folder
from runtime.script import run
from config.settings import Settings


def main(settings: Settings) -> None:
    from runtime.built_folder import lock

    folder = open_run_folder(settings, "understanding")
    with lock(folder, wait=False) if is_first_process() else nullcontext():
        fine_tune(settings, folder)


def fine_tune(settings: Settings, folder: Path) -> None:
    """Run the stages whose results are not there."""
    # Imported here, so that --help and an error in the config answer at once.
    from runtime.built_folder import lock
    from emoset.reading import read_emoset
    from understanding.confusable import confusability_of
    from understanding.questions import draw_questions

    # 1. The images, and the questions about them.
    with lock(settings.data.cache / "index"):  # the first process reads, the others find it read
        emoset = read_emoset(settings.data, folder)  # before torch starts its threads: it forks
    train, val = (emoset.index[emoset.index["split"] == split] for split in ("train", "val"))
    paths = {image_id: settings.data.emoset / path for image_id, path in emoset.index[["image_id", "image"]].to_numpy()}
    matrix = confusability_of(settings)
    questions = draw_questions(train, settings.questions, matrix, settings.seed)
    few = settings.questions.model_copy(update={"count": settings.grpo.evaluated_questions})
    asked_on_val = draw_questions(val, few, matrix, settings.seed, "grpo.evaluated_questions")

    from understanding.stages import Stages  # torch and transformers, after the reading has forked

    stages = Stages(settings, folder, emoset.fingerprint, paths, matrix, asked_on_val)
    stages.announce(questions)

    # 2. Right answers shown, if the config says so.
    stages.warm_up(questions)

    # 3. Step I, on all training images.
    stages.grpo("step_one", questions, settings.grpo.steps_one)

    # 4. Step II, on the images that the reference model finds hard.
    if settings.grpo.steps_two != 0:
        hard = stages.hard_images(train)
        stages.grpo("step_two", draw_questions(hard, settings.questions, matrix, settings.seed + 1), settings.grpo.steps_two)

    # 5. The result.
    stages.finish()


if __name__ == "__main__":
    run(main, __doc__)
