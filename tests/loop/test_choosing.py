"""The best of several images: which one is kept, what its candidates share, and what loop/inference.py says of it."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from tiny_generator import write_random_generator
from tiny_run import write_run

from config.errors import UserError
from config.section import ROOT
from config.taxonomy import DEFAULT, read_taxonomy
from loop.scores import gate_of, of_emotions
from training.choosing import Condition, numbers_of
from training.image_files import read_parameters
from training.pipeline import EmotionPipeline
from training.sampling import ready_to_sample

SHORT = dict(num_inference_steps=1, guidance_scale=1.0, height=32, width=32)
TAXONOMY = read_taxonomy(DEFAULT)


@pytest.fixture(scope="module")
def pipe(tmp_path_factory) -> EmotionPipeline:
    folder = write_random_generator(tmp_path_factory.mktemp("choosing") / "generator", TAXONOMY.emotions)
    return ready_to_sample(EmotionPipeline.from_pretrained(folder), torch.device("cpu"))


def seeded(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


class Brightness:
    """How bright an image is; it remembers what it was asked."""

    def __init__(self):
        self.images, self.conditions = [], []

    def __call__(self, images, conditions):
        self.images.append([np.asarray(image, float) for image in images])
        self.conditions.append(list(conditions))
        return torch.tensor([each.mean() for each in self.images[-1]])


def test_the_best_of_the_candidates_is_kept_and_the_first_is_what_one_would_have_been(pipe):
    score = Brightness()
    made = pipe(emotion=["awe", {"fear": 3, "anger": 1}], generator=seeded(1, 2), best_of=3, score=score, **SHORT)
    assert made.scores.shape == (2, 3)
    assert torch.equal(made.chosen, made.scores.argmax(1))
    for place, image in enumerate(made.images):
        assert np.array_equal(image, score.images[made.chosen[place]][place])
    alone = pipe(emotion=["awe", {"fear": 3, "anger": 1}], generator=seeded(1, 2), **SHORT).images
    assert all(np.array_equal(image, first) for image, first in zip(alone, score.images[0], strict=True))
    two = pipe(emotion=["awe", {"fear": 3, "anger": 1}], generator=seeded(1, 2), best_of=2, score=Brightness(), **SHORT)
    assert torch.equal(two.scores, made.scores[:, :2])


def test_candidates_have_the_same_words_and_the_score_is_told_of_them(pipe):
    score = Brightness()
    pipe(emotion=["awe", "fear", "awe"], generator=seeded(1, 2, 3), best_of=3, score=score, **SHORT)
    first, *others = score.conditions
    assert all(other == first for other in others)
    assert [each.weights for each in first] == [{"awe": 1.0}, {"fear": 1.0}, {"awe": 1.0}]
    assert all(each.prompt == f"a photo of a <emotion> {each.content}" for each in first)
    bare = Brightness()
    pipe(prompt="<emotion>", emotion="awe", best_of=2, score=bare, **SHORT)
    assert bare.conditions[0] == [Condition("awe", "<emotion>", None)]


def test_of_photographs_each_gets_the_best_of_its_own_candidates(pipe):
    arrays = np.random.default_rng(0).random((2, 32, 32, 3))
    photographs = [Image.fromarray((255 * each).round().astype(np.uint8)) for each in arrays]
    steps = SHORT | {"num_inference_steps": 2}
    made = []
    for given in (photographs, tuple(photographs), arrays, torch.from_numpy(arrays).movedim(-1, 1)):
        score = Brightness()
        made.append(pipe(emotion="awe", image=given, generator=seeded(1, 2), best_of=2, score=score, **steps))
        assert made[-1].scores.shape == (2, 2)
        assert score.conditions[0] == [Condition("awe", "<emotion>", None)] * 2
    assert all(np.array_equal(each.images, made[0].images) for each in made)
    alone = pipe(emotion="awe", image=photographs[0], generator=seeded(1), best_of=2, score=Brightness(), **steps)
    assert np.allclose(alone.scores[0], made[0].scores[0], atol=1)


def returning(value):
    return lambda images, conditions: value


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"best_of": 0, "score": len}, "best_of=0"),
        ({"best_of": 2}, "best_of=2"),
        ({"best_of": 2, "score": len, "emotion": None, "prompt": "a tree"}, "an emotion"),
        ({"best_of": 2, "score": len, "output_type": "latent"}, "output_type: cannot be given with best_of"),
        ({"best_of": 2.5, "score": len}, "best_of=2.5: .* a whole number from 1 on"),
        ({"best_of": 2, "score": 1.0}, "a function as score"),
        ({"score": len}, "score: does nothing without best_of; give best_of"),
        ({"best_of": 2, "score": returning(torch.zeros(3))}, r"^score: returned numbers of shape \(3,\) for 1 images;"),
        ({"best_of": 2, "score": returning(None)}, "^score: returned None for 1 images; return a number for each image$"),
        ({"best_of": 2, "score": returning([None])}, r"does not consist of real numbers \(type list\)"),
        ({"best_of": 2, "score": returning("high")}, r"\(type str\)"),
        ({"best_of": 2, "score": returning(["1"])}, r"\(type list\)"),
        ({"best_of": 2, "score": returning(torch.tensor([1j]))}, r"\(type Tensor\)"),
        ({"best_of": 2, "score": returning([[1.0], [1.0, 2.0]])}, r"\(type list\)"),
        ({"best_of": 2, "score": returning([float("nan")])}, "returned NaN"),
    ],
)
def test_what_cannot_be_chosen_is_refused(pipe, given, told):
    with pytest.raises(UserError, match=told) as error:
        pipe(**{"emotion": "awe"} | SHORT | given)
    assert "\n" not in str(error.value)


def test_a_score_may_change_what_it_gets(pipe):
    def rough(images, conditions):
        for image, condition in zip(images, conditions, strict=True):
            image.thumbnail((4, 4))
            condition.emotion.pop("anger")
        count = len(images)
        images.clear(), conditions.clear()
        return [0.0] * count

    asked = dict(emotion={"fear": 3, "anger": 1}, num_images_per_prompt=2, **SHORT)
    made = pipe(**asked, generator=seeded(1, 2), best_of=2, score=rough).images
    alone = pipe(**asked, generator=seeded(1, 2)).images
    assert all(np.array_equal(image, other) for image, other in zip(made, alone, strict=True))


@pytest.mark.parametrize(
    "made",
    [
        lambda values: values,
        lambda values: torch.tensor(values, dtype=torch.float64, requires_grad=True),
        lambda values: [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in values],
        lambda values: np.array(values[::-1])[::-1],  # with a negative stride
        lambda values: pd.Series(values, index=[5, 7, 9]),
    ],
)
def test_near_and_large_numbers_stay_apart(made):
    for values in ([1e6 + k * 1e-3 for k in range(3)], [1e300, 2e300, -3e300]):
        assert numbers_of(made(values), 3, "score").tolist() == values


def test_a_mix_is_scored_by_the_mean_over_its_emotions():
    log_p = torch.arange(2 * len(TAXONOMY), dtype=torch.float).view(2, -1)
    first, second = TAXONOMY.emotions[:2]
    conditions = [Condition({first: 3, second: 1}, ""), Condition(second, "")]
    assert of_emotions(log_p, conditions, TAXONOMY).tolist() == [0.25, len(TAXONOMY) + 1]


def test_the_gate_is_never_the_reward():
    assert {gate_of(name) for name in ("understanding", "encoder")} == {"understanding", "encoder"}
    assert all(gate_of(name) != name for name in ("understanding", "encoder"))


def test_the_script_keeps_the_best_and_says_so(script, drawn, tmp_path):
    run = write_run(tmp_path / "run", drawn)
    given = [
        "--config",
        ROOT / "config/demo.yaml",
        f"run={run}",
        "generate.emotions=awe",
        "generate.mixes=[]",
        "generate.images=2",
    ]
    given += ["generate.prompts=a photo of a <emotion> <content>", "generate.steps=1", "loop.best_of=2"]
    given.append("loop.reward=understanding")
    done = script("loop/inference.py", *given)
    assert "4 images were scored in" in done.stdout
    lines = [json.loads(line) for line in (run / "loop/chosen/manifest.jsonl").read_text().splitlines()]
    assert [line["best_of"] for line in lines] == [2, 2]
    for line in lines:
        parameters = read_parameters(run / "loop" / "chosen" / line.pop("path"))
        assert parameters == line
        assert parameters["score"].startswith("understanding ")
