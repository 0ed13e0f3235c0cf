"""A report of several seeds: figures worked out by hand, and what is refused."""

import json
import re

import pytest

from config.errors import UserError
from config.loading import load
from config.taxonomy import DEFAULT, read_taxonomy
from evaluation import report
from evaluation.over_seeds import figures_of_runs, markdown
from runtime.recipe import RECIPE, Recipe

TAXONOMY = read_taxonomy(DEFAULT)


def figures(**values: float) -> dict:
    return {name: {"value": value, "low": 0.0, "high": 1.0, "n": 8} for name, value in values.items()}


def a_run(folder, seed: int, after: float, before: float, **more):
    understanding = {"before": figures(binary_auroc=before), "after": figures(binary_auroc=after, **more)}
    (folder / "report").mkdir(parents=True)
    content = {"seed": seed, "generation": {}, "understanding": understanding}
    (folder / "report" / "metrics.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_means_ranges_intervals_and_differences_of_the_same_seed(tmp_path):
    runs = [
        a_run(tmp_path / "a", 0, after=0.8, before=0.7, format_rate=1.0),
        a_run(tmp_path / "b", 1, after=0.9, before=0.5),
        a_run(tmp_path / "c", 2, after=1.0, before=0.6),
    ]
    found = figures_of_runs(runs)
    after = found["understanding"]["after"]
    assert set(after) == {"binary_auroc"}, "what all runs have"
    half = 4.3027 * 0.1 / 3**0.5  # Student's t of two degrees of freedom
    ends = {name: after["binary_auroc"][name] for name in ("value", "low", "high", "least", "most")}
    assert ends == pytest.approx({"value": 0.9, "low": 0.9 - half, "high": 0.9 + half, "least": 0.8, "most": 1.0}, abs=1e-4)
    gained = found["paired"]["understanding"]["after - before"]["binary_auroc"]
    assert gained["values"] == pytest.approx([0.1, 0.4, 0.4])
    text = markdown(found, TAXONOMY)
    assert "0.900 (0.800 to 1.000)" in text
    assert "no difference (-0.130 to 0.730)" in text


def test_what_a_run_lacks_is_told(tmp_path, caplog):
    runs = [a_run(tmp_path / name, seed, after=0.8, before=0.7) for seed, name in enumerate("abc")]
    file = runs[0] / "report/metrics.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"generation": {"ours": figures(fid=3.0)}}))
    assert figures_of_runs(runs)["generation"] == {}
    assert f"{runs[1]}, {runs[2]} have no generation; it is left out" in caplog.text
    file.write_text('{"seed": 0}')
    with pytest.raises(UserError, match=r"metrics\.json lacks generation, understanding; run evaluation/evaluate\.py with"):
        figures_of_runs(runs)


def test_the_report_script_writes_it_and_refuses_what_says_nothing(tmp_path):
    runs = [a_run(tmp_path / str(seed), seed, after=0.8 + seed / 100, before=0.5) for seed in (0, 1)]

    def settings(*named):
        return load([f"run={tmp_path / 'all'}", f"runs={','.join(map(str, named))}"])

    report.main(settings(*runs))
    assert "after" in (tmp_path / "all" / "seeds" / "table.md").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "all" / "seeds" / "seeds.json").read_text(encoding="utf-8"))["seeds"] == [0, 1]
    page = (tmp_path / "all" / "seeds" / "index.html").read_text(encoding="utf-8")
    told = re.search(
        r"<li>Over 2 seeds after is better than before in: Binary, AUROC \(\+0\.305, (.*?) to (.*?)\)\.</li>", page
    )
    assert 0.24 < float(told[1]) < 0.305 < float(told[2]) < 0.37  # 0.3 and 0.31, by Student's t of one degree of freedom
    assert 'alt="Understanding. Binary, AUROC: before 0.500; after 0.805"' in page
    with pytest.raises(UserError, match="one run is no sample of seeds"):
        report.main(settings(runs[0]))
    with pytest.raises(UserError, match=r"metrics\.json is not there; run evaluation/evaluate\.py with"):
        report.main(settings(runs[0], tmp_path / "none"))
    with pytest.raises(UserError, match="have the same seed, 0"):
        report.main(settings(runs[0], a_run(tmp_path / "again", 0, after=0.9, before=0.5)))


def test_runs_that_were_evaluated_on_other_images_are_not_averaged(tmp_path):
    runs = [a_run(tmp_path / name, seed, after=0.8, before=0.7) for seed, name in enumerate("abc")]
    for seed, (run, split) in enumerate(zip(runs, ("val", "val", "test"), strict=True)):
        (run / "evaluation").mkdir()
        Recipe("evaluation", {"evaluate.split": split, "evaluate.answer_batch": seed}, {}).start(run / "evaluation" / RECIPE)
    assert figures_of_runs(runs[:2])["seeds"] == [0, 1]
    with pytest.raises(UserError, match=r'c with evaluate\.split="test"; name runs that differ by their seed alone'):
        figures_of_runs(runs)
