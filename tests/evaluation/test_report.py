"""The report of a run that is made up here: what it shows, of either half alone too, and how a browser takes it."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from random import Random
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from PIL import Image

from config.errors import UserError
from config.loading import load
from config.taxonomy import DEFAULT, read_taxonomy
from config.understanding_settings import Answers
from evaluation.answers_by_emotion import accuracy_by_emotion, confusions
from evaluation.plots import lines
from evaluation.report import main
from evaluation.report_training import training_curves
from evaluation.run_files import RunFiles
from runtime.figures import Metric, share
from understanding import kinds
from understanding.scoring import figures, likelihood_columns, read_answers

TAXONOMY = read_taxonomy(DEFAULT)
EMOTIONS = TAXONOMY.emotions
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
METHODS = ("ours", "prompt_only", "real")
METRICS = ("emotion_accuracy", "emotion_accuracy_two_way", "fid", "fid_half", "kid", "lpips", "semantic_diversity")


def figure(rng: Random, scale: float = 1.0) -> dict:
    value = rng.uniform(0.2, 0.8)
    return {"value": scale * value, "low": scale * (value - 0.1), "high": scale * (value + 0.1), "n": 64}


def write_image(path: Path, rng: Random) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 32), tuple(rng.randrange(256) for _ in range(3))).save(path)


def write_json(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_lines(path: Path, lines: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def write_stage(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text("seed: 5\nmapper:\n  epochs: 7\n")
    write_json(folder / "seconds.json", {"seconds": 67.8})
    write_json(folder / "environment.json", {"python": "3.11.7", "git": None, "packages": {"torch": "2.13.0", "trl": None}})
    (folder / "log.txt").write_text("2026-01-02 03:04:05 begun\n  more\n2026-01-02 04:05:06 done\n")


def make_generation(run: Path) -> None:
    """Write what a generator's training and its evaluation leave."""
    rng, evaluated = Random(0), run / "evaluation"
    for stage in ("training", "evaluation"):
        write_stage(run / stage)
    write_json(run / "generator" / "generator.json", {})
    write_lines(run / "training/emotion_space/metrics.jsonl", [{"epoch": n, "train_loss": 2 / n} for n in (1, 2, 3)])
    names = ("loss", "diffusion", "attribute", "emotion")
    steps = [{"step": n, **{name: rng.random() for name in names}} for n in range(10, 200, 10)]
    write_lines(run / "training/mapper/metrics.jsonl", steps)
    write_image(run / "training/mapper/samples/0000200.png", rng)
    about = {"n": dict.fromkeys(METHODS, 64), "split": "val", "seed": 0, "models": {"judge": "demo/models/judge"}}
    about |= {"seconds": 12.5, "warnings": {"FID of 64 images is biased": ["ours", "prompt_only"]}}
    about |= {"reference": 1600, "published_reference": 2400}
    rows = {}
    for row in METHODS:
        corrected = {name: figure(rng, 300 if "fid" in name else 1) for name in METRICS}
        emogen = {name: figure(rng, 300 if "fid" in name else 1e-5 if "sem" in name else 1) for name in METRICS[:4]}
        by_emotion = {emotion: {name: figure(rng) for name in METRICS[:2]} for emotion in EMOTIONS}
        rows[row] = {"corrected": corrected, "emogen": emogen, "by_emotion": by_emotion}
        counts = pd.DataFrame([[rng.randrange(9) for _ in EMOTIONS] for _ in EMOTIONS], EMOTIONS, EMOTIONS)
        evaluated.mkdir(exist_ok=True)
        counts.to_csv(evaluated / f"confusion-generation-{row}.csv")
        for emotion in EMOTIONS:
            for number in range(4):
                write_image(evaluated / f"images/{row}/{emotion}/{number:05d}.png", rng)
    rows["transfer"] = {"corrected": {"emotion_accuracy": figure(rng), "clip_score": figure(rng, 30)}, "emogen": {}}
    write_json(evaluated / "generation.json", {"about": about, "figures": rows})
    places = ("0.0", "0.5", "1.0")
    for place in places:
        for content in ("bag", "tree"):
            for emotion in EMOTIONS:
                write_image(evaluated / f"images/transfer/{content}/{place}/{emotion}/00000.png", rng)
        for number in range(2):
            write_image(evaluated / f"images/fusion/awe-fear/{place}/{number:05d}.png", rng)
    names = ("emotion_accuracy", "content_accuracy", "clip_score")
    strength = {place: {name: figure(rng, 30 if name == "clip_score" else 1) for name in names} for place in places}
    fusion = {"awe-fear": {place: {"awe": figure(rng), "fear": figure(rng)} for place in places}}
    write_json(evaluated / "curves.json", {"strength": strength, "fusion": fusion})


