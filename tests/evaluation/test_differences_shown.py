"""Paired differences as people read them."""

from config.taxonomy import DEFAULT, read_taxonomy
from evaluation.metric_labels import difference, pair_name, told
from evaluation.report_tables import differences_table
from understanding.scoring import metrics

METRICS = metrics(read_taxonomy(DEFAULT))
GAIN = {"value": 0.25, "low": 0.1, "high": 0.4, "n": 40, "fixed": 12, "broken": 2, "p": 0.0129}
NONE = {"value": -0.01, "low": -0.05, "high": 0.03, "n": 40, "fixed": None, "broken": None, "p": 0.0}


def test_an_interval_that_holds_0_is_no_difference():
    assert difference(GAIN) == "+0.250 (0.100 to 0.400)"
    assert difference(NONE) == "no difference (-0.050 to 0.030)"
    assert difference(GAIN | {"value": -0.25, "low": -0.4, "high": -0.1}) == "-0.250 (-0.400 to -0.100)"


def test_the_log_and_the_report_tell_what_was_fixed_and_broken():
    found = {"multiple_accuracy": GAIN, "binary_auroc": NONE, "multiple_awe": GAIN}
    told_of = "Binary, AUROC no difference (-0.050 to 0.030); Multiple choice +0.250 (0.100 to 0.400)"
    assert told(found, METRICS) == told_of
    pairs = {"after - before": found, "after - clip_linear_probe": {"multiple_accuracy": GAIN}}
    table = differences_table(pairs, METRICS, "Gains")
    assert table["columns"] == ["after - before", "after - CLIP, linear probe"] == list(map(pair_name, pairs))
    auroc, accuracy = (row["cells"] for row in table["rows"])
    assert [cell.get("note") for cell in auroc] == ["p < 0.001, n 40", None]
    assert accuracy[1] == {"value": "+0.250 (0.100 to 0.400)", "note": "12 fixed, 2 broken, p 0.013, n 40"}
    assert differences_table({}, METRICS, "Gains") is None
