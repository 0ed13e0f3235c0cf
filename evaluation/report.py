"""Write the report of a run: one page that opens without a network, and a Markdown table for a paper's appendix.

    python evaluation/report.py --config config/demo.yaml

Reads what the other scripts have left in the run folder, of either half alone too; what is not there it names, with the
command that makes it. Writes `<run>/report/`: index.html, which holds its pictures and plots, and table.md.
evaluation/evaluate.py does the same at its end.
"""

import sys
from pathlib import Path

try:
    from config.errors import UserError
from config.loading import dump
    from runtime.files import write_atomically
    from runtime.run_folder import log, open_run_folder
    from runtime.script import run
    from emoset.labels import EMOTIONS
    from config.section import ROOT
    from config.settings import Settings
except ModuleNotFoundError as missing:
    sys.exit(f"error: {missing.name} is not installed; in the project's folder: pip install -r requirements.txt -e .")

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
# The metrics of the summary.
HEADLINES = {
    "generation": [
        ("emotion_accuracy", "Images that show the intended emotion (Emo-A)"),
        ("kid", "Distance to real images (KID)"),
    ],
    "understanding": [
        ("multiple_balanced_accuracy", "Eight-way accuracy, balanced"),
        ("multiple_forced_balanced_accuracy", "Forced choice of eight, balanced"),
        ("binary_balanced_accuracy", "Binary accuracy, balanced"),
        ("misleading_auroc", "Misleading questions, AUROC"),
    ],
}
# Those of them that a script says at its end.
PRINTED = (
    "emotion_accuracy",
    "multiple_balanced_accuracy",
    "multiple_forced_balanced_accuracy",
    "binary_balanced_accuracy",
    "misleading_auroc",
)


def main(settings: Settings) -> None:
    if all(not (settings.run / path).exists() for path, *_ in PARTS):
        raise UserError(f"{settings.run}: no run to report on; name one with run=..., or with the --config that it had")
    open_run_folder(settings, "report")
    write_report(settings)


