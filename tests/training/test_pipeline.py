"""EmotionPipeline behaves as diffusers' users expect, and does with emotions what it says."""

import inspect
import json
import os
import shutil

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel, UniPCMultistepScheduler
from safetensors.torch import load_file, save_file

from config.errors import UserError
from config.generation_settings import Generate
from training import base_model, generator_parts
from training.mapper import EmotionMapper
from training.pipeline import EmotionPipeline

QUICK = dict(num_inference_steps=2, output_type="np")


@pytest.fixture(scope="module")
def pipe(generator):
    pipe = EmotionPipeline.from_pretrained(generator)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = UniPCMultistepScheduler.from_config(pipe.scheduler.config)
    return pipe


def seeded(*seeds: int):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def images(pipe, **arguments):
    return pipe(**QUICK | arguments).images


def test_an_emotion_makes_an_image(pipe):
    made = images(pipe, emotion="awe")
    assert made.shape == (1, 32, 32, 3)
    assert made.std() > 0


def test_emotions_differ_and_seeds_repeat(pipe):
    awe, again, fear = (images(pipe, emotion=name, generator=seeded(1)) for name in ("awe", "awe", "fear"))
    assert np.array_equal(awe, again)
    assert not np.allclose(awe, fear, atol=1e-3)


def test_an_image_does_not_depend_on_the_batch_it_is_made_in(pipe):
    together = images(pipe, emotion=["awe", "fear", "awe"], generator=seeded(1, 2, 3))
    alone = images(pipe, emotion="fear", generator=seeded(2))
    assert np.allclose(together[1], alone[0], atol=1e-5)


def test_every_image_of_a_prompt_has_its_own_emotion_vector(pipe):
    noise = torch.zeros(2, pipe.emotion_space.config.dimension)
    latents = torch.randn(1, 4, 8, 8).repeat(2, 1, 1, 1)
    same = images(pipe, emotion="awe", num_images_per_prompt=2, latents=latents, emotion_noise=noise)
    own = images(pipe, emotion="awe", num_images_per_prompt=2, latents=latents)
    assert np.allclose(same[0], same[1], atol=1e-5)
    assert not np.allclose(own[0], own[1], atol=1e-3)


def test_a_mix_of_one_emotion_is_that_emotion(pipe):
    mix = images(pipe, emotion={"awe": 3.0, "fear": 0.0}, generator=seeded(5))
    assert np.allclose(mix, images(pipe, emotion="awe", generator=seeded(5)), atol=1e-5)


def test_strength_0_is_the_prompt_without_emotion_and_1_is_plain_guidance(pipe):
    latents = torch.randn(1, 4, 8, 8)
    prompt = dict(prompt="a photo of a <emotion> tree", latents=latents, emotion_noise=torch.zeros(1, 12))
    plain = images(pipe, prompt="a photo of a tree", latents=latents)
    assert np.allclose(images(pipe, emotion="fear", emotion_strength=0.0, **prompt), plain, atol=1e-5)
    one = images(pipe, emotion="fear", emotion_strength=1.0, **prompt)
    assert np.allclose(images(pipe, emotion="fear", emotion_strength=0.99999, **prompt), one, atol=1e-3)
    assert not np.allclose(one, plain, atol=1e-3)


def test_the_default_strength_is_0_8_beside_other_words_and_1_alone(pipe):
    latents, noise = torch.randn(2, 4, 8, 8), torch.randn(2, 12)
    prompts, strengths = ["a photo of a <emotion> tree", "<emotion>"], (0.8, 1.0)
    together = images(pipe, prompt=prompts, emotion="fear", latents=latents, emotion_noise=noise)
    for place, (prompt, strength) in enumerate(zip(prompts, strengths, strict=True)):
        start = {"latents": latents[place, None], "emotion_noise": noise[place, None]}
        alone = images(pipe, prompt=prompt, emotion="fear", **start)
        assert np.array_equal(alone, images(pipe, prompt=prompt, emotion="fear", emotion_strength=strength, **start))
        assert np.allclose(alone[0], together[place], atol=1e-4), "in a batch each prompt has its own"
    told = inspect.signature(EmotionPipeline.__call__).parameters["emotion_strength"].default
    assert (told, Generate().strength) == (None, 0.8)


