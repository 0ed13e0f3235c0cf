import math

import pytest

from runtime.metrics import MetricsFile, read_metrics


def test_lines_are_numbers_alone(tmp_path):
    lines = MetricsFile(tmp_path)
    lines.write(1, {"loss": 0.123456789, "name": "text", "done": True, "none": None, "bad": math.nan, "more": math.inf})
    lines.write(2, {"loss": 0.123456789, "steps": 3}, digits=None)
    assert read_metrics(tmp_path) == [{"step": 1, "loss": 0.123457}, {"step": 2, "loss": 0.123456789, "steps": 3.0}]


def test_a_small_number_keeps_its_digits(tmp_path):
    numbers = {"learning_rate": 6.25e-7, "tokens": 12345678, "loss": -1234.5678}
    MetricsFile(tmp_path).write(1234567, numbers)
    assert read_metrics(tmp_path) == [{"step": 1234567} | numbers | {"loss": -1234.57}]


def test_no_file_has_no_lines(tmp_path):
    assert read_metrics(tmp_path) == []


def test_what_is_damaged_is_left_out_and_the_rest_is_read(tmp_path):
    lines = MetricsFile(tmp_path)
    for step in (1, 2):
        lines.write(step, {"loss": 0.5})
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(b'\0\0\xff\xfe}\n{"step": 3, "lo"ss": 1}\n[1, 2]\n7\n{}\n{"step": "x"}\n' + b"[" * 5000 + b"}\n")
    lines.write(4, {"loss": 0.25})
    expected = [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.5}, {"step": 4, "loss": 0.25}]
    assert read_metrics(tmp_path) == expected
    MetricsFile(tmp_path, step=4)
    assert read_metrics(tmp_path) == expected
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize("by", ["step", "epoch"])
def test_it_resumes_after_its_checkpoint(tmp_path, by):
    lines = MetricsFile(tmp_path, by=by)
    for step in range(1, 6):
        lines.write(step, {"loss": step / 10})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')  # cut off by a kill
    assert len(read_metrics(tmp_path)) == 5
    resumed = MetricsFile(tmp_path, step=3, by=by)
    resumed.write(4, {"loss": 9})
    assert [line[by] for line in read_metrics(tmp_path)] == [1, 2, 3, 4]
    assert read_metrics(tmp_path)[-1]["loss"] == 9
