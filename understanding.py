"""Fine-tune a vision-language model to tell emotions, by GRPO: Step I on training images, Step II on the hard among them.

    python understanding.py --config config/demo.yaml                                  # one process
    accelerate launch --config_file config/accelerate/single_gpu.yaml understanding.py data.emoset=path/to/EmoSet
    accelerate launch --use_deepspeed --zero_stage 2 understanding.py

Every question is of one of the kinds in understanding/kinds/. With grpo.answers=exact an update scores all answers that a
question allows. It samples no answers; with reasoning it samples thoughts. A stage is skipped where its result is there and
unchanged. If you kill a run, the same command resumes it and ends with the same weights. Trainings go to
`<run>/understanding/`, what mining finds to `<run>/mining/`. The result is `<run>/understanding/model/`: an adapter, or
whole weights, and its processor.
"""

from runtime.script import read_settings, run

SECTIONS = ("data", "machine", "questions", "answers", "rewards", "understanding", "tuning", "warmup", "grpo", "mining")
read_settings(__name__, __doc__, *SECTIONS)

from pathlib import Path

from config.settings import Settings
from emoset.reading import read_emoset
from emoset.selection import equal_emotions
from runtime.built_folder import alone_in
from runtime.checking import stops_here
from runtime.processes import free_memory
from runtime.run_folder import inner_stage, open_run_folder
from understanding.grpo import train_by_grpo
from understanding.hard_images import check_hard, hard_images
from understanding.kinds import check_kinds
from understanding.mining import mine
from understanding.preflight import check_and_announce, check_start
from understanding.questions import draw_questions, needed_confusability
from understanding.stages import TrainingData, base_model, save
from understanding.warmup import warm_up


def main(settings: Settings) -> None:
    check_kinds(settings.questions, settings.rewards)
    folder = open_run_folder(settings, "understanding")
    with alone_in(folder, settings.check):
        fine_tune(settings, folder)


def fine_tune(settings: Settings, folder: Path) -> None:
    """Train what is not trained yet, stage by stage, each from the model that the one before it returns."""
    taxonomy, answers, grpo, seed = settings.data.taxonomy, settings.answers, settings.grpo, settings.seed

    # 1. What can be told without the images; then these, and the questions about them.
    needed = check_start(settings)
    emoset = read_emoset(settings.data, folder, settings.machine.processes, settings.check)
    train, val = (emoset.index[emoset.index["split"] == split] for split in ("train", "val"))
    paths = {image_id: settings.data.emoset / path for image_id, path in emoset.index[["image_id", "image"]].to_numpy()}
    matrix = needed_confusability(settings.questions, settings.rewards, taxonomy, settings.run)
    questions = draw_questions(train, taxonomy, settings.questions, answers, matrix, seed)
    few = settings.questions.model_copy(update={"count": grpo.evaluated_questions})
    val_questions = []
    if grpo.evaluate_every:
        val_questions = draw_questions(val, taxonomy, few, answers, matrix, seed, "grpo.evaluated_questions")
    data = TrainingData(emoset.fingerprint, paths, matrix, val_questions)
    if grpo.steps_two != 0:
        check_hard(equal_emotions(train, settings.mining.images, seed), settings.mining)
    takes = check_and_announce(settings, questions, paths)
    if stops_here(settings, takes | needed.in_words()):
        return

    # 2. Right answers, if the config says so.
    model = warm_up(settings, folder, base_model(settings.understanding), questions, data)

    # 3. Step I, on all training images.
    model = train_by_grpo(settings, "step_one", folder, model, questions, data, grpo.steps_one)

    # 4. Step II, on the images that the reference model finds hard.
    if grpo.steps_two != 0:
        with inner_stage(settings, "mining") as mining_folder, alone_in(mining_folder):
            errors = mine(train, mining_folder, settings)
        free_memory()
        hard = hard_images(errors, taxonomy, settings.mining, seed)
        questions = draw_questions(hard, taxonomy, settings.questions, answers, matrix, seed + 1)
        model = train_by_grpo(settings, "step_two", folder, model, questions, data, grpo.steps_two)

    # 5. The result.
    save(folder, model, settings.understanding.push_to_hub)


if __name__ == "__main__":
    run(main)
