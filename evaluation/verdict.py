"""What a run's figures come to, in sentences: what has improved, by how much, against which baseline, and what has not."""

from collections.abc import Iterator, Mapping

from config.taxonomy import Taxonomy
from evaluation.metric_labels import MEANS, interval, value
from evaluation.report_understanding import headline_metrics
from understanding import scoring

PROBE, LINEAR = "clip_linear_probe", "CLIP, linear probe"  # in the names of pairs, and of rows
NAMING = ("multiple_forced_balanced_accuracy", "multiple_balanced_accuracy")  # how often a model names the right emotion


def verdict(results: Mapping[str, dict], taxonomy: Taxonomy) -> list[str]:
    """Return at most five lines on what the evaluation has found. results: by part, as RunFiles.results has them."""
    return [*_of_generation(results["generation"]), *_of_understanding(results["understanding"], taxonomy)]


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
        found["+0.100, 0.050 to 0.150"] = "a difference on the same images, and its 95 % interval for other images"
        found["No difference"] = "the interval holds 0, so there may be a difference as large as it says, or none"
    return found


def _of_generation(found: dict) -> Iterator[str]:
    rows = {row: each["corrected"] for row, each in found["figures"].items()}
    shown = {row: figures["emotion_accuracy"] for row, figures in rows.items() if "emotion_accuracy" in figures}
    if "ours" not in shown:
        return
    others = {"prompt_only": "those that plain Stable Diffusion makes of the emotion's name", "real": "real images"}
    beside = [f"in {value(shown[row])} of {what}" for row, what in others.items() if row in shown]
    yield (
        f"The judge sees the intended emotion in {value(shown['ours'])} ({interval(shown['ours'])}) of the generated"
        f" images{_over(found, 'ours')}" + (f", {' and '.join(beside)}." if beside else ".")
    )
    for pair, gains in found.get("paired", {}).items():
        if pair.startswith("ours - ") and "joint_accuracy" in gains:
            gain = gains["joint_accuracy"]
            how = {1: "more often", 0: "no more often", -1: "less often"}[way(gain)]
            yield f"Emotion and content are both right {how} than with the prompt of the same contents ({signed(gain)})."


def _of_understanding(found: dict, taxonomy: Taxonomy) -> Iterator[str]:
    rows, pairs = found["figures"], found.get("paired", {})
    labels = {name: metric.label for name, metric in headline_metrics(rows, taxonomy).items()}
    models = list(found["about"].get("models", {}))
    if not models or models[-1] not in rows:
        return
    own, start = models[-1], models[0]
    gains, probe = pairs.get(f"{own} - {start}", {}), pairs.get(f"{own} - {PROBE}", {})
    naming = next((name for name in NAMING if name in (gains or probe)), None)
    trained, first = ("The trained model", "Before training it") if start == "before" else (own, start)
    if naming:
        line = (
            f"{trained} names the right one of {len(taxonomy)} emotions for {value(rows[own][naming])} of the images"
            f"{_over(found, own)}."
        )
        if naming in gains:
            line += f" {first} did so for {value(rows[start][naming])} ({signed(gains[naming])})."
        if naming in probe:
            often = {1: "more often", 0: "no more often", -1: "less often"}[way(probe[naming])]
            line += f" It is right {often} than a linear probe of CLIP, the simplest baseline ({signed(probe[naming])})."
        yield line
    told = {
        said: [
            f"{labels[name]} {value(rows[start][name])} -> {value(rows[own][name])} ({signed(gains[name])})"
            for name in labels
            if name in gains and name != naming and way(gains[name]) == sign
        ]
        for sign, said in ((1, "is better in"), (0, "shows no difference in"), (-1, "is worse in"))
    }
    if any(told.values()):
        yield " ".join(f"{trained} {said}: {'; '.join(each)}." for said, each in told.items() if each)
    if "blind" in rows:
        yield _of_blind(rows["blind"], trained, labels, taxonomy)


def _of_blind(figures: dict, trained: str, labels: Mapping[str, str], taxonomy: Taxonomy) -> str:
    metrics = scoring.metrics(taxonomy)
    chances = {name: metrics[name].chance for name in labels if name in figures and metrics[name].chance}
    seen = [name for name, chance in chances.items() if figures[name]["low"] > chance]
    if not seen:
        return f"{trained} does no better than chance without the image, so what it knows it has seen."
    told = ", ".join(f"{labels[name]} {value(figures[name])}" for name in seen)
    return f"{trained} does better than chance without the image, so the questions give something away: {told}."


def _over(found: dict, row: str) -> str:
    """Return over which emotions a row's mean is, where it is not over all: " (7 of 8 emotions)"."""
    mark = found["about"].get("incomplete", {}).get(row)
    return f" ({mark})" if mark else ""


def way(gain: Mapping) -> int:
    """Return 1 where a paired difference is above 0 with its whole interval, -1 where it is below, else 0."""
    return int(gain["low"] > 0) - int(gain["high"] < 0)


def signed(gain: dict) -> str:
    """Return a difference with its sign and its interval: "+0.100, 0.050 to 0.150"."""
    return f"{'+' if gain['value'] > 0 else ''}{value(gain)}, {interval(gain)}"