def write_report(settings: Settings) -> None:
    """Write `<run>/report/index.html` and table.md from what the run folder holds."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = settings.run / "report"
    folder.mkdir(parents=True, exist_ok=True)
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = templates.get_template("report.html.jinja").render(**gather(settings))
    write_atomically(folder / "index.html", lambda path: path.write_text(page, encoding="utf-8"))
    table = appendix(settings.run)
    write_atomically(folder / "table.md", lambda path: path.write_text(table, encoding="utf-8"))
    tell(settings)


def tell(settings: Settings) -> None:
    """Say where the report is, and the figures that matter: each with what it started from, its n and 95 % interval."""
    from evaluation.metric_labels import interval, value
    from evaluation.report_sections import read_json

    page = settings.run / "report" / "index.html"
    log.info(f"\nThe report: {page.relative_to(ROOT) if page.is_relative_to(ROOT) else page}")
    for half, first, last in (("generation", "prompt_only", "ours"), ("understanding", "before", "after")):
        rows = (read_json(settings.run / "evaluation" / f"{half}.json") or {"figures": {}})["figures"]
        if last not in rows:
            continue
        rows = {row: rows[row].get("corrected", rows[row]) for row in (first, last) if row in rows}
        for metric, title in HEADLINES[half]:
            if metric in PRINTED and metric in rows[last]:
                was = f"{value(rows[first][metric])} -> " if metric in rows.get(first, {}) else ""
                now = rows[last][metric]
                log.info(f"  {title}: {was}{value(now)} ({interval(now)}), n = {now['n']:,}")


def gather(settings: Settings) -> dict:
    """Return everything that the page shows, by the names of the template."""
    # Imported here, so that --help and an error in the config answer at once.
    from evaluation import report_provenance as provenance
    from evaluation import report_sections as sections
    from evaluation.metric_labels import GENERATION, UNDERSTANDING, interval, value

    where = settings.run
    evaluated = where / "evaluation"
    generation = sections.read_json(evaluated / "generation.json") or {"about": {}, "figures": {}}
    understanding = sections.read_json(evaluated / "understanding.json") or {"about": {}, "figures": {}}
    cross = sections.read_json(evaluated / "cross.json") or {"about": {}, "figures": {}}
    parts = {"generation": generation, "understanding": understanding, "cross": cross}
    rows, asked = generation["figures"], understanding["figures"]
    corrected = {row: found["corrected"] for row, found in rows.items()}
    published = {row: found["emogen"] for row, found in rows.items() if found["emogen"]}
    methods, models = [row for row in rows if row != "transfer"], understanding["about"].get("models", {})
    return {
        "run": where.relative_to(ROOT) if where.is_relative_to(ROOT) else where.name,
        "seed": settings.seed,
        "missing": [(what, command) for path, what, command in PARTS if not (where / path).exists()],
        "value": value,
        "interval": interval,
        "row_name": sections.row_name,
        "path_in_project": lambda name: str(name).removeprefix(f"{where}/").removeprefix(f"{ROOT}/"),
        "headlines": HEADLINES,
        "corrected": sections.by_metric({row: corrected[row] for row in methods}),
        "asked": sections.by_metric(asked),
        "generation": generation,
        "warnings": generation["about"].get("warnings", {}),
        "sheets": sections.contact_sheets(where, methods),
        "transfers": sections.transfer_strips(evaluated / "images" / "transfer", settings.evaluate.contents),
        "fusions": sections.fusion_strips(evaluated / "images" / "fusion"),
        "curves": sections.curve_pictures(sections.read_json(evaluated / "curves.json") or {}),
        "generation_bars": sections.bars({row: corrected[row] for row in methods}, GENERATION),
        "generation_by_emotion": sections.generation_by_emotion({row: rows[row]["by_emotion"] for row in methods}),
        "generation_tables": [
            sections.figures_table(corrected, GENERATION, "Corrected: as it should be measured"),
            sections.figures_table(published, GENERATION, "emogen: as EmoGen's code measures, fault for fault"),
        ],
        "generation_confusions": sections.confusion_tables(evaluated, methods, "confusion-generation-", "intended"),
        "understanding": understanding,
        "understanding_bars": sections.bars(asked, UNDERSTANDING),
        "understanding_by_emotion": sections.understanding_by_emotion(asked),
        "understanding_table": sections.figures_table(asked, UNDERSTANDING, "Understanding"),
        "understanding_confusions": sections.confusion_tables(evaluated, list(asked), "confusion-", "true"),
        "hard": sections.hard_images(where, list(models), settings),
        "mining": sections.mining_table(where, settings),
        "cross": cross,
        "cross_tables": sections.cross_tables(cross["figures"]),
        "cross_curves": sections.fusion_pictures(cross["figures"].get("fusion", {}), "likelihood to the model"),
        "training_curves": sections.training_curves(where),
        "samples": sections.training_samples(where),
        "config": dump(settings),
        "differences": provenance.differences(where, settings),
        "versions": provenance.versions(where),
        "times": provenance.times(where),
        "seconds": provenance.seconds(where, {name: part["about"] for name, part in parts.items() if part["about"]}),
    }


def appendix(where: Path) -> str:
    """Return the figures as Markdown: the table that papers print, in each of the two columns, and then all of them."""
    import pandas as pd

    from evaluation.metric_labels import CROSS, GENERATION, PUBLISHED, UNDERSTANDING, Metric, interval, value
    from evaluation.report_sections import read_json, row_name

    def cell(figure: dict | None) -> str:
        return f"{value(figure)} ({interval(figure)}; n = {figure['n']:,})" if figure else ""

    def long_table(figures: dict, metrics: dict, first: str) -> str:
        cells = [
            (row_name(row), metric.label, cell(found[name]))
            for row, found in figures.items()
            for name, metric in metrics.items()
            if name in found
        ]
        return pd.DataFrame(cells, columns=[first, "metric", "value"]).to_markdown(index=False)

    parts = []
    generation, understanding, cross = (
        read_json(where / "evaluation" / f"{part}.json") for part in ("generation", "understanding", "cross")
    )
    if generation:
        about = generation["about"]
        for column, meaning in {
            "emogen": "as EmoGen's code computes",
            "corrected": "as docs/metrics.md corrects it",
        }.items():
            figures = {row: found[column] for row, found in generation["figures"].items() if "fid" in found[column]}
            table = {
                f"{GENERATION[name].label} {GENERATION[name].better}": [
                    value(found[name]) if name in found else "" for found in figures.values()
                ]
                for name in PUBLISHED
            }
            table["n"] = [f"{found['fid']['n']:,}" for found in figures.values()]
            table = pd.DataFrame(table, index=[row_name(row) for row in figures]).to_markdown(disable_numparse=True)
            parts.append(f"Generated images, {meaning}; seed {about['seed']}.\n\n{table}\n")
        table = [
            (row_name(row), metric.label, cell(found["corrected"].get(name)), cell(found["emogen"].get(name)))
            for row, found in generation["figures"].items()
            for name, metric in GENERATION.items()
            if name in found["corrected"]
        ]
        table = pd.DataFrame(table, columns=["images", "metric", "corrected", "emogen"]).to_markdown(index=False)
        parts.append(f"The same with intervals, and more.\n\n{table}\n")
    if understanding:
        about = understanding["about"]
        table = long_table(understanding["figures"], UNDERSTANDING, "model")
        parts.append(f"Understanding, split {about['split']}; seed {about['seed']}.\n\n{table}\n")
    if cross:
        likelihoods = {emotion: Metric(f"Likelihood of {emotion}", "", "") for emotion in EMOTIONS}
        table = long_table(cross_rows(cross["figures"]), CROSS | likelihoods, "images")
        parts.append(f"What the understanding model says of the images; seed {cross['about']['seed']}.\n\n{table}\n")
    return "\n".join([*parts, "In parentheses: 95 % interval, and n.\n"]) if parts else "Nothing has been evaluated yet.\n"


def cross_rows(figures: dict) -> dict[str, dict]:
    """Return the figures of cross.json by row, each strength, and each mix of two emotions, being a row of its own."""
    rows = {row: found for row, found in figures.items() if row not in ("transfer", "fusion")}
    rows |= {f"transfer, strength {strength}": found for strength, found in figures.get("transfer", {}).items()}
    for pair, weights in figures.get("fusion", {}).items():
        rows |= {f"{pair}, weight {weight}": found for weight, found in weights.items()}
    return rows


if __name__ == "__main__":
    run(main, __doc__)
