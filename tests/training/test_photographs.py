"""Images that start from photographs, and diffusers' other pipelines fed with an emotion."""

import numpy as np
import pytest
import torch
from diffusers import (
    ControlNetModel,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    StableDiffusionControlNetPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
)
from PIL import Image

from config.errors import UserError
from training.photographs import size_of
from training.pipeline import EmotionPipeline

QUICK = dict(num_inference_steps=4, output_type="np")
ON_A_TREE = dict(prompt="a photo of a <emotion> tree", emotion="awe", emotion_noise=torch.ones(1, 12))


@pytest.fixture(scope="module")
def pipe(generator):
    pipe = EmotionPipeline.from_pretrained(generator)
    return quiet(pipe)


def quiet(pipe):
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config)
    return pipe


def photograph(width: int = 32, height: int = 32, seed: int = 0) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def images(pipe, *seeds: int, **arguments) -> np.ndarray:
    generator = [torch.Generator().manual_seed(seed) for seed in seeds or (4,)]
    return pipe(**QUICK | arguments, generator=generator).images


def test_at_emotion_strength_0_it_is_diffusers_image_to_image(pipe, models):
    stock = quiet(StableDiffusionImg2ImgPipeline.from_pretrained(models / "stable_diffusion", safety_checker=None))
    theirs = images(stock, prompt="a photo of a tree", image=photograph(), strength=0.6)
    ours = dict(image=photograph(), image_strength=0.6)
    assert np.allclose(images(pipe, **ON_A_TREE, emotion_strength=0.0, **ours), theirs, atol=1e-5)
    assert np.allclose(images(pipe, prompt="a photo of a tree", **ours), theirs, atol=1e-5)
    for strength in (0.5, 1.0):
        assert abs(images(pipe, **ON_A_TREE, emotion_strength=strength, **ours) - theirs).max() > 1e-3


def test_the_lower_the_strength_the_nearer_to_the_photograph(pipe):
    kept, made = photograph(), {}
    with torch.no_grad():
        pixels = torch.from_numpy(np.asarray(kept) / 127.5 - 1).float().movedim(-1, 0)[None]
        through = pipe.vae.decode(pipe.vae.encode(pixels).latent_dist.mode()).sample[0].movedim(0, -1) / 2 + 0.5
    for strength in (0.25, 0.5, 1.0):
        made[strength] = abs(images(pipe, emotion="fear", image=kept, image_strength=strength)[0] - through.numpy()).mean()
    assert made[0.25] < made[0.5] < made[1.0]


def test_a_photograph_of_any_size_keeps_its_proportions_and_stands_upright(pipe):
    assert size_of((300, 200), 32 * 32, 4) == (40, 28)
    assert size_of((4000, 1000), 512 * 512, 8) == (1024, 256)
    for source in (photograph(300, 200), photograph(9, 6), photograph(300, 200).convert("L")):
        assert images(pipe, emotion="awe", image=source).shape == (1, 28, 40, 3)
    lying = photograph(300, 200)
    lying.getexif()[0x0112] = 6  # to be turned by a quarter
    assert images(pipe, emotion="awe", image=lying).shape == (1, 40, 28, 3)
    assert images(pipe, emotion="awe", image=photograph(300, 20), height=16, width=48).shape == (1, 16, 48, 3)


def test_offloaded_models_go_back(pipe, generator):
    offloaded = EmotionPipeline.from_pretrained(generator)
    offloaded.enable_model_cpu_offload(device="cpu")
    freed, free = [], offloaded.maybe_free_model_hooks
    offloaded.maybe_free_model_hooks = lambda: (freed.append(True), free())
    asked = dict(emotion="awe", image=photograph())
    assert np.array_equal(images(quiet(offloaded), **asked), images(pipe, **asked))
    assert freed == [True]


