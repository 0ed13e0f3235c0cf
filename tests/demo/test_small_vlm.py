"""The tiny Qwen2.5-VL: it trains on what its processor gives, through a pass that equals its own, and is saved whole."""

import copy
import json
import math
from random import Random

import pytest
import torch
from PIL import Image
from transformers import ResNetModel

from config.section import ROOT
from demo.drawn.render import render
from demo.drawn.world import EMOTIONS
from demo.making import small_vlm as small
from demo.making import vlm_answers
from demo.making.captions import draw_content
from demo.making.content_questions import NAMES
from demo.making.fitting import fit
from demo.making.small_models import Images
from understanding.answers import extract_answer
from understanding.model import conversation
from understanding.processor import load_processor
from understanding.questions import ANSWER_ALONE, REASONING


@pytest.fixture(scope="module")
def processor():
    return small.make_processor(0)


@pytest.fixture(scope="module")
def model(processor):
    torch.manual_seed(0)
    made = small.make_vlm(processor.tokenizer).eval()
    with torch.no_grad():
        for weight in made.parameters():  # wide, so that what is looked at shows
            if weight.ndim > 1:
                weight.mul_(4)
    return made


def pictures(count: int, size: int = 64) -> list[Image.Image]:
    rng = Random(0)
    return [render(draw_content(rng), size, rng) for _ in range(count)]


def tensor(images: list[Image.Image]) -> torch.Tensor:
    pixels = [torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8) for image in images]
    return torch.stack(pixels).view(-1, 64, 64, 3).permute(0, 3, 1, 2) / 127.5 - 1


def inputs(processor, images, prompts, answers=None) -> dict:
    chats = [processor.apply_chat_template(conversation(prompt), add_generation_prompt=True) for prompt in prompts]
    texts = [chat + answer for chat, answer in zip(chats, answers or [""] * len(chats), strict=True)]
    return processor(images=[[image] for image in images], text=texts, padding=True, return_tensors="pt")


def test_patches_are_those_of_the_processor(processor):
    images = pictures(3)
    theirs = processor.image_processor(images, return_tensors="pt")
    assert theirs["image_grid_thw"].tolist() == [[1, 8, 8]] * 3
    torch.testing.assert_close(small.patches(tensor(images)), theirs["pixel_values"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (128, 128), (500, 333)])
def test_any_image_becomes_sixteen_tokens(processor, size):
    image = pictures(1, 128)[0].resize(size)
    ids = inputs(processor, [image], ["What is this?"])["input_ids"]
    assert 12 <= (ids == processor.image_token_id).sum() <= small.IMAGE_TOKENS
    if size[0] == size[1]:
        assert (ids == processor.image_token_id).sum() == small.IMAGE_TOKENS


def test_the_training_pass_gives_the_models_own_loss(processor, model):
    images = pictures(2)
    prompts = ["What object is shown?", "Is this place a park? Answer yes or no.", "Describe this image. " + REASONING]
    answers = ["spider", "no", "<think>a park</think><answer>a park</answer>"]
    answering, names = vlm_answers.Answering(model), [{}, {"park": True}, {}]

    def loss_of(seen):
        return vlm_answers.answer_cross_entropy(answering, processor, seen, list(zip(prompts, answers, strict=True)), names)[
            0
        ]

    with torch.no_grad():
        seen = small.look(model.model.visual, tensor(images))
        ours = loss_of(seen[[0, 0, 1]])
        total, count = 0.0, 0
        for image, prompt, answer in zip([images[0], images[0], images[1]], prompts, answers, strict=True):
            batch = inputs(processor, [image], [prompt], [answer + "<|im_end|>"])
            length = len(processor.tokenizer(answer + "<|im_end|>").input_ids)
            labels = batch["input_ids"].clone()
            labels[:, :-length] = -100
            total += model(**batch, labels=labels).loss.item() * length
            count += length
        blind = loss_of(seen[[1, 1, 0]])
    assert ours.item() == pytest.approx(total / count, rel=1e-5)
    assert ours.item() != pytest.approx(blind.item(), rel=1e-3), "another image gives another loss"


def test_names_are_compared_where_they_end_in_the_question(processor, model):
    """The probe reads the state halfway up at the last token of each name; shown and not shown count equally."""
    images = pictures(1)
    prompt, names = (
        "Say yes or no to each: amusement park, park, spider.",
        {"amusement park": True, "park": False, "spider": False},
    )
    answering = vlm_answers.Answering(model)
    with torch.no_grad():
        seen = small.look(model.model.visual, tensor(images))
        _, compared = vlm_answers.answer_cross_entropy(answering, processor, seen, [(prompt, "no")], [names])
        batch = inputs(processor, images, [prompt])
        state = model(**batch, output_hidden_states=True).hidden_states[2][0]
    ids = batch["input_ids"][0].tolist()
    words = [(place, processor.tokenizer.decode([token])) for place, token in enumerate(ids)]
    ends = [place for place, word in words if word in (" park", " spider")]
    assert len(ends) == 3
    told = [answering.probe(state[place]).item() for place in ends]
    expected = (math.log1p(math.exp(-told[0])) + sum(math.log1p(math.exp(each)) for each in told[1:]) / 2) / 2
    assert compared.item() == pytest.approx(expected, rel=1e-4)