def test_spread_scales_the_scatter_of_emotion_vectors(pipe):
    noise, latents = torch.randn(1, pipe.emotion_space.config.dimension), torch.randn(1, 4, 8, 8)
    whole, half, none, mean = (
        images(pipe, emotion="awe", latents=latents, emotion_spread=spread, emotion_noise=scale * noise)
        for spread, scale in ((1.0, 1.0), (0.5, 2.0), (0.0, 1.0), (1.0, 0.0))
    )
    assert np.allclose(half, whole, atol=1e-5)
    assert np.allclose(none, mean, atol=1e-5)
    assert not np.allclose(whole, mean, atol=1e-3)


def test_strength_without_guidance(pipe):
    arguments = dict(prompt="a <emotion> tree", emotion="awe", guidance_scale=1.0, generator=seeded(1))
    assert not np.allclose(images(pipe, **arguments), images(pipe, emotion_strength=0.3, **arguments), atol=1e-4)


def test_without_an_emotion_it_is_stable_diffusion(pipe, models):
    stable = StableDiffusionPipeline.from_pretrained(models / "stable_diffusion", scheduler=pipe.scheduler)
    stable.set_progress_bar_config(disable=True)
    arguments = dict(prompt="a photo of a tree", generator=torch.Generator().manual_seed(3))
    theirs = images(stable, **arguments)
    assert np.allclose(images(pipe, **arguments | dict(generator=seeded(3))), theirs, atol=1e-5)


def test_diffusers_options(pipe):
    seen = []

    def look(pipe, step, timestep, tensors):
        seen.append(tensors["latents"].shape[0])
        return tensors

    images(pipe, emotion=["awe", "fear"], num_images_per_prompt=2, negative_prompt="dark", callback_on_step_end=look)
    assert seen == [4] * len(seen)
    assert seen
    latents = pipe(emotion="awe", num_inference_steps=1, output_type="latent", return_dict=False)[0]
    assert latents.shape == (1, 4, 8, 8)
    pictures = pipe(emotion="awe", num_inference_steps=1, height=48, width=40).images
    assert pictures[0].size == (40, 48)
    assert len(images(pipe, emotion=["awe", "fear"], negative_prompt=["dark", "red"])) == 2
    assert len(images(pipe, emotion="awe", negative_prompt=["dark", "red"])) == 2


def test_one_generator_for_a_whole_batch(pipe):
    made = [images(pipe, emotion=["awe", "fear"], generator=torch.Generator().manual_seed(4)) for _ in range(2)]
    assert np.array_equal(*made)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(generator, dtype):
    pipe = EmotionPipeline.from_pretrained(generator, dtype=dtype)
    assert pipe.mapper.dtype == pipe.emotion_space.dtype == pipe.unet.dtype == dtype
    pipe.set_progress_bar_config(disable=True)
    assert np.isfinite(images(pipe, emotion="awe")).all()


def test_save_pretrained_writes_a_folder_that_needs_no_base(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "whole")
    again = EmotionPipeline.from_pretrained(tmp_path / "whole")
    again.set_progress_bar_config(disable=True)
    assert isinstance(again.scheduler, UniPCMultistepScheduler)
    made = [images(each, emotion="awe", generator=seeded(1)) for each in (pipe, again)]
    assert np.allclose(*made, atol=1e-5)


