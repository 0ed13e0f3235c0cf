"""Images that cannot be shown to a model: none of them ends a training, a mining, an evaluation or a prediction."""

import io
import json
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tiny_trainers import llava, processor_of, qwen2_5

import understanding.grpo
from config.errors import UserError
from emoset.images import ImageError
from understanding.answering import answer_all
from understanding.asking import load_asker
from understanding.model import bounded, conversation
from understanding.question import Question
from understanding.questions import multiple_choice
from understanding.showing import show, substitute
from understanding.trainers import question_data


def break_pixels(path, suffix: str = "PNG") -> None:
    """Write an image whose header is right, and whose pixels no decoder takes."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (99, 99, 3), dtype=np.uint8)).save(buffer, suffix)
    data = bytearray(buffer.getvalue())
    data[len(data) // 2 : len(data) // 2 + 9] = b"\xff" * 9
    path.write_bytes(data)


SIZES = [(1, 1), (1, 3), (3, 1), (2000, 8), (8, 2000), (201, 1), (1, 500), (30000, 1), (4000, 3000), (5000, 12), (33, 32)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("max_pixels", [1, 100, 200704])
def test_no_image_is_larger_or_longer_than_a_processor_takes(size, max_pixels):
    image = bounded(Image.new("RGB", size, "red"), max_pixels)
    shorter, longer = sorted(image.size)
    assert shorter * longer <= max(max_pixels, 2 * longer)
    assert longer < 199 * shorter
    red, green, _ = image.getpixel(((image.width - 1) // 2, (image.height - 1) // 2))
    assert red > 200 > 50 > green, "the image is in the middle of what pads it"
    if max(size) <= 100 * min(size) and size[0] * size[1] <= max_pixels:
        assert image.size == size


def test_processors_take_what_is_shown(tmp_path):
    processors = [processor_of(architecture()) for architecture in (qwen2_5, llava)]
    for number, size in enumerate(SIZES):
        Image.new("RGB", size, "red").save(tmp_path / f"{number}.png")
        for processor in processors:
            image = show(tmp_path / f"{number}.png", 50000, processor)
            text = processor.apply_chat_template(
                [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "?"}]}], tokenize=False
            )
            assert processor(images=[[image]], text=[text], return_tensors="pt").input_ids.size(1) > 1


def test_what_a_processor_refuses_is_named(tmp_path):
    class Refuses:
        @staticmethod
        def image_processor(images, **_):
            raise AssertionError("height must be larger than factor:28\nor so")

    Image.new("RGB", (9, 9)).save(tmp_path / "small.png")
    with pytest.raises(ImageError, match=r"small\.png: 9 x 9 pixels are nothing .* \(height must be larger") as error:
        show(tmp_path / "small.png", 50000, Refuses)
    assert "\n" not in str(error.value)


@pytest.fixture
def six(tmp_path):
    """Six binary and multiple-choice questions in turn, each about an image of its own, and the images' files."""
    for number in range(6):
        Image.new("RGB", (30 + number, 30), "red").save(tmp_path / f"{number}.png")
    asked = [Question("binary" if n % 2 else "multiple", str(n), "awe", "awe", (), 0, f"Question {n}?") for n in range(6)]
    return asked, {str(number): tmp_path / f"{number}.png" for number in range(6)}


def numbers(data) -> list[tuple[int, str, int]]:
    return [(row["question"], row["prompt"][0]["content"][1]["text"], row["image"].width) for row in data]


def test_a_question_whose_image_breaks_is_replaced_by_the_next_of_its_kind(six, caplog):
    asked, images = six
    whole = numbers(question_data(asked, images, 10**6))
    assert whole == [(n, f"Question {n}?", 30 + n) for n in range(6)]
    break_pixels(images["1"])
    images["2"].unlink()
    images["5"].write_bytes(b"")
    caplog.set_level("WARNING", logger="emotion")
    data = question_data(asked, images, 10**6, answers=[f"answer {n}" for n in range(6)])
    assert numbers(data) == [whole[n] for n in (0, 3, 4, 3, 4, 3)]
    assert [row["completion"][0]["content"] for row in data] == [f"answer {n}" for n in (0, 3, 4, 3, 4, 3)]
    assert numbers(data.select([5, 5, 1])) == [whole[3]] * 3, "whatever was read before"
    assert [sum(f"{name}.png: " in text for text in caplog.messages) for name in "125"] == [1, 1, 1], "each named once"
    assert all("question about another image is asked instead" in text for text in caplog.messages)


