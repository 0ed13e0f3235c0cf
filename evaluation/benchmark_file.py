"""Answer the published questions of VECBench or MVEI, score the answers by their own definitions, and write their file.

    python evaluation/benchmark_file.py evaluate.benchmark=path/to/test_8k.jsonl evaluate.folder=path/to/VECBench
    python evaluation/benchmark_file.py evaluate.benchmark=path/to/MVEI_metadata.json evaluate.folder=path/to/MVEI/images

The models are those of evaluation/evaluate.py (evaluate.models), and so is the form of their answers. A model is read by the
likeliest of the answers that a question allows, after its own thought where it reasons, so it never gives up.

`<run>/benchmark/<name>/` gets figures.json, and for each model a folder with the file that the benchmark's scripts take. If
you kill the run, the same command resumes. With check=true it stops after all checks.
"""

from runtime.script import read_settings, run

read_settings(__name__, __doc__, "data", "mining", "answers", "understanding", "evaluate")

import json
import os
from pathlib import Path
from types import ModuleType

from config.errors import UserError, first_line
from config.settings import Settings
from evaluation import mvei, vecbench
from evaluation.measure_understanding import batch_size_of, models_of
from evaluation.metric_labels import markdown_table
from evaluation.report import write_report
from evaluation.report_other_data import BENCHMARKS
from runtime.checking import stops_here
from runtime.files import file_digest, read_json, write_atomically, write_json
from runtime.processes import free_memory
from runtime.run_folder import is_first_process, log, open_run_folder
from understanding.answering import answer_choices
from understanding.asking import load_asker
from understanding.model_check import check_extras, check_model

KNOWN = (vecbench, mvei)


def main(settings: Settings) -> None:
    evaluate, answers, seed, models = settings.evaluate, settings.answers, settings.seed, models_of(settings)

    # 1. The questions, the images that they are about, and the models.
    if not evaluate.benchmark:
        raise UserError("evaluate.benchmark: names no file of questions; evaluate.benchmark=path/to/MVEI_metadata.json")
    if not models:
        raise UserError("evaluate.models: names no model, and the run folder holds none; name one: evaluate.models=...")
    benchmark, records = read_benchmark(evaluate.benchmark)
    questions = benchmark.questions(records, answers, seed)
    if not questions:
        raise UserError(f"evaluate.benchmark: {evaluate.benchmark} holds no questions; get it again")
    images = find_images(evaluate.folder, list(dict.fromkeys(each.image_id for each in questions)))
    place, asked = settings.run / BENCHMARKS / benchmark.NAME.lower(), file_digest(evaluate.benchmark)
    check_earlier(place / "figures.json", evaluate.benchmark, asked)
    folder = open_run_folder(settings, f"{BENCHMARKS}/{place.name}")
    check_extras(settings.understanding)
    for label, name in models.items():
        check_model(settings.understanding, name, f"evaluate.models: {label}", not settings.check)
    if stops_here(settings, {"answers": f"{len(questions) * len(models):,} to the questions of {benchmark.NAME}"}):
        return

    # 2. Each model's answers, in the benchmark's own file, and their scores.
    figures = {}
    for label, name in models.items():
        asker = load_asker(settings.understanding, answers, settings.data.taxonomy, name, f"evaluate.models: {label}")
        found = answer_choices(asker, questions, images, folder, batch_size_of(evaluate, answers))
        del asker
        free_memory()
        filled = benchmark.answered(records, questions, found)
        figures[label] = benchmark.scores(filled, seed)
        if is_first_process():
            if lost := sum(each is None for each in found):
                log.warning(f"{lost:,} of {len(found):,} questions are about images that cannot be shown")
            (folder / label).mkdir(exist_ok=True)
            text = benchmark.written(filled)
            write_atomically(folder / label / benchmark.FILE, lambda beside, text=text: beside.write_text(text, "utf-8"))
            log.info(f"\n{label}\n\n{markdown_table(figures[label], benchmark.METRICS)}\n\nvalue (low to high, 95 %)")

    # 3. All of it.
    if is_first_process():
        about = {"name": benchmark.NAME, "n": len(questions), "seed": seed, "models": models, "file": asked}
        write_json(folder / "figures.json", {"about": about, "figures": figures})
        log.info(f"the file for {benchmark.NAME}'s own scripts: {BENCHMARKS}/{folder.name}/<model>/{benchmark.FILE}")
        write_report(settings)


def read_benchmark(file: Path) -> tuple[ModuleType, list[dict]]:
    """Return which benchmark a file is of, and its records. Raises UserError for none, or where a record lacks a part."""
    try:
        text = file.read_text(encoding="utf-8-sig")
        lines = [line for line in text.split("\n") if line.strip()]  # a text within may hold other ends of lines
        records = json.loads(text) if text.lstrip().startswith("[") else [json.loads(line) for line in lines]
        json.dumps(records, ensure_ascii=False).encode()  # raises for half of a character, which no file can hold
    except OSError as error:
        raise UserError(f"evaluate.benchmark: {file} cannot be read: {error.strerror}") from None
    except UnicodeError as error:
        raise UserError(f"evaluate.benchmark: {file} is no text in UTF-8: {first_line(error)}") from None
    except (ValueError, RecursionError):
        raise UserError(f"evaluate.benchmark: {file} is neither a JSON list nor a JSON object in each line") from None
    if not records or not all(isinstance(each, dict) for each in records):
        raise UserError(f"evaluate.benchmark: {file} holds no questions; get it again")
    found = next((each for each in KNOWN if each.is_of(records)), None)
    if found is None:
        raise UserError(
            f"evaluate.benchmark: {file} is of neither VECBench (conversations, candidates, ground_truth and task in each "
            f"line) nor MVEI (image_id and statement_list); its first record has {', '.join(records[0]) or 'nothing'}"
        )
    for number, record in enumerate(records, 1):
        if lacking := found.what_lacks(record):
            raise UserError(f"evaluate.benchmark: {file}, record {number} lacks {lacking}; get the file again")
    return found, records


def check_earlier(figures: Path, file: Path, asked: str) -> None:
    """Raise UserError where figures of other questions than `file` are there, and would be lost. asked: its hash."""
    earlier = (read_json(figures) or {}).get("about", {}).get("file", asked)
    if earlier != asked:
        raise UserError(
            f"evaluate.benchmark: {figures.parent} holds figures of another file, and those of {file} would replace them; "
            "name another run and its models, run=... evaluate.models=..."
        )


def find_images(root: Path, names: list[str]) -> dict[str, Path]:
    """Return the file below `root` of every image that a benchmark names, by the longest end of its path that is there.

    Raises UserError where none is there. One that is missing has the path where it should be.
    """
    found = {name: _below(root, Path(name.removeprefix("file://"))) for name in names}
    if not any(map(os.path.isfile, found.values())):
        raise UserError(f"evaluate.folder: {root} holds none of the {len(names):,} images, such as {names[0]}")
    return found


def _below(root: Path, named: Path) -> Path:
    parts = [part for part in named.parts if part not in ("/", "..")]
    ends = [root.joinpath(*parts[first:]) for first in range(len(parts))]
    return next(filter(os.path.isfile, ends), ends[0] if ends else root)


if __name__ == "__main__":
    run(main)
