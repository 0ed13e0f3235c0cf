"""What the report shows of the understanding model's answers about generated images."""

from config.taxonomy import Taxonomy
from evaluation.metric_labels import cross_metrics, marked
from evaluation.plans import CURVES
from evaluation.report_parts import part, section
from evaluation.report_tables import by_metric, facts_of, figures_table, fusion_pictures
from evaluation.run_files import RunFiles


def cross_section(files: RunFiles, found: dict, taxonomy: Taxonomy) -> dict | None:
    """Return what the page shows of each half by the other. found: cross.json."""
    path, figures, about = "evaluation/cross.json", found["figures"], found["about"]
    marks = about.get("incomplete", {})
    tables = files.read(path, lambda _: cross_tables(figures, taxonomy, marks), [])
    plots = files.read(path, lambda _: fusion_pictures(figures.get("fusion", {}), "likelihood to the model"), [])
    parts = [
        part("What the figures are about", ("facts", facts_of(files, about, "images"))),
        part("What the understanding model says of generated images", ("tables", tables), ("plots", plots)),
    ]
    return section("cross", "Each by the other", parts, about.get("warnings"))


def cross_tables(figures: dict, taxonomy: Taxonomy, marks: dict[str, str]) -> list[dict]:
    """Return tables of what the understanding model says of generated images: by method, by strength, and by mix."""
    metrics = cross_metrics(taxonomy)
    plain = {row: found for row, found in figures.items() if row not in CURVES}
    strengths = {f"strength {strength}": found for strength, found in figures.get("transfer", {}).items()}
    mixes = {
        pair: {f"weight {weight}": found["judge"] for weight, found in weights.items()}
        for pair, weights in figures.get("fusion", {}).items()
    }
    by_pair = {pair: metrics["judge"]._replace(label=pair) for pair in mixes}
    tables = [
        figures_table(marked(plain, marks), metrics, "What the understanding model says of generated images"),
        figures_table(strengths, metrics, "The same, of an emotion on a content"),
        figures_table(
            by_metric(mixes), by_pair, "Of mixes of two emotions, by the weight of the second: says what the judge says"
        ),
    ]
    return [table for table in tables if table]


def cross_rows(figures: dict) -> dict[str, dict]:
    """Return the figures of cross.json by row, each strength, and each mix of two emotions, being a row of its own."""
    rows = {row: found for row, found in figures.items() if row not in CURVES}
    rows |= {f"transfer, strength {strength}": found for strength, found in figures.get("transfer", {}).items()}
    for pair, weights in figures.get("fusion", {}).items():
        rows |= {f"{pair}, weight {weight}": found for weight, found in weights.items()}
    return rows