def make_understanding(run: Path, emoset: Path) -> None:
    """Write what the fine-tuning of an understanding model, mining and the evaluation leave."""
    rng, evaluated = Random(0), run / "evaluation"
    for stage in ("understanding", "evaluation"):
        write_stage(run / stage)
    (run / "understanding/model").mkdir()
    trained = [{"step": n, "reward": n / 9, "rewards/format/mean": 1.0, "kl": 0.1 * n} for n in range(1, 9)]
    write_lines(run / "understanding/step_one/metrics.jsonl", [{"step": 0, "val/multiple_accuracy": 0.2}, *trained])
    entries = json.loads((emoset / "val.json").read_text())
    rows = {}
    for row, skill in {"before": 0.3, "after": 0.7, "blind": 0.1}.items():
        asked = []
        for emotion, image_id, *_ in entries:
            said = emotion if rng.random() < skill else rng.choice(EMOTIONS)
            shares = np.random.default_rng(len(asked)).dirichlet(np.ones(len(EMOTIONS))).tolist()
            likely = dict(zip(likelihood_columns(EMOTIONS), shares, strict=True))
            completion = f"<think>a <b>drawing</b> & more</think><answer>{said}</answer>"
            question = {
                "kind": "multiple",
                "image_id": image_id,
                "emotion": emotion,
                "asked": None,
                "options": [],
                "phrasing": 0,
            }
            asked.append(question | likely | {"completion": completion})
        answers = read_answers(pd.DataFrame(asked), TAXONOMY, Answers())
        answers.to_parquet(evaluated / f"answers-{row}.parquet")
        for kind, counts in confusions(answers, TAXONOMY).items():
            counts.to_csv(evaluated / f"confusion-{kind}-{row}.csv")
        others = Random(row)
        rows[row] = figures(answers, TAXONOMY) | accuracy_by_emotion(answers, TAXONOMY, 0)
        rows[row] |= {name: figure(others) for name in ("binary_balanced_accuracy", "misleading_auroc")}
    models = {"before": "demo/models/vision_language", "after": str(run / "understanding/model")}
    about = {"n": len(entries), "questions": len(entries), "seed": 0, "split": "val", "models": models, "seconds": 3.0}
    write_json(evaluated / "understanding.json", {"about": about, "figures": rows})
    shares = np.random.default_rng(0).dirichlet(np.ones(len(EMOTIONS)), len(entries))
    errors = pd.DataFrame(shares, columns=list(EMOTIONS)).assign(emotion=[entry[0] for entry in entries])
    errors["error"] = 1 - shares[np.arange(len(errors)), errors["emotion"].map(EMOTIONS.index)]
    (run / "mining").mkdir()
    errors.to_parquet(run / "mining/errors.parquet")


def make_cross(run: Path) -> None:
    """Write what the evaluation of each half by the other leaves."""
    rng, names = Random(0), ("intended", "judge", "intended_forced", "judge_forced")
    found = {row: {name: figure(rng) for name in names} for row in METHODS}
    found["transfer"] = {place: {name: figure(rng) for name in names} for place in ("0.0", "1.0")}
    found["fusion"] = {
        "awe-fear": {place: {name: figure(rng) for name in ("awe", "fear", "judge")} for place in ("0.0", "1.0")}
    }
    about = {"n": dict.fromkeys(found, 64), "seed": 0, "split": "val", "models": {"judge": None}, "seconds": 1.0}
    write_json(run / "evaluation/cross.json", {"about": about, "figures": found})


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory, drawn) -> Path:
    """A run of both halves, with its report."""
    run = tmp_path_factory.mktemp("run")
    make_generation(run)
    make_understanding(run, drawn)
    make_cross(run)
    return report_of(run, drawn)


def report_of(run: Path, emoset: Path) -> Path:
    main(load([f"run={run}", f"data.emoset={emoset}"]))
    return run


def page_of(run: Path) -> str:
    return (run / "report" / "index.html").read_text()


def sections_of(page: str) -> set[str]:
    return set(re.findall(r'<section aria-labelledby="(\w+)"', page))


