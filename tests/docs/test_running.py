"""The whole job in miniature, as `make demo` runs it from nothing; then every command of README.md and docs/.

In a copy of the project, whose config.yaml holds the miniature's settings for the places that the pages give EmoSet, and
with two processes for DeepSpeed's GPUs. What needs GPUs, or files that only their authors give, is not run.
"""

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import PIL.Image
import pytest
import yaml
from datasets import ClassLabel, Dataset, Features, Image
from documented import PYTHON, blocks, on_processors

from config.section import ROOT
from config.taxonomy import DEFAULT, read_taxonomy

pytestmark = pytest.mark.slow
NEEDS = {  # what is not here, by a part of the commands that need it
    "--config_file config/accelerate/": "GPUs, or several machines",
    "_full_size.py": "a GPU, for models of full size",
    "understanding_quality.py": "minutes for its trainings, even in miniature",
    "hard_images.py": "what understanding_quality.py leaves",
    "thoughts.py": "what understanding_quality.py leaves",
    "killed_demo.py": "minutes for its nine starts of the demo",
    "busy_core.py": "minutes for its two runs of the demo, on a machine that does nothing else",
    "full_disk.py": "minutes for its starts on a disk that grows, and root",
    "generation_quality.py": "minutes for its four thousand images",
    "evaluate.curve_images=16": "minutes for its thousands of images",
    "grpo_step.py": "minutes for its twelve kinds of step",
    "evaluation_speed.py": "minutes, for its images are decoded once for each network",
    "exact_step.py": "minutes for its three kinds of step",
    "interval_coverage.py": "minutes for its thousands of simulated samples",
    "mapper_step.py": "minutes, for its images are decoded and encoded one by one",
    "understanding.py --config config/understanding_published.yaml": "a model of 7 billion weights",
    "runs=runs/demo,": "runs of several seeds; tests/evaluation/test_over_seeds.py makes them",
    "grpo.entropy=0.01": "minutes of sampled answers",
    "push_to_hub=": "a repository on the Hub; tests/training and tests/understanding have a stand-in",
    "path/to/EmoGen": "EmoGen's files",
    "data/emogen": "EmoGen's files",
    "path/to/published": "EmoSet's published metadata",
    "app/main.py": "nothing: tests/app serves the page and runs the example of docs/app.md",
    "demo/run.py": "nothing: all that runs here begins with it",
    "page_picture.py": "a browser; tests/app opens the page in one",
    "questions.valence=1": "nothing: tests/understanding/test_understanding.py asks about valence",
    "launch understanding/mining.py": "nothing: the same command runs without accelerate",
    "launch evaluation/evaluate.py": "nothing: the same runs without accelerate, and in tests/evaluation on two processes",
    "evaluate.votes=path": "Emotion6; tests/evaluation/test_other_data.py reads votes of its form",
    "benchmark_file.py": "published question files; tests/evaluation/test_benchmark_file.py answers some of their form",
    "rating_answers.py": "people; tests/evaluation/test_rating.py reads answers of the page's form",
    "benchmarks/loop_quality.py": "minutes for its trainings and thousands of images",
    "benchmarks/strength_quality.py": "minutes for its trainings and thousands of images",
    "loop/": "nothing: tests/loop runs all three scripts",
    "predict.py predict.images": "nothing: the same runs with --config config/demo.yaml",
}
EMOTIONS = read_taxonomy(DEFAULT).emotions
GENERATION = {"emotion_accuracy", "fid", "lpips", "semantic_clarity", "semantic_diversity"}
UNDERSTANDING = {"multiple_accuracy", "multiple_balanced_accuracy", "multiple_forced_accuracy", "binary_balanced_accuracy"}
UNDERSTANDING |= {"yes_rate", "misleading_auroc", "misleading_ece", "format_rate"}
HALVES = ("generation", "understanding")


def settings_of(*paths: Path) -> dict:
    """Return what several files of settings give together, the later ones over the earlier."""
    together = {}
    for path in paths:
        for key, value in yaml.safe_load(path.read_text()).items():
            together[key] = together.get(key, {}) | value if isinstance(value, dict) else value
    return together


