"""Write the report of a run: one page that opens without a network, and a Markdown table for a paper's appendix.

    python evaluation/report.py --config config/demo.yaml

The page shows what the other scripts have left in the run folder, of one half alone too. It names what is missing, with the
command that makes it. `<run>/report/` gets index.html, which holds its pictures and plots, and table.md.
evaluation/evaluate.py writes the same report at its end.
"""

from runtime.script import read_settings, run

READS = ("data.emoset", "data.taxonomy", "mining.lowest", "mining.highest", "evaluate.contents", "evaluate.folder")
read_settings(__name__, __doc__, *READS)

from pathlib import Path

from config.errors import UserError
from config.loading import dump
from config.section import ROOT
from config.settings import Settings
from config.taxonomy import Taxonomy
from emoset.model_card import about_data
from evaluation import report_provenance as provenance
from evaluation.metric_labels import interval, row_name, value
from evaluation.report_appendix import appendix
from evaluation.report_cross import cross_part
from evaluation.report_generation import generation_part
from evaluation.report_training import training_part
from evaluation.report_understanding import headline_metrics, understanding_part
from runtime.files import read_json, write_atomically
from runtime.page import write_page
from runtime.run_folder import log, open_run_folder

TEMPLATE = Path(__file__).parent / "report.html.jinja"
# What a run may hold, in the order of the work: a file that tells of it, what it is, and what makes it.
PARTS = (
    ("balance/balanced.parquet", "the balanced set", "python training/dataset_balance.py"),
    ("generator/generator.json", "a generator", "accelerate launch training/main.py"),
    ("mining/errors.parquet", "hard training images", "python understanding/mining.py"),
    ("understanding/model", "an understanding model", "accelerate launch understanding.py"),
    ("evaluation/generation.json", "figures of generated images", "python evaluation/evaluate.py"),
    ("evaluation/understanding.json", "figures of the understanding model", "python evaluation/evaluate.py"),
    ("evaluation/cross.json", "what the understanding model says of generated images", "python evaluation/evaluate.py"),
)
HEADLINES = {  # of generated images, in the summary; those of answers follow from the kinds of question
    "emotion_accuracy": "Images that show the intended emotion (Emo-A)",
    "kid": "Distance to real images (KID)",
}


def main(settings: Settings) -> None:
    if all(not (settings.run / path).exists() for path, *_ in PARTS):
        raise UserError(f"{settings.run}: no run to report on; name one with run=..., or with the --config that it had")
    open_run_folder(settings, "report")
    write_report(settings)


def write_report(settings: Settings) -> None:
    """Write `<run>/report/index.html` and table.md from what the run folder holds, and log what matters most."""
    page, table = (settings.run / "report" / name for name in ("index.html", "table.md"))
    write_page(page, TEMPLATE, **gather(settings))
    text = appendix(settings.run, settings.data.taxonomy)
    write_atomically(table, lambda path: path.write_text(text, encoding="utf-8"))
    log.info(f"\nThe report: {page.relative_to(ROOT) if page.is_relative_to(ROOT) else page}")
    log_headlines(settings.run, settings.data.taxonomy)


def log_headlines(where: Path, taxonomy: Taxonomy) -> None:
    """Log the figures that matter: each with what it started from, its n and 95 % interval."""
    headlines = {"emotion_accuracy": HEADLINES["emotion_accuracy"]} | headline_metrics(taxonomy)
    for half, first, last in (("generation", "prompt_only", "ours"), ("understanding", "before", "after")):
        rows = (read_json(where / "evaluation" / f"{half}.json") or {"figures": {}})["figures"]
        if last not in rows:
            continue
        rows = {row: rows[row].get("corrected", rows[row]) for row in (first, last) if row in rows}
        for metric, title in headlines.items():
            if metric in rows[last]:
                was = f"{value(rows[first][metric])} -> " if metric in rows.get(first, {}) else ""
                now = rows[last][metric]
                log.info(f"  {title}: {was}{value(now)} ({interval(now)}), n = {now['n']:,}")


def gather(settings: Settings) -> dict:
    """Return everything that the page shows, by the names of the template."""
    where, taxonomy, evaluate = settings.run, settings.data.taxonomy, settings.evaluate
    nothing = {"about": {}, "figures": {}}
    parts = {
        name: read_json(where / "evaluation" / f"{name}.json") or nothing
        for name in ("generation", "understanding", "cross")
    }
    return {
        "run": where.relative_to(ROOT) if where.is_relative_to(ROOT) else where.name,
        "seed": settings.seed,
        "emotions": taxonomy.emotions,
        "data": about_data(settings.data.emoset, taxonomy),
        "missing": [(what, command) for path, what, command in PARTS if not (where / path).exists()],
        "value": value,
        "interval": interval,
        "row_name": row_name,
        "path_in_project": lambda name: str(name).removeprefix(f"{where}/").removeprefix(f"{ROOT}/"),
        "headlines": {"generation": HEADLINES, "understanding": headline_metrics(taxonomy)},
        **generation_part(where, parts["generation"], evaluate.contents, taxonomy),
        **understanding_part(where, parts["understanding"], settings.data, evaluate.folder),
        **cross_part(parts["cross"], taxonomy),
        **training_part(where, settings.mining, taxonomy),
        "config": dump(settings),
        "differences": provenance.differences(where, settings),
        "versions": provenance.versions(where),
        "times": provenance.times(where),
        "seconds": provenance.seconds(where, {name: part["about"] for name, part in parts.items() if part["about"]}),
    }


if __name__ == "__main__":
    run(main)
