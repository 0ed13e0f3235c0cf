"""The mapper's training: the same weights however it is batched, interrupted, cached or shared out."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from config.loading import UserError, load
from config.settings import ROOT
from training import main as script


@pytest.fixture(scope="module")
def prepared(drawn, models, tmp_path_factory) -> dict:
    """Settings of a run whose balanced set, caches and emotion space are made; a test copies its run folder."""
    from training import dataset_balance

    folder = tmp_path_factory.mktemp("prepared")
    settings = {
        "run": folder / "run",
        "data.emoset": drawn,
        "data.attribute_root": folder / "attributes",
        "data.cache": folder / "cache",
        "models.stable_diffusion": models / "stable_diffusion",
        "models.clip": models / "clip",
        "models.backbone": models / "backbone",
        "models.resolution": 32,
        "emotion_space.dimension": 16,
        "emotion_space.image_size": 32,
        "emotion_space.epochs": 1,
        "mapper.hidden_size": 32,
        "mapper.batch_size": 8,
        "mapper.max_train_steps": 4,
        "mapper.warmup_steps": 1,
        "mapper.max_gradient_norm": 1e6,  # clipping would hide a gradient of the wrong scale
        "mapper.log_every": 1,
        "mapper.sample_every": "null",
        "mapper.checkpoint_every": 1,
        "mapper.workers": 0,
        "mapper.tracker": "none",
    }
    dataset_balance.main(load(arguments(settings)))
    script.main(load(arguments(settings, **{"mapper.max_train_steps": 1})))
    shutil.rmtree(folder / "run" / "training" / "mapper")
    return settings


@pytest.fixture
def run(prepared, tmp_path):
    """Return a function that trains with other settings, each in a run folder of its own, and returns that folder."""

    def train(name: str, **changed) -> Path:
        folder = tmp_path / name
        if not folder.exists():
            shutil.copytree(prepared["run"], folder)
        AcceleratorState._reset_state(reset_partial_state=True)  # else the first run's precision is that of all
        script.main(load(arguments(prepared, run=folder, **changed)))
        return folder

    return train


def arguments(settings: dict, **changed) -> list[str]:
    keys = {name.replace("__", ".", 1): value for name, value in changed.items()}
    return [f"{key}={value}" for key, value in (settings | keys).items()]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "generator" / "mapper" / "diffusion_pytorch_model.safetensors")


def metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "training/mapper/metrics.jsonl").read_text().splitlines()]


def gradients(folder: Path) -> list[torch.Tensor]:
    """The gradients of the first update: AdamW's first moment after it is a tenth of them."""
    state = torch.load(folder / "training/mapper/checkpoints/step-0000001/optimizer.pt", weights_only=True)
    return [10 * each["exp_avg"] for each in state["optimizer"]["state"].values()]


def assert_close(first: list, second: list, relative: float) -> None:
    assert len(first) == len(second) > 0
    for one, other in zip(first, second, strict=True):
        assert (one - other).norm() <= relative * one.norm()


def assert_same_losses(first: Path, second: Path, relative: float = 1e-4) -> None:
    one, other = metrics(first), metrics(second)
    assert len(one) == len(other) > 0
    for here, there in zip(one, other, strict=True):
        for term in ("loss", "diffusion", "attribute", "emotion", "alpha"):
            assert here[term] == pytest.approx(there[term], rel=relative, abs=2e-6), (here["step"], term)


def test_it_trains_and_leaves_a_generator(run, capsys):
    from training.pipeline import EmotionPipeline

    folder = run("plain", mapper__sample_every=4, mapper__samples=1, generate__steps=1, mapper__tracker="tensorboard")
    lines = metrics(folder)
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert lines[-1].keys() >= {"loss", "diffusion", "attribute", "emotion", "alpha", "learning_rate", "epoch"}
    assert len(list((folder / "training/mapper/checkpoints").iterdir())) == 2
    assert (folder / "training/mapper/samples/0000004.png").exists()
    assert list((folder / "training/mapper").rglob("events.out.tfevents*"))
    pipe = EmotionPipeline.from_pretrained(folder / "generator")
    assert pipe(emotion="awe", num_inference_steps=1).images[0].size == (32, 32)
    card = (folder / "generator" / "README.md").read_text()
    for fact in ("4 updates of 8 images", "https://vcc.tech/EmoSet", "policy `tempered`", "stable_diffusion"):
        assert fact in card
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    run("plain", mapper__sample_every=4, mapper__samples=1, generate__steps=1)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")} == before
    assert "nothing has changed" in capsys.readouterr().out


