"""What balancing did, as a table for the terminal and as `balance.png`."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from emoset.attribute_folders import memberships

BEFORE, AFTER = "#9aa5b1", "#d1495b"


def balance_table(
    index: pd.DataFrame, rows: pd.DataFrame, emotions: tuple[str, ...], splits: list[str], kinds: list[str]
) -> pd.DataFrame:
    """Return a row per emotion: images in `splits`, those of them that carry an attribute of `kinds`, draws, unique images
    among the draws, and how often the most drawn image of a kind is drawn."""
    images = index[index["split"].isin(splits)]
    drawn = rows.groupby(["emotion", "kind", "image_id"]).size().groupby("emotion")
    table = pd.DataFrame(
        {
            "images": images.groupby("emotion").size(),
            "with attribute": images[images[kinds].notna().any(axis=1)].groupby("emotion").size(),
            "draws": rows.groupby("emotion").size(),
            "unique": rows.groupby("emotion")["image_id"].nunique(),
            "most repeats": drawn.max(),
        }
    )
    return table.reindex(emotions).fillna(0).astype(int)


def attribute_shares(index: pd.DataFrame, rows: pd.DataFrame, splits: list[str], kinds: list[str]) -> pd.DataFrame:
    """Return `before` and `after` for each (kind, attribute): its share, most frequent first.

    before: of the images in `splits`, each counted once for every attribute of `kinds` that it carries; after: of the draws.
    """
    shares = {}
    before = memberships(index[index["split"].isin(splits)], kinds)
    for name, images in (("before", before), ("after", rows[rows["attribute"] != ""])):
        sizes = images.groupby(["kind", "attribute"]).size()
        shares[name] = sizes / len(images)
    return pd.DataFrame(shares).fillna(0.0).sort_values("before", ascending=False)


def effective_number(shares: pd.Series) -> float:
    """Return exp of the shares' entropy: how many equally frequent attributes would be as diverse."""
    shares = shares[shares > 0] / shares.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def plot_balance(table: pd.DataFrame, shares: pd.DataFrame, rows: pd.DataFrame, title: str, path: Path) -> None:
    """Draw emotions, the most frequent attributes and repeats, before and after, into a PNG at `path`."""
    figure = Figure(figsize=(14, 6.2), layout="constrained")
    emotions, attributes, repeats = figure.subplots(1, 3, width_ratios=[1, 1.2, 0.7])
    figure.suptitle(title, fontsize=13, x=0.01, ha="left")

    bars = _paired_bars(emotions, list(table.index), table["images"], table["draws"])
    figure.legend(bars, ["before: images of the splits", "after: draws"], loc="upper right", ncols=2, frameon=False)
    emotions.set_title("Images of each emotion")
    emotions.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))

    top = shares.head(18)
    names = [f"{attribute} ({kind.replace('_', ' ')})" for kind, attribute in top.index]
    _paired_bars(attributes, names, top["before"], top["after"])
    before, after = (f"{effective_number(shares[when]):.0f}" for when in ("before", "after"))
    diversity = f"\n(as diverse as {before} equal ones before, {after} after)" if len(shares) else ""
    attributes.set_title(f"Share of the most frequent of {len(shares)} attributes{diversity}")
    attributes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))

    times = rows.groupby(["kind", "image_id"]).size().value_counts().sort_index()
    repeats.bar(times.index.astype(str), times.values, color=AFTER)
    repeats.set_title("Times that an image is drawn")
    repeats.set_ylabel("images")
    repeats.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    for axes in (emotions, attributes, repeats):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _paired_bars(axes, names: list[str], before: pd.Series, after: pd.Series) -> list:
    places = range(len(names))
    bars = [
        axes.barh([place - 0.2 for place in places], before, 0.4, color=BEFORE),
        axes.barh([place + 0.2 for place in places], after, 0.4, color=AFTER),
    ]
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    return bars