def test_both_halves_are_shown(whole_run):
    page = page_of(whole_run)
    assert sections_of(page) == {"summary", "generation", "understanding", "cross", "training", "run"}
    assert "This run lacks the following" in page  # the balanced set, which was not made up
    seconds = re.search(r"<caption>Wall seconds.*?</table>", page, re.S)[0]
    assert dict(re.findall(r'<th scope="row">(.*?)</th><td>(.*?)</td>', seconds)) == {
        "training": "67.8", "understanding": "67.8",
        "evaluation/generation": "12.5", "evaluation/understanding": "3.0", "evaluation/cross": "1.0",
    }  # fmt: skip
    assert page.count("&lt;think&gt;a &lt;b&gt;drawing&lt;/b&gt; &amp; more&lt;/think&gt;") == 2 * 2 * len(EMOTIONS)
    for picture in ("awe on bag", "from awe to fear", "4 images of disgust: prompt only", "Mapper: loss, by update"):
        assert f'alt="{picture}' in page
    bar = r"\d\.\d{3} \(\d\.\d{3} to \d\.\d{3}\)"
    for bars in (
        f"Multiple choice ↑: before {bar}; after {bar}; blind {bar}",
        f"Emo-A, two-way: ours: amusement {bar}; awe {bar}",
    ):
        assert re.search(f'alt="{bars}', page)
    assert "<p>ours, prompt only: FID of 64 images is biased</p>" in page
    assert "corrected 1,600 training images, emogen 2,400 of all splits" in page
    for text in ("epochs", "2.13.0", "2026-01-02 04:05:06"):
        assert text in page


def test_what_tells_whether_grpo_learns_is_plotted(tmp_path):
    numbers = {"entropy": 0.3, "dead_groups": 0.5, "dead_groups/binary": 0.75} | {
        f"accuracy/{each}": 0.25 for each in EMOTIONS
    }
    write_lines(tmp_path / "understanding/step_two/metrics.jsonl", [{"step": n} | numbers for n in (1, 2)])
    plotted = {picture["caption"]: picture["alt"] for picture in training_curves(RunFiles(tmp_path), TAXONOMY)}
    plots = ("entropy", "groups whose answers earn the same", "accuracy, positive emotions", "accuracy, negative emotions")
    assert list(plotted) == [f"Step II: {plot}" for plot in plots]
    assert all(emotion in plotted["Step II: accuracy, positive emotions"] for emotion in TAXONOMY.sides["positive"])
    assert all(emotion in plotted["Step II: accuracy, negative emotions"] for emotion in TAXONOMY.sides["negative"])


def test_a_new_kind_of_question_reaches_every_part_of_the_report(tmp_path, drawn, monkeypatch):
    """It has figures in the summary, bars with its chance, accuracies by emotion, a matrix, and curves of its training."""
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
    for shown in ("<dt>Arousal</dt>", 'alt="Arousal ↑: after', 'alt="Arousal: after: amusement', "after: arousal questions"):
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
    ids = re.findall(r' id="(\w+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#(\w+)"', page)) <= set(ids)


def test_nothing_comes_from_elsewhere(whole_run):
    page = page_of(whole_run)
    assert "<script" not in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*', page)
    assert "url(" not in page
    assert "@import" not in page


@pytest.mark.parametrize("half", ["generation", "understanding"])
def test_one_half_alone(half, tmp_path, drawn):
    if half == "generation":
        make_generation(tmp_path)
    else:
        make_understanding(tmp_path, drawn)
    page = page_of(report_of(tmp_path, drawn))
    assert sections_of(page) == {"summary", half, "training", "run"}
    command = {"generation": "accelerate launch understanding.py", "understanding": "accelerate launch training/main.py"}[
        half
    ]
    assert command in page


def test_a_run_that_was_not_evaluated(tmp_path, drawn):
    make_generation(tmp_path)
    shutil.rmtree(tmp_path / "evaluation")
    write_image(tmp_path / "images/awe/00000.png", Random(0))
    page = page_of(report_of(tmp_path, drawn))
    assert sections_of(page) == {"summary", "generation", "training", "run"}
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


def test_each_row_of_the_table_has_its_own_n(tmp_path, drawn):
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


