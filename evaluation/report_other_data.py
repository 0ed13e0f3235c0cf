"""What the report shows of other data sets, read from the run folder: tables for each, and what maps to no name."""

from pathlib import Path

from config.taxonomy import read_taxonomy
from evaluation import mvei, vecbench
from evaluation.metric_labels import marked
from evaluation.other_data import FOLDER, metrics_of
from evaluation.peers import benchmark_peers, with_peers
from evaluation.report_parts import part, section
from evaluation.report_tables import differences_table, figures_table
from evaluation.run_files import Figure, Result, RunFiles, checked
from runtime.figures import Metric

BENCHMARKS = "benchmark"  # the folder of the run folder that holds them


class AboutBenchmark(Result):
    """What the figures of a benchmark are about."""

    name: str
    n: int
    seed: int


class Benchmark(Result):
    """figures.json of a benchmark: by model, and by task or class."""

    about: AboutBenchmark
    figures: dict[str, dict[str, dict[str, Figure]]]


class AboutOther(Result):
    """What the figures of another data set are about. left_out: images, or votes, of each class that maps to nothing."""

    name: str
    n: int
    seed: int
    taxonomy: str
    models: dict[str, str]
    left_out: dict[str, float]
    left_out_unit: str
    incomplete: dict[str, str]


class OtherData(Result):
    """figures.json of another data set."""

    about: AboutOther
    figures: dict[str, dict[str, Figure]]


def other_data_section(files: RunFiles) -> dict | None:
    """Return what the page shows of other data sets and benchmarks, a part for each."""
    found = []
    for folder, shown in {FOLDER: _shown, BENCHMARKS: _shown_benchmark}.items():
        paths = sorted(path.relative_to(files.run).as_posix() for path in files.run.glob(f"{folder}/*/figures.json"))
        found += [files.read(path, shown, None) for path in paths]
    return section("other-data", "Other data sets", found)


def _shown_benchmark(file: Path) -> dict | None:
    found = checked(file, Benchmark)
    about = found["about"]
    metrics = {each.NAME: each.METRICS for each in (vecbench, mvei)}[about["name"]]
    note = f"{about['n']:,} questions of its published file, scored as its own code does, seed {about['seed']}."
    tables = [_table_of_metric(about["name"], name, metric, found["figures"]) for name, metric in metrics.items()]
    return part(about["name"], ("tables", [table for table in tables if table]), note=note)


def _table_of_metric(benchmark: str, name: str, metric: Metric, figures: dict[str, dict]) -> dict | None:
    """Return a table of one metric: a line for each task or class, a column for each model and for each peer."""
    peers = benchmark_peers(benchmark, name)
    tasks = {task: Metric(task, "", "") for own in figures.values() for task in own}
    own = {label: {task: each[name] for task, each in rows.items() if name in each} for label, rows in figures.items()}
    caption = f"{benchmark}, {metric.label} {metric.better}".strip()
    return with_peers(figures_table(own, tasks, f"{caption}: {metric.meaning}"), peers, tasks)


def _shown(file: Path) -> dict | None:
    found = checked(file, OtherData)
    about, taxonomy = found["about"], read_taxonomy(found["about"]["taxonomy"])
    metrics, rows = metrics_of(taxonomy), marked(found["figures"], about["incomplete"])
    left_out = ", ".join(f"{name} ({count:g})" for name, count in about["left_out"].items())
    note = f"{about['n']:,} images, seed {about['seed']}; the models choose from {', '.join(taxonomy.emotions)}."
    if left_out:
        note += f" These {about['left_out_unit']} map to none of the names and are left out: {left_out}."
    gains = differences_table(found.get("paired", {}), metrics, f"What the last model gains on {about['name']}")
    tables = [figures_table(rows, metrics, f"Answers about {about['name']}"), gains]
    return part(about["name"], ("tables", [table for table in tables if table]), note=note)