def test_frozen_models_get_no_gradients_and_do_not_change(run, models, monkeypatch):
    from training.trained import TrainedGenerator

    built = []
    original = TrainedGenerator.__init__
    monkeypatch.setattr(TrainedGenerator, "__init__", lambda self, *given: (original(self, *given), built.append(self))[0])
    run("frozen")
    (trained,) = built
    frozen = load_file(models / "stable_diffusion/unet/diffusion_pytorch_model.safetensors")
    for name, weight in trained.unet.named_parameters():
        assert weight.grad is None
        assert torch.equal(weight, frozen[name])
    assert all(weight.grad is None for weight in trained.text_encoder.parameters())
    assert {name.split(".")[0] for name in trained.trained_weights()} == {"mapper"}


def test_accumulation_is_a_larger_batch(run):
    whole = run("whole", mapper__checkpoints_kept=9)
    parts = run("parts", mapper__batch_size=2, mapper__gradient_accumulation=4, mapper__checkpoints_kept=9)
    assert_close(gradients(whole), gradients(parts), 1e-4)
    assert_same_losses(whole, parts)


def test_with_a_cache_a_step_decodes_nothing_and_runs_no_vae(run, monkeypatch):
    from diffusers import AutoencoderKL

    from training import caches

    def refuse(*_, **__):
        raise AssertionError("the cache is there")

    monkeypatch.setattr(caches, "load_pixels", refuse)
    monkeypatch.setattr(AutoencoderKL, "encode", refuse)
    assert len(metrics(run("cached"))) == 4
    with pytest.raises(AssertionError, match="the cache is there"):
        run("live", caches__use="false")


def test_it_trains_on_an_imported_space_and_another_classifier_trains_anew(run, write_published, tmp_path, capsys):
    from training import import_emogen
    from training.pipeline import EmotionPipeline

    def imported(seed: int) -> Path:
        torch.manual_seed(seed)
        write_published(tmp_path / f"published-{seed}", features=24)
        places = (f"emotion_space.published={tmp_path}/published-{seed}", f"emotion_space.imported={tmp_path}/imported")
        import_emogen.main(load([*places, f"run={tmp_path}/import"]))
        return run("on_imported", emotion_space__imported=tmp_path / "imported")

    folder = imported(0)
    assert len(metrics(folder)) == 4
    first, space = weights(folder), load_file(folder / "generator/emotion_space/diffusion_pytorch_model.safetensors")
    assert space["mean"][:, 0].tolist() == list(range(8))  # as published
    pipe = EmotionPipeline.from_pretrained(folder / "generator")
    assert pipe(emotion="awe", num_inference_steps=1).images[0].size == (32, 32)
    imported(0)
    assert "trained before, and nothing has changed" in capsys.readouterr().out
    imported(1)  # the same Gaussians beside another classifier
    assert "the settings or data have changed" in capsys.readouterr().out
    assert any(not torch.equal(first[name], weight) for name, weight in weights(folder).items())


def test_without_a_cache_the_losses_are_the_same(run):
    cached = run("cached", mapper__checkpoints_kept=9)
    live = run("live", caches__use="false", mapper__checkpoints_kept=9)
    assert_same_losses(cached, live, 2e-3)  # the cache holds float16
    assert_close(gradients(cached), gradients(live), 2e-2)