def test_the_tokenizer_keeps_words_whole_and_texts_as_they_are(processor):
    tokenizer = processor.tokenizer
    for word in [*EMOTIONS, *(name for kind in NAMES.values() for name in kind.values()), "yes", "no"]:
        assert len(tokenizer(word).input_ids) == len(word.split()), word
    said = "<think>a close spider, night light</think><answer>fear</answer>"
    for text in (said, REASONING, ANSWER_ALONE, "Grüße, 水! 99.5 %\n"):
        assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert tokenizer.decode(tokenizer(said + "<|im_end|>").input_ids, skip_special_tokens=True) == said
    assert extract_answer(said, True) == "fear"


def test_a_saved_folder_loads(processor, model, tmp_path):
    from transformers import AutoModelForImageTextToText

    made = small.make_vlm(processor.tokenizer)
    made.load_state_dict(model.state_dict())
    small.save_vlm(tmp_path, made, processor)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 6e6
    loaded, again = AutoModelForImageTextToText.from_pretrained(tmp_path), load_processor(str(tmp_path))
    assert {weight.dtype for weight in loaded.parameters()} == {torch.float16}
    assert loaded.lm_head.weight is loaded.get_input_embeddings().weight
    assert loaded.generation_config.eos_token_id == processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
    batch = inputs(again, pictures(2), ["What is this?", "What object is shown in this image?"])
    expected = inputs(processor, pictures(2), ["What is this?", "What object is shown in this image?"])
    assert all(torch.equal(batch[name], expected[name]) for name in expected)
    assert batch["attention_mask"][0, 0] == 0, "padded on the left"
    ids = loaded.float().generate(**batch, max_new_tokens=3)
    assert ids.shape[0] == 2
    video = json.loads((tmp_path / "processor_config.json").read_text())["video_processor"]
    assert video["video_processor_type"] == "Qwen2VLVideoProcessor"
    assert video["patch_size"] == small.PATCH


def test_questions_of_both_kinds_train_everything(processor, model):
    rng = Random(3)
    cues = [draw_content(rng) for _ in range(4)]
    pixels = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    contents = Images(pixels, cues, [""] * 4)
    emotions = Images(pixels.repeat(48, 1, 1, 1), cues * 48, list(EMOTIONS) * 24)
    trained = vlm_answers.Answering(copy.deepcopy(model))
    optimizer = torch.optim.AdamW(trained.parameters(), 1e-3)
    loss_of = vlm_answers.answer_loss(contents, emotions, processor, 0, guesses=1)
    losses = []
    for step in range(12):
        torch.manual_seed(step)
        loss = loss_of(trained, torch.arange(4))
        loss.backward()
        losses.append(loss.item())
        assert all(weight.grad is not None and weight.grad.any() for weight in trained.parameters())
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < 0.8 * losses[0]


def test_the_tower_learns_to_name_content(model):
    rng = Random(4)
    cues = [draw_content(rng) for _ in range(4)]
    images = Images(torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8), cues, [""] * 4)
    teacher = ResNetModel.from_pretrained(ROOT / "demo/models/backbone", dtype=torch.float32).eval().requires_grad_(False)
    naming = small.ContentNaming(copy.deepcopy(model.model.visual), teacher)
    loss_of = small.naming_loss(images, teacher)
    loss = loss_of(naming, torch.arange(4))
    loss.backward()
    assert all(weight.grad.any() for weight in naming.parameters())
    optimizer = torch.optim.AdamW(naming.parameters(), 1e-3)
    for _ in range(15):
        optimizer.zero_grad()
        loss_of(naming, torch.arange(4)).backward()
        optimizer.step()
    assert loss_of(naming, torch.arange(4)) < 0.8 * loss


def test_the_teachers_features_are_in_the_order_of_the_patches(model):
    """An image that is white in one patch alone: the feature that differs most is that patch's."""
    teacher = ResNetModel.from_pretrained(ROOT / "demo/models/backbone", dtype=torch.float32).eval()
    images = -torch.ones(64, 3, 64, 64)
    for number in range(64):
        row, column = divmod(number, 8)
        images[number, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 1
    order = small.patches(images).view(64, 64, -1).amax(2).argmax(1)
    seen = small.teacher_features(teacher, images)[0]
    change = (seen - small.teacher_features(teacher, -torch.ones(1, 3, 64, 64))[0]).abs().sum(2)
    assert (change.argmax(1) == order).float().mean() > 0.6  # not at the edges


def test_a_killed_fit_goes_on_to_the_same_weights(tmp_path):
    class Killed(Exception):
        pass

    def fitted(work, until=None):
        torch.manual_seed(0)
        calls = []

        def loss(module, rows):
            calls.append(rows)
            if len(calls) == until:
                raise Killed
            return (module(rows[:, None].float() / 10) - 1).square().mean() + module.weight.square().sum() * torch.rand(())

        return fit(work, "line", lambda: torch.nn.Linear(1, 1), loss, 500, 4, 1e-2, images=10, seed=0), len(calls)

    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole, _ = fitted(tmp_path / "whole")
    with pytest.raises(Killed):
        fitted(tmp_path / "killed", until=300)
    resumed, steps = fitted(tmp_path / "killed")
    assert steps == 250
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
