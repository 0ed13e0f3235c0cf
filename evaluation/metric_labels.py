"""What figures are called in tables and report, which way is better, what chance gives, and how they are written.

The figures of answers are named by the kinds of question: understanding.scoring.metrics.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from config.taxonomy import Taxonomy
from runtime.figures import Metric

ROWS = {
    "prompt_only": "prompt only",
    "attribute_prompt": "attribute prompt",
    "real": "real images",
    "transfer": "transfer, strength 1",
    "clip_linear_probe": "CLIP, linear probe",
}
MEANS = {  # what the rows of pictures are
    "before": "the model before training",
    "after": "the model after training",
    "blind": "the last model, shown a grey image instead",
    "CLIP, zero-shot": "CLIP, which takes the emotion whose name fits the image best",
    "CLIP, linear probe": "a linear classifier of CLIP's image features, fitted to the training split",
    "ours": "images of this run's generator",
    "prompt_only": 'images of plain Stable Diffusion, asked for "an image of {emotion}"',
    "attribute_prompt": "images of plain Stable Diffusion, asked for the same contents without an emotion",
    "real": "images of the data set",
}
PUBLISHED = ("fid", "lpips", "emotion_accuracy", "semantic_clarity", "semantic_diversity")  # EmoGen's table, in its order
IMAGES = {
    "fid": Metric("FID", "↓", "Fréchet distance to real images; it shrinks as n grows"),
    "fid_half": Metric("FID at half n", "↓", "how much FID owes to the number of images"),
    "precision": Metric("Precision", "↑", "share of images that lie among real ones, by the features of FID"),
    "recall": Metric("Recall", "↑", "share of real images that lie among these, by the features of FID"),
    "kid": Metric("KID", "↓", "kernel distance to real images, unbiased"),
    "lpips": Metric("LPIPS", "↑", "how different two images of an emotion look"),
    "semantic_clarity": Metric("Recognisable (Sem-C)", "↑", "how sure classifiers are of an object or scene"),
    "semantic_diversity": Metric("Sem-D", "↑", "how different two images of an emotion are to CLIP"),
    "attribute_entropy": Metric(
        "Attribute entropy", "↑", "how many-sided the objects and scenes of an emotion are, in nats"
    ),
    "attribute_coverage": Metric("Attribute coverage", "↑", "share of an emotion's real images whose attribute is shown"),
    "nearest_training_distance": Metric("Nearest training image", "", "cosine distance; near 0 is a copy"),
    "clip_score": Metric("CLIP score", "↑", "how well an image fits the content of its prompt"),
}


def generation_metrics(taxonomy: Taxonomy, judges: Mapping[str, int] | None = None) -> dict[str, Metric]:
    """Return the metrics of generated images, by the names of their figures.

    judges: who tells the content, as told_judges takes it, to be named in what the metric means.
    """
    right = "share of images whose likeliest emotion, by the judge, is the intended one"
    another = (
        "share of images whose likeliest emotion, by a probe of a network that the judge does not read, is the intended one"
    )
    side = "share of images in which the judge finds the intended side likelier, positive or negative"
    likelier = max(map(len, taxonomy.sides.values())) / len(taxonomy)  # who always says the side with more emotions
    by = f", by {told_judges(judges)}" if judges else ""
    return {
        "emotion_accuracy": Metric("Emo-A", "↑", right, 1 / len(taxonomy)),
        "emotion_accuracy_second": Metric("Emo-A, second judge", "↑", another, 1 / len(taxonomy)),
        "emotion_accuracy_two_way": Metric("Emo-A, two-way", "↑", side, likelier),
        "content_accuracy": Metric("Content", "↑", f"share of images that show the content of their prompt{by}"),
        "joint_accuracy": Metric(
            "Emotion and content (EC-A)",
            "↑",
            "share of images that show both the intended emotion and the content of their prompt",
        ),
        **IMAGES,
    }


def cross_metrics(taxonomy: Taxonomy) -> dict[str, Metric]:
    """Return the metrics of what an understanding model says of generated images, by the names of their figures."""
    chance, likeliest = 1 / len(taxonomy), f"the likeliest of the {len(taxonomy)} names is"
    return {
        "intended": Metric("Says what was intended", "↑", "the model's answer is the intended emotion", chance),
        "intended_forced": Metric("Intended, forced choice", "↑", likeliest, chance),
        "judge": Metric("Says what the judge says", "↑", "the model's answer is the judge's", chance),
        "judge_forced": Metric("Judge, forced choice", "↑", likeliest, chance),
    }


def likelihood_metrics(taxonomy: Taxonomy) -> dict[str, Metric]:
    """Return the metrics of mixes: how likely a model finds each emotion, by the emotion."""
    return {emotion: Metric(f"Likelihood of {emotion}", "", "") for emotion in taxonomy.emotions}


def told_judges(judges: Mapping[str, int]) -> str:
    """Return who tells the content of images, and of how many contents: "CLIP (2 contents)"."""
    return ", ".join(f"{judge} ({count:,} contents)" for judge, count in judges.items()) or "nobody: no prompt names one"


def row_name(row: str) -> str:
    """Return a row as people read it: "after_alone" is "after, answer alone"."""
    label, alone, rest = row.partition("_alone")
    return f"{label}, answer alone{rest}" if alone else ROWS.get(row, row)


def pair_name(pair: str) -> str:
    """Return two rows that are compared, "after - before", as people read them."""
    return " - ".join(map(row_name, pair.split(" - ")))


def marked(rows: Mapping[str, Any], marks: Mapping[str, str]) -> dict[str, Any]:
    """Return rows by their names, those of `marks` with their mark: "theirs (7 of 8 emotions)"."""
    return {f"{row_name(row)} ({marks[row]})" if row in marks else row: each for row, each in rows.items()}


def markdown_table(rows: dict[str, dict], metrics: dict[str, Metric], warnings: Mapping[str, str] | None = None) -> str:
    """Return a Markdown table with a column for each row of figures, and a line for each metric that one of them has.

    warnings: by metric, whose cells get a star; they follow below.
    """
    warnings = warnings or {}
    table = pd.DataFrame(index=list(metrics), columns=list(rows), data="")
    for row, found in rows.items():
        for name in metrics.keys() & found.keys():
            star = " *" if name in warnings else ""
            table.loc[name, row] = "{value:.3g} ({low:.3g} to {high:.3g})".format(**found[name]) + star
    shown = table[(table != "").any(axis=1)]
    text = shown.rename(index={name: metric.label for name, metric in metrics.items()}).to_markdown()
    return text + starred({name: text for name, text in warnings.items() if name in shown.index}, metrics)


def starred(warnings: Mapping[str, str], metrics: Mapping[str, Metric]) -> str:
    """Return what the stars of a Markdown table mean, a line for each warning. warnings: by metric."""
    return "".join(f"\n\n\\* {metrics[name].label}: {text}" for name, text in warnings.items())


def number(value: float, scale: float | None = None) -> str:
    """Return a figure in about three digits; scale: write it as finely as a value of that size."""
    size = abs(value if scale is None else scale)
    if 0 < size < 0.01:
        return f"{value:.1e}" if size < 0.001 else f"{value:.4f}"
    return f"{value:.1f}" if size >= 100 else f"{value:.2f}" if size >= 10 else f"{value:.3f}"


def value(figure: dict) -> str:
    """Return the value of a figure, as finely as its interval."""
    return number(figure["value"], _scale(figure))


def interval(figure: dict) -> str:
    """Return the 95 % interval of a figure, `0.250 to 0.531`."""
    return f"{number(figure['low'], _scale(figure))} to {number(figure['high'], _scale(figure))}"


def difference(figure: dict) -> str:
    """Return a paired difference as people read it: "+0.473 (0.402 to 0.540)", or "no difference (-0.012 to 0.034)"."""
    sign = "+" if figure["value"] > 0 else ""
    is_none = figure["low"] <= 0 <= figure["high"]
    return f"{'no difference' if is_none else sign + value(figure)} ({interval(figure)})"


def signed(figure: dict) -> str:
    """Return a difference with its interval, to three digits and with all signs: "+0.473 (+0.402 to +0.540)"."""
    return "{value:+.3f} ({low:+.3f} to {high:+.3f})".format(**figure)


def told(differences: Mapping[str, dict], metrics: Mapping[str, Metric]) -> str:
    """Return paired differences in one line, those that have a metric."""
    shown = {metric.label: differences[name] for name, metric in metrics.items() if name in differences}
    return "; ".join(f"{label} {difference(each)}" for label, each in shown.items())


def _scale(figure: dict) -> float:
    return max(abs(figure["value"]), abs(figure["low"]), abs(figure["high"]))
