"""Every option of diffusers' pipeline does with an emotion what it does without, or is refused; others are errors."""

import inspect

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, StableDiffusionPipeline
from diffusers.callbacks import SDCFGCutoffCallback
from PIL import Image
from test_composed_guidance import ip_adapter
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModelWithProjection

from config.errors import UserError
from training import pipeline
from training.pipeline import EmotionPipeline

# Common to diffusers' pipelines from text to images, as its own tests of a pipeline's signature have it.
REQUIRED = {"prompt", "height", "width", "guidance_scale", "negative_prompt", "prompt_embeds", "negative_prompt_embeds"}
REQUIRED |= {"cross_attention_kwargs"}
OPTIONAL = {"num_inference_steps", "num_images_per_prompt", "generator", "latents", "output_type", "return_dict"}
OPTIONAL |= {"callback_on_step_end", "callback_on_step_end_tensor_inputs", "ip_adapter_image", "ip_adapter_image_embeds"}


def darker(pipe, step, timestep, tensors):
    assert tensors.keys() == {"latents", "prompt_embeds"}
    return {name: tensor * 0.9 for name, tensor in tensors.items()}


def latents() -> torch.Tensor:
    return torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(9))


# By each of the parent's parameters: what is asked, as one set of options or several, or how it is refused.
ASKED = {
    "prompt": dict(),
    "height": dict(height=48),  # both or none counts, as in diffusers
    "width": dict(height=48, width=40),
    "num_inference_steps": dict(num_inference_steps=3),
    "timesteps": dict(timesteps=[700, 300, 20]),
    "sigmas": dict(sigmas=[9.0, 3.0]),
    "guidance_scale": [dict(guidance_scale=3.0), dict(guidance_scale=1.0)],
    "negative_prompt": dict(negative_prompt="a dark house"),
    "num_images_per_prompt": dict(num_images_per_prompt=2),
    "eta": dict(eta=0.7),
    "generator": dict(generator=77),
    "latents": dict(latents=latents()),
    "prompt_embeds": "prompt_embeds: cannot be given with an emotion",
    "negative_prompt_embeds": "negative_prompt_embeds: cannot be given with an emotion",
    "ip_adapter_image": dict(ip_adapter_image=Image.new("RGB", (32, 32), "red")),
    "ip_adapter_image_embeds": dict(ip_adapter_image_embeds=[torch.linspace(-1, 1, 24).view(2, 1, 12)]),
    "output_type": [dict(output_type="latent"), dict(output_type="pt")],
    "return_dict": dict(return_dict=False),
    "cross_attention_kwargs": dict(cross_attention_kwargs={"scale": 0.5}),
    "guidance_rescale": dict(guidance_rescale=0.7),
    "clip_skip": "clip_skip: diffusers cannot skip layers",
    "callback_on_step_end": dict(
        callback_on_step_end=darker, callback_on_step_end_tensor_inputs=["latents", "prompt_embeds"]
    ),
    "callback_on_step_end_tensor_inputs": dict(
        callback_on_step_end=SDCFGCutoffCallback(cutoff_step_ratio=None, cutoff_step_index=0)
    ),
}
WITHOUT_EFFECT = {"prompt", "return_dict", "cross_attention_kwargs", "height"}  # on the numbers, without a user's LoRA
NEEDS_IMAGE = {"ip_adapter_image", "ip_adapter_image_embeds"}


@pytest.fixture(scope="module")
def pipes(generator, models):
    return pair(generator, models)


@pytest.fixture(scope="module")
def pipes_with_image(generator, models):
    """The two, with the same IP-Adapter."""
    torch.manual_seed(3)
    size = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    encoder = CLIPVisionModelWithProjection(CLIPVisionConfig(image_size=32, patch_size=8, projection_dim=12, **size))
    made = pair(generator, models)
    adapter = ip_adapter(made[0].unet)
    for pipe in made:
        pipe.unet._load_ip_adapter_weights([adapter])
        processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
        pipe.register_modules(image_encoder=encoder, feature_extractor=processor)
    return made