@pytest.mark.parametrize(
    "changed",
    [
        {"mapper__ema": 0.9},
        {"mapper__hidden_layers": 3, "mapper__dropout": 0.5},
        {"mapper__lora_rank": 2, "mapper__tokens": 2},
        {"mapper__mixed_precision": "bf16", "mapper__gradient_checkpointing": "true", "mapper__sample_every": 4},
    ],
    ids=["ema", "dropout", "lora", "bf16"],
)
def test_an_interrupted_run_ends_with_the_same_weights(run, tmp_path, monkeypatch, changed):
    from training import mapper_training

    whole = run("whole", **changed)

    def interrupted(*given, **named):
        if given[1] == 3:
            raise KeyboardInterrupt
        save(*given, **named)

    save = mapper_training.save_checkpoint
    with monkeypatch.context() as patch:
        patch.setattr(mapper_training, "save_checkpoint", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run("resumed", **changed)
    assert [line["step"] for line in metrics(tmp_path / "resumed")] == [1, 2, 3]
    resumed = run("resumed", **changed)
    assert metrics(resumed) == metrics(whole)
    files = [path.relative_to(whole / "generator") for path in (whole / "generator").rglob("*.safetensors")]
    assert len(files) == (3 if "mapper__lora_rank" in changed else 2)
    for path in files:
        first, second = load_file(whole / "generator" / path), load_file(resumed / "generator" / path)
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_changed_settings_train_anew_and_keep_the_old_training(run, capsys):
    folder = run("changed")
    before = weights(folder)
    run("changed", mapper__learning_rate=0.01)
    assert (folder / "training/mapper.old/metrics.jsonl").exists()
    assert "changed" in capsys.readouterr().out
    assert any(not torch.equal(before[name], weight) for name, weight in weights(folder).items())


def test_the_moving_average_is_what_is_saved(run):
    folder = run("averaged", mapper__ema=0.75, mapper__checkpoints_kept=9)
    steps = sorted((folder / "training/mapper/checkpoints").iterdir())
    averages = [load_file(step / "average.safetensors")["mapper.layers.0.weight"] for step in steps]
    trained = [load_file(step / "weights.safetensors")["mapper.layers.0.weight"] for step in steps]
    for before, after, weight in zip(averages, averages[1:], trained[1:], strict=False):
        assert torch.allclose(after, 0.75 * before + 0.25 * weight, atol=1e-7)
    assert torch.equal(weights(folder)["layers.0.weight"], averages[-1])
    assert not torch.equal(trained[-1], averages[-1])


def test_a_generator_with_lora_is_saved_whole_and_its_lora_acts_where_an_emotion_is(run, models, tmp_path):
    from diffusers import StableDiffusionPipeline

    from training.pipeline import EmotionPipeline

    folder = run("lora", mapper__lora_rank=2, mapper__learning_rate=0.1) / "generator"
    pipe = EmotionPipeline.from_pretrained(folder)
    pipe.save_pretrained(tmp_path / "whole")
    whole = EmotionPipeline.from_pretrained(tmp_path / "whole")
    base = StableDiffusionPipeline.from_pretrained(models / "stable_diffusion", safety_checker=None)
    without = EmotionPipeline.from_pretrained(folder)
    without.unet.disable_lora()

    def made(maker, *prompt, **asked):
        seed = [torch.Generator().manual_seed(0)]
        return maker(*prompt, **asked, num_inference_steps=2, output_type="np", generator=seed).images

    noise = torch.ones((1, pipe.emotion_space.config.dimension))  # given, it does not move the seed's noise of later steps
    awe = {"prompt": "a <emotion> tree", "emotion": "awe", "emotion_noise": noise}
    assert abs(made(pipe, **awe) - made(whole, **awe)).max() < 1e-5
    assert abs(made(pipe, **awe) - made(without, **awe)).max() > 1e-3
    for asked in ({"prompt": "a tree"}, awe | {"emotion_strength": 0}):
        assert abs(made(pipe, **asked) - made(base, "a tree")).max() < 1e-5


def test_an_update_larger_than_the_set_is_refused(run):
    with pytest.raises(UserError, match=r"an update takes 4000 images \(4000 x 1 accumulated x 1 processes\)"):
        run("large", mapper__batch_size=4000)


def test_a_clip_of_another_width_is_refused(run, models, tmp_path):
    from transformers import CLIPConfig, CLIPModel

    config = CLIPConfig.from_pretrained(models / "clip")
    config.text_config.hidden_size = 16
    shutil.copytree(models / "clip", tmp_path / "clip")
    CLIPModel(config).save_pretrained(tmp_path / "clip")
    with pytest.raises(UserError, match="16 wide, Stable Diffusion's 32"):
        run("narrow", models__clip=tmp_path / "clip")


def test_without_a_balanced_set_it_says_what_to_run(run, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"draw the balanced set first: training/dataset_balance\.py"):
        run("empty")


@pytest.fixture
def launch(prepared, tmp_path):
    """Return a function that trains on two processes, as a user would launch it, and returns the run folder."""

    def train(name: str, *options: str, **changed) -> Path:
        folder = tmp_path / name
        if not folder.exists():
            shutil.copytree(prepared["run"], folder)
        accelerate = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "2", "--num_machines", "1"]
        command = [*accelerate, "--main_process_port", "0", "--mixed_precision", "no", *options, ROOT / "training/main.py"]
        environment = os.environ | {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
        command += arguments(prepared, run=folder, **{"mapper__batch_size": 4} | changed)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, done.stderr[-3000:]
        return folder

    return train


IN_PARTS = {"mapper__batch_size": 2, "mapper__gradient_accumulation": 2}  # of two processes: 8 images, as of one


def as_configured(name: str) -> tuple[str, Path]:
    return "--config_file", ROOT / "config/accelerate" / f"{name}.yaml"


def processes(folder: Path) -> str:
    """How the last run worked, as it logged it."""
    return (folder / "training/log.txt").read_text().rpartition("images; ")[2].splitlines()[0]


def test_two_processes_are_one_with_twice_the_batch(run, launch):
    one = run("one", mapper__checkpoints_kept=9)
    two = launch("two", *as_configured("multi_gpu"), mapper__checkpoints_kept=9, **IN_PARTS)
    assert processes(one) == "1 processes (NO), cpu"
    assert processes(two) == "2 processes (MULTI_CPU), cpu"
    assert_close(gradients(one), gradients(two), 1e-4)
    assert_same_losses(one, two)


@pytest.mark.parametrize("stage", [2, 3])
def test_deepspeed_does_what_one_process_does_and_resumes(run, launch, stage):
    one = run("one")
    options = as_configured(f"zero{stage}")
    whole = launch("whole", *options, **IN_PARTS)
    assert processes(whole) == "2 processes (DEEPSPEED), cpu"
    assert_same_losses(one, whole, 1e-3)
    for step in ("step-0000003", "step-0000004"):
        assert (whole / "training/mapper/checkpoints" / step / "deepspeed").is_dir()
    before = weights(whole)
    shutil.rmtree(whole / "training/mapper/checkpoints/step-0000004")
    shutil.rmtree(whole / "generator")
    again = weights(launch("whole", *options, **IN_PARTS))
    assert "goes on after update 3 of 4" in (whole / "training/log.txt").read_text()
    for name, weight in weights(one).items():
        assert torch.equal(before[name], again[name])
        assert (before[name] - weight).norm() <= 2e-2 * weight.norm()


def test_deepspeed_trains_in_half_precision_as_configured(run, launch):
    one = run("one")
    half = launch(
        "half", *as_configured("zero2"), "--num_processes", "1", "--mixed_precision", "bf16", mapper__gradient_accumulation=2
    )
    assert processes(half) == "1 processes (DEEPSPEED), cpu"
    assert_same_losses(one, half, 0.02)


def test_a_moving_average_under_deepspeed_is_refused_before_an_older_training_is_moved_aside(run, launch):
    folder = run("trained")
    with pytest.raises(AssertionError, match=r"mapper\.ema: not under DeepSpeed"):
        launch("trained", "--use_deepspeed", "--zero_stage", "2", mapper__ema=0.5)
    assert not (folder / "training" / "mapper.old").exists()


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_weights(run, prepared, tmp_path):
    """kill -9, three times, each later; the last run goes through."""
    seed = time.time_ns()
    print(f"updates are drawn with seed {seed}")
    steps = {"mapper.max_train_steps": 12, "mapper.checkpoint_every": 2}
    whole = run("whole", **{key.replace(".", "__"): value for key, value in steps.items()})
    shutil.copytree(prepared["run"], tmp_path / "killed")
    command = [sys.executable, ROOT / "training/main.py", *arguments(prepared | steps, run=tmp_path / "killed")]
    lines = tmp_path / "killed/training/mapper/metrics.jsonl"
    for update in sorted(Random(seed).sample(range(1, 12), 3)):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(1200):
            reached = lines.read_text().count("\n") if lines.exists() else 0
            if reached >= update or process.poll() is not None:
                break
            time.sleep(0.1)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, f"it ended before update {update}"
    subprocess.run(command, check=True, timeout=300)
    first, second = weights(whole), weights(tmp_path / "killed")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_generator_is_uploaded_where_the_config_says_so(run, monkeypatch):
    from emoset import hub

    uploaded = []
    monkeypatch.setattr(hub, "create_repo", lambda name, exist_ok: uploaded.append(name))
    monkeypatch.setattr(hub, "upload_folder", lambda **given: uploaded.append(sorted(os.listdir(given["folder_path"]))))
    run("shared", mapper__push_to_hub="somebody/emotions")
    assert uploaded == ["somebody/emotions", [".built.json", "README.md", "emotion_space", "generator.json", "mapper"]]


def test_a_repository_that_cannot_be_uploaded_to_is_refused_before_training(run, tmp_path):
    with pytest.raises(UserError, match=r"mapper\.push_to_hub: 'no such name' cannot be uploaded to"):
        run("shared", mapper__push_to_hub="no such name")
    assert not (tmp_path / "shared/training/mapper/metrics.jsonl").exists()
