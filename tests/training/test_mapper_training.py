"""The mapper's training: the same weights however it is batched, interrupted or cached."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from diffusers.utils import CONFIG_NAME, SAFETENSORS_WEIGHTS_NAME
from huggingface_hub.utils import filter_repo_objects
from mapper_runs import (
    SHEET,
    assert_close,
    assert_same_losses,
    gradients,
    metrics,
    weights,
)
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode

from config.errors import UserError
from config.loading import load
from runtime.built_folder import MARKER
from runtime.recipe import Recipe


def test_it_trains_and_leaves_a_generator(run, capsys):
    from training.pipeline import EmotionPipeline

    folder = run("plain", **SHEET, machine__tracker="tensorboard")
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
    run("plain", **SHEET)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")} == before
    assert "nothing has changed" in capsys.readouterr().out


def test_a_line_of_metrics_and_the_card_hold_the_mean_since_the_line_before(plain, run):
    single = metrics(plain)
    folder = run("means", mapper__log_every=3)
    means = metrics(folder)
    assert [(line["step"], line["updates"]) for line in means] == [(3, 3), (4, 1)]
    for term in ("loss", "diffusion", "attribute", "emotion", "alpha"):
        assert means[0][term] == pytest.approx(sum(line[term] for line in single[:3]) / 3, rel=1e-5)
        assert means[1][term] == single[3][term]
    card = (run("carded", mapper__log_every=9) / "generator" / "README.md").read_text()
    assert f"Last losses, mean over 4 updates: loss {sum(line['loss'] for line in single) / 4:.4f}" in card


def test_samples_scatter_as_far_as_inference_lets_them(run, monkeypatch):
    from training.pipeline import EmotionPipeline

    asked, make = [], EmotionPipeline.__call__
    monkeypatch.setattr(EmotionPipeline, "__call__", lambda *own, **given: (asked.append(given), make(*own, **given))[1])
    run("sampled", **SHEET, generate__spread=0.25)
    assert [given["emotion_spread"] for given in asked] == [0.25] * 8


def test_the_card_says_what_data_it_was_trained_on(plain, run, drawn, tmp_path):
    card = (plain / "generator" / "README.md").read_text()
    assert "trained on EmoSet." in card
    assert "images of EmoSet (train)" in card
    assert "\nlicense_name: emoset-terms\n" in card
    assert "not commercial" in card
    emoset = Path(shutil.copytree(drawn, tmp_path / "EmoSet"))
    Recipe("drawn EmoSet", {}, {}).finish(emoset / MARKER)
    card = (run("drawn", data__emoset=emoset) / "generator" / "README.md").read_text()
    assert "trained on a drawn EmoSet." in card
    assert "images of a drawn EmoSet (train)" in card
    assert "license" not in card
    assert "photographs from the web" not in card


def test_frozen_models_get_no_gradients_and_do_not_change(run, models, monkeypatch):
    from training.training_module import TrainingModule

    built = []
    original = TrainingModule.__init__
    monkeypatch.setattr(TrainingModule, "__init__", lambda self, *given: (original(self, *given), built.append(self))[0])
    run("frozen")
    (trained,) = built
    frozen = load_file(models / "stable_diffusion/unet/diffusion_pytorch_model.safetensors")
    for name, weight in trained.unet.named_parameters():
        assert weight.grad is None
        assert torch.equal(weight, frozen[name])
    assert all(weight.grad is None for weight in trained.text_encoder.parameters())
    assert {name.split(".")[0] for name in trained.trained_weights()} == {"mapper"}


def test_accumulation_is_a_larger_batch(plain, run):
    parts = run("parts", mapper__batch_size=2, mapper__gradient_accumulation=4, mapper__checkpoints_kept=9)
    assert_close(gradients(plain), gradients(parts), 1e-4)
    assert_same_losses(plain, parts)


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
    taken = folder / "training/emotion_space/confusability.json"  # there was one, of the space trained here
    assert json.loads(taken.read_text())["source"] == "imported"
    pipe = EmotionPipeline.from_pretrained(folder / "generator")
    assert pipe(emotion="awe", num_inference_steps=1).images[0].size == (32, 32)
    imported(0)
    assert "trained before, and nothing has changed" in capsys.readouterr().out
    imported(1)  # the same Gaussians beside another classifier
    assert "mapper: changed: emotion classifier. What was there is in mapper.old/" in capsys.readouterr().out
    assert any(not torch.equal(first[name], weight) for name, weight in weights(folder).items())


def test_without_a_cache_the_losses_are_the_same(plain, run):
    live = run("live", caches__use="false", mapper__checkpoints_kept=9)
    assert_same_losses(plain, live, 2e-3)  # the cache holds float16
    assert_close(gradients(plain), gradients(live), 2e-2)


def test_what_others_may_read_of_ours_they_may_read_of_what_libraries_wrote(run):
    before = os.umask(0o027)
    try:
        folder = run("shared", mapper__max_train_steps=1, mapper__lora_rank=2)
    finally:
        os.umask(before)
    made = [path for place in ("generator", "training/mapper") for path in (folder / place).rglob("*") if path.is_file()]
    assert len([path for path in made if path.suffix == ".safetensors"]) >= 4
    assert {oct(path.stat().st_mode & 0o777) for path in made} == {"0o640"}


def test_the_moving_average_is_what_is_saved(run):
    folder = run("averaged", mapper__ema=0.75, mapper__checkpoints_kept=9)
    steps = sorted((folder / "training/mapper/checkpoints").iterdir())
    averages = [load_file(step / "average.safetensors")["mapper.layers.0.weight"] for step in steps]
    trained = [load_file(step / "weights.safetensors")["mapper.layers.0.weight"] for step in steps]
    assert torch.equal(averages[0], trained[0])  # and not what the weights were before training
    for step, (before, after, weight) in enumerate(zip(averages, averages[1:], trained[1:], strict=False), 1):
        kept = min(0.75, (1 + step) / (10 + step))  # as diffusers' EMAModel warms up
        assert torch.allclose(after, kept * before + (1 - kept) * weight, atol=1e-7)
    assert torch.equal(weights(folder)["layers.0.weight"], averages[-1])
    assert not torch.equal(trained[-1], averages[-1])


def test_a_generator_with_lora_is_saved_whole_and_its_lora_acts_where_an_emotion_is(run, models, tmp_path):
    from diffusers import StableDiffusionPipeline

    from training.pipeline import EmotionPipeline

    lora, file = dict(mapper__lora_rank=2, mapper__learning_rate=0.1), "generator/unet_lora/pytorch_lora_weights.safetensors"
    watched = load_file(run("watched", **lora, mapper__sample_every=2, mapper__samples=1, generate__steps=1) / file)
    folder = run("lora", **lora) / "generator"
    for name, weight in load_file(folder.parent / file).items():  # a sheet takes the LoRA out of the U-Net meanwhile
        assert torch.equal(weight, watched[name])
    pipe = EmotionPipeline.from_pretrained(folder)
    pipe.save_pretrained(tmp_path / "whole")
    whole = EmotionPipeline.from_pretrained(tmp_path / "whole")
    base = StableDiffusionPipeline.from_pretrained(models / "stable_diffusion", safety_checker=None)
    without = EmotionPipeline(**pipe.components | {"unet_lora": None})

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


def test_a_tracker_that_is_not_installed_is_named(run, monkeypatch):
    monkeypatch.setattr("accelerate.tracking._available_trackers", [])
    with pytest.raises(UserError, match=r"machine\.tracker: wandb is not installed; pip install wandb, or choose none"):
        run("tracked", machine__tracker="wandb")


def test_without_a_balanced_set_it_says_what_to_run(run, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"draw the balanced set first: training/dataset_balance\.py"):
        run("empty")


def test_a_balanced_set_that_was_drawn_otherwise_is_refused_and_what_changed_is_named(run):
    message = r"was drawn otherwise \(balance\.temperature 0\.5 → 0\.25; the data are the same\); run training/data"
    with pytest.raises(UserError, match=message) as error:
        run("otherwise", balance__temperature=0.25)
    assert "\n" not in str(error.value)


def test_the_generator_is_uploaded_where_the_config_says_so(run, monkeypatch):
    from runtime import hub

    uploaded = []

    def upload(repo_id: str, folder_path: Path, ignore_patterns=None) -> None:
        files = sorted(str(path.relative_to(folder_path)) for path in folder_path.rglob("*") if path.is_file())
        uploaded.extend([repo_id, *filter_repo_objects(files, ignore_patterns=ignore_patterns)])

    monkeypatch.setattr(hub, "create_repo", lambda name, exist_ok: uploaded.append(name))
    monkeypatch.setattr(hub, "upload_folder", upload)
    folder = run("shared", mapper__push_to_hub="somebody/emotions")
    assert (folder / "generator" / MARKER).exists()  # and stays here
    parts = [f"{part}/{name}" for part in ("emotion_space", "mapper") for name in (CONFIG_NAME, SAFETENSORS_WEIGHTS_NAME)]
    parts = ["README.md", *parts[:2], "generator.json", *parts[2:]]
    assert uploaded == ["somebody/emotions", "somebody/emotions", *parts]


def test_a_repository_that_cannot_be_uploaded_to_is_refused_before_training(run, tmp_path):
    with pytest.raises(UserError, match=r"mapper\.push_to_hub: 'no such name' cannot be uploaded to"):
        run("shared", mapper__push_to_hub="no such name")
    assert not (tmp_path / "shared/training/mapper/metrics.jsonl").exists()


WAITING = ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal")


class Waits(TorchDispatchMode):
    """Notes the operations for whose result a GPU's host would have to wait: numbers, and shapes that follow from values."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        by_mask = function is torch.ops.aten.index.Tensor and any(
            each is not None and each.dtype == torch.bool for each in arguments[1]
        )
        if by_mask or function.name() in WAITING:
            self.found.append(function.name())
        return function(*arguments, **(keywords or {}))


def test_no_forward_pass_waits_for_a_gpu(run, monkeypatch):
    from training.training_module import TrainingModule

    forward, waits = TrainingModule.forward, []

    def watched(module, batch):
        with Waits() as mode:
            losses = forward(module, batch)
        waits.append(mode.found)
        return losses

    monkeypatch.setattr(TrainingModule, "forward", watched)
    run("run", mapper__max_train_steps=2)
    assert waits == [[], []]