def pair(generator, models) -> tuple[EmotionPipeline, StableDiffusionPipeline]:
    ours = EmotionPipeline.from_pretrained(generator)
    theirs = StableDiffusionPipeline.from_pretrained(models / "stable_diffusion", safety_checker=None)
    for pipe in (ours, theirs):
        pipe.set_progress_bar_config(disable=True)
        pipe.scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config)
    return ours, theirs


def show(pipe, *, generator: int = 4, **options) -> np.ndarray:
    """The first output of a pipeline, from a seed for each image."""
    seeds = [torch.Generator().manual_seed(generator + each) for each in range(options.get("num_images_per_prompt", 1))]
    made = pipe(**dict(num_inference_steps=2, output_type="np") | options, generator=seeds)
    return np.asarray(made[0])


def emotional(strength: float, **options) -> dict:
    images = options.get("num_images_per_prompt", 1)
    noise = torch.ones(images, 12)  # given, it does not move the seeds' noise of later steps
    return dict(prompt="a <emotion> tree", emotion="awe", emotion_strength=strength, emotion_noise=noise) | options


def test_the_signature_tells_all_that_diffusers_takes_and_all_is_tested():
    ours = inspect.signature(EmotionPipeline.__call__).parameters
    theirs = inspect.signature(StableDiffusionPipeline.__call__).parameters
    assert theirs.keys() - ours.keys() == {"kwargs"}
    assert ours.keys() >= REQUIRED
    assert {name for name, each in ours.items() if each.default is not inspect.Parameter.empty} >= OPTIONAL
    assert theirs.keys() - {"self", "kwargs"} == ASKED.keys()


@pytest.mark.parametrize("unknown", ["guidance", "clip_skips", "self_attention", "kwargs", "emotions", "num_inference_step"])
def test_an_unknown_option_is_an_error(pipes, unknown):
    for options in (dict(prompt="a tree"), dict(emotion="awe")):
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{unknown}'"):
            pipes[0](**options, **{unknown: 1})


@pytest.mark.parametrize("name", [name for name, asked in ASKED.items() if not isinstance(asked, str)])
def test_an_option_does_what_it_does_in_diffusers(pipes, pipes_with_image, name):
    ours, theirs = pipes_with_image if name in NEEDS_IMAGE else pipes
    if name == "eta":
        ours, theirs = (type(pipe)(**pipe.components, requires_safety_checker=False) for pipe in (ours, theirs))
        for pipe in (ours, theirs):
            pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
            pipe.set_progress_bar_config(disable=True)
    base = {} if name not in NEEDS_IMAGE else ASKED["ip_adapter_image_embeds"]
    for asked in ASKED[name] if isinstance(ASKED[name], list) else [ASKED[name]]:
        parents = show(theirs, prompt="a tree", **asked)
        assert np.allclose(show(ours, **emotional(0.0, **asked)), parents, atol=1e-5)
        assert np.allclose(show(ours, prompt="a tree", **asked), parents, atol=1e-5)
        changed = [show(ours, **emotional(strength, **asked)) for strength in (0.5, 1.0)]
        assert all(each.shape == parents.shape and abs(each - parents).max() > 1e-4 for each in changed)
        if name not in WITHOUT_EFFECT | NEEDS_IMAGE:
            plain = [show(ours, **emotional(strength, **base)) for strength in (0.5, 1.0)]
            for one, other in zip(changed, plain, strict=True):
                assert one.shape != other.shape or abs(one - other).max() > 1e-4


@pytest.mark.parametrize("name", [name for name, asked in ASKED.items() if isinstance(asked, str)])
def test_an_option_that_cannot_work_is_refused(pipes, name):
    value = 1 if name == "clip_skip" else torch.zeros(1, 20, 32)
    with pytest.raises(UserError, match=ASKED[name]) as error:
        pipes[0](emotion="awe", **{name: value})
    assert "\n" not in str(error.value)
    if name == "clip_skip":
        with pytest.raises(UserError, match=ASKED[name]):
            pipes[0]("a tree", clip_skip=1)


def test_what_an_ip_adapters_image_adds_is_there_at_every_strength(pipes_with_image):
    ours, _ = pipes_with_image
    embeds = ASKED["ip_adapter_image_embeds"]["ip_adapter_image_embeds"][0]
    for strength in (0.0, 0.5, 1.0):
        one, other = (show(ours, **emotional(strength, ip_adapter_image_embeds=[each])) for each in (embeds, -embeds))
        assert abs(one - other).max() > 1e-4


