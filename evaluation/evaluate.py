"""Measure what the run folder holds: a generator, an understanding model, or both, and then each by the other.

    python evaluation/evaluate.py --config config/demo.yaml
    python evaluation/evaluate.py evaluate.split=test evaluate.models=runs/a/understanding/model,runs/b/understanding/model
    python evaluation/evaluate.py evaluate.folder=path/to/images                   # asked about: images in <emotion>/
    python evaluation/evaluate.py evaluate.generators=path/to/images,runs/b/generator       # measured beside our generator
    accelerate launch evaluation/evaluate.py                                       # as accelerate is configured

Generators stand beside prompts to plain Stable Diffusion and real images, in two columns: corrected, and as EmoGen's code
measures (docs/metrics.md). Models stand beside the last of them asked about a grey image (blind), which must not do better
than chance, and CLIP. Every figure has its n and 95 % interval. To `<run>/evaluation/`: generation.json,
understanding.json, cross.json, curves.json, confusion matrices, all images and answers; to `<run>/report/`: metrics.json,
and the page that shows all, index.html. Images, answers and features are kept: a killed run goes on, a second one is quick.
"""

import sys

from config.errors import UserError
from runtime.run_folder import is_first_process, open_run_folder
from runtime.script import run
from config.settings import Settings


def main(settings: Settings) -> None:
    # Imported here, so that --help and an error in the config answer at once.
    from evaluation.cross import measure_cross
    from evaluation.generation import generators_of, measure_generation
    from evaluation.report import write_report
    from evaluation.tables import write_metrics
    from evaluation.understanding_models import measure_understanding, models_of

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
        write_metrics(settings, generated, understood, crossed)
        write_report(settings)


if __name__ == "__main__":
    run(main, __doc__)
