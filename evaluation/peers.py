"""What others have published, as rows of their own in the report's tables: marked, with their n, and with a source each.

The figures stand in peers.yaml, the only place where they are written. They are shown where the emotions are those of its
taxonomy. Of generated images they stand in the column `emogen` alone, which measures as theirs were measured.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict

from config.decimal_yaml import Loader
from config.taxonomy import Taxonomy, TaxonomyFile
from runtime.figures import Metric

FILE = Path(__file__).with_name("peers.yaml")
MARKS = {"generation": "other judge", "understanding": "other images"}  # what keeps a row from comparing to the last digit


class Published(BaseModel):
    """What keeps its form in each list: who published, and where it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str
    source: str
    note: str


class Peer(Published):
    """Figures by metric, or of one metric by task. n: how many images, or questions, each is of; None: not stated."""

    figures: dict[str, float]
    n: int | dict[str, int] | None

    def n_of(self, name: str) -> int | None:
        """Return the n of a figure."""
        return self.n.get(name) if isinstance(self.n, dict) else self.n


class BenchmarkPeer(Published):
    """Figures by task, or class, and metric. n: by task, where it is stated."""

    figures: dict[str, dict[str, float]]
    n: dict[str, int]


class Peers(BaseModel):
    """peers.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    taxonomy: TaxonomyFile
    generation: list[Peer]
    understanding: list[Peer]
    benchmarks: dict[str, list[BenchmarkPeer]]


@cache
def read_peers() -> Peers:
    """Return what peers.yaml holds."""
    return Peers.model_validate(yaml.load(FILE.read_text(encoding="utf-8"), Loader))


def peers_of(part: str, taxonomy: Taxonomy) -> dict[str, Peer]:
    """Return the peers of generation or understanding by their marked names; {} where they are about other emotions."""
    peers = read_peers()
    if peers.taxonomy.emotions != taxonomy.emotions:
        return {}
    return {f"{each.method} ({MARKS[part]})": each for each in getattr(peers, part)}


def with_peers(table: dict | None, peers: Mapping[str, Peer], metrics: Mapping[str, Metric]) -> dict | None:
    """Return a table of the report (report_tables.figures_table) with a column for each peer and its sources below."""
    if not table or not peers:
        return table
    names = {f"{metric.label} {metric.better}".strip(): name for name, metric in metrics.items()}
    rows = [
        row | {"cells": [*row["cells"], *(_cell(peer, names[row["name"]]) for peer in peers.values())]}
        for row in table["rows"]
    ]
    sources = [{"name": name, "note": peer.note, "address": peer.source} for name, peer in peers.items()]
    return table | {"columns": [*table["columns"], *peers], "rows": rows, "sources": sources}


def benchmark_peers(benchmark: str, metric: str) -> dict[str, Peer]:
    """Return what others have published of one metric of a benchmark, by task or class."""
    found = {f"{each.method} (published)": each for each in read_peers().benchmarks.get(benchmark, [])}
    return {
        name: Peer(
            **each.model_dump(include={"method", "source", "note", "n"}),
            figures={task: own[metric] for task, own in each.figures.items() if metric in own},
        )
        for name, each in found.items()
        if any(metric in own for own in each.figures.values())
    }


def as_published(value: float) -> str:
    """Return a figure with the digits that were published, up to four."""
    return f"{value:.4g}"


def n_in_words(n: int | None) -> str:
    """Return a peer's n as tables show it."""
    return "n not stated" if n is None else f"n {n:,}"


def _cell(peer: Peer, name: str) -> dict:
    if name not in peer.figures:
        return {"value": ""}
    return {"value": as_published(peer.figures[name]), "note": n_in_words(peer.n_of(name))}