def test_deprecated_callbacks_are_still_called(pipes):
    steps = []
    show(pipes[0], **emotional(0.5), callback=lambda step, timestep, latents: steps.append(len(latents)), callback_steps=1)
    assert steps == [1, 1]


def test_what_a_callback_does_to_the_states_it_does_to_all_conditions(pipes):
    ours, entered = pipes[0], []

    def blank(pipe, step, timestep, tensors):
        return {"prompt_embeds": torch.zeros_like(tensors["prompt_embeds"])}

    def look(module, arguments, keywords):
        entered.append(keywords["encoder_hidden_states"])

    handle = ours.unet.down_blocks[0].register_forward_pre_hook(look, with_kwargs=True)
    show(ours, **emotional(0.5, callback_on_step_end=blank, callback_on_step_end_tensor_inputs=["prompt_embeds"]))
    handle.remove()
    assert [len(states) for states in entered] == [3, 3]
    assert entered[0][1:].any(dim=(1, 2)).all()
    assert not entered[1].any()


def test_a_token_of_a_textual_inversion_may_have_several_vectors(generator, models):
    ours, theirs = pair(generator, models)
    for pipe in (ours, theirs):
        pipe.load_textual_inversion({"<toy>": torch.randn(3, 32, generator=torch.Generator().manual_seed(2))})
    parents = show(theirs, prompt="a <toy> tree")
    assert np.allclose(show(ours, **emotional(0.0, prompt="a <emotion> <toy> tree")), parents, atol=1e-5)
    entered = []
    handle = ours.text_encoder.register_forward_pre_hook(lambda module, given: entered.append(given[0]))
    show(ours, **emotional(1.0, prompt="a <emotion> <toy> tree", negative_prompt="<toy>"))
    handle.remove()
    a, tree = (ours.tokenizer(word, add_special_tokens=False).input_ids for word in ("a", "tree"))
    toys = ours.tokenizer.convert_tokens_to_ids(["<toy>", "<toy>_1", "<toy>_2"])
    assert entered[0][0, 1:].tolist()[: len(a) + 2 + 3 + len(tree)] == [*a, 0, 0, *toys, *tree]
    assert entered[1][0, 1:4].tolist() == toys


@pytest.mark.parametrize(
    "options",
    [
        dict(prompt="red " * 30, emotion=None),
        dict(prompt="<emotion> " + "red " * 30),
        dict(prompt="a <emotion> tree", negative_prompt="red " * 30),
        dict(prompt="<emotion> " + "red " * 30, emotion_strength=0.5),
        dict(prompt="<emotion> " + "red " * 30, emotion_strength=0.0),
    ],
)
def test_what_is_cut_off_a_prompt_is_told(pipes, monkeypatch, options):
    told = []
    monkeypatch.setattr(pipeline.logger, "warning", told.append)
    show(pipes[0], **dict(emotion="awe") | options)
    assert told
    assert all("truncated" in each and "red red" in each for each in told)
    told.clear()
    show(pipes[0], **emotional(0.5), negative_prompt="dark")
    assert not told


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(emotion=["awe", "fear"], generator=[torch.Generator()] * 3), "2 images asked for"),
        (dict(emotion="awe", num_images_per_prompt=0), "0 images asked for"),
        (dict(emotion="awe", num_inference_steps=0), "num_inference_steps: 0; give a whole number from 1 on"),
        (dict(prompt="a tree", num_inference_steps=2.5), "num_inference_steps: 2.5; give a whole number from 1 on"),
        (dict(emotion="awe", emotion_strength=float("nan")), "emotion_strength: nan; give a finite number"),
        (dict(emotion="awe", emotion_spread=float("inf")), "emotion_spread: inf; give a finite number"),
        (dict(prompt="a tree", emotion_noise=torch.zeros(1, 12)), "emotion_noise: no effect"),
    ],
)
def test_what_does_not_go_together_is_told(pipes, options, message):
    with pytest.raises(UserError, match=message):
        pipes[0](**options)
