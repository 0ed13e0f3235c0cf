"""The report's section of the loop: its tables, its images of the same noise, and a file that cannot be read."""

import json

from PIL import Image

from config.taxonomy import DEFAULT, read_taxonomy
from evaluation.report_loop import loop_section
from evaluation.run_files import RunFiles

TAXONOMY = read_taxonomy(DEFAULT)
FIGURE = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 64}


def write(folder, name: str, rows: list[str], pairs: list[str], metric: str, **changed) -> None:
    about = {"reward": "understanding 12ab", "gate": "encoder", "judge": "a/judge", "n": 64, "seed": 0} | changed
    about |= {"made": 40, "served": 30}
    gain = FIGURE | {"fixed": 3, "broken": 1, "p": 0.6}
    found = {"figures": {row: {metric: FIGURE} for row in rows}, "paired": {pair: {metric: gain} for pair in pairs}}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps({"about": about} | found))


def test_the_section_shows_rows_gains_and_images_of_the_same_noise(tmp_path):
    assert loop_section(RunFiles(tmp_path), TAXONOMY) is None
    shown_pairs = ["reward - control", "best of 2 - untouched", "reward, best of 2 - best of 2"]
    pairs = [*shown_pairs, "reward - untouched", "best of 2 - control", "reward, best of 2 - control"]
    rows = ["untouched", "control", "reward", "best of 2", "reward, best of 2"]
    write(tmp_path / "loop", "metrics.json", rows, pairs, "joint_accuracy")
    write(tmp_path / "loop", "teaching.json", ["taught"], ["taught - teach_control"], "hard_cells_accuracy")
    for row in ("untouched", "control", "reward"):
        folder = tmp_path / "loop" / "images" / row / "0" / TAXONOMY.emotions[0]
        folder.mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(folder / "00000.png")
    files = RunFiles(tmp_path)
    generator, images, understanding = loop_section(files, TAXONOMY)["parts"]
    assert (
        "the emotion encoder drops those that it disagrees about, and a/judge, which the loop never saw, measures."
        in generator["note"]
    )
    assert generator["note"].startswith("Emotion and content (EC-A), reward - control: +0.500 (0.400 to 0.600).")
    assert generator["title"] == "The generator, rewarded by the understanding model"
    assert "learned from 30 of 40 generated images" in understanding["note"]
    assert understanding["note"].startswith("Of hard cells, taught - control: +0.500 (0.400 to 0.600).")
    for shown in (generator, understanding):
        ((_, tables),) = shown["blocks"]
        assert len(tables) == 2
    text = json.dumps(generator["blocks"])
    for pair in pairs:  # what was trained is compared with the control, what was chosen with what it was chosen from
        assert (pair in text) == (pair in shown_pairs), pair
    ((_, sheets),) = images["blocks"]
    assert [strip["caption"] for strip in sheets[TAXONOMY.emotions[0]]] == ["untouched", "control", "reward"]
    assert not files.unreadable


def test_a_file_of_ones_own_keeps_its_name(tmp_path):
    write(tmp_path / "loop", "metrics.json", ["untouched"], [], "joint_accuracy", reward="my score.py 12ab + 0.2 CLIP 34cd")
    (shown,) = loop_section(RunFiles(tmp_path), TAXONOMY)["parts"]
    assert shown["title"] == "The generator, rewarded by my score.py"
    assert shown["note"].startswith("Images are rewarded by my score.py, the emotion encoder drops")


def test_a_damaged_file_costs_its_part_alone(tmp_path):
    write(tmp_path / "loop", "teaching.json", ["taught"], [], "accuracy")
    (tmp_path / "loop" / "metrics.json").write_text("{")
    files = RunFiles(tmp_path)
    assert [each["title"] for each in loop_section(files, TAXONOMY)["parts"]] == ["Generated images teach understanding"]
    assert "loop/metrics.json" in files.unreadable
