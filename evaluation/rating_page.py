"""Write a page on which people rate images blindly, and the key that tells what they saw.

    python evaluation/rating_page.py
    python evaluation/rating_page.py rating.kind=emotion rating.rows=ours,real

pair shows two images of an emotion, of two methods, and asks which shows it better. Where the methods are rows of one
evaluation, both images began with the same noise. emotion shows one image and asks which emotion it shows. The seed decides
which trials there are and which image stands left. The seed and the rater's name decide their order. In a catch trial the
image says what to choose. What evaluate.judge finds in the images stands in the key.

`<run>/rating/` gets page-<id>.html and key-<id>.json. The page holds its images, loads nothing, resumes by itself and gives
the answers as a file. Give raters the page alone: nothing in it names a method. evaluation/rating_answers.py reads what they
send back. Other settings make a page with another id, and leave this one.
"""

from runtime.script import read_settings, run

read_settings(__name__, __doc__, "rating", "data", "machine", "models.clip", "evaluate")

import os
from pathlib import Path
from random import Random

import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from config.errors import UserError
from config.evaluation_settings import Rating
from config.section import from_root
from config.settings import Settings
from emoset.images import ImageError, load_image
from emoset.reading import read_emoset
from emoset.selection import read_folder
from evaluation.features import feature_cache
from evaluation.judge import load_judge
from runtime.checking import stops_here
from runtime.files import write_json
from runtime.page import picture, thumbnail, write_page
from runtime.recipe import digest
from runtime.run_folder import log, open_run_folder

TEMPLATE = Path(__file__).parent / "rating.html.jinja"
SIDES = ("left", "right")


def main(settings: Settings) -> None:
    rating, emotions, seed = settings.rating, settings.data.taxonomy.emotions, settings.seed
    folder = open_run_folder(settings, "rating")
    images = images_of_rows(rating, settings.run, emotions, seed)
    trials = draw_trials(rating, images, emotions, seed)
    if stops_here(settings, {"trials": f"{len(trials):,}", "images": f"{len(images):,} of {', '.join(rating.rows)}"}):
        return
    judged = judge_images(settings, images, folder)
    shown = [shown_trial(trial, images, rating) for trial in trials]
    about = {"kind": rating.kind, "seed": seed, "rows": rating.rows, "emotions": list(emotions)}
    name = digest([about, trials, shown])[:12]
    page = {"id": name, "kind": rating.kind, "seed": seed, "options": list(emotions), "trials": shown}
    write_page(folder / f"page-{name}.html", TEMPLATE, page=page)
    write_json(
        folder / f"key-{name}.json",
        {"page": name, **about, "trials": {each["id"]: each for each in trials}, "judged": judged},
    )
    log.info(f"{len(trials):,} trials, {rating.catch_trials} of them catch trials: give raters rating/page-{name}.html")
    log.info(f"keep rating/key-{name}.json, which tells what they see")


def images_of_rows(rating: Rating, run: Path, emotions: tuple[str, ...], seed: int) -> pd.DataFrame:
    """Return `rating.images` images of each row and emotion: row, emotion, number, path, indexed by image_id.

    Images of an emotion that have the same number have the same path below their rows, where all are rows of the run, and
    else the same place in the order of their folders. Raises UserError where a row has too few.
    """
    tables = {row: run / "evaluation" / f"judged-{row}.parquet" for row in rating.rows}
    found = {
        row: _measured(row, table, emotions) if table.is_file() else _given(row, run, emotions)
        for row, table in tables.items()
    }
    images = pd.concat([each.assign(row=row) for row, each in found.items()])
    if all(table.is_file() for table in tables.values()):
        images = images[images.groupby("image_id")["row"].transform("size") == len(found)]
    images = images.assign(number=images.groupby(["row", "emotion"]).cumcount())
    fewest = (
        images.groupby(["row", "emotion"]).size().reindex(pd.MultiIndex.from_product([rating.rows, emotions]), fill_value=0)
    )
    if fewest.min() < rating.images:
        row, emotion = fewest.idxmin()
        raise UserError(
            f"rating.images: {row} has {fewest.min()} images of {emotion}, and {rating.images} are asked for; set "
            f"rating.images={fewest.min()}, or make more"
            if fewest.min()
            else f"rating.rows: {row} has no image of {emotion}"
        )
    chosen = Random(f"{seed} rated").sample(range(int(fewest.min())), rating.images)
    images = images[images["number"].isin(chosen)]
    return images.assign(image_id=images["row"] + "/" + images["image_id"]).set_index("image_id")


