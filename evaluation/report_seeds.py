"""The page of several runs that differ by their seed: what holds over all of them."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from config.taxonomy import Taxonomy
from evaluation.metric_labels import difference, generation_metrics, number, pair_name, row_name, value
from evaluation.over_seeds import OWN
from evaluation.report_parts import UNFOLD, part, section
from evaluation.report_pictures import OF_IMAGES, dot_plot, told_rows
from evaluation.report_tables import heat_map, table_of
from evaluation.report_understanding import headline_metrics, of_each_emotion, shown_metrics
from evaluation.verdict import signed, way
from runtime.figures import Metric
from understanding.kinds import multiple

TITLES = {"generation": "Generated images", "understanding": "Understanding"}
BASELINES = ("before", "CLIP, linear probe", "prompt_only", "attribute_prompt")  # that the verdict compares with
RANGES = "Dots are means over the seeds, the farther right the better. Lines lead from the least to the most of them."
TERMS = {
    "+0.100, 0.050 to 0.150": "the mean difference within a seed, and the 95 % interval of that mean (Student's t)",
    "No difference": "the interval holds 0, so the mean difference may be as large as the interval says, or none",
}


def seeds_page(found: dict, runs: Sequence[Path], where: Path, taxonomy: Taxonomy) -> dict:
    """Return what the page of runs shows, by the names of the template.

    found: as over_seeds.figures_of_runs gives it. where: the run folder in whose seeds/ the page lies.
    """
    metrics = {"generation": generation_metrics(taxonomy), "understanding": shown_metrics(found["understanding"], taxonomy)}
    headlines = {
        "generation": {name: metrics["generation"][name] for name in OF_IMAGES},
        "understanding": headline_metrics(found["understanding"], taxonomy),
    }
    there = {half: {name for own in found[half].values() for name in own} for half in OWN}
    headlines = {half: {name: each for name, each in own.items() if name in there[half]} for half, own in headlines.items()}
    links = {"seeds/table.md": "the figures as tables", "seeds/seeds.json": "the figures, for programs"}
    pages = {run.name: run / "report" / "index.html" for run in runs}
    return {
        "run": where.name,
        "lead": f"Seeds {', '.join(map(str, found['seeds']))}, a run each. {UNFOLD}",
        "verdict": [told for half in OWN for told in _sentences(found["paired"][half], headlines[half], len(runs))],
        "terms": {each.label: each.meaning for own in headlines.values() for each in own.values()} | TERMS,
        "pictures": _pictures(found, headlines, taxonomy),
        "sections": [each for half in OWN if (each := _section(half, found, metrics[half]))],
        "links": links | {os.path.relpath(page, where): f"the run {name}" for name, page in pages.items() if page.exists()},
        "footer": f"{len(runs)} runs: {', '.join(run.name for run in runs)}.",
        "row_name": row_name,
        "path_in_project": str,
        "missing": [],
        "unreadable": {},
    }


def _sentences(pairs: Mapping[str, dict], headlines: Mapping[str, Metric], seeds: int) -> Iterator[str]:
    for pair, gains in pairs.items():
        own, _, other = pair.partition(" - ")
        if other not in BASELINES:
            continue
        for sign, said in ((1, "is better than"), (0, "shows no difference from"), (-1, "is worse than")):
            told = [
                f"{metric.label} ({signed(gains[name])})"
                for name, metric in headlines.items()
                if name in gains and way(gains[name]) == sign
            ]
            if told:
                yield f"Over {seeds} seeds {row_name(own)} {said} {row_name(other)} in: {', '.join(told)}."


def _pictures(found: dict, headlines: dict, taxonomy: Taxonomy) -> list[dict]:
    ranges = {
        half: {row: {name: _range(each) for name, each in own.items()} for row, own in found[half].items()} for half in OWN
    }
    named = of_each_emotion(ranges["understanding"], multiple, taxonomy)
    parts = [
        dot_plot(TITLES[half], ranges[half], headlines[half], own, f"{RANGES} {told_rows(ranges[half])}")
        for half, own in OWN.items()
    ]
    heat = heat_map({"models name it": named}, taxonomy.emotions, "How often each emotion is named, with least and most")
    return [each for each in [*parts, part("Emotion by emotion", ("heat_map", heat))] if each]


def _section(half: str, found: dict, metrics: Mapping[str, Metric]) -> dict | None:
    rows = {row_name(row): figures for row, figures in found[half].items()}
    pairs = {pair_name(pair): gains for pair, gains in found["paired"][half].items()}
    means = table_of(rows, metrics, f"{TITLES[half]}: mean, least and most", lambda each: _cell(each, value))
    gains = table_of(pairs, metrics, f"{TITLES[half]}: differences of the same seed", lambda each: _cell(each, difference))
    parts = [
        part("Differences within a seed", ("tables", [gains] if gains else [])),
        part("All figures, with their range over the seeds", ("tables", [means] if means else [])),
    ]
    return section(half, TITLES[half], parts)


def _range(figure: dict) -> dict:
    return figure | {"low": figure["least"], "high": figure["most"]}


def _cell(figure: dict | None, told) -> dict:
    if figure is None:
        return {"value": ""}
    return {"value": told(figure), "note": f"{number(figure['least'])} to {number(figure['most'])}"}
