"""Write the report of a run: one page that opens without a network, and a Markdown table for a paper's appendix.

    python evaluation/report.py --config config/demo.yaml

The page shows what the other scripts have left in the run folder, of one half alone too. It names what is missing, with the
command that makes it. `<run>/report/` gets index.html, which holds its pictures and plots, and table.md.
evaluation/evaluate.py writes the same report at its end.

With `runs` it makes one report of several runs of other seeds instead, `<run>/seeds/index.html`, table.md and seeds.json:
means, ranges and intervals over the seeds, and differences of the same seed:

    python evaluation/report.py --config config/demo.yaml runs=runs/demo,runs/demo-1,runs/demo-2
"""

from runtime.script import read_settings, run

READS = ("runs", "data.emoset", "data.taxonomy", "mining.lowest", "mining.highest", "evaluate.contents", "evaluate.folder")
read_settings(__name__, __doc__, *READS)

from pathlib import Path

import pandas as pd

from config.errors import UserError
from config.section import ROOT
from config.settings import Settings
from config.taxonomy import Taxonomy
from emoset.model_card import about_data
from evaluation.metric_labels import row_name
from evaluation.over_seeds import figures_of_runs, markdown
from evaluation.report_appendix import appendix
from evaluation.report_cross import cross_section
from evaluation.report_generation import generation_section
from evaluation.report_loop import loop_section
from evaluation.report_other_data import other_data_section
from evaluation.report_parts import UNFOLD
from evaluation.report_pictures import four_pictures
from evaluation.report_provenance import run_section
from evaluation.report_seeds import seeds_page
from evaluation.report_training import training_section
from evaluation.report_understanding import understanding_section
from evaluation.run_files import COMMANDS, RunFiles
from evaluation.verdict import terms, verdict
from runtime.checking import stops_here
from runtime.files import read_json, write_atomically, write_json
from runtime.page import write_page
from runtime.run_folder import log, open_run_folder

TEMPLATE = Path(__file__).parent / "report.html.jinja"
# What a run may hold, in the order of the work: a file that tells of it, and what it is.
PARTS = {
    "balance/balanced.parquet": "the balanced set",
    "generator/generator.json": "a generator",
    "mining/errors.parquet": "hard training images",
    "understanding/model": "an understanding model",
    "evaluation/generation.json": "figures of generated images",
    "evaluation/understanding.json": "figures of the understanding model",
    "evaluation/cross.json": "what the understanding model says of generated images",
}
READERS = {".json": read_json, ".parquet": pd.read_parquet}  # of parts that nothing else of the page reads
LINKS = {  # what lies beside the page
    "report/metrics.json": "the figures, for programs",
    "report/table.md": "the figures as tables, for a paper",
    "evaluation/generation.json": "the figures of images, with what they are about",
    "evaluation/understanding.json": "the figures of answers, with what they are about",
    "evaluation/curves.json": "the curves of strength and weight",
    "evaluation/images/": "all images that were made",
    "evaluation/": "all answers (answers-*.parquet), what the judge says of images (judged-*.parquet), confusion matrices",
}


def main(settings: Settings) -> None:
    if settings.runs:
        report_seeds(settings)
        return
    if all(not (settings.run / path).exists() for path in PARTS):
        raise UserError(f"{settings.run}: no run to report on; name one with run=..., or with the --config that it had")
    open_run_folder(settings, "report")
    found = [what for path, what in PARTS.items() if (settings.run / path).exists()]
    if stops_here(settings, {"what the page shows": "; ".join(found)}):
        return
    write_report(settings)


def write_report(settings: Settings) -> None:
    """Write `<run>/report/index.html` and table.md from what the run folder holds, and log the verdict."""
    page, table = (settings.run / "report" / name for name in ("index.html", "table.md"))
    files, taxonomy = RunFiles(settings.run), settings.data.taxonomy
    results = files.results()
    text, sentences = appendix(files, results, taxonomy), verdict(results, taxonomy)
    table.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(table, lambda path: path.write_text(text, encoding="utf-8"))
    write_page(page, TEMPLATE, verdict=sentences, **gather(settings, files, results))
    for (command, before), names in files.repairs().items():
        log.info(f"cannot be read: {'; '.join(names)}. {before} {command}".rstrip())
    for number, sentence in enumerate(sentences):
        log.info(f"{'' if number else chr(10)}- {sentence}")
    log.info(f"\nThe report, with all figures: {page.relative_to(ROOT) if page.is_relative_to(ROOT) else page}")


def report_seeds(settings: Settings) -> None:
    """Write `<run>/seeds/index.html`, seeds.json and table.md of `runs`, and log the last."""
    found = figures_of_runs(settings.runs)
    if stops_here(settings, {"what the report is of": f"{len(settings.runs)} runs"}):
        return
    folder, text = open_run_folder(settings, "seeds"), markdown(found, settings.data.taxonomy)
    write_json(folder / "seeds.json", found)
    write_atomically(folder / "table.md", lambda path: path.write_text(text, encoding="utf-8"))
    write_page(folder / "index.html", TEMPLATE, **seeds_page(found, settings.runs, settings.run, settings.data.taxonomy))
    log.info(f"\n{text}")


def gather(settings: Settings, files: RunFiles, results: dict[str, dict]) -> dict:
    """Return all but the verdict that the page shows, by the names of the template. results: by part of the evaluation."""
    where, taxonomy = settings.run, settings.data.taxonomy
    for path in PARTS:
        files.read(path, READERS.get(Path(path).suffix, Path.exists), None)
    return {
        "run": where.relative_to(ROOT) if where.is_relative_to(ROOT) else where.name,
        "lead": f"Seed {settings.seed}. {UNFOLD}",
        "terms": terms(results, taxonomy),
        "pictures": four_pictures(files, results, taxonomy),
        "sections": sections(files, results, settings),
        "links": {path: what for path, what in LINKS.items() if (where / path).exists()},
        "footer": footer(about_data(settings.data.emoset, taxonomy), taxonomy),
        "row_name": row_name,
        "path_in_project": files.named,
        "missing": [(what, COMMANDS[Path(path).parts[0]]) for path, what in PARTS.items() if not (where / path).exists()],
        "unreadable": files.repairs(),  # the last one, for all of the above read files
    }


def sections(files: RunFiles, results: dict[str, dict], settings: Settings) -> list[dict]:
    """Return the sections of the page in their order, each a title with folded parts: a line for each."""
    taxonomy, evaluate = settings.data.taxonomy, settings.evaluate
    found = [
        generation_section(files, results["generation"], evaluate.contents, taxonomy),
        understanding_section(files, results["understanding"], settings.data, evaluate.folder, settings.seed),
        other_data_section(files),
        cross_section(files, results["cross"], taxonomy),
        loop_section(files, taxonomy),
        training_section(files, settings.mining, taxonomy),
        run_section(files, results, settings),
    ]
    return [each for each in found if each]


def footer(data: dict, taxonomy: Taxonomy) -> str:
    """Return what the figures are about, and what the images may be used for. data: as about_data gives it."""
    text = (
        f"The {len(taxonomy)} emotions ({', '.join(taxonomy.emotions)}) are those that annotators saw in the images of"
        f" {data['data']}. A figure here says how well they are met, not what anybody feels."
    )
    licence = f" The images of {data['data']}, and models trained on them, are for research that is not commercial."
    return text + (licence if data["licence"] else "")


if __name__ == "__main__":
    run(main)
