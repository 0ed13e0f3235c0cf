"""The page that people rate images on: what it holds and hides, and what their answers amount to, by hand."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from config.errors import UserError
from config.loading import load
from config.section import ROOT
from config.taxonomy import DEFAULT, read_taxonomy
from evaluation import rating_answers, rating_page
from evaluation.rating_answers import alpha
from runtime import figures

EMOTIONS = read_taxonomy(DEFAULT).emotions
JUDGE = ROOT / "demo" / "models" / "judge"


@pytest.fixture
def page(drawn, tmp_path, monkeypatch):
    """Return a function that writes the page of two methods' images, and gives settings, what the page holds and its key."""
    monkeypatch.setattr(figures, "RESAMPLES", 50)
    for method, first in {"mine": 0, "theirs": 3}.items():
        for emotion in EMOTIONS:
            (tmp_path / method / emotion).mkdir(parents=True)
            for number, path in enumerate(sorted((drawn / "image" / emotion).iterdir())[first : first + 3]):
                shutil.copy(path, tmp_path / method / emotion / f"{number}.jpg")

    def write(*changed: str):
        given = [f"run={tmp_path}/run", f"data.emoset={drawn}", f"data.cache={tmp_path}/cache", "rating.images=2"]
        given += [f"rating.rows={tmp_path}/mine,{tmp_path}/theirs", f"evaluate.judge={JUDGE}", "rating.size=64"]
        arguments = [*given, *changed]
        rating_page.main(load(arguments))
        newest = max((tmp_path / "run" / "rating").glob("key-*.json"), key=lambda path: path.stat().st_mtime_ns)
        key = json.loads(newest.read_text())
        text = (newest.parent / f"page-{key['page']}.html").read_text()
        held = json.loads(re.search(r'<script id="page" type="application/json">(.*?)</script>', text)[1])
        assert held["id"] == key["page"]
        return arguments, text, held, key

    return write


def given(key: dict, rater: str, answer) -> dict:
    """What the page gives a rater to send who answers `answer(trial)`."""
    answers = [
        {"trial": name, "answer": answer(each), "ms": 900, "at": "", "place": 0} for name, each in key["trials"].items()
    ]
    return {"format": 1, "page": key["page"], "kind": key["kind"], "rater": rater, "answers": answers}


def read(arguments, tmp_path, files: list[dict]) -> dict:
    (tmp_path / "answers").mkdir(exist_ok=True)
    for number, content in enumerate(files):
        (tmp_path / "answers" / f"{number}.json").write_text(json.dumps(content))
    rating_answers.main(load([*arguments, f"rating.answers={tmp_path}/answers"]))
    return json.loads((tmp_path / "run" / "rating" / f"ratings-{files[0]['page']}.json").read_text())


def test_the_page_shows_pairs_and_names_no_method(page):
    _, text, held, key = page()
    assert len(held["trials"]) == len(key["trials"]) == 2 * len(EMOTIONS) + 6
    assert [each["id"] for each in held["trials"]] == list(key["trials"])
    real = [each for each in key["trials"].values() if each["catch"] is None]
    assert sum(each["rows"][0].endswith("mine") for each in real) == len(EMOTIONS), "left is either method half of the time"
    for each in real:
        first, second = each["images"]
        assert first.split("/")[-2:] == second.split("/")[-2:], "the same number of the same emotion"
    assert [len(each["images"]) for each in held["trials"]] == [2] * len(held["trials"])
    assert "mine" not in text
    assert "theirs" not in text
    assert '"catch"' not in text
    assert not re.search(r"https?://", text), "it loads nothing"
    assert key["judged"].keys() == {image for each in real for image in each["images"]}
    assert page()[3] == key, "by the seed"
    assert list(page("seed=1")[3]["trials"]) != list(key["trials"])


def write_images(root, count: int) -> None:
    for emotion in EMOTIONS:
        (root / emotion).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (8, 8)).save(root / emotion / f"{number:05d}.png")


