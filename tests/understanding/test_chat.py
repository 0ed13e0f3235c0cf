"""What a chat template writes around an answer, and which templates are refused."""

import pytest
from tiny_trainers import ENDS, TEMPLATE, llava_processor, qwen2_5

from config.errors import UserError
from understanding.chat import read_chat

TURN = "<|im_end|>\n{% endfor %}"


@pytest.mark.parametrize(
    ("old", "new", "lead", "closing"),
    [
        ("", "", "", "<|im_end|>"),
        (TURN, " <|vision_end|>\n{% endfor %}", "", " <|vision_end|>"),
        (TURN, "<|im_end|><|pad|>{% endfor %}", "", "<|im_end|>"),
        ("{{ message.role }}\n", "{{ message.role }}:{% if message.role == 'assistant' %} {% endif %}", " ", "<|im_end|>"),
        (
            "{{ message.role }}\n",
            "{{ message.role }} \n",
            "",
            "<|im_end|>",
        ),
    ],
)
def test_an_answer_is_what_sampling_has_to_write_up_to_the_token_that_ends_a_turn(old, new, lead, closing):
    processor = llava_processor()
    processor.chat_template = TEMPLATE.replace(old, new)
    if lead:  # else the turn is not as the template asks for one, and what sampling begins with counts
        processor.chat_template = processor.chat_template.replace("assistant\n", "assistant:")
    chat = read_chat(processor)
    assert (chat.lead, chat.closing) == (lead, closing)
    assert processor.tokenizer.decode(chat.end) == closing.strip()
    assert chat.turn("awe") == f"{lead}awe{closing}"


def test_an_end_that_is_no_special_token_becomes_one_so_that_no_text_keeps_it():
    processor = llava_processor()
    processor.tokenizer.add_tokens(["[end]"])
    processor.chat_template = TEMPLATE.replace("<|im_end|>", "[end]")
    chat = read_chat(processor)
    ids = chat.tokens("awe[end]")
    assert ids[-1] == chat.end
    assert processor.tokenizer.decode(ids, skip_special_tokens=True) == "awe"


@pytest.mark.parametrize(("named", "ends"), [(None, [256]), (256, [256]), ([97, 256], [256, 97]), (ENDS, [256, *ENDS])])
def test_the_models_own_ends_count_besides(named, ends):
    model = qwen2_5()
    model.generation_config.eos_token_id = named
    assert read_chat(llava_processor()).ends(model) == ends


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (None, "no chat template"),
        (TEMPLATE.replace("<|im_end|>\n", ""), r"writes no token that ends an answer, only ''"),
        (TEMPLATE.replace("<|im_end|>\n", " \n"), r"writes no token that ends an answer, only ' \\n'"),
        (TEMPLATE.replace("assistant\n", "assistant\n<think>\n"), "writes <think> itself"),
        ("{{ raise_exception('only text, please') }}", r"cannot write .* \(only text, please\)"),
        ("{% for message in messages %}{{ message.content + '.' }}{% endfor %}", "cannot write a question about an image"),
        ("{% for message in messages %}{{ message.role }}<|im_end|>{% endfor %}", "writes no token that ends an answer"),
    ],
)
def test_a_template_that_cannot_be_trained_with_is_refused_in_one_line(template, reason):
    processor = llava_processor()
    processor.chat_template = template
    with pytest.raises(UserError, match=rf"^predict\.model: .*{reason}") as error:
        read_chat(processor, "predict.model")
    assert "\n" not in str(error.value)


def test_questions_begin_alike_where_a_template_writes_the_image_before_them():
    processor = llava_processor()
    assert read_chat(processor).shows_images_first()
    processor.chat_template = TEMPLATE.replace("in message.content %}", "in message.content | reverse %}")
    assert processor.chat_template != TEMPLATE
    assert not read_chat(processor).shows_images_first()
