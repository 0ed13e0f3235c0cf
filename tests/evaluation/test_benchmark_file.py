"""Published question files, in miniature: answered, scored as their own code scores, and written as it reads them."""

import json
import os
import runpy
import shutil
import sys
from pathlib import Path
from random import Random
from types import ModuleType

import pytest
from sklearn.metrics import f1_score

from config.errors import UserError
from config.loading import load
from config.section import ROOT
from config.taxonomy import DEFAULT, read_taxonomy
from config.understanding_settings import Answers
from evaluation import benchmark_file, mvei, vecbench
from runtime import figures

VLM = ROOT / "demo" / "models" / "vision_language"
STATEMENT = {"statement": "Positive emotions.", "label": "correct", "class": "scene context"}


@pytest.fixture
def answered(drawn, tmp_path, monkeypatch):
    """Return a function that answers a file's questions with the demo's model, and gives the folder of the benchmark."""
    monkeypatch.setattr(figures, "RESAMPLES", 50)
    for emotion in ("awe", "fear", "anger"):
        (tmp_path / "images" / emotion).mkdir(parents=True)
        for number, path in enumerate(sorted((drawn / "image" / emotion).iterdir())[:2]):
            shutil.copy(path, tmp_path / "images" / emotion / f"{number}.jpg")

    def answer(content: str, *changed: str):
        (tmp_path / "questions").write_text(content)
        given = [f"run={tmp_path}/run", f"evaluate.benchmark={tmp_path}/questions", f"evaluate.folder={tmp_path}/images"]
        given += ["answers.reasoning=false", "answers.tokens=6", "understanding.dtype=float32", f"evaluate.models={VLM}"]
        benchmark_file.main(load([*given, *changed]))
        return tmp_path / "run" / "benchmark"

    return answer


def record(image: str, truth: str, candidates: list[str], task: str) -> dict:
    """One line as VECBench's code reads it."""
    content = [{"type": "image", "image": image}, {"type": "text", "text": "Which emotion might this image evoke?"}]
    turns = [{"role": "user", "content": content}]
    return {"conversations": turns, "candidates": candidates, "ground_truth": truth, "task": task}


def test_vecbench_s_questions_are_answered_and_written_as_its_scripts_read_them(answered):
    names, sides = ["awe", "fear", "anger", "joy", "love", "confusion", "sadness"], ["positive", "negative"]
    lines = [
        record(f"/mnt/theirs/VECBench/images/{name}/{number}.jpg", name, names, "WebEmo-7")
        for name in names[:3]
        for number in (0, 1)
    ]
    lines += [
        record("file://images/awe/0.jpg", "Positive", sides, "FI-2"),
        record("images/awe/gone.jpg", "Positive", sides, "FI-2"),
    ]
    folder = answered("\n".join(map(json.dumps, lines)), "answers.by=letter") / "vecbench"
    (file,) = folder.glob("*/0.jsonl")
    written = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line | {"response": "", "confidence": 0, "completion": ""} for line in lines[:7]] == [
        line | {"response": "", "confidence": 0, "completion": ""} for line in written[:7]
    ]
    for line in written[:7]:
        assert vecbench.said_of(line["response"], line["candidates"]) in line["candidates"]
        assert 1 / len(line["candidates"]) <= line["confidence"] < 1
        assert line["response"].endswith(f"<confidence>{line['confidence']}</confidence>")
    assert written[7]["error"] == "the image cannot be shown"
    (scores,) = json.loads((folder / "figures.json").read_text())["figures"].values()
    assert scores.keys() == {"WebEmo-7", "FI-2", "ID VSA", "ID VER", "overall"}
    assert scores["overall"]["accuracy"]["n"] == 7
    right = [vecbench.said_of(line["response"], line["candidates"]) == line["ground_truth"].lower() for line in written[:6]]
    assert scores["WebEmo-7"]["accuracy"]["value"] == pytest.approx(sum(right) / 6)
    assert "VECBench, Weighted F1 ↑: F1 of each" in (folder.parents[1] / "report" / "index.html").read_text()


def test_a_truth_that_no_candidate_is_gets_a_warning(caplog):
    lines = [record("a.jpg", truth, ["Awe", "fear"], "FI-2") for truth in ("awe", "joy", " fear")]
    vecbench.questions(lines, Answers(), 0)
    assert "2 questions have a ground truth that is none of their candidates" in caplog.text


