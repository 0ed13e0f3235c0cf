"""The report of a run that is made up here: what it shows, of either half alone too, and how a browser takes it."""

import json
import re
import shutil
from random import Random
from types import SimpleNamespace

import pandas as pd
import pytest
from made_run import (
    make_generation,
    make_understanding,
    page_of,
    report_of,
    sections_of,
    write_image,
    write_json,
    write_lines,
)
from matplotlib.axes import Axes

from config.errors import UserError
from config.loading import load
from config.taxonomy import DEFAULT, read_taxonomy
from config.understanding_settings import Answers
from evaluation.answers_by_emotion import accuracy_by_emotion, confusions
from evaluation.peers import read_peers
from evaluation.plots import lines
from evaluation.report import main
from evaluation.report_training import training_curves
from evaluation.report_understanding import THOUGHT
from evaluation.run_files import RunFiles
from runtime.figures import Metric, share
from understanding import kinds
from understanding.scoring import figures, read_answers

TAXONOMY = read_taxonomy(DEFAULT)
OPEN = {"verdict", "pictures", "files"}  # what a page shows without a click
EMOTIONS = TAXONOMY.emotions


def test_both_halves_are_shown(whole_run):
    page = page_of(whole_run)
    assert sections_of(page) == {*OPEN, "generation", "understanding", "cross", "training", "run"}
    assert "This run lacks the following" in page  # the balanced set, which was not made up
    seconds = re.search(r"<caption>Wall seconds.*?</table>", page, re.S)[0]
    assert dict(re.findall(r'<th scope="row">(.*?)</th><td>(.*?)</td>', seconds)) == {
        "training": "67.8", "understanding": "67.8",
        "evaluation/generation": "12.5", "evaluation/understanding": "3.0", "evaluation/cross": "1.0",
    }  # fmt: skip
    # Two hard images of each emotion, and four answers each that are right, wrong, fixed and broken, by both models.
    assert page.count("&lt;think&gt;a &lt;b&gt;drawing&lt;/b&gt; &amp; more&lt;/think&gt;") == 2 * (
        2 * len(EMOTIONS) + 4 * 4
    )
    for picture in ("awe on bag", "from awe to fear", "4 images of disgust: prompt only", "Mapper: loss, by update"):
        assert f'alt="{picture}' in page
    share = r"\d\.\d{3}"
    for spoken in (f"Multiple choice, balanced: before {share}; after {share}; blind {share}", f"Emo-A: ours {share}"):
        assert re.search(rf'alt="How [\w ]+\.[^"]* {spoken}', page)
    assert f"Seed {0}" in page
    assert "<p>ours, prompt only: FID of 64 images is biased</p>" in page
    assert "corrected 1,600 training images, emogen 2,400 of all splits" in page
    for text in ("epochs", "2.13.0", "2026-01-02 04:05:06"):
        assert text in page


def test_what_tells_whether_grpo_learns_is_plotted(tmp_path):
    numbers = {"entropy": 0.3, "dead_groups": 0.5, "dead_groups/binary": 0.75} | {
        f"accuracy/{each}": 0.25 for each in EMOTIONS
    }
    write_lines(tmp_path / "understanding/step_two/metrics.jsonl", [{"step": n} | numbers for n in (1, 2)])
    curves = training_curves(RunFiles(tmp_path), TAXONOMY)
    plotted = {picture["caption"]: picture["alt"] for picture in curves["Step II"]}
    plots = ("entropy", "groups whose answers earn the same", "accuracy, positive emotions", "accuracy, negative emotions")
    assert list(plotted) == [f"Step II: {plot}" for plot in plots]
    assert all(emotion in plotted["Step II: accuracy, positive emotions"] for emotion in TAXONOMY.sides["positive"])
    assert all(emotion in plotted["Step II: accuracy, negative emotions"] for emotion in TAXONOMY.sides["negative"])


