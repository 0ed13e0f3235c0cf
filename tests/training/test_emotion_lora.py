"""The emotion's LoRA acts where an emotion is, whatever a user does with other LoRAs."""

import shutil

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from config.errors import UserError
from training import pipeline
from training.emotion_lora import FILE, FOLDER, LORA, EmotionLora, taken_out
from training.pipeline import EmotionPipeline

# The noise is given, so that it does not move the seed's noise of later steps.
TREE = dict(prompt="a <emotion> tree", emotion="awe", emotion_noise=torch.ones(1, 12))


def show(pipe, **options) -> np.ndarray:
    pipe.set_progress_bar_config(disable=True)
    seeds = [torch.Generator().manual_seed(0)]
    return pipe(num_inference_steps=2, output_type="np", generator=seeds, **options).images


def add_adapter(model, name: str, targets: list[str], seed: int) -> None:
    torch.manual_seed(seed)
    model.add_adapter(LoraConfig(r=2, lora_alpha=2, init_lora_weights=False, target_modules=targets), adapter_name=name)


@pytest.fixture(scope="module")
def style(models, tmp_path_factory):
    """The folder of a user's LoRA of the U-Net and the text encoder."""
    folder = tmp_path_factory.mktemp("style")
    stable = StableDiffusionPipeline.from_pretrained(models / "stable_diffusion", safety_checker=None)
    add_adapter(stable.unet, "s", ["to_q", "to_k", "proj_in"], 2)
    add_adapter(stable.text_encoder, "s", ["q_proj", "v_proj"], 3)
    unet, text = (
        convert_state_dict_to_diffusers(get_peft_model_state_dict(each, adapter_name="s"))
        for each in (stable.unet, stable.text_encoder)
    )
    StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=unet, text_encoder_lora_layers=text)
    return folder


@pytest.fixture
def pipe(with_lora):
    return EmotionPipeline.from_pretrained(with_lora)


@pytest.fixture
def stable(models):
    return StableDiffusionPipeline.from_pretrained(models / "stable_diffusion", safety_checker=None)


def prediction(pipe, rows: int, emotional: int) -> torch.Tensor:
    """What the U-Net predicts of fixed rows, the last of which have an emotion."""
    torch.manual_seed(5)
    given = torch.randn(rows, 4, 8, 8), torch.tensor(300), torch.randn(rows, 7, 32)
    with torch.no_grad(), pipe.unet_lora.on_last(pipe.unet, emotional):
        return pipe.unet(*given).sample


def test_it_is_the_adapter_that_was_trained_on_the_rows_with_an_emotion(pipe, stable):
    add_adapter(stable.unet, LORA, [f"attn2.{part}" for part in ("to_q", "to_k", "to_v", "to_out.0")], 1)
    torch.manual_seed(5)
    given = torch.randn(3, 4, 8, 8), torch.tensor(300), torch.randn(3, 7, 32)
    with torch.no_grad():
        trained = stable.unet(*given).sample
        stable.unet.disable_adapters()
        without = stable.unet(*given).sample
    made = prediction(pipe, 3, 1)
    assert torch.allclose(made[2], trained[2], atol=1e-5)
    assert torch.allclose(made[:2], without[:2], atol=1e-6)
    assert not torch.allclose(trained, without, atol=1e-3)


def test_a_styles_lora_comes_and_goes_beside_it(pipe, style, stable, generator):
    alone, plain = show(pipe, **TREE), show(stable, prompt="a tree")
    bare = EmotionPipeline.from_pretrained(generator)
    for each in (pipe, bare, stable):
        each.load_lora_weights(style, adapter_name="style")
    styled = show(pipe, **TREE)
    assert abs(styled - show(bare, **TREE)).max() > 1e-3, "the emotion's acts"
    assert abs(styled - alone).max() > 1e-3, "the style's acts"
    for asked in (dict(prompt="a tree"), TREE | dict(emotion_strength=0)):
        assert np.allclose(show(pipe, **asked), show(stable, prompt="a tree"), atol=1e-5), (
            "plain Stable Diffusion, in the style"
        )
    assert pipe.get_active_adapters() == ["style"]

    pipe.set_adapters("style", 0.0)
    assert np.allclose(show(pipe, **TREE), alone, atol=1e-5)
    pipe.set_adapters(["style"], [1.0])
    assert np.allclose(show(pipe, **TREE), styled, atol=1e-5)
    pipe.disable_lora()
    assert np.allclose(show(pipe, **TREE), alone, atol=1e-5)
    pipe.enable_lora()
    assert np.allclose(show(pipe, **TREE), styled, atol=1e-5)
    pipe.set_lora_device(["style"], "cpu")
    pipe.delete_adapters("style")
    assert np.allclose(show(pipe, **TREE), alone, atol=1e-5)
    pipe.load_lora_weights(style, adapter_name=LORA)  # a name that the user may take too
    assert np.allclose(show(pipe, **TREE), styled, atol=1e-5)
    pipe.unload_lora_weights()
    assert np.allclose(show(pipe, **TREE), alone, atol=1e-5)
    assert np.allclose(show(pipe, prompt="a tree"), plain, atol=1e-5)


def test_fusing_is_of_the_users_loras_alone(pipe, style, stable):
    alone = show(pipe, **TREE)
    pipe.fuse_lora()  # nothing is there to fuse
    assert np.allclose(show(pipe, **TREE), alone, atol=1e-5)
    for each in (pipe, stable):
        each.load_lora_weights(style, adapter_name="style")
    styled = show(pipe, **TREE)
    for each in (pipe, stable):
        each.fuse_lora()
    assert pipe.fused_loras == {"style"}
    assert np.allclose(show(pipe, **TREE), styled, atol=1e-4)
    assert np.allclose(show(pipe, prompt="a tree"), show(stable, prompt="a tree"), atol=1e-5)
    pipe.unfuse_lora()
    pipe.unload_lora_weights()
    assert np.allclose(show(pipe, **TREE), alone, atol=1e-4)