def test_rows_of_the_run_show_what_was_measured_in_pairs_of_one_number(tmp_path):
    """The fourth images are those of an earlier, larger evaluation. Of `real` the folder holds copies."""
    evaluated, first = tmp_path / "evaluation", EMOTIONS[0]
    for row, count in {"ours": 4, "prompt_only": 4, "real": 2}.items():
        write_images(evaluated / "images" / row, count)
        of_row = [f"{row}/{emotion}/{number:05d}.png" for emotion in EMOTIONS for number in range(3)]
        pd.DataFrame({"image_id": ["12"] if row == "real" else of_row}).to_parquet(evaluated / f"judged-{row}.parquet")
    (evaluated / "images/ours" / first / "00000.png").unlink()

    def numbers_of(*changed: str) -> dict[str, list[str]]:
        images = rating_page.images_of_rows(load([*changed]).rating, tmp_path, EMOTIONS, 0)
        names = [[path.stem for path in own["path"]] for _, own in images.groupby("row")]
        assert names[0] == names[1]
        return images.groupby("emotion")["path"].agg(lambda paths: sorted({path.stem for path in paths})).to_dict()

    assert numbers_of("rating.images=2")[first] == ["00001", "00002"]
    assert "00003" not in str(numbers_of("rating.images=2"))
    assert numbers_of("rating.rows=ours,real", "rating.images=1")[first] == ["00001"]
    with pytest.raises(UserError, match=rf"^rating\.images: ours has 2 images of {first}, and 3 are asked for"):
        numbers_of("rating.images=3")


def test_a_folder_counts_from_where_one_stands(tmp_path, monkeypatch):
    write_images(tmp_path / "album", 1)
    rating = load(["rating.kind=emotion", "rating.rows=album", "rating.images=1"]).rating
    with pytest.raises(UserError, match=r"^rating\.rows: album is neither a row of .* nor a folder; run"):
        rating_page.images_of_rows(rating, tmp_path, EMOTIONS, 0)
    monkeypatch.chdir(tmp_path)
    assert len(rating_page.images_of_rows(rating, tmp_path, EMOTIONS, 0)) == len(EMOTIONS)


def test_preferences_by_hand(page, tmp_path):
    """Two raters of taste, one of whom sees no difference for the first emotion, and one who does not look."""
    arguments, _, _, key = page()

    def likes_mine(trial):
        return trial["catch"] or ("left", "right")[trial["rows"][1].endswith("mine")]

    def likes_mine_mostly(trial):
        return trial["catch"] or ("same" if trial["emotion"] == EMOTIONS[0] else likes_mine(trial))

    files = [given(key, "a", likes_mine), given(key, "b", likes_mine_mostly), given(key, "c", lambda trial: "left")]
    partial = given(key, "a", likes_mine) | {"answers": given(key, "a", likes_mine)["answers"][:3]}
    found = read(arguments, tmp_path, [*files, partial])
    assert found["about"]["missed"] == {"c": 0.5}
    assert found["about"]["raters"] == ["a", "b"]
    assert found["about"]["answers"] == 2 * 2 * len(EMOTIONS)
    preference = found["figures"]["all"]["preference"]
    assert preference["value"] == pytest.approx(1 - 0.5 / 2 / len(EMOTIONS))
    assert preference["n"] == 2 * len(EMOTIONS)
    assert found["figures"][EMOTIONS[0]]["preference"]["value"] == 0.75
    assert found["figures"]["all"]["agreement"]["value"] == pytest.approx(1 - 1 / len(EMOTIONS))
    assert 0.5 < found["figures"]["all"]["alpha"]["value"] < 1
    real = [each for each in key["trials"].values() if each["catch"] is None and each["emotion"] != EMOTIONS[0]]
    by_judge = [
        key["judged"][each["images"][each["rows"].index(key["rows"][0])]][each["emotion"]]
        > key["judged"][each["images"][each["rows"].index(key["rows"][1])]][each["emotion"]]
        for each in real
    ]
    others = found["figures"][EMOTIONS[1]]["judge"]
    assert others["value"] == np.mean(
        [agrees for agrees, each in zip(by_judge, real, strict=True) if each["emotion"] == EMOTIONS[1]]
    )


def test_emotions_by_row(page, tmp_path):
    arguments, _, held, key = page("rating.kind=emotion", "rating.catch_trials=2")
    assert held["options"] == list(EMOTIONS)
    assert all(each.keys() == {"id", "images"} for each in held["trials"]), "no trial says what it shows"

    def of_mine_alone(trial):
        return trial["catch"] or (trial["emotion"] if trial["rows"][0].endswith("mine") else EMOTIONS[0])

    found = read(arguments, tmp_path, [given(key, rater, of_mine_alone) for rater in "ab"])
    mine, theirs = key["rows"]
    assert found["figures"][mine]["accuracy"]["value"] == 1
    assert found["figures"][theirs]["accuracy"]["value"] == pytest.approx(1 / len(EMOTIONS))
    assert found["figures"]["all"]["alpha"]["value"] == 1
    judged = [max(each, key=each.get) for name, each in key["judged"].items() if name.startswith(theirs)]
    assert found["figures"][theirs]["judge"]["value"] == np.mean([each == EMOTIONS[0] for each in judged])


KEYS = {"left": "ArrowLeft", "right": "ArrowRight", "same": "ArrowDown"}


