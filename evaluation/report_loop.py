"""What the report shows of the loop: figures of all rows, what they gain in pairs, and images of the same noise."""

from collections.abc import Collection

from config.taxonomy import Taxonomy
from evaluation.metric_labels import difference, generation_metrics
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


NETWORKS = {"understanding": "the understanding model", "encoder": "the emotion encoder"}  # by what metrics.json calls them
ROWS = {  # what a row is, by how its name begins
    "untouched": "Untouched is the generator before the loop.",
    "reward": "Reward is the generator after training by the reward.",
    "control": "Control is the generator after as many updates on real images alone.",
    "best of": "Best of n keeps of n images the one that the reward, or else the gate, likes most.",
    "reward, best of": "Reward, best of n keeps so the best of n images of the generator that the reward trained.",
}


class AboutLoop(Result):
    """What metrics.json is about."""

    reward: str
    gate: str
    judge: str | None
    n: int
    seed: int


class AboutTeaching(Result):
    """What teaching.json is about: how many images the generator made, and how many of these taught."""

    made: int
    served: int
    seed: int


class Found(Result):
    """Figures and paired differences, by row or pair and by name."""

    figures: dict[str, dict[str, Figure]]
    paired: dict[str, dict[str, Figure]]


class Loop(Found):
    """metrics.json of the loop."""

    about: AboutLoop


class Teaching(Found):
    """teaching.json of the loop."""

    about: AboutTeaching


def loop_section(files: RunFiles, taxonomy: Taxonomy) -> dict | None:
    """Return what the page shows of the loop; None where nothing was measured."""
    return section("loop", "The loop", [*rewarded(files, taxonomy), taught(files)])


def rewarded(files: RunFiles, taxonomy: Taxonomy) -> list[dict | None]:
    """Return the parts about the generator that a reward trains: figures, and images of the same noise."""
    found = files.read("loop/metrics.json", lambda file: checked(file, Loop), None)
    if not found:
        return []
    all_metrics, figures = generation_metrics(taxonomy), found["figures"]
    metrics = {name: all_metrics[name] for name in MEASURED} | OWN
    trained = [row for row in ("untouched", "control", "reward") if row in figures]
    names = [*trained, *(row for row in figures if row not in trained)]
    order = sorted(names, key=lambda row: row != "reward")
    pairs = [f"{row} - {base_of(row, figures)}" for row in order if row != "untouched"]
    gains = {pair: found["paired"][pair] for pair in pairs if pair in found["paired"]}
    tables = [
        differences_table(gains, metrics, "What is gained, image by image"),
        figures_table({row: figures[row] for row in names}, metrics, "Each row, by the judge"),
    ]
    sheets = {emotion: strips for emotion in taxonomy.emotions if (strips := sheets_of(files, trained, emotion))}
    note = f"{concluded(gains, metrics)} {told_of(found['about'], names)}".strip()
    return [
        part(f"The generator, rewarded by {rewarding(found['about'])}", ("tables", shown_of(tables)), note=note),
        part("Images of the same noise, before and after", ("sheets", sheets)),
    ]


def base_of(row: str, rows: Collection[str]) -> str:
    """Return the row that a row is compared with: what has had the same choice, or as many updates."""
    chosen = row.removeprefix("reward, ")
    if chosen != row and chosen in rows:
        return chosen
    return "control" if row.startswith("reward") and "control" in rows else "untouched"


def taught(files: RunFiles) -> dict | None:
    """Return the part about the understanding model that generated images taught."""
    found = files.read("loop/teaching.json", lambda file: checked(file, Teaching), None)
    if not found:
        return None
    about, own = found["about"], "teach_control"
    figures = {row.replace(own, "control"): each for row, each in found["figures"].items()}
    gains = {pair.replace(own, "control"): each for pair, each in found["paired"].items()}
    note = (
        f"{concluded(gains, TAUGHT)} From the model before, one learned from {about['served']:,} of {about['made']:,}"
        " generated images and from real ones (taught), and one from as many real ones alone (control)."
        f" Seed {about['seed']}."
    )
    tables = [
        differences_table(gains, TAUGHT, "What teaching gains, image by image"),
        figures_table(figures, TAUGHT, "Each model, on real images"),
    ]
    return part("Generated images teach understanding", ("tables", shown_of(tables)), note=note.strip())


def told_of(about: dict, rows: list[str]) -> str:
    """Return in sentences who rewards, who watches and who measures, and what the rows are."""
    judge = about["judge"] or "a probe of CLIP"
    roles = f"Images are rewarded by {rewarding(about)}, {NETWORKS.get(about['gate'], about['gate'])} drops those that it"
    roles += f" disagrees about, and {judge}, which the loop never saw, measures."
    known = " ".join(text for name, text in ROWS.items() if any(row.startswith(name) for row in rows))
    return f"{roles} {known} {about['n']:,} images a row, seed {about['seed']}."


def rewarding(about: dict) -> str:
    """Return what rewards images, in words: a network of the run, or a file of the user's."""
    file, suffix, _ = about["reward"].partition(".py ")
    return f"{file}.py" if suffix else NETWORKS.get(about["reward"].split()[0], about["reward"])


def concluded(gains: dict[str, dict], metrics: dict[str, Metric]) -> str:
    """Return what the first pair says of its first figure, in a sentence; "" where there is none."""
    for pair, apart in gains.items():
        for name in (name for name in metrics if name in apart):
            return f"{metrics[name].label}, {pair}: {difference(apart[name])}."
    return ""


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