def test_arrays_and_tensors_are_photographs_too(pipe):
    array = np.asarray(photograph()) / 255
    made = [
        images(pipe, emotion="awe", image=each)
        for each in (photograph(), array, array[None], torch.from_numpy(array).movedim(-1, 0), [array])
    ]
    assert all(np.allclose(each, made[0], atol=1e-5) for each in made)
    as_bytes = np.asarray(photograph())
    for each in (as_bytes, as_bytes[None], torch.tensor(as_bytes).movedim(-1, 0)):
        assert np.allclose(images(pipe, emotion="awe", image=each), made[0], atol=1e-5), "bytes are not scaled"


def test_a_path_is_a_photograph_too(pipe, tmp_path):
    photograph().save(tmp_path / "photo.png")
    made = images(pipe, emotion="awe", image=photograph())
    for given in (tmp_path / "photo.png", str(tmp_path / "photo.png"), [tmp_path / "photo.png"]):
        assert np.array_equal(images(pipe, emotion="awe", image=given), made)


def test_one_channel_is_grey(pipe):
    grey = np.asarray(photograph().convert("L"))
    made = images(pipe, emotion="awe", image=photograph().convert("L"))
    for given in (grey, grey[..., None], grey[None, ..., None], torch.tensor(grey)[None], grey[..., None] / 255):
        assert np.allclose(images(pipe, emotion="awe", image=given), made, atol=1e-5)


@pytest.mark.parametrize("emotion", [None, "awe"])
def test_in_a_batch_each_image_starts_from_its_own_photograph(pipe, emotion):
    asked = dict(prompt="a tree") if emotion is None else ON_A_TREE | dict(emotion_noise=None)
    sources = [photograph(seed=1), photograph(seed=2)]
    together = images(pipe, 1, 2, 3, 4, image=sources, num_images_per_prompt=2, **asked)
    alone = [images(pipe, seed, image=sources[place], **asked)[0] for seed, place in ((1, 0), (2, 0), (3, 1), (4, 1))]
    assert np.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (dict(image=photograph(), image_strength=0.0), r"image_strength: 0 of 4 steps; give a strength above 0"),
        (dict(image=photograph(), image_strength=0.2), r"image_strength: 0\.2 of 4 steps; .* leaves a step or more"),
        (dict(image=photograph(), image_strength=1.5), r"image_strength: 1\.5"),
        (dict(image_strength=0.5), "image_strength: does nothing without an image"),
        (dict(image="no photo.jpg"), "no photo.jpg: cannot be read: no such file"),
        (dict(image=5), "image: 5 is no photograph; give a PIL image, a path"),
        (dict(image=torch.zeros(8, 8)), r"a tensor of shape \(8, 8\) is no photograph"),
        (dict(image=np.zeros((2, 8, 8))), r"an array of shape \(2, 8, 8\); give \(height, width, 3\)"),
        (dict(image=[]), "image: an empty list"),
        (dict(image=photograph(90, 20)), "90 x 20 pixels are more than 4 times as long as wide; cut the photograph"),
        (dict(image=[photograph(), photograph(64, 32)]), r"of one call would be of 32 x 32, 44 x 24 pixels; give height"),
        (dict(image=photograph(), height=30, width=32), r"height=30, width=32: give multiples of 4"),
        (dict(image=photograph(), height=32), "height=32, width=None: give both for a photograph, or neither"),
        (dict(image=photograph(), width=32), "height=None, width=32: give both for a photograph, or neither"),
        (dict(image=photograph(), latents=torch.zeros(1, 4, 8, 8)), "latents: cannot be given with an image"),
        (dict(image=photograph(), guidance_rescale=0.5), "guidance_rescale: cannot be given with an image"),
        (dict(image=[photograph()] * 2, emotion=["awe"] * 3), "1 prompts, 3 emotions, 1 negative prompts, 2 photographs"),
    ],
)
def test_what_cannot_be_made_of_a_photograph_says_why(pipe, asked, message):
    with pytest.raises(UserError, match=message) as error:
        images(pipe, **dict(emotion="awe") | asked)
    assert "\n" not in str(error.value)


