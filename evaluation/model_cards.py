"""What an evaluation found, written into the model cards of the run's own generator and understanding model."""

from pathlib import Path

from config.section import ROOT
from config.taxonomy import Taxonomy
from evaluation.metric_labels import generation_metrics, markdown_table, marked, told_judges
from runtime.figures import Metric
from runtime.files import write_atomically
from understanding.scoring import metrics

HEADING = "\n## Evaluation\n"  # the last section of a card


def write_cards(run: Path, taxonomy: Taxonomy, generated: dict | None, understood: dict | None) -> None:
    """Put the figures of each half that was measured into its card in the run folder, in place of older ones.

    generated and understood: what generation.json and understanding.json hold. Models that lie elsewhere than in the run
    folder get no figures.
    """
    model = run / "understanding" / "model"
    if generated and "ours" in generated["figures"]:
        judges, n = generated["about"]["content_judges"], generated["about"]["n"]["ours"]
        rows = {row: each["corrected"] for row, each in generated["figures"].items() if each["corrected"]}
        what = f"n = {n:,} generated images. The content is told by {told_judges(judges)}."
        _add(run / "generator", generated["about"], rows, generation_metrics(taxonomy, judges), what)
    # Models of the project are named below its root, and those of the user from the working folder.
    names = understood["about"]["models"].values() if understood else []
    if model.resolve() in {(place / name).resolve() for name in names for place in (ROOT, Path())}:
        what = f"n = {understood['about']['n']:,} images."
        _add(model, understood["about"], understood["figures"], metrics(taxonomy), what)


def _add(folder: Path, about: dict, rows: dict[str, dict], named: dict[str, Metric], what: str) -> None:
    card = folder / "README.md"
    if not card.is_file():
        return
    text, _, _ = card.read_text(encoding="utf-8").partition(HEADING)
    table = markdown_table(marked(rows, about["incomplete"]), named)
    images = about["split"] if about["split"].startswith("folder ") else f"the {about['split']} split"
    told = f"`evaluation/evaluate.py` measured this on {images}, seed {about['seed']}, {what}"
    section = f"{HEADING}\n{told} Each figure stands with its 95 % interval.\n\n{table}\n"
    write_atomically(card, lambda beside: beside.write_text(text + section, encoding="utf-8"))
