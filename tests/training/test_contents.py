"""An emotion is put on a content: drawn from p(attribute | emotion) by the image's own generator, or named."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from config.errors import UserError
from config.loading import load
from config.taxonomy import DEFAULT, read_taxonomy
from emoset.labels import KINDS
from training.contents import Contents, content_numbers, count_contents
from training.inference import main
from training.pipeline import GENERATOR, EmotionPipeline

EMOTIONS = read_taxonomy(DEFAULT).emotions
COUNTS = {emotion: {"tree": 1, "bag": 1, f"{emotion} thing": 2} for emotion in EMOTIONS}


@pytest.fixture(scope="module")
def knowing(generator, tmp_path_factory):
    """The folder of a generator that knows contents."""
    folder = tmp_path_factory.mktemp("knowing") / "generator"
    shutil.copytree(generator, folder)
    about = json.loads((folder / GENERATOR).read_text())
    (folder / GENERATOR).write_text(json.dumps(about | {"contents": COUNTS}))
    return folder


def seeded(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def image_of(pipe: EmotionPipeline, **arguments) -> np.ndarray:
    return np.stack([np.asarray(image) for image in pipe(num_inference_steps=2, height=32, width=32, **arguments).images])


def test_contents_are_drawn_in_proportion():
    contents = Contents.of({"awe": {"tree": 3, "sea": 1}, "fear": {"spider": 2}}, ("awe", "fear"))
    assert contents.names == ("sea", "spider", "tree")
    assert contents.draw(["awe"] * 4, torch.tensor([0, 0.2, 0.25, 1 - 2**-24])) == ["sea", "sea", "tree", "tree"]
    mix = {"awe": 1, "fear": 1}  # 1/8, 1/2 and 3/8
    assert contents.draw([mix] * 3, torch.tensor([0.12, 0.62, 0.63])) == ["sea", "spider", "tree"]


def test_images_of_an_emotion_are_counted_by_their_attributes():
    rows = [
        ("awe", ["tree", "bird"], "park", "sad", None),
        ("awe", ["tree"], None, None, None),
        ("fear", None, "cave", "sad", None),
    ]
    index = pd.DataFrame(rows, columns=["emotion", *KINDS])
    kinds = ["object", "scene"]
    assert count_contents(index, kinds, ("awe", "fear")) == {"awe": {"bird": 1, "park": 1, "tree": 2}, "fear": {"cave": 1}}
    assert count_contents(index, ["object"], ("awe", "fear")) == {}, "no image of fear has an object"


def test_a_number_follows_from_a_generator_and_leaves_it_alone():
    seeds = range(2000)
    numbers = content_numbers(2000, seeded(*seeds))
    assert torch.equal(numbers[5:7], content_numbers(2, seeded(5, 6)))
    assert numbers.mean() == pytest.approx(0.5, abs=0.03)
    first = torch.cat([torch.randn(1, generator=each) for each in seeded(*seeds)])
    assert abs(torch.corrcoef(torch.stack([numbers, first]))[0, 1]) < 0.1, "the content says nothing about the noise"
    one, other = seeded(3, 3)
    content_numbers(4, one)
    assert torch.equal(torch.randn(3, generator=one), torch.randn(3, generator=other))


def test_the_pipeline_draws_a_content_or_takes_one(knowing, tmp_path):
    pipe = EmotionPipeline.from_pretrained(knowing)
    pipe.set_progress_bar_config(disable=True)
    drawn = [pipe.contents.of_image("awe", seed) for seed in (0, 1, 2)]
    assert len(set(drawn)) > 1
    images = image_of(pipe, emotion="awe", generator=seeded(0, 1, 2), num_images_per_prompt=3)
    named = image_of(pipe, emotion="awe", content=drawn, generator=seeded(0, 1, 2))
    assert np.array_equal(images, named)
    words = image_of(
        pipe, emotion="awe", prompt=[f"a photo of a <emotion> {each}" for each in drawn], generator=seeded(0, 1, 2)
    )
    assert np.array_equal(images, words)
    alone = image_of(pipe, emotion="awe", generator=seeded(1))[0].astype(int)
    assert np.abs(alone - images[1]).max() <= 1, "the content depends on the image's own generator alone"
    bare = image_of(pipe, prompt="<emotion>", emotion="awe", generator=seeded(1))[0]
    assert not np.array_equal(bare, images[1])
    with pytest.raises(UserError, match="has no <content>; write it where the content should stand"):
        pipe(prompt="<emotion>", emotion="awe", content="bag")
    for useless in ({"content": "bag"}, {"emotion_strength": 0.5}, {"emotion_spread": 0.5}):
        with pytest.raises(UserError, match=f"{next(iter(useless))}: no effect without an emotion"):
            pipe(prompt="a bag", **useless)

    pipe.save_pretrained(tmp_path / "whole")
    assert EmotionPipeline.from_pretrained(tmp_path / "whole").contents.names == pipe.contents.names


def test_a_generator_that_knows_no_contents(generator):
    pipe = EmotionPipeline.from_pretrained(generator)
    pipe.set_progress_bar_config(disable=True)
    bare = image_of(pipe, prompt="<emotion>", emotion="awe", generator=seeded(1))
    assert np.array_equal(image_of(pipe, emotion="awe", generator=seeded(1)), bare)
    image_of(pipe, emotion="awe", content="bag", generator=seeded(1))  # named, so nothing is to be drawn
    with pytest.raises(UserError, match="trained without any to draw; name one, or leave <content> out"):
        pipe(prompt="a <emotion> <content>", emotion="awe")


def test_contents_of_inference(knowing, generator, tmp_path):
    def make(*arguments: str, of=knowing) -> list[dict]:
        options = ["generate.steps=2", "generate.emotions=awe", "generate.mixes=[{awe: 1, fear: 1}]", "generate.images=3"]
        main(load([f"run={tmp_path}", f"generate.generator={of}", *options, *arguments]))
        lines = [json.loads(line) for line in (tmp_path / "images/manifest.jsonl").read_text().splitlines()]
        for line in lines:
            own = Image.open(tmp_path / "images" / line["path"]).info["emotion_images"]
            assert json.loads(own) == {name: value for name, value in line.items() if name != "path"}
        return lines

    contents = Contents.of(COUNTS, EMOTIONS)
    lines = make()
    assert [line["path"] for line in lines[:3]] == [f"awe/a-photo-of-a-EMOTION-CONTENT-0000{n}.png" for n in range(3)]
    assert [line["content"] for line in lines] == [contents.of_image(line["weights"], line["seed"]) for line in lines]
    lines = make("generate.contents=bag,old boot")
    assert [line["content"] for line in lines[:6]] == ["bag"] * 3 + ["old boot"] * 3
    assert lines[3]["path"] == "awe/a-photo-of-a-EMOTION-old-boot-00000.png"
    assert {line["prompt"] for line in lines} == {"a photo of a <emotion> <content>"}

    lines = make(of=generator)
    assert {line["prompt"] for line in lines} == {"<emotion>"}
    assert "content" not in lines[0]
    with pytest.raises(UserError, match=r"was trained without contents to draw; name some with generate.contents"):
        make("generate.prompts=a <emotion> <content>", of=generator)
    with pytest.raises(UserError, match=r"generate.contents: no prompt says <content>"):
        make("generate.prompts=<emotion>", "generate.contents=bag")