@pytest.fixture(scope="module")
def copy(python, tmp_path_factory) -> Path:
    """A copy of the project after `make demo`, in miniature."""
    copy = tmp_path_factory.mktemp("sandbox") / "project"
    ignored = shutil.ignore_patterns(".*", "data", "runs", "models", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, copy, ignore=ignored)
    (copy / "demo/models").symlink_to(ROOT / "demo/models")
    small = settings_of(ROOT / "config/demo.yaml", ROOT / "demo/miniature.yaml")
    (copy / "config/demo.yaml").write_text(yaml.safe_dump(small))
    own = settings_of(ROOT / "config/tutorial.yaml", ROOT / "demo/miniature.yaml")
    own["grpo"] |= {"steps_two": 0}  # as in the tutorial
    (copy / "config/tutorial.yaml").write_text(yaml.safe_dump(own))
    figures = copy / "runtime/figures.py"
    figures.write_text(figures.read_text().replace("RESAMPLES = 1000", "RESAMPLES = 50"))  # a third of an evaluation
    done = run(copy, python, "demo/run.py")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "[6 of 6]" in done.stdout

    # As if the same had been done with EmoSet.
    full = settings_of(ROOT / "config/config.yaml", copy / "config/demo.yaml") | {"run": "runs/full"}
    full["generate"] |= {"mixes": []}  # which the pages with other emotions could not read
    full["data"] |= {"emoset": "data/EmoSet", "attribute_root": "data/EmoSet-attributes", "cache": "data/cache"}
    (copy / "config/config.yaml").write_text(yaml.safe_dump(full))
    (copy / "path/to").mkdir(parents=True)
    for place, drawn in {"EmoSet": "EmoSet", "EmoSet-attributes": "EmoSet-attributes", "cache": "cache"}.items():
        (copy / "data" / place).symlink_to(copy / "data/drawn" / drawn)
    (copy / "path/to/EmoSet").symlink_to(copy / "data/drawn/EmoSet")
    (copy / "runs/full").symlink_to(copy / "runs/demo")

    # What else the pages name: images of one's own, and another method's.
    (copy / "path/to/FI").symlink_to("images")
    (copy / "holiday").mkdir()
    for emotion in EMOTIONS:
        images = sorted((copy / f"data/drawn/EmoSet/image/{emotion}").iterdir())[:6]
        (copy / "path/to/images" / emotion).mkdir(parents=True)
        for image in images:
            shutil.copy(image, copy / "path/to/images" / emotion)
        shutil.copy(images[0], copy / "holiday")
    shutil.copy(images[1], copy / "photo.jpg")

    # Other people's data: a folder of classes, and Parquet files.
    rows = {"image": [], "label": []}
    for number, emotion in enumerate(EMOTIONS):
        images = sorted((copy / f"data/drawn/EmoSet/image/{emotion}").iterdir())[:6]
        photos = copy / "path/to/photos" / {"amusement": "joy"}.get(emotion, emotion)
        photos.mkdir(parents=True)
        for image in images:
            shutil.copy(image, photos)
        rows["image"] += [{"bytes": image.read_bytes(), "path": None} for image in images]
        rows["label"] += [number] * len(images)
    shutil.copytree(copy / "path/to/photos/joy", copy / "path/to/photos/neutral")
    (copy / "path/to/parquet").mkdir()
    features = Features({"image": Image(), "label": ClassLabel(names=list(EMOTIONS))})
    Dataset.from_dict(rows, features).to_parquet(copy / "path/to/parquet/train-00000-of-00001.parquet")
    return copy


def run(copy: Path, *command: str) -> subprocess.CompletedProcess:
    """Run a command in the copy, whose packages are imported there."""
    environment = os.environ | {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=600)


def test_make_demo_leaves_a_page_and_its_figures(copy):
    report = copy / "runs/demo/report"
    assert "<html" in (report / "index.html").read_text()
    found = json.loads((report / "metrics.json").read_text())
    for row in ("ours", "prompt_only"):
        assert set(found["generation"][row]) >= GENERATION
    for row in ("before", "after", "blind"):
        assert set(found["understanding"][row]) >= UNDERSTANDING
    assert {*found["generation"]["ours"]["emotion_accuracy"]} == {"value", "low", "high", "n"}
    assert found["seed"] == 0
    assert set(found["seconds"]) > {"training", "understanding"}
    assert yaml.safe_load((copy / "runs/demo/training/config.yaml").read_text())["mapper"]["max_train_steps"] == 6


