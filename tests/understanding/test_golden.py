"""GRPO's first rewards, losses and gradient norms from fixed completions, and questions, as the code before the redesign had
them (tests/golden/grpo.json)."""

import json
from hashlib import blake2b

import numpy as np
import pandas as pd
import pytest
import torch
from recorded import recorded

import understanding.grpo
from emoset.reading import read_emoset
from understanding.questions import draw_questions, evaluation_questions

SAID = ("yes", "no", "awe", "fear", "70", "5", "hm", "sadness", "anger", "100", "contentment", "disgust", "0")
NAMES = ("loss", "grad_norm", "reward", "kl", "entropy", "frac_reward_zero_std", "completions/mean_length")
NAMES += tuple(f"rewards/{name}/mean" for name in ("binary", "multiple", "misleading", "format"))


def test_grpos_first_updates(quick, fine_tune, monkeypatch):
    calls = []

    def fixed(trainer, prompt_ids, *_, **__):
        tokenizer, calls_before = trainer.processing_class.tokenizer, len(calls)
        calls.append(1)
        said = [SAID[(place * 5 + calls_before) % len(SAID)] for place in range(len(prompt_ids))]
        end = tokenizer.eos_token_id
        return [[*tokenizer(text, add_special_tokens=False).input_ids, end] for text in said], None

    monkeypatch.setattr(understanding.grpo.Trainer, "_generate_single_turn", fixed)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    settings = quick("golden", grpo={"steps_one": 3, "steps_two": 0, "beta": 0.02}, answers={"score_step": 1})
    fine_tune(settings)
    torch.set_num_threads(threads)
    lines = (settings.run / "understanding/step_one/metrics.jsonl").read_text().splitlines()
    found = [{name: line[name] for name in NAMES if name in line} for line in map(json.loads, lines) if "loss" in line]
    golden = recorded("grpo.json", found)
    assert len(found) == len(golden) == 3
    for line, expected in zip(found, golden, strict=True):
        assert line == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_questions(quick, tmp_path):
    settings = quick()
    index = read_emoset(settings.data, tmp_path, 2).index
    matrix = np.full((8, 8), 1 / 7)
    np.fill_diagonal(matrix, 0)
    taxonomy, asked = settings.data.taxonomy, settings.questions.model_copy(update={"confusable_share": 0.5})
    answers = settings.answers.model_copy(update={"reasoning": True, "score_step": 1})
    train, val = (index[index["split"] == split] for split in ("train", "val"))
    val = pd.concat([val] * 3)
    drawn = {
        "drawn": draw_questions(train, taxonomy, asked, answers, matrix, 3),
        "evaluated": evaluation_questions(val, taxonomy, asked, answers, 4),
    }
    text = {
        name: blake2b("\n".join(f"{q.kind} {q.image_id} {q.asked} {q.prompt}" for q in questions).encode()).hexdigest()[:16]
        for name, questions in drawn.items()
    }
    assert text | {"n": [len(each) for each in drawn.values()]} == recorded(
        "questions.json", text | {"n": [len(each) for each in drawn.values()]}
    )
