"""The understanding half of evaluation/evaluate.py: figures, answers and matrices of models, and of one that is blind."""

import json
import shutil

import pandas as pd
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForImageTextToText

from config.errors import UserError
from config.loading import load
from config.section import ROOT
from config.taxonomy import DEFAULT, read_taxonomy
from config.understanding_settings import Answers
from evaluation import evaluate, measure_understanding
from evaluation.measure_understanding import models_of
from understanding import merge
from understanding.processor import load_processor
from understanding.scoring import figures, read_answers

TAXONOMY = read_taxonomy(DEFAULT)
EMOTIONS = TAXONOMY.emotions
VLM = ROOT / "demo" / "models" / "vision_language"


@pytest.fixture
def measured(drawn, tmp_path):
    """Return a function that evaluates the demo's model under settings, and gives the run folder."""

    def measure(*changed: str):
        arguments = [
            f"run={tmp_path}/run",
            f"data.emoset={drawn}",
            f"data.cache={tmp_path}/cache",
            "evaluate.baselines=false",
        ]
        arguments += ["answers.reasoning=false", "answers.tokens=6", "understanding.dtype=float32"]
        evaluate.main(load([*arguments, f"evaluate.models={VLM}", *changed]))
        return tmp_path / "run"

    return measure


def test_a_model_is_measured_seeing_and_blind(measured, drawn):
    run = measured(f"evaluate.folder={drawn}/image", "evaluate.images=64")
    found = json.loads((run / "evaluation" / "understanding.json").read_text())
    assert found["about"]["n"] == 64
    seeing, blind = found["figures"].values()
    assert list(found["figures"])[1] == "blind"
    for name in ("multiple_accuracy", "multiple_forced_balanced_accuracy", "binary_balanced_accuracy", "misleading_auroc"):
        for figure in (seeing[name], blind[name]):
            assert 0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1
            assert figure["n"] == 64
    # A grey image tells nothing, and both answers to a question are right equally often.
    assert blind["binary_balanced_accuracy"]["value"] == blind["misleading_auroc"]["value"] == 0.5
    assert seeing["misleading_auroc"]["value"] > 0.55, "with images it is otherwise"
    assert json.loads((run / "report" / "metrics.json").read_text())["understanding"] == found["figures"]
    for row, kept in found["figures"].items():
        answers = pd.read_parquet(run / "evaluation" / f"answers-{row}.parquet")
        answers = read_answers(answers, TAXONOMY, Answers(reasoning=False))
        assert figures(answers, TAXONOMY, seed=0) == kept, "every figure can be computed again"
    (answered,) = set((run / "evaluation").glob("answers-*.parquet")) - {run / "evaluation" / "answers-blind.parquet"}
    answers = pd.read_parquet(answered)
    assert answers["kind"].value_counts().to_dict() == {"binary": 64, "multiple": 64, "misleading": 64}
    right = answers["kind"].eq("multiple") & answers["said_emotion"].eq(answers["emotion"])
    assert seeing["multiple_accuracy"]["value"] == right.sum() / 64
    matrix = pd.read_csv(next((run / "evaluation").glob("confusion-*.csv")), index_col=0)
    assert matrix.to_numpy().sum() == 64


def test_a_model_that_reasons_thinks_about_some_images_and_answers_alone_about_all(measured, drawn, monkeypatch):
    answer_all, batches = measure_understanding.answer_all, {}

    def spied(asker, questions, paths, folder, size, **options):
        batches[asker.form.reasoning] = size
        return answer_all(asker, questions, paths, folder, size, **options)

    monkeypatch.setattr(measure_understanding, "answer_all", spied)
    reasoning = ("answers.reasoning=true", "answers.tokens=8", "evaluate.reasoned=8", "evaluate.blind=false")
    reasoning += ("evaluate.batch_size=16", "evaluate.reasoned_batch_size=4")
    run = measured(f"evaluate.folder={drawn}/image", "evaluate.images=32", *reasoning)
    found = json.loads((run / "evaluation" / "understanding.json").read_text())
    (thinking, thought), (alone, answered) = found["figures"].items()
    assert alone == f"{thinking}_alone"
    assert batches == {True: 4, False: 16}
    assert (thought["multiple_accuracy"]["n"], answered["multiple_accuracy"]["n"]) == (8, 32)
    assert (thought["format_rate"]["value"], answered["format_rate"]["value"]) == (0, 1), "it never learned to think"
    about = pd.read_parquet(run / "evaluation" / f"answers-{thinking}.parquet")
    assert about["emotion"].value_counts().to_dict() == dict.fromkeys(EMOTIONS, 1)
    assert found["paired"] == {}, "rows that are asked other questions are not compared"


