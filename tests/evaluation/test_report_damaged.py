"""The report of a run some of whose files are damaged, or whose rows lack an emotion."""

import html
import json
import re
import shutil
from random import Random

import pytest
from made_run import (
    page_of,
    report_of,
    sections_of,
    write_json,
    write_lines,
)

from config.taxonomy import DEFAULT, read_taxonomy
from evaluation.report_training import training_curves
from evaluation.run_files import RunFiles

TAXONOMY = read_taxonomy(DEFAULT)


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
    assert sections_of(page) >= {"verdict", "generation", "run"}
    assert "awe on tree" in page, "what is whole is shown"
    assert (run / "report/table.md").is_file()
    assert f"{SHOWN[0]} (" in capsys.readouterr().out


def test_a_damaged_file_costs_its_own_part_alone(whole_run, drawn, tmp_path):
    run, lost = shutil.copytree(whole_run, tmp_path / "run"), {
        "evaluation/generation.json": 'alt="How good the images are',
        "evaluation/answers-before.parquet": '<summary>Hard images',
        "training/mapper/metrics.jsonl": 'alt="Mapper: loss',
    }  # fmt: skip
    for name in lost:
        (run / name).write_bytes(damaged((run / name).read_bytes(), "flipped"))
    before, page = page_of(whole_run), page_of(report_of(run, drawn))
    for each in lost.values():
        assert each in before
        assert each not in page
    for kept in ('alt="How well the models answer', 'alt="Emotion space: loss'):
        assert page.count(kept) == before.count(kept) > 0
    assert page.count("4 images of") == before.count("4 images of") > 0
    assert page.count('class="confusion"') == before.count('class="confusion"') > 0


def test_a_curve_ends_where_its_file_is_cut_off(tmp_path):
    path = tmp_path / "training/emotion_space/metrics.jsonl"
    write_lines(path, [{"epoch": n, "train_loss": 2 / n} for n in (1, 2, 3)])
    path.write_bytes(path.read_bytes()[:-4])
    files = RunFiles(tmp_path)
    (picture,) = training_curves(files, TAXONOMY)["Emotion space"]
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
    assert re.search(r"^- The judge .*generated images \(7 of 8 emotions\)", capsys.readouterr().out, re.M)