def test_a_new_kind_of_question_reaches_every_part_of_the_report(tmp_path, drawn, monkeypatch):
    """It has a word in the verdict, dots with its chance, accuracies by emotion, a matrix, and curves of its training."""
    calm = ("contentment", "sadness")
    arousal = SimpleNamespace(
        NAME="arousal",
        COLUMN="said_arousal",
        CURVES={"arousal_accuracy": "arousal"},
        read=lambda answer, options, taxonomy, answers: answer if answer in ("calm", "excited") else None,
        truth=lambda question, taxonomy: "calm" if question.emotion in calm else "excited",
        statistics=lambda table, taxonomy: {"arousal_accuracy": share(table["said_arousal"] == "calm")},
        metrics=lambda taxonomy: {"arousal_accuracy": Metric("Arousal", "↑", "calm or excited", 1 / 2)},
    )
    monkeypatch.setattr(kinds, "KINDS", (*kinds.KINDS, arousal))
    make_understanding(tmp_path, drawn)
    said = ("calm", "calm", "excited", "both")
    rows = [("x", "arousal", emotion, None, [], 0, each) for emotion in EMOTIONS for each in said]
    answers = pd.DataFrame(rows, columns=["image_id", "kind", "emotion", "asked", "options", "phrasing", "completion"])
    answers = read_answers(answers, TAXONOMY, Answers(reasoning=False))
    matrix = confusions(answers, TAXONOMY)["arousal"]
    assert matrix.loc["awe"].to_dict() == {"excited": 1, "calm": 2, "none": 1}
    matrix.to_csv(tmp_path / "evaluation/confusion-arousal-after.csv")
    by_emotion = accuracy_by_emotion(answers, TAXONOMY, 0)
    assert {name: each["value"] for name, each in by_emotion.items()} == {
        f"arousal_{emotion}": 0.5 if emotion in calm else 0.25 for emotion in EMOTIONS
    }
    path = tmp_path / "evaluation/understanding.json"
    content = json.loads(path.read_text())
    content["figures"]["after"] |= figures(answers, TAXONOMY) | by_emotion
    write_json(path, content)
    numbers = {"rewards/arousal/mean": 0.5, "val/arousal_accuracy": 0.5}
    write_lines(tmp_path / "understanding/step_one/metrics.jsonl", [{"step": n} | numbers for n in (1, 2)])

    page = page_of(report_of(tmp_path, drawn))
    for shown in ("<dt>Arousal</dt>", " Arousal: after ", ">Arousal: right answers about each", "after: arousal questions"):
        assert shown in page
    for curve in ('alt="Step I: rewards, by update: arousal from', 'alt="Step I: on the val split, by update: arousal from'):
        assert curve in page
    assert re.search(r"\| after +\| Arousal +\| 0\.500", (tmp_path / "report/table.md").read_text())


def test_every_line_of_a_plot_is_drawn_and_differs_from_the_others(monkeypatch):
    """A taxonomy may have more emotions on one side than there are colours."""
    drawn, plot = [], Axes.plot
    keys = ("color", "marker", "linestyle")
    monkeypatch.setattr(
        Axes, "plot", lambda self, *points, **how: drawn.append([how[key] for key in keys]) or plot(self, *points, **how)
    )
    lines({f"emotion {number}": [(0, number), (1, number)] for number in range(14)}, "update", "accuracy")
    assert len({tuple(each) for each in drawn}) == len(drawn) == 14


def test_pictures_have_descriptions_and_tables_have_headers(whole_run):
    page = page_of(whole_run)
    pictures = re.findall(r"<img [^>]*>", page)
    assert len(pictures) > 60
    assert all(re.search(r' alt="[^"]{8,}"', picture) for picture in pictures)
    tables = re.findall(r"<table.*?</table>", page, re.S)
    assert len(tables) > 12
    assert all('<th scope="col"' in table and '<th scope="row"' in table and "<caption>" in table for table in tables)
    ids = re.findall(r' id="([\w-]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([\w-]+)"', page)) <= set(ids)


def test_nothing_comes_from_elsewhere(whole_run):
    page = page_of(whole_run)
    assert "<script" not in page
    beside = set(re.findall(r'(?:src|href)="(?!data:|#)([^"]*)"', page))
    assert {"../report/table.md", "../evaluation/images/", "../evaluation/generation.json"} <= beside
    assert all((whole_run / "report" / link).exists() for link in beside), "links lead to files of the run alone"
    assert "url(" not in page
    assert "@import" not in page


