"""What the report shows of the loop: figures of all rows, what they gain in pairs, and images of the same noise."""

from config.taxonomy import Taxonomy
from evaluation.metric_labels import generation_metrics
from evaluation.report_parts import part, section
from evaluation.report_tables import differences_table, figures_table, image_strip
from evaluation.run_files import Figure, Result, RunFiles, checked
from runtime.figures import Metric

SHOWN = 4  # images of each emotion and row
MEASURED = ("joint_accuracy", "emotion_accuracy", "content_accuracy", "semantic_clarity", "attribute_entropy", "kid")
OWN = {
    "least_attribute_entropy": Metric("Attribute entropy, least", "↑", "that of the emotion with the least"),
    "reward": Metric("Reward", "↑", "what was rewarded, and so no measure of the rows that it has chosen or trained"),
}
TAUGHT = {
    "accuracy": Metric("Emotion named", "↑", "real images whose likeliest emotion is the true one"),
    "hard_cells_accuracy": Metric("Of hard cells", "↑", "the same, of attributes whose emotion is hard to tell"),
}


class Found(Result):
    """metrics.json or teaching.json of the loop."""

    figures: dict[str, dict[str, Figure]]
    paired: dict[str, dict[str, Figure]]


def loop_section(files: RunFiles, taxonomy: Taxonomy) -> dict | None:
    """Return what the page shows of the loop; None where nothing was measured."""
    parts = []
    if found := files.read("loop/metrics.json", lambda file: checked(file, Found), None):
        all_metrics, about, figures = generation_metrics(taxonomy), found["about"], found["figures"]
        metrics = {name: all_metrics[name] for name in MEASURED} | OWN
        base = "control" if "control" in figures else "untouched"
        gains = {pair: own for pair, own in found["paired"].items() if pair.endswith(f" - {base}")}
        tables = [
            figures_table(figures, metrics, "The loop, by a judge that it never saw"),
            differences_table(gains, metrics, f"More than {base}, image by image"),
        ]
        networks = f"Reward: {about['reward'].split()[0]}. Gate: {about['gate']}. Judge: {about['judge']}."
        note = f"{networks} {about['n']:,} images a row, seed {about['seed']}."
        rows = [row for row in ("untouched", "control", "reward") if row in figures]
        sheets = {emotion: strips for emotion in taxonomy.emotions if (strips := sheets_of(files, rows, emotion))}
        parts.append(part("Understanding rewards the generator", ("tables", shown_of(tables)), note=note))
        parts.append(part("Images of the same noise, before and after", ("sheets", sheets)))
    if found := files.read("loop/teaching.json", lambda file: checked(file, Found), None):
        tables = [
            figures_table(found["figures"], TAUGHT, "Understanding that generated images have taught"),
            differences_table(found["paired"], TAUGHT, "The same, image by image"),
        ]
        parts.append(part("Generated images teach understanding", ("tables", shown_of(tables))))
    return section("loop", "The loop", parts)


def shown_of(tables: list[dict | None]) -> list[dict]:
    """Return the tables that there are."""
    return [table for table in tables if table]


def sheets_of(files: RunFiles, rows: list[str], emotion: str) -> list[dict]:
    """Return a strip of the first images of an emotion for each row; all rows start from the same noise."""
    strips = []
    for row in rows:
        opened = map(files.image, sorted((files.run / "loop/images" / row / "0" / emotion).glob("[!.]*.png"))[:SHOWN])
        if images := [image for image in opened if image]:
            strips.append(image_strip(images, SHOWN, f"{len(images)} images of {emotion}: {row}", row))
    return strips