def test_a_rater_answers_by_keys_resumes_after_a_reload_and_sends_a_file(page, browser, tmp_path):
    arguments, _, held, key = page("rating.images=1", "rating.catch_trials=2")
    count, said, wrong = len(held["trials"]), {}, []
    context = browser.new_context(accept_downloads=True)
    shown = context.new_page()
    shown.on("pageerror", lambda error: wrong.append(str(error)))
    shown.goto((tmp_path / "run" / "rating" / f"page-{key['page']}.html").as_uri())

    def begin() -> None:
        shown.get_by_label("Your name").fill("Ada")
        shown.keyboard.press("Enter")

    def answer(number: int, wanted: str) -> None:
        shown.get_by_text(f"{number} of {count}", exact=True).wait_for()
        trial = shown.evaluate("order[place].id")
        said[trial] = key["trials"][trial]["catch"] or wanted
        shown.keyboard.press(KEYS[said[trial]])

    begin()
    answer(1, "left")
    answer(2, "left")
    shown.get_by_text(f"3 of {count}", exact=True).wait_for()
    shown.keyboard.press("Backspace")
    answer(2, "right")
    shown.reload()
    begin()  # at the first trial without an answer
    for number in range(3, count + 1):
        answer(number, "same")
    with shown.expect_download() as download:
        shown.get_by_role("button", name="Download my answers").click()
    assert download.value.suggested_filename == f"ratings-{key['page']}-Ada.json"
    sent = json.loads(download.value.path().read_text("utf-8"))
    context.close()
    assert not wrong
    assert {each["trial"]: each["answer"] for each in sent["answers"]} == said
    found = read(arguments, tmp_path, [sent])
    assert (found["about"]["raters"], found["about"]["answers"]) == (["Ada"], len(EMOTIONS))


def test_alpha_is_krippendorff_s():
    """His example of four coders and twelve units, with gaps: 0.743 (Krippendorff, Computing Krippendorff's Alpha, 2011)."""
    units = ["111", "2232", "3333", "3333", "2222", "1234", "4444", "1121", "2222", "555", "11", "3"]  # answers to each
    counts = np.array([[unit.count(str(value)) for value in range(1, 6)] for unit in units])
    assert alpha(counts) == pytest.approx(0.743, abs=5e-4)
    assert np.isnan(alpha(np.array([[2, 0], [3, 0]])))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda key: "{", "is no file of answers that the page gives"),
        (lambda key: "[" * 10**5, "is no file of answers that the page gives"),
        (
            lambda key: json.dumps(given(key, "a", lambda trial: 1)),
            r"page gives \(answers 1 answer: .* valid string\); leave",
        ),
        (
            lambda key: json.dumps(given(key, 5, lambda trial: "left")),
            r"page gives \(rater: .* valid string\); leave it out",
        ),
        (lambda key: json.dumps(given(key, "a", lambda trial: "left") | {"page": []}), r"page gives \(page: "),
        (lambda key: json.dumps(given(key, "a", lambda trial: "left") | {"page": "../a"}), r"page gives \(page: "),
        (
            lambda key: json.dumps(given(key, "a", lambda trial: "banana" if trial["catch"] is None else "left")),
            r"a\.json, answer \d+ is 'banana'; the page offers left, right, same$",
        ),
        (
            lambda key: json.dumps((sent := given(key, "a", lambda trial: "left")) | {"answers": 2 * sent["answers"]}),
            r"a\.json, answer 15 is to the trial '\w+', as answer 1 is; remove one$",
        ),
        (
            lambda key: json.dumps(
                (sent := given(key, "a", lambda trial: "left")) | {"answers": [sent["answers"][0] | {"trial": "x"}]}
            ),
            r"a\.json, answer 1 is to the trial 'x', which the page \w+ does not have; leave that file out$",
        ),
        (lambda key: json.dumps(given(key, "a", lambda trial: "left") | {"page": "other"}), "of the page other, and"),
        (lambda key: json.dumps(given(key, "a", lambda trial: "same") | {"answers": []}), "no rater has answered and"),
        (lambda key: json.dumps(given(key, "a", lambda trial: "same")), "got enough catch trials right"),
    ],
)
def test_wrong_answers_are_one_line(page, tmp_path, change, told):
    arguments, _, _, key = page("rating.images=1")
    (tmp_path / "a.json").write_text(change(key))
    with pytest.raises(UserError, match=told):
        rating_answers.main(load([*arguments, f"rating.answers={tmp_path}/a.json"]))


def test_too_few_images_are_one_line(page):
    with pytest.raises(UserError, match=rf"rating\.images: .*mine has 3 images of {EMOTIONS[0]}, and 4 are asked for"):
        page("rating.images=4")
    with pytest.raises(UserError, match=r"rating\.rows: pair compares two rows, not 1"):
        page("rating.rows=ours")
