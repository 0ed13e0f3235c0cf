"""make_images makes the images of any plan: several strengths, with emotions and without, each image once."""

import torch
from diffusers import StableDiffusionPipeline

from training.image_files import read_parameters
from training.sampling import load_generator, make_images, ready_to_sample

SHARED = {"steps": 1, "guidance_scale": 3.0, "negative_prompt": "", "resolution": 32}


def emotional(number: int, strength: float) -> dict:
    prompt = "a <emotion> tree"
    return SHARED | {"prompt": prompt, "weights": {"awe": 1.0}, "strength": strength, "spread": 1.0, "seed": number}


def noting(pipe, calls: list):
    """Return the pipeline, which notes of each batch that it makes: how many prompts, which strength."""

    class Noting(type(pipe)):
        def __call__(self, *given, **options):
            calls.append((len(options["prompt"]), options.get("emotion_strength")))
            return super().__call__(*given, **options)

    pipe.__class__ = Noting
    return pipe


def test_a_batch_has_one_strength_and_only_what_is_missing_is_made(generator, tmp_path):
    calls = []
    pipe = noting(load_generator(generator, torch.device("cpu"))[0], calls)
    plan = {f"{number}.png": emotional(number, strength) for number, strength in enumerate([1.0, 0.5, 1.0, 0.5, 1.0])}
    plan |= {"plain.png": SHARED | {"prompt": "a tree", "seed": 7}}
    assert make_images(pipe, plan, tmp_path, 2, "trees") == {"missing": list(plan), "replaced": []}
    assert calls == [(1, None), (2, 0.5), (2, 1.0), (1, 1.0)]
    assert {path: read_parameters(tmp_path / path) for path in plan} == plan

    calls.clear()
    kept = (tmp_path / "2.png").stat().st_mtime_ns
    (tmp_path / "0.png").unlink()
    changed = plan | {"plain.png": SHARED | {"prompt": "a house", "seed": 7}}
    made = make_images(pipe, changed, tmp_path, 2, "trees")
    assert made == {"missing": ["0.png", "plain.png"], "replaced": ["plain.png"]}
    assert calls == [(1, None), (2, 1.0)]  # a batch is made whole, and only what is missing is saved
    assert (tmp_path / "2.png").stat().st_mtime_ns == kept


def test_without_weights_plain_stable_diffusion_makes_them_too(models, tmp_path):
    stable = StableDiffusionPipeline.from_pretrained(models / "stable_diffusion", safety_checker=None)
    pipe = ready_to_sample(stable, torch.device("cpu"))
    plan = {"folder/plain.png": SHARED | {"prompt": "a tree", "seed": 7}}
    assert make_images(pipe, plan, tmp_path, 4, "plain")["missing"] == ["folder/plain.png"]
    assert make_images(pipe, plan, tmp_path, 4, "plain")["missing"] == []
