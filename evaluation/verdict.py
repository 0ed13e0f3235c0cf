"""What a run's figures come to, in sentences: what has improved, by how much, against which baseline, and what has not."""

from collections.abc import Iterator, Mapping

from config.taxonomy import Taxonomy
from evaluation.metric_labels import MEANS, interval, value
from evaluation.report_understanding import headline_metrics
from understanding import scoring

PROBE, LINEAR = "clip_linear_probe", "CLIP, linear probe"  # in the names of pairs, and of rows


def verdict(results: Mapping[str, dict], taxonomy: Taxonomy) -> list[str]:
    """Return sentences on what the evaluation has found. results: by part, as RunFiles.results has them."""
    return [*_of_understanding(results["understanding"], taxonomy), *_of_generation(results["generation"])]


def terms(results: Mapping[str, dict], taxonomy: Taxonomy) -> dict[str, str]:
    """Return what the words and numbers of the verdict mean, by the word."""
    rows, found = results["understanding"]["figures"], {}
    for name, metric in headline_metrics(rows, taxonomy).items():
        if any(name in figures for figures in rows.values()):
            found[metric.label] = metric.meaning
    if LINEAR in rows:
        found["Linear probe of CLIP"] = MEANS[LINEAR]
    if results["generation"]["figures"]:
        found["Judge"] = "a network that tells the emotion of an image; training has not seen it, unless a warning says so"
    if found:
        found["+0.100, 0.050 to 0.150"] = (
            "a difference on the same images, and its 95 % interval: other images would give one in there 95 times in 100"
        )
        found["No difference"] = "the interval holds 0, so there may be a difference as large as it says, or none"
    return found


def _of_understanding(found: dict, taxonomy: Taxonomy) -> Iterator[str]:
    rows, pairs = found["figures"], found.get("paired", {})
    labels = {name: metric.label for name, metric in headline_metrics(rows, taxonomy).items()}
    models = list(found["about"].get("models", {}))
    if not models or models[-1] not in rows:
        return
    own, start = models[-1], models[0]
    trained, first = ("The trained model", "before training") if start == "before" else (own, start)
    apart = pairs.get(f"{own} - {start}", {})
    gains = {metric: apart[metric] for metric in labels if metric in apart}
    for sign, said in ((1, "is better than"), (0, "shows no difference from"), (-1, "is worse than")):
        told = [
            f"{labels[metric]} {value(rows[own][metric])} ({signed(gain)})"
            for metric, gain in gains.items()
            if way(gain) == sign
        ]
        if told:
            yield f"{trained} {said} {first} in: {', '.join(told)}."
    for name, gain in pairs.get(f"{own} - {PROBE}", {}).items():
        if name == "multiple_forced_balanced_accuracy":
            is_better = {1: "It names emotions better", 0: "It names emotions no better", -1: "It names emotions worse"}
            yield f"{is_better[way(gain)]} than a linear probe of CLIP, the simplest baseline ({signed(gain)})."
    if "blind" in rows:
        blind, metrics = rows["blind"], scoring.metrics(taxonomy)
        chances = {name: metrics[name].chance for name in labels if name in blind and metrics[name].chance}
        seen = [name for name, chance in chances.items() if blind[name]["low"] > chance]
        if seen:
            told = ", ".join(f"{labels[name]} {value(blind[name])}" for name in seen)
            yield f"Without the image it still does better than chance, so the questions give something away: {told}."
        else:
            yield "Without the image it does no better than chance, so what it knows it has seen."


def _of_generation(found: dict) -> Iterator[str]:
    rows = {row: each["corrected"] for row, each in found["figures"].items()}
    shown = {row: figures["emotion_accuracy"] for row, figures in rows.items() if "emotion_accuracy" in figures}
    if "ours" not in shown:
        return
    others = {"prompt_only": "plain Stable Diffusion's by the emotion's name", "real": "real images"}
    beside = [f"{value(shown[row])} of {what}" for row, what in others.items() if row in shown]
    yield (
        f"The judge sees the intended emotion in {value(shown['ours'])} ({interval(shown['ours'])}) of the generated images"
        + (f", in {' and in '.join(beside)}." if beside else ".")
    )
    for pair, gains in found.get("paired", {}).items():
        if pair.startswith("ours - ") and "joint_accuracy" in gains:
            gain = gains["joint_accuracy"]
            how = {1: "more often", 0: "no more often", -1: "less often"}[way(gain)]
            yield f"Emotion and content are both right {how} than with the prompt of the same contents ({signed(gain)})."


def way(gain: Mapping) -> int:
    """Return 1 where a paired difference is above 0 with its whole interval, -1 where it is below, else 0."""
    return int(gain["low"] > 0) - int(gain["high"] < 0)


def signed(gain: dict) -> str:
    """Return a difference with its sign and its interval: "+0.100, 0.050 to 0.150"."""
    return f"{'+' if gain['value'] > 0 else ''}{value(gain)}, {interval(gain)}"
