"""Measure what the demo's vision-language model knows of drawings that it has not seen: their content, and their emotion.

    python demo/making/measure_vlm.py run=runs/base_vlm

Reads `<run>/models/`, or demo/models/vision_language/ where there is none. Asks one question about the content of each of
2,000 drawings of uniform content, half with reasoning; then about the emotion of 1,920 others, all with reasoning and all
without. Prints figures with their n and 95 % intervals, among them how often 8 sampled answers earn unequal rewards: from
groups that earn alike GRPO learns nothing.
"""

import sys

from runtime.run_folder import log, open_run_folder, progress
from runtime.script import run
from config.section import ROOT
from config.settings import Settings

from collections import defaultdict
from dataclasses import asdict
from random import Random

CONTENTS, EMOTIONAL = 2000, 1920
SAMPLED, GROUP = 240, 8  # questions that are answered so many times at temperature 1
BATCH = 64


def main(settings: Settings) -> None:
    import torch
    from transformers import AutoModelForImageTextToText

    from demo.making.small_models import SIZE, draw_images
    from understanding.asking import Asker
    from understanding.loading import load_processor

    folder = open_run_folder(settings, "measure")
    models = settings.run / "models"
    models = models if (models / "processor_config.json").is_file() else ROOT / "demo" / "models" / "vision_language"
    model = AutoModelForImageTextToText.from_pretrained(models, dtype=torch.float32)
    asker = Asker(model, load_processor(str(models)), settings)
    torch.manual_seed(settings.seed)

    contents = draw_images(folder / "new_contents", CONTENTS, SIZE, settings.seed, False, settings.data.workers)
    tell("content", content_figures(asker, contents, settings))
    emotions = draw_images(folder / "new_emotions", EMOTIONAL, SIZE, settings.seed, True, settings.data.workers)
    for reasoning in (True, False):
        tell(
            f"emotion, {'with' if reasoning else 'without'} reasoning", emotion_figures(asker, emotions, reasoning, settings)
        )


def content_figures(asker, contents, settings: Settings) -> dict[str, list[bool]]:
    """Return which questions about content were answered right, by form and by kind, and which answers kept the format."""
    from demo.making.content_questions import ask_content
    from understanding.answers import extract_answer

    rng = Random(f"{settings.seed} measure")
    found = defaultdict(list)
    for reasoning, rows in ((True, range(0, CONTENTS, 2)), (False, range(1, CONTENTS, 2))):
        questions = [rng.choice(ask_content(contents.cues[row], rng, reasoning)) for row in rows]
        for question, (said,) in zip(questions, ask(asker, questions, contents, rows), strict=True):
            answer = extract_answer(said, reasoning)
            right = answer is not None and question.is_right(answer)
            for name in ("all", f"form {question.form}", f"kind {question.kind}", f"reasoning {reasoning}"):
                found[f"right, {name}"].append(right)
            found[f"format kept, reasoning {reasoning}"].append(answer is not None)
    return dict(sorted(found.items()))


def emotion_figures(asker, emotions, reasoning: bool, settings: Settings) -> dict[str, dict]:
    """Return the figures of greedy answers, and of groups of sampled ones."""
    import pandas as pd

    from demo.making.vlm_answers import emotion_questions
    from understanding.answers import extract_answer
    from understanding.rewards import rewards_of
    from understanding.scoring import figures, read_answers

    questions = emotion_questions(emotions, reasoning, settings.seed)
    rows = [int(question.image_id) for question in questions]
    greedy = [said for (said,) in ask(asker, questions, emotions, rows)]
    answers = [asdict(question) | {"completion": said} for question, said in zip(questions, greedy, strict=True)]
    found = figures(read_answers(pd.DataFrame(answers), reasoning, "name"))

    groups = defaultdict(list)
    sampled = ask(asker, questions[:SAMPLED], emotions, rows[:SAMPLED], count=GROUP, temperature=1.0)
    for question, group in zip(questions, sampled, strict=False):
        rewards = [rewards_of(question, said, reasoning, "name", settings.rewards, None) for said in group]
        unequal = len({tuple(each.values()) for each in rewards}) > 1
        groups["sampled: groups of unequal rewards"].append(unequal)
        groups[f"sampled: groups of unequal rewards, {question.kind}"].append(unequal)
        texts = [extract_answer(said, reasoning) for said in group]
        groups[f"sampled: different answers in a group, {question.kind}"].append(len(set(texts)))
        groups["sampled: format kept"] += [text is not None for text in texts]
    return found | dict(sorted(groups.items()))


def ask(asker, questions: list, images, rows, **sampling) -> list[list[str]]:
    """Return the completions of each question about the image in its row."""
    from PIL import Image

    shown = [Image.fromarray(images.pixels[row].permute(1, 2, 0).numpy()) for row in rows]
    found = []
    for first in progress(range(0, len(questions), BATCH), "asking", -(-len(questions) // BATCH)):
        found += asker.answers(questions[first : first + BATCH], shown[first : first + BATCH], **sampling)
    return found


def tell(title: str, found: dict) -> None:
    """Print figures, or the mean of the values of each answer with its 95 % bootstrap interval."""
    import numpy as np

    for name, each in found.items():
        if not isinstance(each, dict):
            means = np.random.default_rng(0).choice(np.array(each, float), (1000, len(each))).mean(1)
            low, high = np.percentile(means, [2.5, 97.5])
            each = dict(value=np.mean(each), low=low, high=high, n=len(each))
        log.info(f"{title}: {name}: {each['value']:.3f} ({each['low']:.3f} to {each['high']:.3f}), n = {each['n']:,}")


if __name__ == "__main__":
    run(main, __doc__)