def test_figures_of_another_file_are_kept(answered, tmp_path):
    def asked(text: str) -> str:
        return json.dumps([{"image_id": "awe/0.jpg", "statement_list": [STATEMENT | {"statement": text}]}])

    figures = answered(asked("Positive emotions.")) / "mvei" / "figures.json"
    before = figures.read_bytes()
    for more in ((), ("check=true",)):
        with pytest.raises(UserError, match=r"mvei holds figures of another file, and those of .*questions would replace"):
            answered(asked("Negative emotions."), *more)
    assert figures.read_bytes() == before
    answered(asked("Positive emotions."))
    with pytest.raises(UserError, match=r"cannot be read: Is a directory"):
        benchmark_file.read_benchmark(tmp_path)
    (tmp_path / "latin").write_bytes(b"[\xe9]")
    with pytest.raises(UserError, match=r"latin is no text in UTF-8: .*0xe9"):
        benchmark_file.read_benchmark(tmp_path / "latin")


def test_mvei_s_statements_are_judged(answered):
    statements = [("awe", "Positive emotions.", "correct"), ("fear", "Positive emotions.", "incorrect")]
    content = [
        {
            "image_id": f"{name}/0.jpg",
            "ov_emotion": [name],
            "statement_list": [{"statement": text, "label": label, "class": "sentiment polarity", "subclass": "none"}],
        }
        for name, text, label in statements
    ]
    folder = answered(json.dumps(content), "answers.reasoning=true", "answers.tokens=12") / "mvei"
    (file,) = folder.glob("*/MVEI_predict.json")
    written = json.loads(file.read_text())
    assert [each["image_id"] for each in written] == [each["image_id"] for each in content]
    for each in written:
        (said,) = each["statement_list"]
        assert said["predict"] == ("Correct" if said["p_correct"] >= 0.5 else "Incorrect")
    (scores,) = json.loads((folder / "figures.json").read_text())["figures"].values()
    assert scores["overall"]["give_up_ratio"]["value"] == 0
    assert scores["sentiment polarity"] == scores["overall"]


def test_vecbench_s_figures_by_hand():
    names = ["awe", "fear"]
    given = [("awe", "<answer>awe</answer>", 0.95), ("awe", "It is fear, not awe", 0.85), ("fear", "no idea", 0.3)]
    given += [("fear", "<think>awe</think><answer>Fear</answer>", 0.9)]
    records = [
        record(f"{number}.jpg", truth, names, "WebEmo-7") | {"response": text, "confidence": confidence}
        for number, (truth, text, confidence) in enumerate(given)
    ]
    assert [vecbench.said_of(each["response"], names) for each in records] == ["awe", "awe", "unknown", "fear"]
    found = vecbench.scores([*records, {"error": "lost", "task": "WebEmo-7"}], seed=0)
    assert {name: each["value"] for name, each in found["WebEmo-7"].items()} == pytest.approx(
        {"accuracy": 0.75, "weighted_f1": (1 + 2 / 3) / 2}
    )
    truth, said = (["awe", "awe", "fear", "fear"], ["awe", "awe", "unknown", "fear"])
    by_scikit_learn = f1_score(truth, said, average="weighted", zero_division=0)
    assert found["WebEmo-7"]["weighted_f1"]["value"] == pytest.approx(by_scikit_learn)
    # .95 and .9 lie in one bin, both right; the floor of .3 is that of its bin.
    assert found["ID VER"]["ece"]["value"] == pytest.approx((0.15 + 0.15 + 0.3) / 4)
    assert found["ID VER"]["brier"]["value"] == pytest.approx((0.05**2 + 0.15**2 + 0.3**2 + 0.1**2) / 4)
    assert found["ID VER"]["auroc"]["value"] == 1


@pytest.mark.skipif("EMOCALIBER" not in os.environ, reason="needs a clone of wdqqdw/EmoCaliber: set EMOCALIBER to it")
def test_vecbench_s_figures_are_those_of_its_own_code(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "RESAMPLES", 2)
    monkeypatch.setitem(sys.modules, "wandb", ModuleType("wandb"))  # which it imports to log with
    scripts = Path(os.environ["EMOCALIBER"]) / "inference"
    answers, confidences = (
        runpy.run_path(str(scripts / f"evaluate_multi_task_{name}.py")) for name in ("new", "conf_from_merged")
    )
    rng, records = Random(0), []
    names = list(read_taxonomy(DEFAULT).emotions)
    tasks = {
        "FI-2": ["positive", "negative"],
        "FI-8": names,
        "EmoSet-8": names,
        "Abstract-8": names[::-1],
        "WebEmo-7": names[1:],
    }
    for task, candidates in tasks.items():
        for _ in range(200):
            said, confidence = rng.choice(candidates), rng.choice([0.1, 0.3, 0.5, 0.7, 0.9, round(rng.random() * 0.9999, 4)])
            truth = said if rng.random() < 0.5 else rng.choice(candidates)
            response = f"<answer>{said}</answer><confidence>{confidence}</confidence>"
            line = record("a.jpg", truth, candidates, task)
            records.append(line | {"response": response, "confidence": confidence})
    (tmp_path / vecbench.FILE).write_text(vecbench.written(records))
    merged = answers["merge_results"](str(tmp_path), 1)
    by_task, overall = answers["calculate_metrics_by_task"](merged)
    by_group = confidences["calculate_group_calibration_metrics"](merged)
    found = vecbench.scores(records, seed=0)
    for task, theirs in (by_task | {"overall": overall}).items():
        own = {"accuracy": theirs["accuracy"], "weighted_f1": theirs["f1_score"]}
        assert {name: found[task][name]["value"] for name in own} == pytest.approx(own, abs=1e-12)
    for group, theirs in by_group.items():
        own = {"ece": theirs["ece"], "brier": theirs["brier_score"], "auroc": theirs["roc_auc"]}
        assert {name: found[group][name]["value"] for name in own} == pytest.approx(own, abs=1e-12)


