"""Teach the understanding model by generated images, aimed at what it finds hard, with a control on real images alone.

    python loop/teach.py --config config/demo.yaml
    accelerate launch loop/teach.py loop.teach_updates=200              # on the GPUs you set up

1. The run's understanding model is asked about training images. Its expected error, 1 - p(true emotion), is averaged over
   each cell, an emotion on an attribute.
2. The generator (that of `<run>/loop/`, if there is one, and else the run's) makes `loop.teach_images` images, of each
   emotion on contents that are drawn by p(attribute | emotion) times the error of the cell.
3. An image serves if the emotion encoder finds the intended emotion the likeliest, and if it is no near copy: nearer to a
   training image, by CLIP, than all but one in a hundred training images are to their nearest neighbour.
4. The model learns, by exact answers, from questions about these and real images, of which they are `loop.teach_share`. The
   control learns from real images alone, with as many updates. Neither ever sees an image of the val or test split.

`<run>/loop/taught/step_two/model` is the result, `<run>/loop/teaching.json` what both are worth on the images of
evaluate.split, all of them and the hardest third of the cells. For the next rounds of loop/main.py name the result as
loop.understanding. It is the reward with loop.reward=understanding, and the gate with loop.reward=encoder. If you kill it,
the same command resumes.
"""

from runtime.script import read_settings, run

READS = (
    "data",
    "machine",
    "models",
    "generate",
    "questions",
    "answers",
    "rewards",
    "understanding",
    "tuning",
    "grpo",
    "mining",
    "evaluate",
    "loop",
)
read_settings(__name__, __doc__, *READS)

from functools import partial

from config.errors import UserError, tell_together
from config.settings import Settings
from emoset.reading import read_emoset
from evaluation.metric_labels import signed
from evaluation.report import write_report
from loop.loop_checks import check_generator
from loop.teaching import CONTROL, TAUGHT, check_contents, check_start, checks_of_teaching, teach
from runtime.built_folder import alone_in
from runtime.checking import stops_here
from runtime.files import write_json
from runtime.processes import start_process
from runtime.run_folder import is_first_process, log, open_run_folder


def main(settings: Settings) -> None:
    folder, loop = open_run_folder(settings, "loop"), settings.loop
    generator = folder / "generator" if (folder / "generator").is_dir() else settings.run / "generator"
    start_process()
    written = [folder / way for way in (TAUGHT, CONTROL)]
    tell_together(
        partial(check_generator, generator), *checks_of_teaching(settings), partial(check_start, settings.run, loop, written)
    )
    takes = {"images to make": f"{loop.teach_images:,}", "updates": f"2 x {loop.teach_updates:,}"}
    if stops_here(settings, takes):
        return
    with alone_in(folder):
        emoset = read_emoset(settings.data, folder, settings.machine.processes, settings.check)
        check_contents(settings.data, emoset)
        taught = teach(settings, emoset, generator, folder)
        if taught is None:
            raise UserError("loop: no generated image serves; the gate agrees about none, or all are copies")
        _, found = taught
        if is_first_process():
            write_json(folder / "teaching.json", found)
            for pair, own in found["paired"].items():
                for part, each in own.items():
                    log.info(f"{pair}: {part} {signed(each)}")
            write_report(settings)


if __name__ == "__main__":
    run(main)