def test_another_scheduler(pipe, generator):
    other = EmotionPipeline.from_pretrained(generator)
    other.set_progress_bar_config(disable=True)
    other.scheduler = DDIMScheduler.from_config(other.scheduler.config)
    assert images(other, emotion="awe", eta=0.5).shape == (1, 32, 32, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(emotion="joy"), "'joy': choose from amusement, awe"),
        (dict(emotion={"awe": 1, "joy": 1}), "'joy'"),
        (dict(emotion={"awe": -1}), "0 or more"),
        (dict(emotion={"awe": 0}), "more than 0"),
        (dict(emotion={"awe": float("nan")}), "0 or more"),
        (dict(emotion={}), "missing"),
        (dict(emotion="awe", prompt="a tree"), "has no <emotion>"),
        (dict(emotion="awe", prompt="<emotion> and <emotion>"), "2 times"),
        (dict(emotion="awe", prompt="tree " * 30 + "<emotion>"), "would be cut off"),
        (dict(prompt="a <emotion> tree"), "no emotion is given"),
        (dict(emotion=["awe", "fear"], prompt=["<emotion>"] * 3), "3 prompts, 2 emotions, 1 negative prompts"),
        (dict(emotion=["awe", "fear"], negative_prompt=["dark"] * 3), "1 prompts, 2 emotions, 3 negative prompts"),
        (dict(emotion="awe", negative_prompt="<emotion>"), "negative prompt: cannot say <emotion>"),
        (dict(emotion=[]), "0 emotions"),
        (dict(emotion="awe", prompt_embeds=torch.zeros(1, 24, 32)), "prompt_embeds: cannot be given with an emotion"),
        (dict(emotion="awe", negative_prompt_embeds=torch.zeros(1, 24, 32)), "^negative_prompt_embeds: cannot be given"),
    ],
)
def test_what_cannot_be_made_says_why(pipe, arguments, message):
    with pytest.raises(UserError, match=message):
        images(pipe, **arguments)


def test_a_folder_that_is_no_generator(tmp_path, generator, models):
    with pytest.raises(UserError, match="no generator"):
        EmotionPipeline.from_pretrained(tmp_path)
    with pytest.raises(UserError, match="no generator there"):
        EmotionPipeline.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(UserError, match="neither a folder"):
        EmotionPipeline.from_pretrained(generator, base=str(tmp_path))


def test_another_base_model_is_refused(generator, models, tmp_path):
    stable = StableDiffusionPipeline.from_pretrained(models / "stable_diffusion")
    with torch.no_grad():
        stable.unet.conv_in.bias.add_(0.1)
    stable.save_pretrained(tmp_path / "other")
    with pytest.raises(UserError, match="another Stable Diffusion"):
        EmotionPipeline.from_pretrained(generator, base=str(tmp_path / "other"))


def test_a_base_that_was_saved_in_half_precision_is_loaded_whole(generator, models, tmp_path):
    StableDiffusionPipeline.from_pretrained(models / "stable_diffusion", dtype=torch.float16).save_pretrained(
        tmp_path / "half"
    )
    pipe = EmotionPipeline.from_pretrained(generator, base=str(tmp_path / "half"))
    assert pipe.text_encoder.dtype == pipe.unet.dtype == pipe.vae.dtype == torch.float32
    pipe.set_progress_bar_config(disable=True)
    assert np.isfinite(images(pipe, emotion="awe")).all()


@pytest.fixture
def safety():
    """The options of a pipeline with a safety checker that blackens everything."""
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessor

    size = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2)
    config = CLIPConfig(vision_config=dict(image_size=32, patch_size=8, **size), text_config=size, projection_dim=24)
    checker = StableDiffusionSafetyChecker(config)
    checker.concept_embeds_weights.data.fill_(-2)  # below every cosine
    processor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return dict(safety_checker=checker, feature_extractor=processor)


def test_a_safety_checker_that_is_given_checks(generator, safety):
    pipe = EmotionPipeline.from_pretrained(generator, **safety)
    assert pipe.safety_checker is safety["safety_checker"]
    assert pipe.config.requires_safety_checker
    pipe.set_progress_bar_config(disable=True)
    assert not images(pipe, emotion="awe").any()


