"""Tables of figures, as they are printed."""

from evaluation.metric_labels import UNDERSTANDING
from evaluation.tables import figures_table


def test_a_table_names_metrics_as_the_report_does_and_leaves_out_those_that_nothing_has():
    figure = {"value": 0.5, "low": 0.4, "high": 0.6}
    rows = {"before": {"yes_rate": figure}, "after": {"yes_rate": figure, "multiple_accuracy": figure, "unknown": figure}}
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in figures_table(rows, UNDERSTANDING).splitlines()]
    shown = "0.5 (0.4 to 0.6)"
    assert [table[0], *table[2:]] == [["", "before", "after"], ["Eight-way", "", shown], ["Says yes", shown, shown]]
