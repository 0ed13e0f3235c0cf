"""report/metrics.json: the figures of a run in one file, for programs that read them (make demo's contract)."""

from pathlib import Path

from evaluation.report_provenance import seconds_of
from evaluation.run_files import RunFiles
from runtime.files import write_json
from runtime.run_folder import log


def write_metrics(run: Path, seed: int, generated: dict | None, understood: dict | None, crossed: dict | None) -> None:
    """Write `<run>/report/metrics.json`, from what each of the halves that there are has found.

    generation: the corrected figures by row. understanding: by row. paired: what generators have more than the prompt of
    the same contents from the same noise, and what the last model has more than each other row on the same questions, as
    {"value", "low", "high", "n", "fixed", "broken", "p"}. incomplete: by
    part, the rows whose means are over fewer emotions than those of others, and over which. seconds: of each stage of the
    run folder, and of each part of the evaluation. images: how many each method has; without a generator, how many the
    questions are about.
    """
    parts = {"generation": generated, "understanding": understood, "cross": crossed}
    about = {name: part["about"] for name, part in parts.items() if part}
    images = {row: n for row, n in about["generation"]["n"].items() if row in generated["figures"]} if generated else {}
    images.pop("transfer", None)
    content = {
        "generation": {row: each["corrected"] for row, each in generated["figures"].items()} if generated else {},
        "understanding": understood["figures"] if understood else {},
        "paired": {name: part["paired"] for name, part in parts.items() if part and name != "cross"},
        "incomplete": {name: each["incomplete"] for name, each in about.items() if each.get("incomplete")},
        "seconds": seconds_of(RunFiles(run), about),
        "images": max(images.values()) if generated else about["understanding"]["n"],
        "seed": seed,
    }
    folder = run / "report"
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "metrics.json", content)
    log.info(f"wrote {', '.join(f'evaluation/{name}.json' for name in about)} and report/metrics.json")
