"""What is said before a model is loaded."""

import logging

from emoset.images import load_image
from emoset.reading import read_emoset
from understanding.model import bounded, conversation
from understanding.preflight import check_and_announce
from understanding.processor import load_processor
from understanding.questions import draw_questions


def test_what_a_step_amounts_to_is_said_before_it_starts(quick, vlm, tmp_path, caplog):
    settings = quick()
    index = read_emoset(settings.data, tmp_path, 2).index
    images = index[index["split"] == "train"]
    questions = draw_questions(images, settings.data.taxonomy, settings.questions, settings.answers, None, 0)
    paths = {image_id: settings.data.emoset / path for image_id, path in index[["image_id", "image"]].to_numpy()}
    caplog.set_level(logging.INFO, logger="emotion")
    check_and_announce(settings, questions, paths)
    said = caplog.records[-1].getMessage()
    assert f"{len(questions)} questions; an update: 8 questions x 4 sampled answers on 1 processes" in said
    assert f"each 2 times 4; 4 updates in Step I, of {len(questions) // 8} to a pass over the questions" in said

    processor = load_processor(str(vlm))
    text = processor.apply_chat_template(conversation(questions[0].prompt), add_generation_prompt=True, tokenize=False)
    image = bounded(load_image(paths[questions[0].image_id]), settings.understanding.max_pixels)
    ids = processor(images=[[image]], text=[text], return_tensors="pt").input_ids[0]
    shown = int((ids == processor.image_token_id).sum())
    assert shown > 1
    assert f"a prompt: {len(ids)} tokens, {shown} of them the image; an answer: up to 6" in said
