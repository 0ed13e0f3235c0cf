"""Tables of figures, as they are logged."""

from config.taxonomy import DEFAULT, read_taxonomy
from evaluation.metric_labels import markdown_table, signed
from understanding.scoring import metrics


def test_a_difference_is_written_with_all_signs():
    assert signed({"value": 0.4731, "low": -0.1, "high": 0.54}) == "+0.473 (-0.100 to +0.540)"


def test_a_table_names_metrics_as_the_report_does_and_leaves_out_those_that_nothing_has():
    figure = {"value": 0.5, "low": 0.4, "high": 0.6}
    rows = {"before": {"yes_rate": figure}, "after": {"yes_rate": figure, "multiple_accuracy": figure, "unknown": figure}}
    table = markdown_table(rows, metrics(read_taxonomy(DEFAULT)))
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    shown = "0.5 (0.4 to 0.6)"
    assert cells[0] == ["", "before", "after"]
    assert sorted(cells[2:]) == [["Multiple choice", "", shown], ["Says yes", shown, shown]]
