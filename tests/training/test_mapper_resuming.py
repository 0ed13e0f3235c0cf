"""The mapper's training that is stopped, damaged, changed or run again."""

import shutil
from pathlib import Path

import pytest
import torch
from diffusers.utils import SAFETENSORS_WEIGHTS_NAME
from mapper_runs import SHEET, killed_after_two_updates, metrics, resumed_after, state_of_optimizer, weights
from safetensors.torch import load_file

from config.errors import UserError

NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize(
    "changed",
    [
        {"mapper__ema": 0.9},
        {"mapper__hidden_layers": 3, "mapper__dropout": 0.5},
        {"mapper__lora_rank": 2, "mapper__tokens": 2},
        {"mapper__mixed_precision": "bf16", "mapper__gradient_checkpointing": "true"} | SHEET,
        pytest.param({"mapper__mixed_precision": "fp16"}, marks=[pytest.mark.gpu, NEEDS_GPU]),
    ],
    ids=["ema", "dropout", "lora", "bf16", "fp16"],
)
def test_an_interrupted_run_ends_with_the_same_weights(run, tmp_path, monkeypatch, changed):
    whole = run("whole", **changed)

    with killed_after_two_updates(monkeypatch), pytest.raises(KeyboardInterrupt):
        run("resumed", **changed)
    assert [line["step"] for line in metrics(tmp_path / "resumed")] == [1, 2, 3]
    resumed = run("resumed", **changed)
    assert resumed_after(resumed) == ["2"]
    assert metrics(resumed) == metrics(whole)
    assert state_of_optimizer(resumed, 4)["scaler"] == state_of_optimizer(whole, 4)["scaler"]  # of fp16: it counts updates
    files = [path.relative_to(whole / "generator") for path in (whole / "generator").rglob("*.safetensors")]
    assert len(files) == (3 if "mapper__lora_rank" in changed else 2)
    for path in files:
        first, second = load_file(whole / "generator" / path), load_file(resumed / "generator" / path)
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_sigterm_saves_the_update_and_the_same_command_ends_with_the_same_weights(run, monkeypatch, capfd, sigterm):
    from training import mapper_training

    rarely = {"mapper__checkpoint_every": 100, "mapper__log_every": 3, "machine__loaders": 1}
    whole, rate_at = run("whole", **rarely), mapper_training.rate_at

    def terminated(step, *others):
        if step == 1:
            sigterm()
        return rate_at(step, *others)

    monkeypatch.setattr(mapper_training, "rate_at", terminated)
    with pytest.raises(SystemExit) as ended:
        run("resumed", **rarely)
    assert ended.value.code == 143
    assert capfd.readouterr().err.splitlines()[-1].startswith("terminated: a checkpoint was saved after update 2 of 4; run")
    resumed = run("resumed", **rarely)
    assert resumed_after(resumed) == ["2"]
    assert metrics(resumed) == metrics(whole)
    assert all(torch.equal(weight, weights(whole)[name]) for name, weight in weights(resumed).items())


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(again, capsys):
    folder = again()
    before, newest = weights(folder), folder / "training/mapper/checkpoints/step-0000004"
    for name, damage in {
        "optimizer.pt": lambda content: content[: len(content) // 2],
        "weights.safetensors": lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
        "state.json": lambda content: b"",
    }.items():
        shutil.rmtree(folder / "generator")
        (newest / name).write_bytes(damage((newest / name).read_bytes()))
        capsys.readouterr()
        again()
        told = "step-0000004 is cut off or damaged, so it is removed. The run resumes from the one before, if any\n"
        assert capsys.readouterr().out.count(told) == 1
        assert all(torch.equal(weight, weights(folder)[name]) for name, weight in before.items())
    assert resumed_after(folder) == ["3"] * 3


def test_changed_settings_train_anew_and_keep_the_old_training(plain, again, capsys):
    folder, before = again(mapper__learning_rate=0.01), weights(plain)
    assert (folder / "training/mapper.old/metrics.jsonl").exists()
    assert "mapper: mapper.learning_rate 0.001 → 0.01; the data are the same" in capsys.readouterr().out
    assert any(not torch.equal(before[name], weight) for name, weight in weights(folder).items())
    again(mapper__learning_rate=0.02)
    assert "mapper.old/; the one before that is removed" in capsys.readouterr().out


def test_models_are_known_by_their_weights_and_not_by_their_names(again, models, capsys):
    elsewhere = {f"models__{name}": f"{models}/../{models.name}/{name}" for name in ("stable_diffusion", "clip", "backbone")}
    again(**elsewhere)
    assert "trained before, and nothing has changed" in capsys.readouterr().out


def test_a_run_of_an_earlier_version_is_refused_and_stays(again):
    folder = again()
    recipe, before = folder / "training/mapper/recipe.json", weights(folder)
    recipe.write_text('{"hidden_layers": 1}')  # as it was written then
    with pytest.raises(UserError, match=r"mapper/recipe\.json: was written by another version of this project") as error:
        again()
    assert "\n" not in str(error.value)
    assert all(torch.equal(before[name], weight) for name, weight in weights(folder).items())


def test_a_damaged_generator_is_written_again_and_damaged_texts_too(again, prepared):
    folder = again()
    before = {name: weight.clone() for name, weight in weights(folder).items()}
    result = folder / "generator/mapper" / SAFETENSORS_WEIGHTS_NAME
    for path in [result, *Path(prepared["data.cache"]).glob("attribute-texts-*")]:
        content = path.read_bytes()
        path.unlink()  # what is read from it is mapped
        path.write_bytes(b"" if path == result else content[:100])
    (folder / "training/mapper/metrics.jsonl").write_text("")
    again()
    assert all(torch.equal(before[name], weight) for name, weight in weights(folder).items())
    assert resumed_after(folder) == ["4"]
