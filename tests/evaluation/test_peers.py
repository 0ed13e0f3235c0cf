"""What others have published stands in the report's tables in rows of its own, with a source each, and nowhere else."""

from config.taxonomy import DEFAULT, read_taxonomy
from evaluation import mvei, vecbench
from evaluation.metric_labels import generation_metrics
from evaluation.peers import benchmark_peers, peers_of, read_peers, with_peers
from evaluation.report_tables import figures_table
from runtime.figures import Metric
from understanding.scoring import metrics

TAXONOMY = read_taxonomy(DEFAULT)
PEERS = read_peers()


def test_every_figure_has_a_source_and_a_metric_of_ours():
    for part, known in {"generation": generation_metrics(TAXONOMY), "understanding": metrics(TAXONOMY)}.items():
        for peer in getattr(PEERS, part):
            assert peer.source.startswith("https://")
            assert peer.figures.keys() <= known.keys()
    for name, known in {"VECBench": vecbench.METRICS, "MVEI": mvei.METRICS}.items():
        for peer in PEERS.benchmarks[name]:
            assert peer.source.startswith("https://")
            assert {metric for own in peer.figures.values() for metric in own} <= known.keys()
    tasks = PEERS.benchmarks["VECBench"][0].n
    assert {name: sum(tasks[task] for task in own) for name, own in vecbench.GROUPS.items()} == {
        name: tasks[name] for name in vecbench.GROUPS
    }


def test_peers_stand_beside_ours_with_their_mark_and_n():
    known = generation_metrics(TAXONOMY)
    own = {
        "ours": {
            "fid": {"value": 30.0, "low": 29.0, "high": 31.0, "n": 4000},
            "kid": {"value": 0.1, "low": 0, "high": 1, "n": 9},
        }
    }
    table = with_peers(figures_table(own, known, "emogen"), peers_of("generation", TAXONOMY), known)
    assert table["columns"][0] == "ours"
    assert "EmoGen (other judge)" in table["columns"]
    fid, kid = table["rows"]
    place = table["columns"].index("EmoGen (other judge)")
    assert fid["cells"][place] == {"value": "41.6", "note": "n not stated"}
    assert {len(row["cells"]) for row in table["rows"]} == {len(table["columns"])}
    assert kid["cells"][place] == {"value": ""}, "nobody has published it"
    assert [each["name"] for each in table["sources"]] == table["columns"][1:]
    caliber = peers_of("understanding", TAXONOMY)["EmoCaliber (other images)"]
    assert caliber.figures["multiple_accuracy"] == 0.681
    assert caliber.n == 1000


def test_tables_of_other_emotions_have_no_peers():
    assert peers_of("generation", read_taxonomy("config/taxonomies/ekman6.yaml")) == {}
    assert with_peers({"rows": []}, {}, {}) == {"rows": []}


def test_benchmarks_have_published_figures_by_task():
    caliber = benchmark_peers("VECBench", "ece")["EmoCaliber (published)"]
    assert caliber.figures == {"ID VSA": 0.0476, "ID VER": 0.1363, "OOD VER": 0.1217}
    assert caliber.n_of("ID VER") == 3997
    assert len(benchmark_peers("MVEI", "accuracy")) == 3
    assert benchmark_peers("MVEI", "give_up_ratio") == {}
    tasks = {name: Metric(name, "", "") for name in ("FI-8", "WebEmo-7")}
    own = {"after": {"FI-8": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 100}}}
    table = with_peers(figures_table(own, tasks, "Accuracy"), benchmark_peers("VECBench", "accuracy"), tasks)
    assert table["columns"] == ["after", "EmoCaliber (published)"]
    assert [row["cells"][1]["value"] for row in table["rows"]] == ["0.697"], "a line for each task that ours has"