def _measured(row: str, table: Path, emotions: tuple[str, ...]) -> pd.DataFrame:
    """Return the images of a row that are in the evaluation's `table` of it: not those of an earlier, larger evaluation."""
    images = read_folder(table.parent / "images" / row, emotions, "rating.rows")
    listed = pd.read_parquet(table, columns=["image_id"])["image_id"]
    is_made = listed.str.startswith(f"{row}/").all()  # else the folder holds copies alone, under names of their own
    return images[(f"{row}/" + images["image_id"]).isin(listed)] if is_made else images


def _given(row: str, run: Path, emotions: tuple[str, ...]) -> pd.DataFrame:
    """Return the images of a folder, whose path counts from the working folder or else from the project's."""
    root = next((place for place in (Path(os.path.expanduser(row)), from_root(Path(row))) if place.is_dir()), None)
    if root is None:
        raise UserError(
            f"rating.rows: {row} is neither a row of {run / 'evaluation'} nor a folder; run evaluation/evaluate.py first, or"
            " name a folder of images"
        )
    return read_folder(root, emotions, "rating.rows")


def draw_trials(rating: Rating, images: pd.DataFrame, emotions: tuple[str, ...], seed: int) -> list[dict]:
    """Return the trials in random order: {"id", "emotion", "images", "rows", "catch"}.

    images: ids, for pair the left one first, which is of either row in half of the trials. rows: of the images. catch: the
    right answer of a catch trial, else None.
    """
    rng, found = Random(f"{seed} trials"), []
    if rating.kind == "pair":
        groups = [each for _, each in images.groupby(["emotion", "number"])]
        turned = [number % 2 for number in range(len(groups))]
        rng.shuffle(turned)
        for group, turn in zip(groups, turned, strict=True):
            pair = [group.index[group["row"] == row][0] for row in rating.rows]
            pair, rows = (list(reversed(each)) if turn else list(each) for each in (pair, rating.rows))
            found.append({"emotion": group["emotion"].iloc[0], "images": pair, "rows": rows, "catch": None})
    else:
        found = [
            {"emotion": each.emotion, "images": [each.Index], "rows": [each.row], "catch": None}
            for each in images.itertuples()
        ]
    for number in range(rating.catch_trials):
        emotion = emotions[number % len(emotions)]
        catch = SIDES[number % 2] if rating.kind == "pair" else emotion
        found.append({"emotion": emotion, "images": [], "rows": [], "catch": catch})
    rng.shuffle(found)
    return [{"id": f"{rng.getrandbits(40):010x}"} | each for each in found]


def shown_trial(trial: dict, images: pd.DataFrame, rating: Rating) -> dict:
    """Return a trial as the page holds it: no method, no path and no name of an image, and emotion asks for pair alone."""
    if trial["catch"] is None:
        pictures = [_load(images["path"][image_id], rating.size) for image_id in trial["images"]]
    elif rating.kind == "pair":
        texts = ["Please choose\nthis image" if side == trial["catch"] else "Not this one" for side in SIDES]
        pictures = [_sign(text, rating.size) for text in texts]
    else:
        pictures = [_sign(f"Please choose\n{trial['catch']}", rating.size)]
    asked = {"emotion": trial["emotion"]} if rating.kind == "pair" else {}
    return {"id": trial["id"], "images": [picture(each, "")["src"] for each in pictures]} | asked


def judge_images(settings: Settings, images: pd.DataFrame, folder: Path) -> dict[str, dict[str, float]]:
    """Return the judge's probabilities of the emotions by image; {} where there is no judge, and the log says why."""
    evaluate, emotions, train = settings.evaluate, settings.data.taxonomy.emotions, None
    try:
        if evaluate.judge is None:  # a probe of CLIP, which the training split is needed for
            index = read_emoset(settings.data, folder, settings.machine.processes, settings.check).index
            train = index[index["split"] == "train"].reset_index(drop=True)
            train = train.assign(path=[settings.data.emoset / image for image in train["image"]])
        cache = feature_cache(settings.data, evaluate)
        judge = load_judge(evaluate.judge, settings.models.clip, train, emotions, cache)
    except UserError as reason:
        log.info(f"no judge stands beside the raters: {reason}")
        return {}
    found = judge(images.reset_index(), "judging")
    return {
        image_id: {emotion: round(float(p), 4) for emotion, p in zip(emotions, row, strict=True)}
        for image_id, row in zip(images.index, found, strict=True)
    }


def _load(path: Path, size: int) -> Image.Image:
    try:
        return thumbnail(load_image(path), size)
    except ImageError as error:
        raise UserError(f"rating.rows: {error}") from None


def _sign(text: str, size: int) -> Image.Image:
    """Return a grey square with a text."""
    sign = Image.new("RGB", (size, size), "#8a8f96")
    font = ImageFont.load_default(size // 12)
    ImageDraw.Draw(sign).multiline_text((size / 2, size / 2), text, "black", font, anchor="mm", align="center")
    return sign


if __name__ == "__main__":
    run(main)
