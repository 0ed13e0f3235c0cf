"""Measure what the run folder holds: a generator, an understanding model, or both, and then each by the other.

    python evaluation/evaluate.py --config config/demo.yaml
    python evaluation/evaluate.py evaluate.split=test evaluate.models=runs/a/understanding/model,runs/b/understanding/model
    python evaluation/evaluate.py evaluate.folder=path/to/images                        # ask about images in <emotion>/
    python evaluation/evaluate.py evaluate.generators=path/to/images,runs/b/generator   # measure these beside our generator
    accelerate launch evaluation/evaluate.py                                            # on the GPUs you set up

Generators stand beside prompts to plain Stable Diffusion and real images, in two columns: corrected, and as EmoGen's code
measures (docs/metrics.md). Models stand beside CLIP and beside the last model asked about a grey image (blind), which must
not do better than chance. Every figure has its n and 95 % interval.

`<run>/evaluation/` gets generation.json, understanding.json, cross.json, curves.json, confusion matrices, all images and
answers. `<run>/report/` gets metrics.json and index.html, the page that shows all. Images, answers and features are kept:
if you kill the run, the same command resumes, and a second run is quick.
"""

from runtime.script import read_settings, run

READS = ("data", "machine", "models", "generate", "questions", "answers", "understanding", "mining", "evaluate")
read_settings(__name__, __doc__, *READS)

from config.errors import UserError
from config.settings import Settings
from evaluation.generators import generators_of
from evaluation.measure_cross import measure_cross
from evaluation.measure_generation import measure_generation
from evaluation.measure_understanding import measure_understanding, models_of
from evaluation.metrics_json import write_metrics
from evaluation.report import write_report
from runtime.run_folder import is_first_process, open_run_folder


def main(settings: Settings) -> None:
    models, generators = models_of(settings), generators_of(settings)
    if not models and not generators:
        raise UserError(
            f"{settings.run} holds neither generator/ nor understanding/model/: training/main.py and understanding.py make "
            "them. Or name what to measure: evaluate.models=..., evaluate.generators=..."
        )
    folder = open_run_folder(settings, "evaluation")
    generated = measure_generation(settings, folder) if generators else None
    understood = measure_understanding(settings, folder) if models else None
    crossed = measure_cross(settings, folder, list(models.values())[-1], generated) if models and generators else None
    if is_first_process():
        write_metrics(settings.run, settings.seed, generated, understood, crossed)
        write_report(settings)


if __name__ == "__main__":
    run(main)
