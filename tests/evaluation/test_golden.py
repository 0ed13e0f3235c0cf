"""An evaluation's figures, of given images and given answers, as the code before the redesign had them.

They are in tests/golden/evaluation.json.
"""

import json
import shutil

import pytest
import torch
from made_run import flat
from recorded import recorded

from config.section import ROOT
from config.taxonomy import DEFAULT, read_taxonomy
from evaluation import evaluate
from understanding.asking import Asker

MODELS = ROOT / "demo" / "models"
EMOTIONS = read_taxonomy(DEFAULT).emotions
SAID = ("yes", "no", "awe", "fear", "70", "5", "hm", "sadness", "anger", "100", "contentment", "disgust", "0")


def test_figures(quick, drawn, tmp_path, monkeypatch):
    images = tmp_path / "given" / "images"
    for emotion in EMOTIONS:
        (images / emotion).mkdir(parents=True)
        for path in sorted((drawn / "image" / emotion).iterdir())[:8]:
            shutil.copy(path, images / emotion)

    def fixed(self, questions, shown, count=1, temperature=0.0):
        return [[SAID[hash_of(question) % len(SAID)]] * count for question in questions]

    def with_likelihoods(self, questions, shown):
        completions = [completion for (completion,) in fixed(self, questions, shown)]
        return completions, self.likelihoods(questions, shown, completions)

    monkeypatch.setattr(Asker, "answers", fixed)
    monkeypatch.setattr(Asker, "answers_with_likelihoods", with_likelihoods)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    settings = quick(
        "golden",
        models=[str(MODELS / "vision_language")],
        generators=[str(images)],
        generated=8,
        images=80,
        split="test",
        blind=True,
    )
    settings = settings.model_copy(
        update={"generate": settings.generate.model_copy(update={"generator": tmp_path / "none"})}
    )
    evaluate.main(settings)
    torch.set_num_threads(threads)
    folder = settings.run / "evaluation"
    found = {
        part: json.loads((folder / f"{part}.json").read_text())["figures"]
        for part in ("generation", "understanding", "cross")
    }
    found = flat(found)
    golden = recorded("evaluation.json", found)
    assert found.keys() == golden.keys()
    assert found == pytest.approx(golden, rel=1e-4, abs=1e-6)


def test_a_trace_that_is_missing_fails_and_says_how_it_is_recorded(tmp_path, monkeypatch):
    monkeypatch.setattr("recorded.GOLDEN", tmp_path)
    monkeypatch.delenv("WRITE_GOLDEN", raising=False)
    with pytest.raises(pytest.fail.Exception, match=r"no trace .*a\.json; run this test with WRITE_GOLDEN=1"):
        recorded("a.json", [1])
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("WRITE_GOLDEN", "1")
    assert recorded("a.json", [1]) == recorded("a.json", [1]) == [1]


def hash_of(question) -> int:
    return sum(map(ord, question.image_id + question.kind)) + len(question.prompt)
