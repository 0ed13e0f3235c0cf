"""report/table.md: the figures of a run as Markdown, for a paper's appendix."""

from collections.abc import Mapping

import pandas as pd

from config.taxonomy import Taxonomy
from evaluation.metric_labels import (
    PUBLISHED,
    cross_metrics,
    generation_metrics,
    interval,
    likelihood_metrics,
    marked,
    row_name,
    starred,
    told_judges,
    value,
)
from evaluation.peers import Peer, as_published, n_in_words, peers_of
from evaluation.report_cross import cross_rows
from evaluation.run_files import RunFiles
from runtime.figures import Metric
from understanding import scoring

COLUMNS = {"emogen": "as EmoGen's code computes", "corrected": "as docs/metrics.md corrects it"}


def appendix(files: RunFiles, results: dict[str, dict], taxonomy: Taxonomy) -> str:
    """Return the figures as Markdown: the table that papers print, in each of the two columns, and then all of them.

    results: by part of the evaluation. A row whose means are over fewer emotions than those of others says so in its name.
    """
    parts = []
    generation, understanding, cross = (results[part] for part in ("generation", "understanding", "cross"))
    if generation["figures"]:
        metrics = generation_metrics(taxonomy)
        parts += files.read("evaluation/generation.json", lambda _: _generation_tables(generation, metrics, taxonomy), [])
    if understanding["figures"]:
        about = understanding["about"]
        rows = marked(understanding["figures"], about.get("incomplete", {}))
        table = _long_table(rows, scoring.metrics(taxonomy), "model", peers_of("understanding", taxonomy))
        parts.append(f"Understanding, split {about['split']}; seed {about['seed']}.\n\n{table}\n")
    if cross["figures"]:
        parts += files.read("evaluation/cross.json", lambda _: [_cross_table(cross, taxonomy)], [])
    if not parts:
        return "Nothing has been evaluated yet.\n"
    sources = _sources(taxonomy)
    told = ["Other judge, other images: figures that others have published, as read there.\n"] if sources else []
    return "\n".join([*parts, "In parentheses: 95 % interval, and n.\n", *told, "".join(sources)])


def _cross_table(cross: dict, taxonomy: Taxonomy) -> str:
    metrics, about = cross_metrics(taxonomy) | likelihood_metrics(taxonomy), cross["about"]
    table = _long_table(marked(cross_rows(cross["figures"]), about.get("incomplete", {})), metrics, "images")
    return f"What the understanding model says of the images; seed {about['seed']}.\n\n{table}\n"


def _generation_tables(generation: dict, metrics: dict[str, Metric], taxonomy: Taxonomy) -> list[str]:
    """Return the published table in each of the two columns, and one of every figure with its interval."""
    parts, about = [], generation["about"]
    rows, seed = marked(generation["figures"], about.get("incomplete", {})), about["seed"]
    for column, meaning in COLUMNS.items():
        figures = {row: found[column] for row, found in rows.items() if "fid" in found[column]}
        warnings = about.get("not_emogen", {}) if column == "emogen" else {}
        table = {
            f"{metrics[name].label} {metrics[name].better}": [
                value(found[name]) + (" *" if name in warnings else "") if name in found else ""
                for found in figures.values()
            ]
            for name in PUBLISHED
        }
        table["n"] = [f"{found['fid']['n']:,}" for found in figures.values()]
        table = pd.DataFrame(table, index=[row_name(row) for row in figures])
        if column == "emogen":
            table = pd.concat([table, _peers(peers_of("generation", taxonomy), table.columns)])
        table = table.to_markdown(disable_numparse=True)
        stars = starred({name: warnings[name] for name in PUBLISHED if name in warnings}, metrics)
        parts.append(f"Generated images, {meaning}; seed {seed}.\n\n{table}{stars}\n")
    cells = [
        (row_name(row), metric.label, _cell(found["corrected"].get(name)), _cell(found["emogen"].get(name)))
        for row, found in rows.items()
        for name, metric in metrics.items()
        if name in found["corrected"]
    ]
    table = pd.DataFrame(cells, columns=["images", "metric", "corrected", "emogen"]).to_markdown(index=False)
    told = told_judges(about.get("content_judges", {}))
    return [*parts, f"The same with intervals, and more; content is told by {told}.\n\n{table}\n"]


def _peers(peers: dict[str, Peer], columns: pd.Index) -> pd.DataFrame:
    """Return what others have published as rows of the published table."""
    rows = [
        [
            *(as_published(peer.figures[name]) if name in peer.figures else "" for name in PUBLISHED),
            n_in_words(peer.n_of("fid")),
        ]
        for peer in peers.values()
    ]
    return pd.DataFrame(rows, columns=columns, index=list(peers))


def _sources(taxonomy: Taxonomy) -> list[str]:
    """Return where the figures of others were read, in a line for each."""
    peers = peers_of("generation", taxonomy) | peers_of("understanding", taxonomy)
    return [f"- {name}: {peer.source}, {peer.note}\n" for name, peer in peers.items()]


def _long_table(
    rows: dict[str, dict], metrics: dict[str, Metric], first: str, peers: Mapping[str, Peer] | None = None
) -> str:
    cells = [
        (row_name(row), metric.label, _cell(found[name]))
        for row, found in rows.items()
        for name, metric in metrics.items()
        if name in found
    ]
    for name, peer in (peers or {}).items():
        cells += [
            (name, metrics[each].label, f"{as_published(of)} ({n_in_words(peer.n_of(each))})")
            for each, of in peer.figures.items()
        ]
    return pd.DataFrame(cells, columns=[first, "metric", "value"]).to_markdown(index=False)


def _cell(figure: dict | None) -> str:
    return f"{value(figure)} ({interval(figure)}; n = {figure['n']:,})" if figure else ""
