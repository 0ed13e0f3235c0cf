"""The evaluation's long parts before and after an image is decoded, and seen by a model, once for all; side by side.

    OMP_NUM_THREADS=1 python benchmarks/evaluation_speed.py --config config/demo.yaml

`before` decodes an image for every network and every list that it is in, and asks each question twice, by itself: greedily,
and for the probabilities of all answers. `after` is what evaluation/evaluate.py does, into an empty cache: questions about
an image share a row. Three are asked about each image, as in an evaluation, and the same ones about a grey image (blind).
Both see the same images and ask the run's own model the same questions, in batches of as many. CPU seconds are counted,
those of processes that decode too. For the networks the drawn images are enlarged to 512 pixels a side. The features, the
answers and the probabilities (to 1e-5) of both must be equal. The run must hold an understanding model (make demo).
"""

from runtime.script import read_settings, run

read_settings(__name__, __doc__, "data", "models", "evaluate", "understanding", "answers")

import os
import tempfile
from pathlib import Path

import pandas as pd
import torch
from PIL import Image

from config.errors import UserError
from config.evaluation_settings import Evaluate
from config.settings import Settings
from emoset.images import load_image
from emoset.reading import read_emoset
from emoset.selection import equal_emotions
from evaluation.features import FeatureCache, features_or_nan
from evaluation.judge import load_judge
from evaluation.measure_understanding import questions_of
from evaluation.viewers import Viewers, load_viewers
from understanding.answering import by_image
from understanding.asking import GREY, Asker, load_asker
from understanding.question import Question

IMAGES = 240  # of the data set, half of which are what generated ones are compared with
SIDE = 512  # pixels to which the drawn images are enlarged, for the size of photographs is what decoding costs
ROWS = 2  # methods that are measured in both columns
ASKED = 64  # images that the model is asked about, by three questions each, and then about a grey one instead


def main(settings: Settings) -> None:
    model = settings.run / "understanding" / "model"
    if not model.is_dir():
        raise UserError(f"{model} is not there; run demo/run.py first")
    evaluate, emotions = settings.evaluate, settings.data.taxonomy.emotions
    with tempfile.TemporaryDirectory() as place:
        index = read_emoset(settings.data, Path(place), 1).index
        index["path"] = [settings.data.emoset / image for image in index["image"]]
        everything = equal_emotions(index[index["split"] == "train"], IMAGES, 0).reset_index(drop=True)
        others = equal_emotions(index[index["split"] == "val"], IMAGES // 2, 0).reset_index(drop=True)
        asked, everything, others = others, *(enlarged(each, Path(place)) for each in (everything, others))
        reference, rows = everything.iloc[::2], {f"row {n}": others.iloc[n::ROWS] for n in range(ROWS)}
        cache = FeatureCache(Path(place) / "features", evaluate.image_batch_size, settings.machine.processes)
        viewers = load_viewers(evaluate, settings.models.clip, cache)
        judge = load_judge(evaluate.judge, settings.models.clip, everything, emotions, cache).network
        table = [seeing(viewers, judge, everything, reference, rows), *asking(settings, model, asked)]
    table.append(["all", "", *(sum(part[column] for part in table) for column in (2, 3))])
    shown = pd.DataFrame(table, columns=["part", "n", "before, CPU s", "after, CPU s"])
    shown["ratio"] = shown["before, CPU s"] / shown["after, CPU s"]
    print(shown.round(2).to_markdown(index=False, disable_numparse=False))


def cpu_seconds() -> float:
    """Return the seconds that this process and those it waited for have had of a processor."""
    return sum(os.times()[:4])


def enlarged(images: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Return images that are written as large ones into `folder`."""
    paths = [folder / f"{image_id}.jpg" for image_id in images["image_id"]]
    for source, path in zip(images["path"], paths, strict=True):
        Image.open(source).convert("RGB").resize((SIDE, SIDE)).save(path, quality=90)
    return images.assign(path=paths)


def seeing(viewers: Viewers, judge, everything: pd.DataFrame, reference: pd.DataFrame, rows: dict) -> list:
    """Return the CPU seconds in which all networks see all lists of images, list by list, and each image once."""
    viewed = (viewers.clip, viewers.objects, viewers.scenes, viewers.fid)
    lists = [(viewers.squeezed, everything), (viewers.clip, everything), *((network, reference) for network in viewed)]
    lists += [(network, own) for own in rows.values() for network in (*viewed, viewers.squeezed, judge)]
    size, began, found = viewers.cache.batch_size, cpu_seconds(), {}
    for network, images in lists:
        if (key := (network.key, id(images))) not in found:  # what one list and network gave was kept before, too
            paths = images["path"]
            batches = [paths.iloc[first : first + size] for first in range(0, len(paths), size)]
            found[key] = torch.cat([features_or_nan(network, batch) for batch in batches])
    middle = cpu_seconds()
    viewers.see_data(everything, reference, everything)
    viewers.see_rows(rows, judge, rows)
    kept = [viewers.cache.features_of(network, images, "reading") for network, images in lists]
    ended = cpu_seconds()
    for (network, images), each in zip(lists, kept, strict=True):
        torch.testing.assert_close(each, found[network.key, id(images)], rtol=1e-3, atol=1e-3)
    n = len(everything) + sum(map(len, rows.values()))
    return ["networks see images", n, middle - began, ended - middle]


def asking(settings: Settings, model: Path, images: pd.DataFrame) -> list[list]:
    """Return the CPU seconds in which a model answers questions and tells all likelihoods, of images and of a grey one."""
    images = equal_emotions(images, ASKED, 0)
    questions = [question for asked in questions_of(settings, images) for question in asked.questions]
    asker = load_asker(settings.understanding, settings.answers, settings.data.taxonomy, model, "understanding.model")
    paths = dict(zip(images["image_id"], images["path"], strict=True))
    shown = {image_id: load_image(path) for image_id, path in paths.items()}  # before and after find the images decoded
    parts = {"a model answers questions": shown, "the same about a grey image": dict.fromkeys(shown, GREY)}
    return [[part, len(questions), *answering(asker, questions, own, settings.evaluate)] for part, own in parts.items()]


def answering(asker: Asker, questions: list[Question], shown: dict, evaluate: Evaluate) -> list[float]:
    """Return the CPU seconds in which questions are answered each by itself, and together. shown: images by their ids."""
    said, likely, spent, size = {False: {}, True: {}}, {False: {}, True: {}}, [], evaluate.batch_size
    for together, order in ((False, questions), (True, [questions[place] for place in by_image(questions)])):
        batches = [order[first : first + size] for first in range(0, len(order), size)]
        for number, batch in enumerate([batches[0], *batches]):  # the first once more, for it compares ways to ask
            seen = [shown[each.image_id] if together else shown[each.image_id].copy() for each in batch]
            if number == 1:
                began = cpu_seconds()
            if together:
                completions, found = asker.answers_with_likelihoods(batch, seen)
            else:
                completions = [completion for (completion,) in asker.answers(batch, seen)]
                found = asker.likelihoods(batch, seen, completions)
            said[together] |= dict(zip(batch, completions, strict=True))
            likely[together] |= dict(zip(batch, found, strict=True))
        spent.append(cpu_seconds() - began)
    assert said[False] == said[True]
    for question, found in likely[True].items():
        count = len(asker.allowed(question))
        torch.testing.assert_close(found[:count], likely[False][question][:count], rtol=0, atol=1e-5)
    return spent


if __name__ == "__main__":
    run(main)
