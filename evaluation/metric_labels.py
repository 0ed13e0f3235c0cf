"""What figures are called in tables and report, which way is better, what chance gives, and their meaning in a few words."""

from typing import NamedTuple

ROWS = {
    "prompt_only": "prompt only",
    "attribute_prompt": "attribute prompt",
    "real": "real images",
    "transfer": "transfer, strength 1",
}


class Metric(NamedTuple):
    """A metric as people read it. better: an arrow, or "" where neither way is. chance: what a guess gives."""

    label: str
    better: str
    meaning: str
    chance: float | None = None


GENERATION = {
    "emotion_accuracy": Metric("Emo-A", "↑", "images whose likeliest emotion, says the judge, is the intended one", 1 / 8),
    "emotion_accuracy_two_way": Metric("Emo-A, two-way", "↑", "the same of positive and negative", 1 / 2),
    "fid": Metric("FID", "↓", "Fréchet distance to real images; it shrinks as n grows"),
    "fid_half": Metric("FID at half n", "↓", "how much FID owes to the number of images"),
    "kid": Metric("KID", "↓", "kernel distance to real images, unbiased"),
    "lpips": Metric("LPIPS", "↑", "how different two images of an emotion look"),
    "semantic_clarity": Metric("Sem-C", "↑", "how sure classifiers are of an object or scene"),
    "semantic_diversity": Metric("Sem-D", "↑", "how different two images of an emotion are to CLIP"),
    "attribute_entropy": Metric(
        "Attribute entropy", "↑", "how many-sided the objects and scenes of an emotion are, in nats"
    ),
    "attribute_coverage": Metric("Attribute coverage", "↑", "share of an emotion's real images whose attribute is shown"),
    "nearest_training_distance": Metric("Nearest training image", "", "cosine distance; near 0 is a copy"),
    "clip_score": Metric("CLIP score", "↑", "how well an image fits the content that it was asked for"),
    "content_accuracy": Metric("Content", "↑", "images whose likeliest object is the content that was asked for"),
}
PUBLISHED = ("fid", "lpips", "emotion_accuracy", "semantic_clarity", "semantic_diversity")  # EmoGen's table, in its order
UNDERSTANDING = {
    "multiple_accuracy": Metric("Eight-way", "↑", "answers that name the true emotion", 1 / 8),
    "multiple_balanced_accuracy": Metric("Eight-way, balanced", "↑", "its mean over the true emotions", 1 / 8),
    "multiple_forced_accuracy": Metric("Forced choice", "↑", "the true emotion is the likeliest of the eight names", 1 / 8),
    "multiple_forced_balanced_accuracy": Metric("Forced choice, balanced", "↑", "its mean over the true emotions", 1 / 8),
    "binary_balanced_accuracy": Metric("Binary, balanced", "↑", "right yes and right no, half each", 1 / 2),
    "yes_rate": Metric("Says yes", "", "share of yes among binary answers; half of them are right", 1 / 2),
    "misleading_auroc": Metric("Misleading, AUROC", "↑", "a true emotion's score is above a wrong one's", 1 / 2),
    "misleading_mean_true": Metric("Score of true", "↑", "mean score, of 100, of the true emotion"),
    "misleading_mean_wrong": Metric("Score of wrong", "↓", "mean score, of 100, of a wrong emotion"),
    "misleading_ece": Metric("Misleading, ECE", "↓", "calibration error of the scores"),
    "format_rate": Metric("Format", "↑", "answers that keep the format"),
}
CROSS = {
    "intended": Metric("Says what was intended", "↑", "the model's answer is the intended emotion", 1 / 8),
    "intended_forced": Metric("Intended, forced choice", "↑", "the same of the likeliest of the eight names", 1 / 8),
    "judge": Metric("Says what the judge says", "↑", "the model's answer is the judge's", 1 / 8),
    "judge_forced": Metric("Judge, forced choice", "↑", "the same of the likeliest of the eight names", 1 / 8),
}


def number(value: float, scale: float | None = None) -> str:
    """Return a figure in about three digits; scale: write it as finely as a value of that size."""
    size = abs(value if scale is None else scale)
    if 0 < size < 0.01:
        return f"{value:.1e}"
    return f"{value:.1f}" if size >= 100 else f"{value:.2f}" if size >= 10 else f"{value:.3f}"


def value(figure: dict) -> str:
    """Return the value of a figure, as finely as its interval."""
    return number(figure["value"], _scale(figure))


def interval(figure: dict) -> str:
    """Return the 95 % interval of a figure, `0.250 to 0.531`."""
    return f"{number(figure['low'], _scale(figure))} to {number(figure['high'], _scale(figure))}"


def _scale(figure: dict) -> float:
    return max(abs(figure["value"]), abs(figure["low"]), abs(figure["high"]))
