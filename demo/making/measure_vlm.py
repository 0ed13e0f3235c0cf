"""Measure what the demo's vision-language model knows of drawings that it has not seen: their content, and their emotion.

    python demo/making/measure_vlm.py run=runs/base_vlm

Reads `<run>/models/`, or demo/models/vision_language/ where there is none. Asks one question about the content of each of
2,000 drawings of uniform content, half with reasoning; then about the emotion of 1,920 others, all with reasoning and all
without. Prints figures with their n and 95 % intervals, among them how often 8 sampled answers earn unequal rewards: from
groups that earn alike GRPO learns nothing.
"""

from runtime.script import read_settings, run

read_settings(__name__, __doc__, "machine", "answers", "rewards", "understanding")

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from random import Random

import pandas as pd
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText

from config.section import ROOT
from config.settings import Settings
from config.understanding_settings import Rewards
from demo.drawn.world import TAXONOMY
from demo.making.content_questions import ask_content
from demo.making.small_models import SIZE, Images, draw_images
from demo.making.vlm_answers import emotion_questions
from runtime.checking import stops_here
from runtime.figures import of_share
from runtime.run_folder import log, open_run_folder, progress
from understanding.answers import extract_answer
from understanding.asking import Asker
from understanding.processor import load_processor
from understanding.rewards import format_reward, kind_reward
from understanding.scoring import figures, read_answers

CONTENTS, EMOTIONAL = 2000, 1920
SAMPLED, GROUP = 240, 8  # questions that are answered so many times at temperature 1
BATCH = 64


def main(settings: Settings) -> None:
    folder, seed, processes = open_run_folder(settings, "measure"), settings.seed, settings.machine.processes
    asked = f"{CONTENTS:,} about content, {2 * EMOTIONAL:,} about emotions, {2 * SAMPLED:,} of them answered {GROUP} times"
    if stops_here(settings, {"drawings": f"{CONTENTS + EMOTIONAL:,}", "questions": asked}):
        return
    models = settings.run / "models"
    models = models if (models / "processor_config.json").is_file() else ROOT / "demo" / "models" / "vision_language"
    model = AutoModelForImageTextToText.from_pretrained(models, dtype=torch.float32)
    asker = Asker(model, load_processor(str(models)), settings.understanding, settings.answers, TAXONOMY)
    torch.manual_seed(seed)

    contents = draw_images(folder / "new_contents", CONTENTS, SIZE, seed, False, processes)
    log_figures("content", content_figures(asker, contents, seed))
    emotions = draw_images(folder / "new_emotions", EMOTIONAL, SIZE, seed, True, processes)
    for reasoning in (True, False):
        found = emotion_figures(asker, emotions, reasoning, settings.rewards, seed)
        log_figures(f"emotion, {'with' if reasoning else 'without'} reasoning", found)


def content_figures(asker: Asker, contents: Images, seed: int) -> dict[str, list[bool]]:
    """Return which questions about content were answered right, by form and by kind, and which answers kept the format."""
    rng = Random(f"{seed} measure")
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


def emotion_figures(asker: Asker, emotions: Images, reasoning: bool, rewards: Rewards, seed: int) -> dict[str, dict | list]:
    """Return the figures of greedy answers, and of groups of sampled ones."""
    form = asker.form.model_copy(update={"reasoning": reasoning, "by": "name"})
    questions = emotion_questions(emotions, reasoning, seed)
    rows = [int(question.image_id) for question in questions]
    greedy = [said for (said,) in ask(asker, questions, emotions, rows)]
    table = pd.DataFrame([asdict(question) | {"completion": said} for question, said in zip(questions, greedy, strict=True)])
    found = figures(read_answers(table, TAXONOMY, form), TAXONOMY)

    groups = defaultdict(list)
    sampled = ask(asker, questions[:SAMPLED], emotions, rows[:SAMPLED], count=GROUP, temperature=1.0)
    for question, group in zip(questions, sampled, strict=False):
        of_kind = [kind_reward(question, said, TAXONOMY, form, rewards, None) for said in group]
        of_format = [format_reward(said, 0, form, rewards) for said in group]
        unequal = len(set(zip(of_kind, of_format, strict=True))) > 1
        groups["sampled: groups of unequal rewards"].append(unequal)
        groups[f"sampled: groups of unequal rewards, {question.kind}"].append(unequal)
        texts = [extract_answer(said, reasoning) for said in group]
        groups[f"sampled: different answers in a group, {question.kind}"].append(len(set(texts)))
        groups["sampled: format kept"] += [text is not None for text in texts]
    return found | dict(sorted(groups.items()))


def ask(asker: Asker, questions: list, images: Images, rows: Sequence[int], **sampling) -> list[list[str]]:
    """Return the completions of each question about the image in its row."""
    shown = [Image.fromarray(images.pixels[row].permute(1, 2, 0).numpy()) for row in rows]
    found = []
    for first in progress(range(0, len(questions), BATCH), "asking", -(-len(questions) // BATCH)):
        found += asker.answers(questions[first : first + BATCH], shown[first : first + BATCH], **sampling)
    return found


def log_figures(title: str, found: dict[str, dict | list]) -> None:
    """Print figures, or the mean of the values of each answer, with 95 % intervals."""
    for name, each in found.items():
        shown = each if isinstance(each, dict) else of_share(each, seed=0)
        log.info(f"{title}: {name}: {shown['value']:.3f} ({shown['low']:.3f} to {shown['high']:.3f}), n = {shown['n']:,}")


if __name__ == "__main__":
    run(main)
