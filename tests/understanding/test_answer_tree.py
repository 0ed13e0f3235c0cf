"""All answers in one row: the tree that they make, and the probabilities that they have in rows of their own."""

import pytest
import torch
from tiny_trainers import TEMPLATE, intern, llava, processor_of, questions, qwen2_5, qwen3
from transformers import AutoConfig, Qwen2_5_VLForConditionalGeneration

from config.section import ROOT
from config.taxonomy import DEFAULT, read_taxonomy
from understanding.answer_tree import answer_tree, log_probabilities, pack_trees, with_trees
from understanding.chat import Chat, read_chat
from understanding.packing import PER_TOKEN
from understanding.processor import load_processor

QWEN = ROOT / "../shared/tokenizers/qwen2_5_vl"
SCORES = [str(score) for score in range(101)]  # "1", "10" and "100" begin alike
EMOTIONS = read_taxonomy(DEFAULT).emotions


def test_what_answers_begin_with_is_there_once():
    tree = answer_tree([[1, 9], [1, 0, 9], [1, 0, 0, 9], [2, 9]])
    assert (tree.tokens, tree.parents, tree.depths) == ([1, 0, 0, 2], [0, 1, 2, 0], [0, 1, 2, 3, 1])
    assert [[tree.edges[edge][1] for edge in path] for path in tree.paths] == [[1, 9], [1, 0, 9], [1, 0, 0, 9], [2, 9]]
    assert tree.ancestors().int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 0, 0, 0, 1],
    ]


def test_an_answer_of_one_token_needs_no_node():
    tree = answer_tree([[5], [6]])
    assert (tree.tokens, tree.edges, tree.paths) == ([], [(0, 5), (0, 6)], [[0], [1]])
    logits = torch.tensor([[[0.0] * 5 + [1.0, 2.0]]])
    (found,) = log_probabilities(logits, [tree])
    assert torch.allclose(found, logits[0, 0].log_softmax(0)[5:])


def test_a_row_shows_a_token_the_prompt_and_what_leads_to_it():
    inputs = {"input_ids": torch.tensor([[0, 5, 6]]), "attention_mask": torch.tensor([[0, 1, 1]])}
    packed = pack_trees(inputs, torch.tensor([[0, 0, 1]]), [answer_tree([[7, 8, 1], [7, 1], [9, 1]])])
    assert packed["input_ids"].tolist() == [[0, 5, 6, 7, 8, 9]]
    assert packed["position_ids"].tolist() == [[0, 0, 1, 2, 3, 2]]
    assert packed["attention_mask"][0, 0].int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [0, 1, 0, 0, 0, 0],
        [0, 1, 1, 0, 0, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 1, 1, 1, 1, 0],
        [0, 1, 1, 0, 0, 1],
    ]


def alone(model, chat: Chat, prompt: str, image, answer: list[int]) -> torch.Tensor:
    """The log-probability of an answer after a prompt, in a row of its own that holds nothing but tokens."""
    inputs = dict(chat.inputs([prompt], [image]))
    length = inputs["input_ids"].size(1)
    added = torch.tensor([answer])
    inputs["input_ids"] = torch.cat([inputs["input_ids"], added], 1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    for name in PER_TOKEN & inputs.keys():
        inputs[name] = torch.cat([inputs[name], torch.zeros_like(added)], 1)
    log_p = model(**inputs).logits[0, length - 1 : -1].log_softmax(-1)
    return log_p.gather(1, added.T).sum()


def assert_as_in_rows_of_their_own(model, processor, prompts, images, allowed) -> None:
    chat = read_chat(processor)
    emitted = [
        [chat.emitted(prompt, chat.turn(answer)) for answer in answers]
        for prompt, answers in zip(prompts, allowed, strict=True)
    ]
    trees = list(map(answer_tree, emitted))
    inputs = dict(chat.inputs(prompts, images))
    with torch.no_grad():
        found = log_probabilities(model(**with_trees(model, inputs, trees)).logits, trees)
        for prompt, image, answers, log_p in zip(prompts, images, emitted, found, strict=True):
            expected = torch.stack([alone(model, chat, prompt, image, answer) for answer in answers])
            torch.testing.assert_close(log_p, expected, rtol=0, atol=1e-4)  # of sums of some -100
            torch.testing.assert_close(log_p.exp(), expected.exp(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("architecture", [qwen2_5, qwen3, llava, intern])
def test_probabilities_are_those_of_rows_of_their_own(architecture):
    """Prompts of unequal length, of which one allows two answers, one eight and one 101."""
    torch.manual_seed(0)
    model = architecture().eval()
    processor, rows = processor_of(model), questions(3)
    prompts = [
        processor.apply_chat_template(
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": row["prompt"][0]["content"]}]}],
            add_generation_prompt=True,
            tokenize=False,
            chat_template=TEMPLATE if architecture is not intern else None,
        )
        for row in rows
    ]
    images = [row["image"] for row in rows]
    assert_as_in_rows_of_their_own(model, processor, prompts, images, [("yes", "no"), EMOTIONS, SCORES])


def test_probabilities_are_those_of_rows_of_their_own_with_qwens_vocabulary():
    if not QWEN.is_dir():
        pytest.skip(f"no vocabulary in {QWEN}")
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration(AutoConfig.from_pretrained(QWEN)).float().eval()
    processor = load_processor(str(QWEN))
    chat, images = read_chat(processor), [row["image"] for row in questions(3)]
    asked = [
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}] for text in ("A?", "Bb?", "C?")
    ]
    prompts = list(map(chat.prompt, asked))
    assert_as_in_rows_of_their_own(model, processor, prompts, images, [("yes", "no"), EMOTIONS, SCORES[::5]])
