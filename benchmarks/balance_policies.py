"""Shows what the two policies do to the imbalance of the published training set.

    python benchmarks/balance_policies.py path/to/published picture.png

Runs both on annotations rebuilt from published metadata (real_shape.py), all splits together as published, seed 0.
"""

import sys
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from real_shape import EMOTIONS, index_of, rebuilt_annotations

from emoset.attribute_folders import memberships
from emoset.balance import emogen, rarest_attribute, tempered
from emoset.balance_report import AFTER, BEFORE, effective_number

KINDS = ["object", "scene"]
MIDDLE = "#5b7fa6"


def main(published: Path, picture: Path) -> None:
    index = index_of(rebuilt_annotations(published), published / "info.json")
    every = memberships(index, KINDS)
    sets = {
        "EmoSet, every label": every,
        "emogen": emogen(index, EMOTIONS, KINDS, seed=0),
        "tempered, T = 1": tempered(rarest_attribute(every), EMOTIONS, 1.0, 4, None, seed=0),
        "tempered, T = 0.5": tempered(rarest_attribute(every), EMOTIONS, 0.5, 4, None, seed=0),
        "tempered, T = 0": tempered(rarest_attribute(every), EMOTIONS, 0.0, 4, None, seed=0),
    }
    table = pd.DataFrame({name: figures(rows) for name, rows in sets.items()})
    print(table.to_markdown())
    plot(sets, picture)


def figures(rows: pd.DataFrame) -> dict[str, str]:
    """Return the figures of one set, as text."""
    share = rows.groupby("attribute").size().sort_values(ascending=False) / len(rows)
    per_emotion = [effective_number(group.groupby(["kind", "attribute"]).size()) for _, group in rows.groupby("emotion")]
    sizes = rows.groupby("emotion").size()
    draws = rows.groupby(["kind", "image_id", "attribute"]).size()
    fear = rows[(rows["emotion"] == "fear") & (rows["kind"] == "scene")].groupby("image_id").size()
    return {
        "rows": f"{len(rows):,}",
        "unique images": f"{rows['image_id'].nunique():,}",
        "largest emotion / smallest": f"{sizes.max() / sizes.min():.2f}",
        "plant, tree, street": ", ".join(f"{share[name]:.1%}" for name in ("plant", "tree", "street")),
        "diverse as so many equal attributes, mean of the emotions": f"{sum(per_emotion) / len(per_emotion):.0f}",
        "most draws of one image": f"{draws.max()}",
        "fear scenes: images, mean draws": f"{len(fear)}, {fear.mean():.1f}",
    }


def plot(sets: dict[str, pd.DataFrame], path: Path) -> None:
    shown = {"EmoSet, every label": BEFORE, "emogen": MIDDLE, "tempered, T = 0.5": AFTER}
    figure = Figure(figsize=(12, 5.4), layout="constrained")
    attributes, repeats = figure.subplots(1, 2, width_ratios=[1.3, 1])
    top = sets["EmoSet, every label"].groupby("attribute").size().sort_values(ascending=False).index[:14]
    for place, (name, colour) in enumerate(shown.items()):
        share = sets[name].groupby("attribute").size().reindex(top).fillna(0) / len(sets[name])
        attributes.barh([row + 0.27 * (place - 1) for row in range(len(top))], share, 0.27, color=colour, label=name)
    attributes.set_yticks(range(len(top)), top)
    attributes.invert_yaxis()
    attributes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    attributes.set_title("Share of the most frequent attributes")
    attributes.legend(frameon=False, loc="lower right")
    for place, name in enumerate(("emogen", "tempered, T = 0.5")):
        draws = sets[name].query("emotion == 'fear'").groupby(["kind", "image_id"]).size().value_counts().sort_index()
        repeats.bar(draws.index + 0.4 * (place - 0.5), draws, 0.4, color=shown[name], label=name)
    repeats.set_xticks(range(1, 12))
    repeats.set_title("Fear: how often an image is drawn")
    repeats.set_xlabel("times")
    repeats.set_ylabel("images")
    repeats.legend(frameon=False)
    for axes in (attributes, repeats):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