def test_a_safety_checker_is_loaded_where_it_is_asked_for_and_there(generator, models, safety, tmp_path):
    base, saved = tmp_path / "base", tmp_path / "saved"
    StableDiffusionPipeline.from_pretrained(models / "stable_diffusion", **safety).save_pretrained(base)
    pipe = EmotionPipeline.from_pretrained(generator, base=str(base), safety_checker=True)
    assert pipe.safety_checker is not None
    pipe.save_pretrained(saved)
    assert EmotionPipeline.from_pretrained(generator, base=str(base)).safety_checker is None
    bare = EmotionPipeline.from_pretrained(saved)
    assert bare.safety_checker is None
    assert EmotionPipeline.from_pretrained(saved, safety_checker=True).safety_checker is not None
    given = EmotionPipeline.from_pretrained(saved, **safety)
    assert given.safety_checker is safety["safety_checker"]
    bare.save_pretrained(tmp_path / "bare")
    shown = {path.stat().st_mode & 0o777 for path in (tmp_path / "bare").rglob("*") if path.is_file()}
    assert len(shown) == 1, "who may read its JSON may read its weights"
    for folder in (generator, tmp_path / "bare"):
        with pytest.raises(UserError, match=r"safety_checker=True: .* has none; give a safety checker itself") as error:
            EmotionPipeline.from_pretrained(folder, safety_checker=True)
        assert "\n" not in str(error.value)


def test_options_for_the_hub_reach_both_downloads_and_the_revision_its_own(generator, monkeypatch, tmp_path):
    asked, load_model = {}, base_model.load_model

    def download(name, **options):
        asked[name] = options
        return generator

    def load(kind, name, setting, **options):
        asked["base"] = options
        return load_model(kind, name, setting, **options)

    monkeypatch.setattr(generator_parts, "snapshot_download", download)
    monkeypatch.setattr(base_model, "load_model", load)
    hub = dict(token="secret", cache_dir=str(tmp_path), local_files_only=True)
    EmotionPipeline.from_pretrained("somebody/emotions", revision="v1", **hub)
    assert asked["somebody/emotions"] == dict(revision="v1", **hub)
    assert hub.items() <= asked["base"].items()
    assert "revision" not in asked["base"]


def test_offloaded_it_makes_the_same_image(pipe, generator):
    offloaded = EmotionPipeline.from_pretrained(generator)
    offloaded.set_progress_bar_config(disable=True)
    offloaded.scheduler = UniPCMultistepScheduler.from_config(pipe.scheduler.config)
    offloaded.enable_model_cpu_offload(device="cpu")
    called = []
    for name in ("mapper", "text_encoder", "unet"):
        getattr(offloaded, name).register_forward_hook(lambda *_, name=name: called.append(name))
    made = images(offloaded, emotion="awe", generator=seeded(1))
    assert np.array_equal(made, images(pipe, emotion="awe", generator=seeded(1)))
    order = offloaded.model_cpu_offload_seq.split("->")
    assert sorted(called, key=order.index) == called  # else a module would come back for every step
    hooked = {name for name, part in offloaded.components.items() if hasattr(part, "_hf_hook")}
    assert hooked == {"mapper", "text_encoder", "unet", "vae"}


def test_with_an_emotion_or_without_an_image_starts_from_the_same_latents(pipe):
    started = []
    handle = pipe.unet.register_forward_pre_hook(lambda module, arguments: started.append(arguments[0]))
    for options in ({"prompt": "a tree"}, {"emotion": "awe"}, {"prompt": "a <emotion> tree", "emotion": "fear"}):
        generators = [torch.Generator().manual_seed(seed) for seed in (3, 4)]
        images(pipe, **options, num_images_per_prompt=2, generator=generators, num_inference_steps=1)
    handle.remove()
    assert len(started) == 3
    assert torch.equal(started[0], started[1])
    assert torch.equal(started[0], started[2])


def change(file, **changed) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))


def without_a_weight(file) -> None:
    weights = load_file(file)
    weights.pop(sorted(weights)[0])
    save_file(weights, file)


