"""Several runs that differ by their seed: means, ranges and intervals over the seeds, and paired differences."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from config.errors import UserError
from config.taxonomy import Taxonomy
from evaluation.metric_labels import difference, generation_metrics, number, pair_name, row_name, value
from runtime.figures import Metric, figure
from runtime.files import read_json
from runtime.recipe import RECIPE, read_recipe
from runtime.run_folder import log
from understanding import scoring

OWN = {"generation": "ours", "understanding": "after"}  # the rows that a run is about
WHAT_FIGURES_ARE_OF = ("evaluate.split", "evaluate.judge")  # the same in runs that differ by their seed


def figures_of_runs(runs: Sequence[Path]) -> dict[str, dict]:
    """Return the figures of runs by half, row and metric, and of each half `paired`: the run's own row less each other.

    Each is as over_seeds gives it. A row or a figure that some run lacks is left out. Raises UserError for a single run,
    where a run has no report, where two have the same seed, and where they measured other splits or by other judges.
    """
    if len(runs) < 2:
        raise UserError("runs: one run is no sample of seeds; name two or more, separated by commas")
    read = [_metrics_of(run) for run in runs]
    seeds = [found["seed"] for found in read]
    for seed in seeds:
        same = [str(run) for run, own in zip(runs, seeds, strict=True) if own == seed]
        if len(same) > 1:
            raise UserError(
                f"runs: {' and '.join(same)} have the same seed, {seed}, so they say the same; name runs of others"
            )
    _check_alike(runs)
    found = {"seeds": seeds, "paired": {}}
    for half, own in OWN.items():
        without = [str(run) for run, each in zip(runs, read, strict=True) if not each[half]]
        if without and len(without) < len(runs):
            log.warning(f"runs: {', '.join(without)} {'has' if len(without) == 1 else 'have'} no {half}; it is left out")
        values = {row: _values(row, [run[half] for run in read]) for row in read[0][half]}
        found[half] = {row: {name: over_seeds(each) for name, each in own.items()} for row, own in values.items() if own}
        found["paired"][half] = {
            f"{own} - {row}": {
                name: over_seeds(values[own][name] - each) for name, each in other.items() if name in values[own]
            }
            for row, other in values.items()
            if row != own and other and own in values
        }
    return found


def over_seeds(values: np.ndarray) -> dict:
    """Return the mean of the values (n,) of n seeds, its 95 % interval by Student's t, and their range.

    >>> found = over_seeds(np.array([0.8, 0.9, 1.0]))
    >>> "{value:.2f} ({low:.2f} to {high:.2f}), from {least} to {most}, n = {n}".format(**found)
    '0.90 (0.65 to 1.15), from 0.8 to 1.0, n = 3'
    """
    n, mean = len(values), values.mean()
    half = stdtrit(n - 1, 0.975) * values.std(ddof=1) / np.sqrt(n)
    ends = {"least": float(values.min()), "most": float(values.max()), "values": values.tolist()}
    return figure(mean, mean - half, mean + half, n) | ends


def markdown(found: dict, taxonomy: Taxonomy) -> str:
    """Return the figures of runs (figures_of_runs) as Markdown tables: those of each half, and its differences."""
    parts = [f"Seeds {', '.join(map(str, found['seeds']))}. Mean (least to most) of the seeds.\n"]
    for half, metrics in (("generation", generation_metrics(taxonomy)), ("understanding", scoring.metrics(taxonomy))):
        parts.append(_table({row_name(row): each for row, each in found[half].items()}, metrics, told))
        parts.append(_table({pair_name(pair): each for pair, each in found["paired"][half].items()}, metrics, difference))
    parts.append("Differences are of the same seed. In parentheses: the 95 % interval of their mean, by Student's t.\n")
    return "\n".join(part for part in parts if part)


def told(figure: dict) -> str:
    """Return a figure over seeds as people read it."""
    return f"{value(figure)} ({number(figure['least'])} to {number(figure['most'])})"


def _metrics_of(run: Path) -> dict:
    path = run / "report" / "metrics.json"
    if not path.exists():
        raise UserError(f"runs: {path} is not there; run evaluation/evaluate.py with run={run}")
    found = read_json(path)
    if lacking := [name for name in ("seed", *OWN) if name not in found]:
        raise UserError(f"runs: {path} lacks {', '.join(lacking)}; run evaluation/evaluate.py with run={run} again")
    return found


def _check_alike(runs: Sequence[Path]) -> None:
    """Raise UserError where runs were evaluated on another split than the first, or by another judge."""
    recipes = {run: read_recipe(run / "evaluation" / RECIPE) for run in runs}
    settings = {run: recipe["settings"] for run, recipe in recipes.items() if recipe}
    first = next(iter(settings), None)
    for run in settings:
        for key in WHAT_FIGURES_ARE_OF:
            was, now = (json.dumps(settings[each].get(key)) for each in (first, run))
            if was != now:
                raise UserError(
                    f"runs: {first} was evaluated with {key}={was}, and {run} with {key}={now}; name runs that differ by"
                    " their seed alone"
                )


def _values(row: str, runs: Sequence[dict]) -> dict[str, np.ndarray]:
    """Return the values (n,) of the figures that all n runs have of a row."""
    if any(row not in run for run in runs):
        return {}
    shared = [name for name in runs[0][row] if all(name in run[row] for run in runs)]
    return {name: np.array([run[row][name]["value"] for run in runs]) for name in shared}


def _table(columns: dict[str, dict], metrics: Mapping[str, Metric], cell: Callable[[dict], str]) -> str:
    names = [name for name in metrics if any(name in found for found in columns.values())]
    if not names:
        return ""
    index = [f"{metrics[name].label} {metrics[name].better}".strip() for name in names]
    cells = {row: [cell(found[name]) if name in found else "" for name in names] for row, found in columns.items()}
    return pd.DataFrame(cells, index=index).to_markdown(disable_numparse=True) + "\n"