def test_the_understanding_half_alone(tmp_path, drawn):
    make_understanding(tmp_path, drawn)
    page = page_of(report_of(tmp_path, drawn))
    assert sections_of(page) == {*OPEN, "understanding", "training", "run"}
    assert "accelerate launch training/main.py" in page


def test_it_says_that_a_model_which_reasons_has_written_one_thought(tmp_path, drawn):
    make_understanding(tmp_path, drawn)
    assert THOUGHT not in page_of(report_of(tmp_path, drawn))
    path = tmp_path / "evaluation/understanding.json"
    found = json.loads(path.read_text())
    found["figures"]["after_alone"] = found["figures"]["after"]
    path.write_text(json.dumps(found))
    assert THOUGHT in page_of(report_of(tmp_path, drawn))


def test_a_run_that_was_not_evaluated(tmp_path, drawn):
    make_generation(tmp_path)
    shutil.rmtree(tmp_path / "evaluation")
    write_image(tmp_path / "images/awe/00000.png", Random(0))
    page = page_of(report_of(tmp_path, drawn))
    assert sections_of(page) == {*OPEN, "generation", "training", "run"}
    assert 'alt="1 images of awe: generated"' in page
    assert "Nothing has been evaluated" in (tmp_path / "report/table.md").read_text()


def test_no_run_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no run to report on"):
        main(load([f"run={tmp_path}/none"]))
    assert not (tmp_path / "none").exists()


def test_table_for_an_appendix(whole_run):
    table = (whole_run / "report/table.md").read_text()
    found = json.loads((whole_run / "evaluation/generation.json").read_text())["figures"]["ours"]
    line = next(line for line in table.splitlines() if line.startswith("| ours") and "Emo-A " in line)
    _, _, _, corrected, emogen, _ = (cell.strip() for cell in line.split("|"))
    for cell, column in ((corrected, "corrected"), (emogen, "emogen")):
        each = found[column]["emotion_accuracy"]
        assert cell == f"{each['value']:.3f} ({each['low']:.3f} to {each['high']:.3f}; n = 64)"
    assert re.search(r"\| after +\| Multiple choice +\| 0\.\d{3} \(0\.\d{3} to 0\.\d{3}; n = \d+\)", table)


def test_the_generation_half_alone_and_each_row_of_its_table_has_its_own_n(tmp_path, drawn):
    make_generation(tmp_path)
    path = tmp_path / "evaluation/generation.json"
    content = json.loads(path.read_text())
    for column in ("corrected", "emogen"):
        content["figures"]["real"][column]["fid"]["n"] = 12_000
    write_json(path, content)
    lines = (report_of(tmp_path, drawn) / "report/table.md").read_text().splitlines()
    printed = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    for head in (place for place, cells in enumerate(printed) if cells[-1:] == ["n"]):
        rows = {cells[0]: cells[-1] for cells in printed[head + 2 : head + 5]}
        assert rows == {"ours": "64", "prompt only": "64", "real images": "12,000"}
    page = page_of(tmp_path)
    assert sections_of(page) == {*OPEN, "generation", "training", "run"}
    assert "accelerate launch understanding.py" in page


def test_what_a_model_says_stands_once_with_what_it_finds_likeliest_where_both_are_alike(tmp_path, drawn):
    """In the table, with the figures that others have published, in the verdict and in the dots; metrics differ else."""
    make_understanding(tmp_path, drawn)
    path = tmp_path / "evaluation/understanding.json"
    content = json.loads(path.read_text())
    for row in content["figures"].values():
        for name in ("accuracy", "balanced_accuracy"):
            row[f"multiple_forced_{name}"] = row[f"multiple_{name}"]
    write_json(path, content)
    page = page_of(report_of(tmp_path, drawn))
    names = re.findall(r'<th scope="row">([^<]*choice[^<]*)<small>', page)
    assert names[:2] == ["Multiple choice and forced choice ↑", "Multiple choice and forced choice, balanced ↑"]
    line = re.search(r'<th scope="row">Multiple choice and forced choice ↑.*?</tr>', page, re.S)[0]
    assert len(re.findall("<td>[^<]", line)) == 3 + len(read_peers().understanding)


