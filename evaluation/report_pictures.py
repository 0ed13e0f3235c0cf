"""The four pictures below the verdict: both halves at a glance, emotion by emotion, and images themselves."""

from collections.abc import Iterable, Mapping

from config.taxonomy import Taxonomy
from evaluation.metric_labels import MEANS, generation_metrics, marked, row_name
from evaluation.plots import dots
from evaluation.report_generation import first_images
from evaluation.report_parts import part
from evaluation.report_tables import by_metric, heat_map
from evaluation.report_understanding import headline_metrics, of_each_emotion
from evaluation.run_files import RunFiles
from runtime.figures import Metric
from understanding.kinds import multiple

OF_IMAGES = ("emotion_accuracy", "content_accuracy", "joint_accuracy", "semantic_clarity")
UNDERSTANDING, GENERATION = "evaluation/understanding.json", "evaluation/generation.json"
FIRST = "The first image of each emotion and method. Nobody selected them."
SEEN = "The share of images in which the judge sees the intended emotion, and of images whose emotion a model names."
SHARES = "Dots are shares from 0 to 1, the farther right the better. Lines are 95 % intervals."


def four_pictures(files: RunFiles, results: Mapping[str, dict], taxonomy: Taxonomy) -> list[dict]:
    """Return the parts that stand open below the verdict, as far as the run has what they show."""
    answered, generated = results["understanding"], results["generation"]
    models, rows = list(answered["about"].get("models", {})), marked(answered["figures"], _marks(answered))
    methods = {row: each for row, each in generated["figures"].items() if row != "transfer"}
    images = marked({row: each["corrected"] for row, each in methods.items()}, _marks(generated))
    felt = {row: by_metric(each.get("by_emotion", {})).get("emotion_accuracy", {}) for row, each in methods.items()}
    of_images = {name: metric for name, metric in generation_metrics(taxonomy).items() if name in OF_IMAGES}

    def emotions() -> dict | None:
        groups = {"the judge sees it in images": marked(felt, _marks(generated))}
        groups["models name it"] = of_each_emotion(rows, multiple, taxonomy)
        return heat_map(groups, taxonomy.emotions, "How often each emotion is seen, with 95 % intervals")

    def of_answers() -> dict | None:
        headlines, note = headline_metrics(answered["figures"], taxonomy), f"{SHARES} {told_rows(rows)}"
        return dot_plot("How well the models answer", rows, headlines, models[-1], note)

    def of_generators() -> dict | None:
        return dot_plot("How good the images are", images, of_images, "ours", f"{SHARES} {told_rows(images)}")

    parts = [
        files.read(UNDERSTANDING, lambda _: of_answers(), None),
        files.read(GENERATION, lambda _: of_generators(), None),
        part("Emotion by emotion", ("heat_map", emotions()), note=SEEN),
        part("The images", ("strips", first_images(files, list(methods), taxonomy.emotions, _marks(generated))), note=FIRST),
    ]
    return [each for each in parts if each]


def _marks(found: dict) -> dict[str, str]:
    return found["about"].get("incomplete", {})


def dot_plot(title: str, rows: Mapping[str, dict], metrics: Mapping[str, Metric], own: str, note: str) -> dict | None:
    """Return a dot plot of some metrics of rows; None where no row has one. own: the row that the run is about."""
    shown = {
        metric.label: {row_name(row): figures[name] for row, figures in rows.items() if name in figures}
        for name, metric in metrics.items()
    }
    shown = {label: each for label, each in shown.items() if each}
    if not shown:
        return None
    chances = {metric.label: metric.chance for metric in metrics.values()}
    return part(title, ("picture", dots(shown, chances, row_name(own), title)), note=note)


def told_rows(rows: Iterable[str]) -> str:
    """Return in a sentence what the rows are that have a name of their own."""
    named = {row.partition(" (")[0] for row in rows}
    meant = [f"{row_name(row)} = {meaning}" for row, meaning in MEANS.items() if row in named]
    return f"Rows: {'; '.join(meant)}." if meant else ""
