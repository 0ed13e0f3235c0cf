"""Models of several families, end to end: trained on all answers and on sampled ones, killed, resumed, mined with, asked."""

import json

import pytest
import torch
from families import gemma, internvl, onevision, qwen, smol, write_family
from safetensors.torch import load_file

import understanding.grpo
from understanding import predict, rewards

STAGES = ("warm_up", "step_one", "step_two")


@pytest.mark.slow
@pytest.mark.parametrize("family", [qwen, smol, onevision, internvl, gemma])
def test_a_family_trains_resumes_and_predicts(quick, fine_tune, monkeypatch, tmp_path, drawn, family):
    model = write_family(family, tmp_path / "model")
    settings = quick(
        understanding={"model": str(model)},
        questions={"count": 64, "binary": 0.0, "misleading": 0.0},
        answers={"tokens": 12},
        warmup={"steps": 1, "batch_size": 2},
        tuning={"checkpoint_every": 1},
        grpo={
            "group": 2,
            "questions_per_step": 2,
            "batch_size": 2,
            "answers": "sampled" if family is gemma else "exact",
            "answers_two": "sampled",
            "steps_one": 1,
            "steps_two": 2,
        },
        mining={"images": 8, "lowest": 0.0, "highest": 1.0, "batch_size": 8},
        predict={"images": [str(next(drawn.rglob("*.jpg")))]},
    )
    monkeypatch.setitem(rewards.SHARED, "format", lambda text, *_: len(text.encode()) % 7 / 7)  # a random model earns some
    save = understanding.grpo.Trainer._save_checkpoint

    def killed(trainer, *args) -> None:
        ends = trainer.processing_class.tokenizer.convert_ids_to_tokens(trainer.eos_token_ids)
        assert ends == ["<end_of_utterance>" if family is smol else "<|im_end|>", "<|pad|>"]
        assert trainer.shares_prefix is (family is not gemma), "whose image tokens see one another"
        save(trainer, *args)
        raise KeyboardInterrupt

    with monkeypatch.context() as once:
        once.setattr(understanding.grpo.Trainer, "_save_checkpoint", killed)
        with pytest.raises(KeyboardInterrupt):
            fine_tune(settings)
    fine_tune(settings)
    folder = settings.run / "understanding"
    first, *rest = [load_file(folder / stage / "model" / "adapter_model.safetensors") for stage in STAGES]
    for weights in rest:
        assert any(not torch.equal(weights[name], first[name]) for name in first)
    shows_once = "the vision tower sees an image once for each question" in (folder / "log.txt").read_text()
    assert shows_once is (family is internvl), "which cuts it into tiles"
    losses = [json.loads(line) for line in (folder / "step_two" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in losses if "loss" in line] == [1, 2]

    predict.main(settings)
    told = (settings.run / "predict" / "log.txt").read_text()
    assert ("forced choice: each name runs its own prompt" in told) is (family is gemma)
    (line,) = map(json.loads, (settings.run / "predict" / "predictions.jsonl").read_text().splitlines())
    assert sum(line["likelihoods"].values()) == pytest.approx(1, abs=1e-4)
