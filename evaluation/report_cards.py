"""Single images and answers that the report shows: chosen at random, by what changed, or by how sure somebody is."""

from collections.abc import Mapping, Sequence
from glob import escape
from pathlib import Path
from random import Random

import pandas as pd

from config.data_settings import Data
from config.taxonomy import Taxonomy
from evaluation.metric_labels import row_name
from evaluation.run_files import RunFiles
from runtime.page import picture, thumbnail
from understanding.kinds import multiple
from understanding.scoring import likelihood_columns

AT_RANDOM = 4  # answers of a group
HARD = 2  # hard images of an emotion
FAILURES = 12
SIZE = 224  # pixels of the longer side of an image


def answer_cards(
    files: RunFiles, answers: Mapping[str, pd.DataFrame], models: Sequence[str], data: Data, folder: Path | None, seed: int
) -> list[dict]:
    """Return groups of multiple-choice answers of the last model, drawn by `seed`: right, wrong, fixed and broken ones.

    Fixed: the first model was wrong and the last is right. Broken: the other way round. answers: by row. folder:
    evaluate.folder, whose images the questions are about; None: the data set's.
    """
    asked = _asked(answers, models)
    if not asked:
        return []
    last = asked[-1]
    right = last["emotion"] == last[multiple.COLUMN]
    groups = {"Right": (right, f"{models[-1]} right"), "Wrong": (~right, f"{models[-1]} wrong")}
    if len(asked) > 1:
        was_right = asked[0]["emotion"] == asked[0][multiple.COLUMN]
        groups["Fixed"] = right & ~was_right, f"{models[0]} wrong, {models[-1]} right"
        groups["Broken"] = was_right & ~right, f"{models[0]} right, {models[-1]} wrong"
    found = []
    for title, (chosen, who) in groups.items():
        image_ids = sorted(last.index[chosen])
        drawn = Random(f"{seed} {title}").sample(image_ids, min(AT_RANDOM, len(image_ids)))
        cards = [_card(files, asked, models, image_id, data.emoset, folder) for image_id in drawn]
        note = f"{len(image_ids):,} of {len(last):,} answers: {who}. The true emotion stands above."
        found.append({"title": title, "note": note, "cards": cards})
    return found


def hard_cards(
    files: RunFiles, answers: Mapping[str, pd.DataFrame], models: Sequence[str], data: Data, folder: Path | None
) -> list[dict]:
    """Return, for each emotion, the images that the first model answers wrong and finds the true emotion least likely for.

    Each has the answers of the first of the models and of the last. Nothing where there is only one, or the answers of one
    are not there. answers, folder: as answer_cards has them.
    """
    asked, found = _asked(answers, models), []
    if len(asked) < 2:
        return []
    for emotion in data.taxonomy.emotions:
        wrong = asked[0][(asked[0]["emotion"] == emotion) & (asked[0][multiple.COLUMN] != emotion)]
        hardest = wrong.sort_values(f"p_{emotion}", kind="stable").index[:HARD]
        cards = [_card(files, asked, models, image_id, data.emoset, folder) for image_id in hardest]
        found += [{"title": emotion, "note": f"{len(wrong):,} wrong before", "cards": cards}] if cards else []
    return found


def failures(files: RunFiles, row: str, taxonomy: Taxonomy) -> list[dict]:
    """Return a row's images in which the judge sees another emotion than intended, those first of which it is surest."""

    def show(file: Path) -> list[dict]:
        judged = pd.read_parquet(file, page_checksum_verification=True)
        probabilities = judged[likelihood_columns(taxonomy.emotions)]
        judged["said"] = [taxonomy.emotions[place] for place in probabilities.to_numpy().argmax(1)]
        judged["sure"] = probabilities.max(axis=1)
        wrong = judged[judged["said"] != judged["emotion"]].sort_values("sure", ascending=False, kind="stable")
        cards = []
        for image_id, emotion, said, sure in (
            wrong[["image_id", "emotion", "said", "sure"]].head(FAILURES).itertuples(index=False)
        ):
            path = files.run / "evaluation" / "images" / image_id
            image = files.image(path) if path.is_file() else None
            shown = picture(thumbnail(image, SIZE), f"image {image_id}, meant as {emotion}") if image else None
            cards.append(
                {
                    "title": f"meant as {emotion}",
                    "picture": shown,
                    "lines": [{"name": f"judged {said}, {sure:.2f}", "text": ""}],
                }
            )
        sure = ", ".join(f"{(wrong['sure'] > least).sum():,} with more than {least}" for least in (0.9, 0.5))
        note = f"{len(wrong):,} of {len(judged):,} images: {sure} of the judge's probability."
        return [{"title": f"{row_name(row)}: judged to show another emotion", "note": note, "cards": cards}]

    return files.read(f"evaluation/judged-{row}.parquet", show, [])


def _asked(answers: Mapping[str, pd.DataFrame], models: Sequence[str]) -> list[pd.DataFrame]:
    """Return the multiple-choice answers of the first model and the last about the same images; [] where one has none."""
    rows = list(dict.fromkeys([*models[:1], *models[-1:]]))
    if not rows or not set(rows) <= answers.keys():
        return []
    tables = [answers[row][answers[row]["kind"] == multiple.NAME].set_index("image_id") for row in rows]
    both = tables[0].index.intersection(tables[-1].index)
    return [table.loc[both] for table in tables]


def _card(
    files: RunFiles, asked: list[pd.DataFrame], models: Sequence[str], image_id: str, emoset: Path, folder: Path | None
) -> dict:
    """Return an image of a question with what the models say."""
    emotion, lines = asked[0].loc[image_id, "emotion"], []
    for model, answers in zip(dict.fromkeys([models[0], models[-1]]), asked, strict=True):
        answer = answers.loc[image_id]
        is_right = "right" if answer[multiple.COLUMN] == emotion else "wrong"
        likely = "" if pd.isna(answer[f"p_{emotion}"]) else f"; likelihood of {emotion} {answer[f'p_{emotion}']:.2f}"
        lines.append({"name": f"{model}, {is_right}{likely}", "text": str(answer["completion"])})
    return {"title": emotion, "picture": _image(files, image_id, emotion, emoset, folder), "lines": lines}


def _image(files: RunFiles, image_id: str, emotion: str, emoset: Path, folder: Path | None) -> dict | None:
    """Return the image of a question: of the data set, or of the folder that was evaluated instead."""
    found = [folder / image_id] if folder else sorted((emoset / "image" / emotion).glob(f"{escape(image_id)}.*"))
    path = next(iter(found), None)
    image = files.image(path) if path and path.is_file() else None
    return picture(thumbnail(image, SIZE), f"image {image_id}, whose emotion is {emotion}") if image else None
