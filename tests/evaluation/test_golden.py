"""An evaluation's figures, of given images and given answers, as the code before the redesign had them.

They are in tests/golden/evaluation.json.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from made_run import flat

from config.section import ROOT
from config.taxonomy import DEFAULT, read_taxonomy
from evaluation import evaluate
from understanding.asking import Asker

MODELS = ROOT / "demo" / "models"
EMOTIONS = read_taxonomy(DEFAULT).emotions
GOLDEN = Path(__file__).parent.parent / "golden" / "evaluation.json"
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
    if not GOLDEN.exists():
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
    golden = json.loads(GOLDEN.read_text())
    assert found.keys() >= golden.keys()
    assert {name: found[name] for name in golden} == pytest.approx(golden, rel=1e-4, abs=1e-6)


def hash_of(question) -> int:
    return sum(map(ord, question.image_id + question.kind)) + len(question.prompt)
