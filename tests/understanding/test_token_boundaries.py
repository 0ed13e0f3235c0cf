"""Answers are scored, and trained on, as a real vocabulary writes them: a model that says all equally often scores them so.

In Qwen's vocabulary `>` joins the letters after it: `<answer>fear` is `<`, `answer`, `>f`, `ear`, and `<answer>awe` is `<`,
`answer`, `>`, `awe`.
"""

import math
from collections import Counter, defaultdict
from dataclasses import replace
from functools import wraps

import pytest
import torch
from transformers import AutoConfig, Qwen2_5_VLForConditionalGeneration
from transformers.modeling_outputs import CausalLMOutputWithPast

from config.section import ROOT
from config.taxonomy import DEFAULT, read_taxonomy
from config.understanding_settings import Answers, Understanding
from understanding.asking import GREY, Asker
from understanding.kinds import kind_named
from understanding.model import conversation
from understanding.processor import load_processor
from understanding.question import Question
from understanding.warmup import answered, right_answer

QWEN = ROOT / "../shared/tokenizers/qwen2_5_vl"
THOUGHT = "<think>a dark wood</think> <answer>fear</answer>"
NAMES = {"positive": ["joy", "joyfulness", "astonishment"], "negative": ["fear", "fearful", "quiet_dread"]}
LONG = "".join(  # names of several tokens, some the beginning of another
    f"{name}: {{side: {side}, colour: '#2f7ed8'}}\n" for side, names in NAMES.items() for name in names
)
PLAIN = (  # no token of its own stands between the prompt and an answer
    "{% for message in messages %}{% if message.role == 'user' %}USER: <|vision_start|><|image_pad|><|vision_end|>"
    "{% for part in message.content %}{{ part.text }}{% endfor %} "
    "{% else %}ASSISTANT:{{ message.content[0].text }}<|im_end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


@pytest.fixture(scope="module")
def qwen():
    """A model of random weights with Qwen2.5-VL's vocabulary, and its processor; its own end is not what ends a turn."""
    if not QWEN.is_dir():
        pytest.skip(f"no vocabulary in {QWEN}")
    model = Qwen2_5_VLForConditionalGeneration(AutoConfig.from_pretrained(QWEN, dtype="float32"))
    processor = load_processor(str(QWEN))
    processor.tokenizer.eos_token = "<|endoftext|>"
    model.generation_config.update(eos_token_id=processor.tokenizer.eos_token_id, use_cache=False)
    return model, processor


def asking(model, processor, taxonomy=DEFAULT, **answers) -> Asker:
    understanding = Understanding(model=str(QWEN), dtype="float32", max_pixels=56 * 56)
    return Asker(model, processor, understanding, Answers(**answers), read_taxonomy(taxonomy))


def asked(kind: str, asker: Asker) -> Question:
    emotions = asker.taxonomy.emotions
    options = tuple(reversed(emotions)) if kind == "multiple" else ()
    text = kind_named(kind).text(0, emotions[0], options, asker.form)
    return Question(kind, "awe_1", emotions[0], None if kind == "multiple" else emotions[0], options, 0, text)


def says(said: list[list[int]], first: int):
    """Return a model's forward pass that goes on with one of the rows of tokens `said`, each equally often.

    What it has said so far is what a token can see after the last token `first`, by the mask, packed or not.
    """

    after = defaultdict(Counter)
    for row in said:
        for place, token in enumerate(row):
            after[tuple(row[:place])][token] += 1

    def forward(input_ids, attention_mask=None, logits_to_keep=1, **_):
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        length = input_ids.size(1)
        logits = torch.full((len(input_ids), logits_to_keep, 151936), -20.0)
        for row, ids in enumerate(input_ids):
            for place in range(length - logits_to_keep, length):
                visible = mask[row, 0, place] if mask.ndim == 4 else mask[row].bool() & (torch.arange(length) <= place)
                seen = ids[visible].tolist()
                seen = seen[len(seen) - seen[::-1].index(first) :]
                for token, count in after[tuple(seen)].items():
                    logits[row, place - length, token] = 20 + math.log(count)
        return CausalLMOutputWithPast(logits=logits)

    return forward


def said_by(asker: Asker, question: Question, start: str, end: str, apart: bool = False) -> list[list[int]]:
    """Return the tokens of each allowed answer's whole text after the image; apart: as sampled after the prompt's tokens."""
    tokenizer, prompt = asker.processor.tokenizer, asker.chat.prompt(conversation(question.prompt))
    rows = []
    for choice in kind_named(question.kind).allowed(question, asker.taxonomy, asker.form):
        answer = f"{start}{choice}{end}<|im_end|>"
        ids = tokenizer(prompt).input_ids + tokenizer(answer).input_ids if apart else tokenizer(prompt + answer).input_ids
        rows.append(ids[ids.index(tokenizer.convert_tokens_to_ids("<|vision_end|>")) + 1 :])
    return rows


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(
    ("kind", "taxonomy", "answers"),
    [
        ("multiple", "emoset", {}),
        ("multiple", "emoset", {"reasoning": False}),
        ("multiple", "emoset", {"by": "letter"}),
        ("multiple", "emoset", {"by": "letter", "reasoning": False}),
        ("multiple", "ekman6", {}),
        ("multiple", "long", {}),
        ("multiple", "long", {"reasoning": False}),
        ("binary", "emoset", {}),
        ("misleading", "emoset", {}),
    ],
)
def test_a_model_that_says_all_equally_often_scores_them_so(qwen, monkeypatch, tmp_path, kind, taxonomy, answers, packed):
    path = DEFAULT.with_name(f"{taxonomy}.yaml")
    if taxonomy == "long":
        path = tmp_path / "long.yaml"
        path.write_text(LONG)
    asker = asking(*qwen, path, **answers)
    asker._compared, asker._together = {False}, int(packed)
    question = asked(kind, asker)
    start, end = ("<think>a dark wood</think> <answer>", "</answer>") if asker.form.reasoning else ("", "")
    rows = said_by(asker, question, start, end)
    first = asker.processor.tokenizer.convert_tokens_to_ids("<|vision_end|>")
    monkeypatch.setattr(asker.model, "forward", says(rows, first))
    (found,) = asker.likelihoods([question], [GREY], [THOUGHT])
    torch.testing.assert_close(found, torch.full((len(rows),), 1 / len(rows)), rtol=1e-3, atol=0)


@pytest.mark.parametrize("apart", [True, False])
def test_so_it_does_where_a_prompt_and_an_answer_would_share_a_token(qwen, monkeypatch, apart):
    """`ASSISTANT:fear` is ..., `:f`, `ear`. Sampled after the prompt, whose last token is `:`, it is written otherwise."""
    model, processor = qwen
    monkeypatch.setattr(processor, "chat_template", PLAIN)
    asker = asking(model, processor, reasoning=False)
    question = asked("multiple", asker)
    rows = said_by(asker, question, "", "", apart)
    assert rows != said_by(asker, question, "", "", not apart)
    first = processor.tokenizer.convert_tokens_to_ids("<|vision_end|>")
    monkeypatch.setattr(model, "forward", says(rows, first))
    for shares in (True, False):
        asker._compared, asker._together = {False}, int(shares)
        (found,) = asker.likelihoods([question], [GREY], [""])
        torch.testing.assert_close(found, torch.full((8,), 1 / 8), rtol=1e-3, atol=0)


def test_an_answer_is_sampled_up_to_what_the_template_writes_after_it(qwen, monkeypatch):
    model, processor = qwen
    asker = asking(model, processor, reasoning=False, tokens=8)
    question = asked("multiple", asker)
    rows = [[*row, *processor.tokenizer("\nor not<|endoftext|>").input_ids] for row in said_by(asker, question, "", "")]
    first = processor.tokenizer.convert_tokens_to_ids("<|vision_end|>")
    monkeypatch.setattr(model, "forward", wraps(model.forward)(says(rows[:1], first)))
    assert asker.answers([question] * 2, [GREY] * 2) == [["amusement"]] * 2


@pytest.mark.parametrize("template", ["its own", PLAIN])
@pytest.mark.parametrize("reasoning", [True, False])
def test_a_warm_up_trains_on_what_sampling_has_to_emit_and_no_more(qwen, monkeypatch, template, reasoning):
    """From the first token after those of the prompt to the one that ends the answer, and not the line break after it."""
    model, processor = qwen
    if template is PLAIN:
        monkeypatch.setattr(processor, "chat_template", PLAIN)
    asker, tokenizer = asking(model, processor, reasoning=reasoning), processor.tokenizer
    questions = [replace(asked(kind, asker), emotion="fear") for kind in ("multiple", "binary", "misleading")]
    right = [right_answer(each, asker.taxonomy, asker.form) for each in questions]
    rows = [
        {"prompt": conversation(each.prompt), "completion": [{"role": "assistant", "content": text}], "image": GREY}
        for each, text in zip(questions, right, strict=True)
    ]
    batch = answered(asker.chat, rows)
    prompts = asker.chat.inputs([asker.chat.prompt(row["prompt"]) for row in rows], [GREY] * 3)
    assert {name: batch[name].shape for name in batch}.keys() == {*prompts.keys(), "labels"}
    for row, text in enumerate(right):
        ids = batch["input_ids"][row][batch["attention_mask"][row].bool()].tolist()
        asked_with = prompts["input_ids"][row][prompts["attention_mask"][row].bool()].tolist()
        assert ids[: len(asked_with)] == asked_with
        emitted = ids[len(asked_with) :]
        assert emitted[-1] == tokenizer.convert_tokens_to_ids("<|im_end|>")
        assert tokenizer.decode(emitted) == f"{text}<|im_end|>"
        assert emitted == tokenizer(f"{text}<|im_end|>").input_ids
        labels = batch["labels"][row]
        assert labels[labels != -100].tolist() == emitted
        assert (labels[: len(asked_with)] == -100).all()