def test_the_scale_of_a_call_is_the_users_loras(pipe, style, stable):
    alone = show(pipe, **TREE)
    for each in (pipe, stable):
        each.load_lora_weights(style, adapter_name="style")
    half = dict(cross_attention_kwargs={"scale": 0.5})
    assert abs(show(pipe, **TREE, **half) - show(pipe, **TREE)).max() > 1e-3
    assert np.allclose(show(pipe, **TREE, cross_attention_kwargs={"scale": 0.0}), alone, atol=1e-5)
    asked = show(pipe, **TREE, emotion_strength=0, **half)
    assert np.allclose(asked, show(stable, prompt="a tree", **half), atol=1e-5), "the text encoder's too"


@pytest.mark.parametrize("fused", [False, True])
def test_it_survives_saving_and_loading_and_a_fused_style_does(pipe, style, tmp_path, monkeypatch, fused):
    alone = show(pipe, **TREE)
    pipe.load_lora_weights(style, adapter_name="style")
    styled = show(pipe, **TREE)
    if fused:
        pipe.fuse_lora()
    told = []
    monkeypatch.setattr(pipeline.logger, "warning", told.append)
    pipe.save_pretrained(tmp_path / "saved")
    assert ["leaves out the LoRA style" in each for each in told] == [True] * (not fused)
    assert np.allclose(show(pipe, **TREE), styled, atol=1e-4), "what was saved is as it was"
    again = EmotionPipeline.from_pretrained(tmp_path / "saved")
    assert np.allclose(show(again, **TREE), styled if fused else alone, atol=1e-4)
    assert np.allclose(show(EmotionPipeline.from_pipe(again), **TREE), styled if fused else alone, atol=1e-4)
    if not fused:
        again.load_lora_weights(style, adapter_name="style")
        assert np.allclose(show(again, **TREE), styled, atol=1e-5)


def test_a_folder_of_an_earlier_version_and_one_that_lost_it(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "saved")
    index = tmp_path / "saved/model_index.json"
    listed = index.read_text()
    index.write_text(listed.replace('"training.emotion_lora"', "null").replace('"EmotionLora"', "null"))
    assert np.allclose(show(EmotionPipeline.from_pretrained(tmp_path / "saved"), **TREE), show(pipe, **TREE), atol=1e-5)
    index.write_text(listed)
    shutil.rmtree(tmp_path / "saved" / FOLDER)
    with pytest.raises(UserError, match=r"saved' is no whole EmotionPipeline: it lacks the folder unet_lora"):
        EmotionPipeline.from_pretrained(tmp_path / "saved")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.unlink(), r"the generator's LoRA cannot be read"),
        (lambda file: file.write_bytes(file.read_bytes()[:-9]), r"the generator's LoRA cannot be read"),
        (
            lambda file: rewrite(file, lambda name, value: (name.replace("to_q", "to_x"), value)),
            r"the U-Net has no layer for .*to_x",
        ),
        (
            lambda file: rewrite(file, lambda name, value: (name, value[:, :-1])),
            r"is \(16, 32\) and its LoRA \(16, 1\) and \(2, 31\)",
        ),
        (
            lambda file: rewrite(file, lambda name, value: None if "to_q.lora.up" in name else (name, value)),
            r"its other half",
        ),
        (lambda file: rewrite(file, lambda name, value: None), r"it is empty"),
    ],
)
def test_a_lora_that_is_damaged_or_anothers_is_named(with_lora, tmp_path, change, message):
    shutil.copytree(with_lora, tmp_path / "broken")
    change(tmp_path / "broken" / FOLDER / FILE)
    with pytest.raises(UserError, match=f"{FILE}.*{message}") as error:
        EmotionPipeline.from_pretrained(tmp_path / "broken")
    assert "\n" not in str(error.value)


def rewrite(file, each) -> None:
    changed = [each(name, value) for name, value in load_file(file).items()]
    save_file({name: value.contiguous() for name, value in filter(None, changed)}, file)


def test_a_unet_that_would_leave_it_out_is_refused(pipe):
    pipe.fuse_qkv_projections(vae=False)
    with pytest.raises(UserError, match=r"its projections are fused"):
        show(pipe, **TREE)
    pipe.unfuse_qkv_projections(vae=False)
    show(pipe, **TREE)
    pipe.unet = torch.compile(pipe.unet, backend="eager")
    with pytest.raises(UserError, match=r"is compiled"):
        show(pipe, **TREE)


def test_while_it_is_trained_it_can_be_taken_out_of_the_unet(stable):
    unet = stable.unet.requires_grad_(False)
    with taken_out(unet) as lora:
        assert lora is None
    add_adapter(unet, LORA, ["attn2.to_q"], 4)
    trained = [weight for weight in unet.parameters() if weight.requires_grad]
    assert trained
    torch.manual_seed(5)
    given = torch.randn(2, 4, 8, 8), torch.tensor(300), torch.randn(2, 7, 32)
    with torch.no_grad():
        whole = unet(*given).sample
        with taken_out(unet) as lora, lora.on_last(unet, 2):
            assert torch.allclose(unet(*given).sample, whole, atol=1e-5)
        assert torch.equal(unet(*given).sample, whole)
    still = [weight for weight in unet.parameters() if weight.requires_grad]
    assert all(one is other for one, other in zip(trained, still, strict=True))
    assert isinstance(lora, EmotionLora)