def test_a_prompt_is_the_chat_that_is_asked(six):
    """Through Arrow an image would have a text of None, for which some templates look first."""
    asked, images = six
    for answers in (None, ["an answer"] * 6):
        rows = question_data(asked, images, 10**6, answers)
        assert [row["prompt"] for row in rows] == [conversation(question.prompt) for question in asked]


def test_a_row_costs_as_little_of_many_questions_as_of_few(six):
    asked, images = six
    shown = substitute(asked * 10**5, images, 10**6, None)
    shown(0)
    tracemalloc.start()
    place, _ = shown(6)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert place == 6
    assert most < 10**5, f"{most:,} bytes"


def test_where_no_image_of_a_kind_can_be_shown_it_is_one_line(six):
    asked, images = six
    for name in "135":
        images[name].unlink()
    data = question_data(asked, images, 10**6)
    assert data[0]["question"] == 0
    with pytest.raises(UserError, match="no image of a binary question can be shown"):
        data[1]


def test_answers_are_kept_for_all_images_but_those_that_cannot_be_shown(quick, vlm, drawn, tmp_path, caplog):
    settings = quick()
    asker = load_asker(settings.understanding, settings.answers, settings.data.taxonomy, vlm, "understanding.model")
    files = sorted((drawn / "image" / "awe").iterdir())[:5]
    images = {file.stem: file for file in files} | {"broken": tmp_path / "b.jpg", "long": tmp_path / "l.png"}
    break_pixels(images["broken"])
    Image.new("RGB", (3000, 9), "red").save(images["long"])
    images["gone"] = tmp_path / "gone.jpg"
    asked = multiple_choice(
        pd.DataFrame({"image_id": list(images), "emotion": "awe"}), settings.data.taxonomy, settings.answers, 0
    )
    caplog.set_level("WARNING", logger="emotion")
    for _ in range(2):  # answered, and kept
        table = answer_all(asker, asked, images, tmp_path / "kept", batch_size=2, forced=True)
        assert table["image_id"].tolist() == [name for name in images if name not in ("broken", "gone")]
        assert table["p_awe"].between(0, 1).all()
    told = [text for text in caplog.messages if "cannot be shown" in text]
    assert len(told) == 2
    assert told[0].startswith("2 images cannot be shown and are left out: ")
    assert "b.jpg (cannot be" in told[0]
    assert "gone.jpg (cannot be read: no such file" in told[0]
    some = [question for question in asked if question.image_id in ("broken", "gone")]
    with pytest.raises(UserError, match="none of 2 images can be shown"):
        answer_all(asker, some, images, tmp_path / "kept", batch_size=2)


def test_images_that_break_after_reading_end_no_training(quick, fine_tune, emoset_copy, monkeypatch):
    """Step I, mining and Step II; of all images a quarter is broken, a quarter too long, an eighth gone."""
    make = understanding.grpo.question_data

    def spoil_first(*given, **named):
        for split in ("train", "val"):
            for place, row in enumerate(json.loads((emoset_copy / f"{split}.json").read_text())):
                path = emoset_copy / row[-2]
                if place % 4 == 0:
                    break_pixels(path)
                elif place % 4 == 1:
                    Image.new("RGB", (2000, 5)).save(path)
                elif place % 8 == 2:
                    path.unlink(missing_ok=True)
        return make(*given, **named)

    monkeypatch.setattr(understanding.grpo, "question_data", spoil_first)
    settings = quick(data={"emoset": str(emoset_copy)}, grpo={"steps_one": 1, "steps_two": 1})
    fine_tune(settings)
    assert (settings.run / "understanding" / "model" / "adapter_config.json").is_file()
    log = (settings.run / "understanding" / "log.txt").read_text()
    assert "question about another image is asked instead" in log
    assert "images cannot be shown and are left out" in log