def embeds(pipe, **options) -> dict[str, torch.Tensor]:
    """What encode_prompt says of an emotion on a tree, as other pipelines take it."""
    given = dict(emotion="awe", emotion_noise=torch.ones(1, 12)) | options
    states, negative = pipe.encode_prompt("a photo of a <emotion> tree", pipe.device, 1, True, "dark", **given)
    return dict(prompt_embeds=states, negative_prompt_embeds=negative)


def test_other_pipelines_are_fed_with_an_emotion(with_lora):
    pipe = quiet(EmotionPipeline.from_pretrained(with_lora))
    torch.manual_seed(0)
    blocks = dict(conditioning_embedding_out_channels=(4, 8, 8))
    controlnet = ControlNetModel.from_unet(pipe.unet, **blocks)
    masked = dict(image=photograph(), mask_image=photograph(seed=3), height=32, width=32)
    others = {
        "text": (StableDiffusionPipeline, {}, {}),
        "image": (StableDiffusionImg2ImgPipeline, {}, dict(image=photograph(), strength=0.5)),
        "inpainting": (StableDiffusionInpaintPipeline, {}, masked),
        "ControlNet": (StableDiffusionControlNetPipeline, dict(controlnet=controlnet), dict(image=photograph())),
    }
    own = {"text": {}, "image": dict(image=photograph(), image_strength=0.5)}
    for name, (kind, parts, options) in others.items():
        other = quiet(kind.from_pipe(pipe, **parts))
        with pipe.unet_lora.on_last(pipe.unet, 1):
            made = images(other, **embeds(pipe), **options)
            afraid = images(other, **embeds(pipe, emotion="fear"), **options)
        assert abs(made - afraid).max() > 1e-3, name
        if name in own:
            ours = dict(emotion_strength=1.0, negative_prompt="dark") | own[name]
            assert np.allclose(made, images(pipe, **ON_A_TREE, **ours), atol=1e-5)


def test_encode_prompt_keeps_diffusers_contract(pipe):
    states, negative = pipe.encode_prompt(["a <emotion> tree", "<emotion>"], "cpu", 3, True, emotion="awe")
    assert states.shape == negative.shape == (6, 20, 32)
    assert pipe.encode_prompt("a <emotion> tree", "cpu", 1, False, emotion="awe")[1] is None
    plain = StableDiffusionPipeline.encode_prompt(pipe, "a tree", "cpu", 1, True, "dark")
    for ours, theirs in zip(pipe.encode_prompt("a tree", "cpu", 1, True, "dark"), plain, strict=True):
        assert torch.equal(ours, theirs)
    for wrong in (dict(clip_skip=1), dict(prompt_embeds=states), dict(emotion="joy")):
        with pytest.raises(UserError):
            pipe.encode_prompt("a <emotion> tree", **dict(emotion="awe") | wrong)


def test_from_pipe_takes_over_a_generator_or_says_what_to_do(pipe, models):
    stock = StableDiffusionPipeline.from_pretrained(models / "stable_diffusion", safety_checker=None)
    with pytest.raises(UserError, match="a StableDiffusionPipeline has no mapper and no emotion_space; use"):
        EmotionPipeline.from_pipe(stock)
    parts = {name: pipe.components[name] for name in ("mapper", "emotion_space")}
    for taken in (EmotionPipeline.from_pipe(stock, **parts), EmotionPipeline.from_pipe(pipe)):
        assert np.allclose(images(quiet(taken), emotion="awe"), images(pipe, emotion="awe"), atol=1e-5)


def test_diffusers_itself_loads_what_was_saved(with_lora, tmp_path):
    pipe = quiet(EmotionPipeline.from_pretrained(with_lora))
    pipe.save_pretrained(tmp_path)
    again = DiffusionPipeline.from_pretrained(tmp_path)
    assert type(again) is EmotionPipeline
    assert np.allclose(images(quiet(again), emotion="awe"), images(pipe, emotion="awe"), atol=1e-5)