def test_mvei_s_figures_by_hand():
    said = [("correct", "Correct"), ("correct", "It is incorrect."), ("incorrect", ""), ("incorrect", "Incorrect")]
    statements = [{"label": label, "predict": text, "class": "scene context"} for label, text in said]
    records = [{"image_id": f"{number}.jpg", "statement_list": [each]} for number, each in enumerate(statements)]
    found = mvei.scores(records, seed=0)["overall"]
    assert {name: each["value"] for name, each in found.items()} == {
        "accuracy": 0.5,
        "positive_ratio": 0.25,
        "give_up_ratio": 0.25,
    }


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"statement_list": [STATEMENT, STATEMENT | {"label": None}]}, "lacks statement 2's label"),
        ({"statement_list": [{"statement": "Calm.", "label": "correct"}]}, "lacks statement 1's class"),
        ({"statement_list": ["Calm."]}, "lacks statement 1's statement"),
        ({"statement_list": None}, "lacks image_id or statement_list"),
        ({"conversations": [{"role": "user", "content": "Which emotion?"}]}, "lacks an image in its conversations"),
        ({"conversations": [{"role": "user"}]}, "lacks an image in its conversations"),
        ({"candidates": []}, "lacks names among its candidates"),
        ({"task": 8, "ground_truth": None}, "lacks ground_truth, task"),
        ({"statement_list": [STATEMENT | {"label": "banana"}]}, r"lacks statement 1's label \(correct or incorrect\)"),
        ({"candidates": ["awe", " "]}, "lacks names among its candidates"),
    ],
)
def test_a_record_that_lacks_a_part_is_named_before_any_answer(tmp_path, wrong, told):
    of_mvei = "statement_list" in wrong
    sound = {"image_id": "a.jpg", "statement_list": [STATEMENT]} if of_mvei else record("a.jpg", "awe", ["awe"], "FI-8")
    file = tmp_path / "questions"
    for written in (json.dumps, lambda records: "\n".join(map(json.dumps, records))):
        file.write_text(written([sound, sound]), encoding="utf-8-sig")  # as some editors write it
        assert benchmark_file.read_benchmark(file) == (mvei if of_mvei else vecbench, [sound, sound])
        file.write_text(written([sound, sound | wrong]))
        with pytest.raises(UserError, match=rf"^evaluate\.benchmark: .*questions, record 2 {told}; get the file again$"):
            benchmark_file.read_benchmark(file)


def test_a_text_may_hold_other_ends_of_lines(tmp_path):
    given = record("a.jpg", "awe", ["awe"], "FI-8") | {"note": "one\u2028two"}
    (tmp_path / "questions").write_text(json.dumps(given, ensure_ascii=False) + "\r\n\n", encoding="utf-8")
    assert benchmark_file.read_benchmark(tmp_path / "questions") == (vecbench, [given])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "neither a JSON list nor"),
        ('[{"image": "a.jpg"}]', "is of neither VECBench .* its first record has image"),
        ("[]", "holds no questions"),
        ("", "holds no questions"),
        ("3", "holds no questions"),
        ("image,label\n0.jpg,awe", "neither a JSON list nor"),
        ("[" * 10**5, "neither a JSON list nor"),
        ("{}", "its first record has nothing"),
        (json.dumps([{"image_id": "a.jpg", "statement_list": []}]), "holds no questions"),
        (json.dumps([{"image_id": "", "statement_list": [STATEMENT]}]), "holds none of the 1 images"),
        (json.dumps([{"image_id": "../" + "a" * 10**4, "statement_list": [STATEMENT]}]), "holds none of the 1 images"),
        (json.dumps([{"image_id": "\ud83d", "statement_list": [STATEMENT]}]), "is no text in UTF-8: .*surrogates"),
        (json.dumps(record("a.jpg", "awe", ["awe"], "FI-8")), "holds none of the 1 images, such as a.jpg"),
    ],
)
def test_a_wrong_file_is_one_line(answered, content, told):
    with pytest.raises(UserError, match=told) as error:
        answered(content)
    assert "\n" not in str(error.value)