WEIGHTS = "diffusion_pytorch_model.safetensors"
BROKEN = {
    "no mapper": (lambda folder: shutil.rmtree(folder / "mapper"), r"has no mapper/, so it is no whole generator"),
    "no emotion space": (lambda folder: shutil.rmtree(folder / "emotion_space"), r"has no emotion_space/"),
    "a weight of the mapper": (
        lambda folder: without_a_weight(folder / "mapper" / WEIGHTS),
        r"mapper' is no whole EmotionMapper: it lacks the weights layers\.0\.bias",
    ),
    "the means": (
        lambda folder: without_a_weight(folder / "emotion_space" / WEIGHTS),
        r"emotion_space' is no whole EmotionSpace: it lacks the weights factor",
    ),
    "the mapper's weights": (lambda folder: (folder / "mapper" / WEIGHTS).unlink(), r"mapper' "),
    "a mapper cut off": (lambda folder: os.truncate(folder / "mapper" / WEIGHTS, 900), r"mapper' "),
    "an empty generator.json": (
        lambda folder: (folder / "generator.json").write_text(""),
        r"generator.json: cannot be read",
    ),
    "a list": (lambda folder: (folder / "generator.json").write_text("[]"), r"generator.json: is not what training/main.py"),
    "no base": (lambda folder: (folder / "generator.json").write_text("{}"), r"does not say base or base_hashes"),
    "other emotions": (lambda folder: change(folder / "generator.json", emotions=["awe"]), r"lists other emotions than"),
    "a LoRA that is gone": (lambda folder: change(folder / "generator.json", lora_rank=4), r"has no unet_lora/"),
    "a mixed mapper": (
        lambda folder: EmotionMapper(dimension=6, width=32).save_pretrained(folder / "mapper"),
        r"its mapper takes vectors of 6 and gives 32, its emotion space has 12 and its text encoder 32",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_generator_that_is_not_whole_is_named(generator, tmp_path, what):
    damage, message = BROKEN[what]
    shutil.copytree(generator, tmp_path / "broken")
    damage(tmp_path / "broken")
    with pytest.raises(UserError, match=message) as error:
        EmotionPipeline.from_pretrained(tmp_path / "broken")
    assert "\n" not in str(error.value)
    assert "broken" in str(error.value)


def test_a_folder_of_another_kind_says_what_to_name(generator, models, tmp_path):
    with pytest.raises(UserError, match=r"is a StableDiffusionPipeline and no generator; train one on it"):
        EmotionPipeline.from_pretrained(models / "stable_diffusion")
    shutil.copytree(generator, tmp_path / "generator")
    with pytest.raises(UserError, match=rf"so it is no generator; name {tmp_path}/generator"):
        EmotionPipeline.from_pretrained(tmp_path)


def test_a_whole_folder_is_checked_too(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "whole")
    with pytest.raises(UserError, match=r"base: .*whole holds its own Stable Diffusion"):
        EmotionPipeline.from_pretrained(tmp_path / "whole", base="other")
    without_a_weight(tmp_path / "whole/emotion_space" / WEIGHTS)
    with pytest.raises(UserError, match=r"emotion_space' is no whole EmotionSpace: it lacks the weights factor"):
        EmotionPipeline.from_pretrained(tmp_path / "whole")
    shutil.rmtree(tmp_path / "whole/mapper")
    with pytest.raises(UserError, match=r"whole") as error:
        EmotionPipeline.from_pretrained(tmp_path / "whole")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (dict(in_channels=9), "has a U-Net that takes 9 channels, its VAE has 4, as for inpainting"),
        (dict(in_channels=8), "takes 8 channels, its VAE has 4, as for editing"),
        (
            dict(addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=72),
            r"takes more than a text \(addition_embed_type\)",
        ),
        (dict(num_class_embeds=7), r"takes more than a text \(num_class_embeds\)"),
        (dict(cross_attention_dim=24), "has a text encoder that is 32 wide, its U-Net takes 24"),
        (dict(prediction_type="sample"), "says prediction_type sample of a "),
    ],
)
def test_a_base_of_another_kind_is_refused_by_its_name(generator, models, tmp_path, changed, message):
    base = tmp_path / "base"
    shutil.copytree(models / "stable_diffusion", base)
    if "prediction_type" in changed:
        change(base / "scheduler/scheduler_config.json", **changed)
    else:
        config = UNet2DConditionModel.load_config(base / "unet")
        UNet2DConditionModel.from_config(config | changed).save_pretrained(base / "unet")
    with pytest.raises(UserError, match=rf"generator.json: base: '.*base'.*{message}") as error:
        EmotionPipeline.from_pretrained(generator, base=str(base))
    assert "\n" not in str(error.value)
