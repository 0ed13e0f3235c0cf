"""The loop: rounds in which a reward trains the generator, with a control beside, and a judge that measures both.

    python loop/main.py --config config/demo.yaml
    accelerate launch loop/main.py loop.judge=path/to/classifier            # on the GPUs you set up

It starts from what training/main.py and understanding.py have made in the run folder. A round makes `loop.group` images of
each of `loop.conditions` emotions on contents, scores them by the reward, and trains the generator on them by DiffusionNFT
(loop/nft.py has the equations), beside real images. Samples that the gate, another network, disagrees about count for
nothing. The rounds end early where the gate says that held-out images got worse. With loop.teach the generator's images
teach the understanding model between two rounds (loop/teaching.py), and the better model rewards the next one. The control
makes as many updates by the ordinary loss on real images alone.

`<run>/loop/` gets round_1/, ..., control/, generator/ (the best round's by the gate) and metrics.json: figures of the
untouched generator, the best of several of its images, the control, and the result, by a judge whose weights neither reward,
gate nor any training has seen (docs/loop.md). If you kill it, the same command resumes, to the same weights.
"""

from runtime.script import read_settings, run

READS = (
    "data",
    "balance",
    "machine",
    "models",
    "caches",
    "emotion_space",
    "mapper",
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

import shutil
from functools import partial
from pathlib import Path

from config.errors import tell_together
from config.settings import Settings
from emoset.reading import read_emoset
from evaluation.report import write_report
from loop.apart import check_apart
from loop.loop_checks import as_trained, check_generator, check_loop, check_space
from loop.measure import measure_loop
from loop.rounds import Rounds, is_worse
from loop.teaching import check_contents, check_start, checks_of_teaching
from runtime.built_folder import MARKER, alone_in, building, is_built, remove_built
from runtime.checking import stops_here
from runtime.hub import weights_digest
from runtime.processes import start_process
from runtime.recipe import Recipe
from runtime.run_folder import log, open_run_folder
from training.early_checks import check_training
from training.main import prepare, read_images, read_rows


def main(settings: Settings) -> None:
    loop, folder, start = settings.loop, open_run_folder(settings, "loop"), settings.run / "generator"

    # 1. What can be told before anything is computed.
    check_generator(start)
    settings = as_trained(settings, start)
    check_apart(settings, start)
    rows = read_rows(settings.run / "balance" / "balanced.parquet", settings.mapper.content_share)
    checked = check_training(settings, rows)
    check_loop(settings, start, len(rows), checked.dimension)
    if loop.teach:
        places = [folder / f"teaching_{number}" for number in range(1, loop.rounds)]
        tell_together(*checks_of_teaching(settings), partial(check_start, settings.run, loop, places))
    images = loop.rounds * loop.conditions * loop.group + (loop.rounds + 1) * loop.held_out
    takes = {"images to train on and to stop by": f"{images:,}", "updates": f"{loop.rounds * loop.updates:,}"}
    if loop.teach:
        times = loop.rounds - 1
        asked = f"{settings.mining.images:,}" if settings.mining.images else "all training images"
        takes["images to teach by"] = f"{times * loop.teach_images:,}"
        takes["updates of the understanding model"] = f"{times * loop.teach_updates:,}"
        takes["images to ask it about"] = f"{times} x ({asked}, and twice the val split)"
    trained = loop.best_of + loop.control if loop.rounds else 0
    measured = max(loop.candidates, loop.best_of) + trained  # images for each of a row
    takes["images to measure"] = f"{len(settings.data.taxonomy) * loop.images * measured:,}"
    if settings.check:
        read_images(settings, settings.run / "training")  # refuses a balanced set of other images, as the training will
    if stops_here(settings, takes):
        return
    with alone_in(folder):
        emoset = None
        if loop.teach:
            emoset = read_emoset(settings.data, folder, settings.machine.processes)  # now, for it forks
            check_contents(settings.data, emoset)
        inputs = prepare(settings, settings.run / "training", rows, checked, trains_encoder=False)
        check_space(start, inputs.space)

        # 2. The rounds, and the control.
        loop_rounds = Rounds(settings, folder, start, inputs, emoset)
        best, rounds, history = train_rounds(loop_rounds)  # the control has as many as the best generator
        control = start
        for number in range(1, rounds + 1) if loop.control else ():
            control = loop_rounds.control_round(number, control)

        # 3. The result, and what a judge says of it.
        named = {"untouched": start}
        for row, place in {"reward": folder / "generator", "control": folder / "control" / "generator"}.items():
            generator = {"reward": best, "control": control}[row]
            if generator != start:
                named[row] = keep(generator, place)
            elif start_process().is_main_process:
                remove_built(place, "generator")  # an earlier loop's
        measure_loop(settings, folder, named, history)
        if start_process().is_main_process:
            write_report(settings)


def train_rounds(loop: Rounds) -> tuple[Path, int, list[dict]]:
    """Return the best generator by the gate, the number of its round, and what is known of every round."""
    generator, best, best_number = loop.start, loop.start, 0
    best_gate = loop.held_out(best)
    history = [{"round": 0, "held out, gate": best_gate.mean().item()}]
    for number in range(1, loop.settings.loop.rounds + 1):
        generator, known = loop.round(number, generator)
        gate = loop.held_out(generator)
        history.append({"round": number, "held out, gate": gate.mean().item()} | known)
        log.info("; ".join(f"{name} {value:.3g}" for name, value in history[-1].items()))
        if is_worse(gate, best_gate):
            break
        if not best_number or gate.mean() > best_gate.mean():
            best, best_number, best_gate = generator, number, gate
        if loop.settings.loop.teach and number < loop.settings.loop.rounds:
            loop, gain = loop.taught(number, generator)
            history[-1] |= gain
    return best, best_number, history


def keep(generator: Path, folder: Path) -> Path:
    """Copy a round's generator to `folder`, unless it is there; return that."""
    recipe = Recipe("generator", {}, {"copy of": generator.parent.name, "mapper": weights_digest(str(generator / "mapper"))})
    state = start_process()
    if state.is_main_process and not is_built(folder, recipe):
        with building(folder, recipe) as work:
            shutil.copytree(generator, work, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MARKER))
    state.wait_for_everyone()
    return folder


if __name__ == "__main__":
    run(main)