def test_its_commands_again_train_nothing_and_give_the_same_figures(copy, python):
    metrics = copy / "runs/demo/report/metrics.json"
    before, said = json.loads(metrics.read_text()), ""
    for page, command in PYTHON:
        if page == "pipeline.md":
            done = run(copy, python, *shlex.split(command)[1:])
            assert done.returncode == 0, f"{command}\n{done.stderr[-3000:]}"
            said += done.stdout
    for stage in ("mapper", "step_one", "step_two"):
        assert f"{stage}: trained before, and nothing has changed" in said
    after = json.loads(metrics.read_text())
    assert {half: after[half] for half in HALVES} == {half: before[half] for half in HALVES}


def others() -> Iterator[str]:
    """Yield the commands of the other pages, in their order, and those that cannot run marked as such."""
    of_pipeline = {command for page, command in PYTHON if page == "pipeline.md"}
    for command in dict.fromkeys(command for _, command in PYTHON):
        needs = [need for part, need in NEEDS.items() if part in command]
        if command not in of_pipeline:
            yield pytest.param(command, marks=[pytest.mark.skip(reason=f"needs {needs[0]}")] if needs else [])


def test_every_need_is_that_of_a_command():
    assert [part for part in NEEDS if not any(part in command for _, command in PYTHON)] == []


@pytest.mark.parametrize("command", list(others()))
def test_it_runs(copy, python, command):
    program, *words = shlex.split(on_processors(command), comments=True)
    if program == "accelerate":
        words = ["-m", f"accelerate.commands.{words[0]}", *words[1:]]
    done = run(copy, python, *words)
    assert done.returncode == 0, f"{command}\n{done.stderr[-3000:]}"


@pytest.mark.parametrize(("page", "text"), blocks("python"))
def test_python_runs(copy, python, page, text):
    here = text.replace('.to("cuda")', "").replace("Qwen/Qwen2.5-VL-3B-Instruct", "demo/models/vision_language")
    here = here.replace("stable-diffusion-v1-5/stable-diffusion-v1-5", "demo/models/stable_diffusion")
    (copy / "example.py").write_text(here)
    done = run(copy, python, "example.py")
    assert done.returncode == 0, f"{page}\n{done.stderr[-3000:]}"


def shown(notebook: Path) -> list[set[str]]:
    """Return of each code cell of a notebook the kinds of output that it shows."""
    cells = [cell for cell in json.loads(notebook.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]
    return [{kind for each in cell["outputs"] for kind in each.get("data", {"printed": ""})} for cell in cells]


def test_the_tour_runs_and_shows_what_it_kept(copy, python):
    kept = shown(copy / "docs/tour.ipynb")
    assert all(kept)
    assert (copy / "docs/tour.ipynb").stat().st_size < 300_000
    done = run(copy, python, "docs/notebook.py")
    assert done.returncode == 0, done.stderr[-3000:]
    found = shown(copy / "docs/tour.ipynb")
    assert found[:-1] == kept[:-1]
    assert "image/png" in found[-1], "a generator is there, so the last cell shows its images"


def test_the_pictures_are_made_again(copy, python):
    script, images = copy / "docs/pictures.py", copy / "docs/images"
    app = next(line for line in (images / "README.md").read_text("utf-8").splitlines() if "app.png" in line)
    names = ("drawn_emoset.png", "balance.png", "generated.jpg", "transfer.jpg")
    script.write_text(script.read_text().replace('find_spec("gradio")', "False"))  # no page, which tests/app opens
    for name in names:
        (images / name).unlink()
    for script in ("training/inference.py", "docs/pictures.py"):  # the pages' commands have left images of other prompts
        done = run(copy, python, script, "--config", "config/demo.yaml")
        assert done.returncode == 0, done.stderr[-3000:]
    told = (images / "README.md").read_text("utf-8")
    for name in names:
        with PIL.Image.open(images / name) as picture:
            assert picture.width > 300
        assert f"| `{name}` | `" in told
    assert [line for line in told.splitlines() if "app.png" in line] == [app], "as it was"