def test_a_blind_model_that_sees_is_found_out(measured, drawn, monkeypatch):
    """A planted fault: where the images are shown all the same, blind figures are not at chance."""
    answer_all = measure_understanding.answer_all
    monkeypatch.setattr(
        measure_understanding, "answer_all", lambda *given, blind, **options: answer_all(*given, blind=False, **options)
    )
    run = measured(f"evaluate.folder={drawn}/image", "evaluate.images=64")
    seeing, blind = json.loads((run / "evaluation" / "understanding.json").read_text())["figures"].values()
    assert blind["binary_balanced_accuracy"]["value"] != 0.5
    assert blind["misleading_auroc"]["value"] != 0.5
    assert blind == seeing


def test_an_adapter_and_what_it_is_merged_into_have_the_same_figures(measured, drawn, tmp_path):
    """Of an adapter that changes answers, but not to gibberish."""
    torch.manual_seed(0)
    lora = LoraConfig(r=4, target_modules=r".*language_model.*\.v_proj", init_lora_weights=False, task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForImageTextToText.from_pretrained(VLM, dtype=torch.float32), lora)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.mul_(0.7)
    model.save_pretrained(tmp_path / "adapter")
    load_processor(str(VLM)).save_pretrained(tmp_path / "adapter")
    merge.main(load([f"run={tmp_path}/run", f"predict.model={tmp_path}/adapter", "understanding.dtype=float32"]))
    models = f"{VLM},{tmp_path}/adapter,{tmp_path}/run/understanding/merged"
    run = measured(
        f"evaluate.folder={drawn}/image", "evaluate.images=64", "evaluate.blind=false", f"evaluate.models={models}"
    )
    base, adapted, merged = json.loads((run / "evaluation" / "understanding.json").read_text())["figures"].values()
    assert adapted.keys() == merged.keys()
    for name, figure in adapted.items():
        assert figure == pytest.approx(merged[name], abs=1e-4), name  # of probabilities, which round otherwise
    assert adapted["misleading_auroc"] != base["misleading_auroc"]
    assert adapted["multiple_accuracy"]["value"] != base["multiple_accuracy"]["value"]
    assert adapted["format_rate"]["value"] > 0.5


def test_images_of_another_data_set_are_asked_about_which_is_in_their_folders(measured, drawn, tmp_path):
    for emotion in ("awe", "fear"):
        (tmp_path / "other" / emotion).mkdir(parents=True)
        for path in sorted((drawn / "image" / emotion).iterdir())[:3]:
            shutil.copy(path, tmp_path / "other" / emotion)
    (tmp_path / "other" / "awe" / "broken.jpg").write_bytes(b"no image")
    run = measured(f"evaluate.folder={tmp_path}/other", "evaluate.blind=false")
    answers = pd.read_parquet(next((run / "evaluation").glob("answers-*.parquet")))
    assert answers["emotion"].value_counts().to_dict() == {"awe": 3, "fear": 3}
    assert set(answers["kind"]) == {"multiple"}, "too few for an equal number of every other case"
    (tmp_path / "unknown" / "joy").mkdir(parents=True)
    with pytest.raises(UserError, match=rf"unknown has no images in subfolders named {EMOTIONS[0]}"):
        measured(f"evaluate.folder={tmp_path}/unknown", f"run={tmp_path}/another")


def test_models_are_called_by_the_ends_of_their_paths():
    named = load(["evaluate.models=/models/qwen,runs/a/understanding/model,runs/b/understanding/model,Qwen/Qwen2.5-VL-3B"])
    assert list(models_of(named)) == [
        "models-qwen",
        "a-understanding-model",
        "b-understanding-model",
        "Qwen-Qwen2.5-VL-3B",
    ]


@pytest.mark.parametrize("named", ["runs/a/model,runs/a/model/", "x,./x"])
def test_a_model_in_two_spellings_is_measured_once(named):
    assert len(models_of(load([f"evaluate.models={named}"]))) == 1


def test_two_models_of_one_label_are_one_line():
    with pytest.raises(UserError, match=r"^evaluate\.models: two rows would have one name, of a/b, a-b; rename one folder$"):
        models_of(load(["evaluate.models=a/b,a-b"]))


def test_a_model_that_is_not_there_is_one_line(measured):
    with pytest.raises(UserError, match=r"evaluate\.models: .*'/nowhere' is neither a folder") as error:
        measured("evaluate.models=/nowhere", "evaluate.images=8")
    assert "\n" not in str(error.value)