def test_what_is_said_at_the_end(whole_run, drawn, capsys):
    """The place of the page, and the figures that matter with what they were before."""
    report_of(whole_run, drawn)
    _, place, said = capsys.readouterr().out.partition(f"The report: {whole_run}/report/index.html\n")
    assert place
    for name in ("Emo-A", "Multiple choice", "Forced choice", "Binary", "AUROC"):
        line = next(line for line in said.splitlines() if name in line)
        assert re.search(rf"{name}.*: \d\.\d{{3}} -> \d\.\d{{3}} \(\d\.\d{{3}} to \d\.\d{{3}}\), n = \d+$", line), line


def test_the_same_run_gives_the_same_pictures(whole_run, drawn):
    before = re.findall("<img [^>]*>", page_of(whole_run))
    assert re.findall("<img [^>]*>", page_of(report_of(whole_run, drawn))) == before


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium here; apt-get install chromium")
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_browser_shows_it(whole_run, tmp_path, theme):
    """From disk, as wide as a phone and as a desk: no error, every picture shows, nothing sticks out, text is legible."""
    widths = (375, 1280)
    page = (whole_run / "report" / "index.html").as_uri()
    frames = "".join(f'<iframe src="{page}" style="width:{width}px;height:900px"></iframe>' for width in widths)
    look = """
        const light = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).reduce((sum, each) => sum + Number(each), 0) / 765;
        onload = () => { result.textContent = JSON.stringify([...document.querySelectorAll("iframe")].map(frame => {
            const page = frame.contentDocument, images = [...page.images];
            const body = frame.contentWindow.getComputedStyle(page.body);
            return {images: images.length, shown: images.filter(image => image.complete && image.naturalWidth > 0).length,
                    width: frame.contentWindow.innerWidth, content: page.documentElement.scrollWidth,
                    text: light(body.color), paper: light(body.backgroundColor),
                    fetched: frame.contentWindow.performance.getEntriesByType("resource").map(entry => entry.name)
                        .filter(name => !name.startsWith("data:"))}}))}"""
    around = tmp_path / "around.html"
    around.write_text(f'<!doctype html><meta charset="utf-8"><pre id="result"></pre>{frames}<script>{look}</script>')
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
    command += ["--allow-file-access-from-files", f"--user-data-dir={tmp_path}/profile", around.as_uri()]
    command += ["--blink-settings=preferredColorScheme=0"] if theme == "dark" else []
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ":CONSOLE" not in done.stderr, done.stderr
    found = json.loads(html.unescape(re.search(r'<pre id="result">(.*?)</pre>', done.stdout)[1]))
    images = len(re.findall("<img ", page_of(whole_run)))
    for each in found:
        assert each["images"] == each["shown"] == images
        assert each["content"] <= each["width"]
        assert each["fetched"] == []
        text, paper = each["text"], each["paper"]
        assert (text < 0.3 and paper > 0.9) if theme == "light" else (text > 0.7 and paper < 0.2)
    assert [each["width"] for each in found] == list(widths)


