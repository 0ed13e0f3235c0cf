"""Measure what the run folder holds: a generator, an understanding model, or both, and then each by the other.

    python evaluation/evaluate.py --config config/demo.yaml
    python evaluation/evaluate.py evaluate.split=test evaluate.models=runs/a/understanding/model,runs/b/understanding/model
    python evaluation/evaluate.py evaluate.folder=path/to/images                        # ask about images in <emotion>/
    python evaluation/evaluate.py evaluate.folder=path/to/FI evaluate.class_map=config/class_maps/fi.yaml   # other data
    python evaluation/evaluate.py evaluate.generators=path/to/images,runs/b/generator   # measure these beside our generator
    accelerate launch evaluation/evaluate.py                                            # on the GPUs you set up

Generators stand beside prompts to plain Stable Diffusion and real images, in two columns: corrected, and as EmoGen's code
measures (docs/metrics.md). Models stand beside CLIP and beside the last model asked about a grey image (blind), which must
not do better than chance. Every figure has its n and 95 % interval.

`<run>/evaluation/` gets generation.json, understanding.json, cross.json, curves.json, confusion matrices, all images and
answers. `<run>/report/` gets metrics.json and index.html, the page that shows all. Images, answers and features are kept:
if you kill the run, the same command resumes, and a second run is quick. With check=true it stops after all checks. A run
folder holds figures of one evaluate.folder, or of the split. For other images name another run with run=...

With evaluate.class_map, or evaluate.votes, models alone are measured, on another data set and by its own names. The figures
go to `<run>/other_data/<data set>/` and stand in the report beside the run's own (docs/other_data.md).
"""

from runtime.script import read_settings, run

READS = ("data", "machine", "models", "generate", "questions", "answers", "rewards", "understanding", "mining", "evaluate")
read_settings(__name__, __doc__, *READS)

from pathlib import Path

from config.errors import UserError
from config.evaluation_settings import Evaluate
from config.settings import Settings
from evaluation.first_checks import check_evaluation
from evaluation.generators import generators_of
from evaluation.measure_cross import measure_cross
from evaluation.measure_generation import measure_generation
from evaluation.measure_understanding import measure_understanding, models_of
from evaluation.metrics_json import write_metrics
from evaluation.model_cards import write_cards
from evaluation.other_data import evaluate_other_data
from evaluation.report import write_report
from runtime.built_folder import alone_in
from runtime.checking import stops_here
from runtime.hub import model_digest, weights_digest
from runtime.recipe import RECIPE, Recipe, read_recipe, settings_of
from runtime.run_folder import is_first_process, open_run_folder

PARTS = ("generation", "understanding", "cross")


def main(settings: Settings) -> None:
    models, generators = models_of(settings), generators_of(settings)
    if settings.evaluate.class_map or settings.evaluate.votes:
        evaluate_other_data(settings, models)
        if is_first_process() and not settings.check:
            write_report(settings)
        return
    if not models and not generators:
        raise UserError(
            f"{settings.run} holds neither generator/ nor understanding/model/: training/main.py and understanding.py make "
            "them. Or name what to measure: evaluate.models=..., evaluate.generators=..."
        )
    folder = open_run_folder(settings, "evaluation")
    made_from = folder / RECIPE
    if any((folder / f"{part}.json").is_file() for part in PARTS):
        check_earlier(settings.evaluate, made_from)
    if stops_here(settings, check_evaluation(settings, models, generators, folder)):
        return
    recipe = made_of(settings, models, generators)
    with alone_in(folder):
        if is_first_process():
            recipe.start(made_from)
        generated = measure_generation(settings, folder) if generators else None
        understood = measure_understanding(settings, folder) if models else None
        crossed = measure_cross(settings, folder, list(models.values())[-1], generated) if models and generators else None
        if is_first_process():
            write_metrics(settings.run, settings.seed, generated, understood, crossed)
            write_cards(settings.run, settings.data.taxonomy, generated, understood)
            write_report(settings)
            recipe.finish(made_from)


def check_earlier(evaluate: Evaluate, made_from: Path) -> None:
    """Raise UserError where the figures that are there are of other images, and would be lost. made_from: their recipe."""
    if not made_from.is_file():
        raise UserError(
            f"{made_from.parent} was written by an earlier version of this project; move it away, or name another run"
        )
    earlier, key = read_recipe(made_from), "evaluate.folder"
    was, now = earlier and earlier["settings"].get(key), settings_of("evaluate", evaluate)[key]
    if earlier and was != now:
        of_split = f"the data set's own images ({key}=null)"
        raise UserError(
            f"{key}: {made_from.parent} holds figures of {was or of_split}, and those of {now or of_split} would replace"
            " them; name another run, such as run=runs/album, and its models: evaluate.models=..."
        )


def made_of(settings: Settings, models: dict[str, str], generators: dict[str, Path]) -> Recipe:
    """Return what the figures are made from: the settings, the models by their files, and the generators."""
    inputs = {f"model {label}": model_digest(name) for label, name in models.items()}
    inputs |= {f"generator {label}": weights_digest(str(path / "mapper")) for label, path in generators.items()}
    own = {"seed": settings.seed} | settings_of("evaluate", settings.evaluate) | settings_of("answers", settings.answers)
    return Recipe("evaluation", own | settings_of("generate", settings.generate), inputs)


if __name__ == "__main__":
    run(main)