def test_strengths_and_mixes_are_in_the_table_and_on_the_page(whole_run):
    found = json.loads((whole_run / "evaluation/cross.json").read_text())["figures"]
    table = re.sub(" +", " ", (whole_run / "report/table.md").read_text())
    strength, mix = found["transfer"]["1.0"]["intended"], found["fusion"]["awe-fear"]["0.0"]
    for name, each in {
        "transfer, strength 1.0 | Says what was intended": strength,
        "awe-fear, weight 0.0 | Says what the judge says": mix["judge"],
        "awe-fear, weight 0.0 | Likelihood of fear": mix["fear"],
    }.items():
        assert f"| {name} | {each['value']:.3f} ({each['low']:.3f} to {each['high']:.3f}; n = 64) |" in table
    shown = re.search(r"<caption>Of mixes of two emotions.*?</table>", page_of(whole_run), re.S)[0]
    assert re.findall(r'<th scope="col">(.*?)</th>', shown) == ["weight 0.0", "weight 1.0"]
    assert f"<td>{mix['judge']['value']:.3f}<small>" in shown


def test_what_is_said_at_the_end_and_a_second_report_has_the_same_pictures(whole_run, drawn, capsys):
    """The verdict, and the place of the page."""
    before = re.findall("<img [^>]*>", page_of(whole_run))
    assert re.findall("<img [^>]*>", page_of(report_of(whole_run, drawn))) == before
    *_, said = capsys.readouterr().out.partition("\n- ")
    *lines, nothing, place = said.splitlines()
    assert lines[0].startswith("The judge sees the intended emotion in 0.")
    assert all(line.startswith("- ") for line in lines[1:])
    assert (nothing, place) == ("", f"The report, with all figures: {whole_run}/report/index.html")


LOOK = """() => {
    const light = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).reduce((sum, each) => sum + Number(each), 0) / 765;
    const body = getComputedStyle(document.body), shown = [...document.images].filter(image => image.naturalWidth > 0);
    const whole = document.documentElement;
    return {shown: shown.length, content: whole.scrollWidth, height: whole.scrollHeight,
            text: light(body.color), paper: light(body.backgroundColor)}}"""


@pytest.mark.parametrize(("width", "theme"), [(390, "light"), (1280, "dark")])
def test_a_browser_shows_it(whole_run, browser, width, theme):
    """From disk, on a phone and on a desk: no error, every picture shows, nothing sticks out, all is legible and short."""
    page, told, fetched = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme), [], []
    page.on("console", lambda message: told.append(message.text))
    page.on("request", lambda request: fetched.append(request.url))
    page.goto((whole_run / "report" / "index.html").as_uri())
    folded = page.evaluate(LOOK)
    assert folded["height"] <= 8000
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    opened = page.evaluate(LOOK)
    assert folded["content"] == opened["content"] == width
    assert opened["height"] > 2 * folded["height"]
    assert opened["shown"] == len(re.findall("<img ", page_of(whole_run)))
    text, paper = opened["text"], opened["paper"]
    assert (text < 0.3 and paper > 0.9) if theme == "light" else (text > 0.7 and paper < 0.2)
    assert told == []
    assert len([url for url in fetched if not url.startswith("data:")]) == 1, "nothing but the page itself"
    # On a phone a table scrolls sideways, and its first column stays.
    left = """() => {const all = [...document.querySelectorAll('.scroll')];
        const wide = all.find(each => each.scrollWidth > each.clientWidth + 60);
        wide.scrollLeft = 60; const line = wide.querySelector('tbody th');
        return line.getBoundingClientRect().left - wide.getBoundingClientRect().left}"""
    if width == 390:
        assert page.evaluate(left) == 0
    page.close()


def test_what_is_folded_opens_by_the_keyboard(whole_run, browser):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto((whole_run / "report" / "index.html").as_uri())
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Images of each emotion":
            break
    part = page.locator("details", has_text="Images of each emotion").first
    assert not part.locator("img").first.is_visible()
    page.keyboard.press("Enter")
    assert part.locator("img").first.is_visible()
    page.close()