def damaged(content: bytes, how: str) -> bytes:
    flipped = bytearray(content)
    for place in Random(0).choices(range(len(content)), k=200):
        flipped[place] ^= 128
    older = b'{"figures": {"ours": 1}, "seconds": "x", "packages": [], "strength": []}\n'
    return {"empty": b"", "half": content[: len(content) // 2], "flipped": bytes(flipped), "older": older}[how]


SHOWN = (
    "evaluation/generation.json", "evaluation/understanding.json", "evaluation/cross.json", "evaluation/curves.json",
    "evaluation/confusion-generation-ours.csv", "evaluation/confusion-multiple-after.csv",
    "evaluation/answers-before.parquet", "evaluation/images/real/awe/00000.png",
    "evaluation/images/transfer/bag/0.5/awe/00000.png", "evaluation/images/fusion/awe-fear/0.5/00000.png",
    "mining/errors.parquet", "generator/generator.json", "training/mapper/samples/0000200.png",
    "training/mapper/metrics.jsonl", "understanding/step_one/metrics.jsonl",
    "training/config.yaml", "training/environment.json", "training/seconds.json", "training/log.txt",
)  # fmt: skip


@pytest.mark.parametrize("how", ["empty", "half", "flipped", "older"])
def test_damaged_files_are_named_with_what_makes_them_again(whole_run, drawn, tmp_path, capsys, how):
    """All of them at once; what cannot be told from a whole file is left as it is."""
    run = shutil.copytree(whole_run, tmp_path / "run")
    files = [name for name in SHOWN if how != "older" or name.endswith((".json", ".yaml", ".jsonl"))]
    # A text cut between two lines, and a log that still is text, look whole.
    files = [name for name in files if not (how == "half" and name.endswith((".yaml", ".txt", "real/awe/00000.png")))]
    files = [name for name in files if not (how == "older" and name.endswith(("config.yaml", "generator.json")))]
    for name in files:
        (run / name).write_bytes(damaged((run / name).read_bytes(), how))
    page = page_of(report_of(run, drawn))
    (note,) = re.findall(r'<div class="note">\s*<p>Some files cannot be read.*?</div>', page, re.S)
    commands = {
        "evaluation": "python evaluation/evaluate.py",
        "mining": "python understanding/mining.py",
        "understanding": "accelerate launch understanding.py",
    }
    for name in files:
        lines = [line for line in re.findall("<li>.*?</li>", note, re.S) if f"{name} (" in html.unescape(line)]
        assert len(lines) == 1, (name, note)
        (line,) = lines
        assert f"<code>{commands.get(name.split('/')[0], 'accelerate launch training/main.py')}</code>" in line
        assert ("Move training/mapper/ away first" in line) is name.startswith("training/mapper")
    assert sections_of(page) >= {"summary", "generation", "run"}
    assert "awe on tree" in page, "what is whole is shown"
    assert (run / "report/table.md").is_file()
    assert f"{SHOWN[0]} (" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "lost", "kept"),
    [
        ("evaluation/generation.json", 'alt="Emo-A', 'alt="Multiple choice'),
        ("evaluation/answers-before.parquet", 'class="hard"', 'alt="Multiple choice'),
        ("training/mapper/metrics.jsonl", 'alt="Mapper: loss', 'alt="Emotion space: loss'),
    ],
)
def test_a_damaged_file_costs_its_own_part_alone(whole_run, drawn, tmp_path, name, lost, kept):
    run = shutil.copytree(whole_run, tmp_path / "run")
    (run / name).write_bytes(damaged((run / name).read_bytes(), "flipped"))
    before, page = page_of(whole_run), page_of(report_of(run, drawn))
    assert lost in before
    assert lost not in page
    assert page.count(kept) == before.count(kept) > 0
    assert page.count("4 images of") == before.count("4 images of") > 0
    assert page.count('class="confusion"') == before.count('class="confusion"') > 0


def test_a_curve_ends_where_its_file_is_cut_off(tmp_path):
    path = tmp_path / "training/emotion_space/metrics.jsonl"
    write_lines(path, [{"epoch": n, "train_loss": 2 / n} for n in (1, 2, 3)])
    path.write_bytes(path.read_bytes()[:-4])
    files = RunFiles(tmp_path)
    (picture,) = training_curves(files, TAXONOMY)
    assert "training from 2.000 to 1.000" in picture["alt"]
    assert "cut off" in files.unreadable["training/emotion_space/metrics.jsonl"]


def test_a_row_over_fewer_emotions_is_marked_wherever_it_stands(whole_run, drawn, tmp_path, capsys):
    run = shutil.copytree(whole_run, tmp_path / "run")
    for part, row in (("generation", "ours"), ("understanding", "after"), ("cross", "ours")):
        path = run / f"evaluation/{part}.json"
        content = json.loads(path.read_text())
        content["about"] |= {"incomplete": {row: "7 of 8 emotions"}, "warnings": {"no images of sadness": [row]}}
        content["about"]["skipped"] = {row: {"n": 2, "images": ["awe/a.png (empty file)", "awe/b.png (not an image)"]}}
        write_json(path, content)
    page = page_of(report_of(run, drawn))
    tables = (run / "report/table.md").read_text()
    for row in ("ours", "after"):
        assert not re.search(rf'<th scope="col">{row}</th>|<td>{row}</td>|alt="[^"]*[:;] {row} \d', page), "unmarked"
        assert f'<th scope="col">{row} (7 of 8 emotions)</th>' in page
        assert not re.search(rf"^\| {row} +\|", tables, re.M)
        assert f"| {row} (7 of 8 emotions)" in tables
    assert page.count("no images of sadness") == 3
    assert "generation: ours</th><td>2</td><td>awe/a.png (empty file); awe/b.png (not an image)" in page
    assert "n = 64, 7 of 8 emotions" in capsys.readouterr().out
