"""training/inference.py makes every image that is asked for, once, the same for any number of processes."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from config.errors import UserError
from config.loading import load
from config.taxonomy import DEFAULT, read_taxonomy
from runtime.built_folder import lock
from runtime.script import read_settings, run
from training import image_files
from training.image_files import from_photographs, named_mixes, plan_images, read_parameters, write_contact_sheets
from training.inference import main

EMOTIONS = read_taxonomy(DEFAULT).emotions
PROMPT = "generate.prompts=a photo of a <emotion> bag"
TWO_BY_THREE = ("generate.emotions=awe,fear", "generate.images=3")


@pytest.fixture
def images(generator, tmp_path):
    """Return a function that makes images in this process and returns their folder."""

    def make(*arguments: str):
        main(load([f"run={tmp_path}", f"generate.generator={generator}", "generate.steps=2", *arguments]))
        return tmp_path / "images"

    return make


def pngs(folder) -> dict[str, np.ndarray]:
    return {str(path.relative_to(folder)): np.asarray(Image.open(path)) for path in sorted(folder.glob("*/*.png"))}


def plan(*arguments: str) -> dict[str, dict]:
    settings = load([*arguments])
    return plan_images(settings.generate, EMOTIONS, settings.seed, None)


def assert_equal(some: dict[str, np.ndarray], others: dict[str, np.ndarray]) -> None:
    assert some.keys() == others.keys()
    assert all(np.array_equal(image, others[name]) for name, image in some.items())


def last_log(folder, word: str) -> str:
    return [line for line in (folder / "log.txt").read_text().splitlines() if word in line][-1]


def test_emotions_and_mixes_in_every_prompt(images):
    prompts = "generate.prompts=[<emotion>, a photo of a <emotion> bag]"
    folder = images(prompts, "generate.emotions=awe", "generate.mixes=[{fear: 3, awe: 7}]", "generate.images=2")
    bag = "a-photo-of-a-EMOTION-bag-"
    names = [f"{each}/{stem}0000{n}.png" for each in ("awe", "awe-0.7+fear-0.3") for stem in ("", bag) for n in range(2)]
    made = pngs(folder)
    assert sorted(made) == sorted(names)
    assert len({image.tobytes() for image in made.values()}) == len(names)
    assert made[names[0]].shape == (32, 32, 3)  # of generator.json

    manifest = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    assert [line.pop("path") for line in manifest] == names
    for name, line in zip(names, manifest, strict=True):
        assert json.loads(Image.open(folder / name).info["emotion_images"]) == line
    asked = {"emotion": "awe-0.7+fear-0.3", "weights": {"awe": 0.7, "fear": 0.3}, "prompt": "a photo of a <emotion> bag"}
    asked |= {"number": 1, "steps": 2, "guidance_scale": 7.5, "strength": 0.8, "spread": 1.0, "negative_prompt": ""}
    asked |= {"dtype": "float32"}
    assert asked.items() <= manifest[-1].items()
    assert manifest[-1]["scheduler"] == "UniPCMultistepScheduler"
    assert manifest[-1]["base_hashes"]
    assert not any(os.sep in str(line["generator"]) for line in manifest)  # no path of this machine

    for sheet in ("awe.png", "awe-0.7+fear-0.3.png"):
        assert Image.open(folder / sheet).height > 2 * 128


def test_an_image_hardly_depends_on_batches_or_on_what_else_is_made(images):
    folder = images(*TWO_BY_THREE, "generate.batch_size=4", "generate.strength=0.7", PROMPT)
    four = pngs(folder)
    shutil.rmtree(folder)
    one = pngs(
        images("generate.emotions=fear", "generate.images=2", "generate.batch_size=1", "generate.strength=0.7", PROMPT)
    )
    assert sorted(one) == [f"fear/a-photo-of-a-EMOTION-bag-0000{number}.png" for number in range(2)]
    assert max(np.abs(one[name].astype(int) - four[name]).max() for name in one) <= 1


TWO_PROCESSES = """
import sys
import training.sampling  # loaded once, before the two are forked
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from config.loading import load
from training.inference import main
launch = LaunchConfig(1, 1, 2, rdzv_backend="c10d", rdzv_endpoint="localhost:0", start_method="fork")  # 0: a free port
elastic_launch(launch, main)(load(sys.argv[1:]))
"""


def test_two_processes_make_the_same_images(images, generator, python, tmp_path):
    batches = "generate.batch_size=4"  # of which neither process could make three images
    alone = pngs(images(*TWO_BY_THREE, batches))
    arguments = [f"run={tmp_path}/two", f"generate.generator={generator}", "generate.steps=2", *TWO_BY_THREE, batches]
    command = [python, "-c", TWO_PROCESSES, *arguments]
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}  # on whose number the last bits depend
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=os.environ | threads)
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "two/images"
    assert "images, 2 processes: 6 to make" in last_log(folder, "processes")
    assert len((folder / "manifest.jsonl").read_text().splitlines()) == 6
    assert_equal(pngs(folder), alone)


def test_the_same_command_makes_what_is_missing_or_damaged(images):
    folder = images(*TWO_BY_THREE)
    before = pngs(folder)
    gone, torn, kept = folder / "awe/00001.png", folder / "fear/00000.png", folder / "fear/00002.png"
    gone.unlink()
    torn.write_bytes(torn.read_bytes()[:-40])
    (folder / "awe/.123.00001.png").write_bytes(b"half")
    untouched = kept.stat().st_mtime_ns
    images(*TWO_BY_THREE)
    assert "2 to make, 4 kept as they are, 1 replaced" in last_log(folder, "kept")
    assert kept.stat().st_mtime_ns == untouched
    assert_equal(pngs(folder), before)


@pytest.mark.parametrize("change", ["seed=1", "generate.guidance_scale=3", "generate.negative_prompt=a dark bag"])
def test_other_parameters_make_other_images(images, change):
    folder = images("generate.emotions=awe", "generate.images=1")
    before = pngs(folder)
    images("generate.emotions=awe", "generate.images=1", change)
    assert "1 to make, 1 replaced" in last_log(folder, "to make")
    assert not np.array_equal(pngs(folder)["awe/00000.png"], before["awe/00000.png"])


def test_another_generator_of_the_same_name_makes_its_own_images(images, generator, tmp_path):
    from training.mapper import EmotionMapper

    folder = images("generate.emotions=awe", "generate.images=1")
    other = tmp_path / generator.name
    shutil.copytree(generator, other)
    mapper = EmotionMapper.from_pretrained(other / "mapper")
    with torch.no_grad():
        for weight in mapper.parameters():
            weight.mul_(1.5)
    mapper.save_pretrained(other / "mapper")
    images("generate.emotions=awe", "generate.images=1", f"generate.generator={other}")
    assert "1 to make" in last_log(folder, "to make")


def test_fewer_images_leave_the_others_and_say_so(images):
    folder = images(*TWO_BY_THREE)
    images("generate.emotions=awe", "generate.images=1")
    assert len(pngs(folder)) == 6
    assert len((folder / "manifest.jsonl").read_text().splitlines()) == 1
    assert "2 images of earlier runs" in last_log(folder, "earlier")


def test_a_full_disk_loses_nothing_that_was_finished(images, generator, tmp_path, monkeypatch, capsys):
    whole = pngs(images(*TWO_BY_THREE))
    shutil.rmtree(tmp_path / "images")
    save, done = Image.Image.save, []

    def full(image, path, **options):
        if len(done) == 3:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done.append(path)
        save(image, path, **options)

    arguments = [f"run={tmp_path}", f"generate.generator={generator}", "generate.steps=2", *TWO_BY_THREE]
    monkeypatch.setattr(sys, "argv", ["inference.py", *arguments])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    read_settings("__main__", "")
    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", full)
        with pytest.raises(SystemExit, match=r"^1$"):
            run(main)
    told = capsys.readouterr().err
    assert re.search(r"No space left on device: .*00000\.png\. Nothing finished before was lost", told)
    assert told.count("\n") == 1
    folder = tmp_path / "images"
    assert sorted(pngs(folder)) == [f"awe/0000{number}.png" for number in range(3)]
    assert all(read_parameters(folder / name) for name in pngs(folder))
    run(main)
    assert "3 to make, 3 kept" in last_log(folder, "kept")
    assert_equal(pngs(folder), whole)


def test_given_seeds_every_emotion_and_prompt_gets_an_image_of_each(images):
    seeds = ("generate.seeds=7,273837991844002", "generate.prompts=[<emotion>, a <emotion> bag]")
    folder = images("generate.emotions=awe,fear", *seeds)
    manifest = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    assert [line["seed"] for line in manifest] == 4 * [7, 273837991844002]
    assert all(read_parameters(folder / line["path"])["seed"] == line["seed"] for line in manifest)
    assert len({image.tobytes() for image in pngs(folder).values()}) == 8


def test_the_same_seed_is_the_same_noise_for_all_emotions(images, monkeypatch):
    from training import pipeline, rows

    draw, noise = pipeline.randn_tensor, []
    for module in (rows, pipeline):
        monkeypatch.setattr(module, "randn_tensor", lambda *given: (noise.append(draw(*given)), noise[-1])[1])
    images("generate.emotions=awe,fear", "generate.seeds=[7, 8]")
    for both in noise:  # the latents', and that of the emotion vectors
        assert torch.equal(both[:2], both[2:])
        assert not torch.equal(both[0], both[1])
    assert len(noise) == 2


def test_seeds_are_fixed_and_all_different():
    planned = plan("generate.mixes=[{awe: 1, fear: 1}]", "generate.prompts=[<emotion>, <emotion> bag]")
    seeds = [parameters["seed"] for parameters in planned.values()]
    assert len(set(seeds)) == len(seeds) == 9 * 2 * 8
    assert planned["awe/00000.png"]["seed"] == 273837991844002


def test_a_mix_has_one_name():
    mixes = "generate.mixes=[{fear: 3, awe: 7}, {awe: 0.7, fear: 0.3}, {anger: 2}, {awe: 1, fear: 2}]"
    planned = plan("generate.emotions=anger", mixes, "generate.images=1")
    assert list(planned) == [f"{name}/00000.png" for name in ("anger", "awe-0.7+fear-0.3", "awe-0.3333+fear-0.6667")]


def test_every_prompt_has_files_of_its_own():
    prompts = ["a <emotion> bag", "a-<emotion> bag", "A <emotion> bag", "a <emotion> bag!", "<emotion> 雪", "<emotion> 雨"]
    prompts += ["a <emotion> EMOTION bag", "../<emotion>", "a <emotion> " + "very " * 20 + "red bag"]
    prompts += [prompts[-1] + "s", "<emotion>"]
    planned = plan(f"generate.prompts={json.dumps(prompts)}", "generate.emotions=awe", "generate.images=1")
    assert len(planned) == len(prompts)
    names = [path.removeprefix("awe/") for path in planned]
    assert all("/" not in name and not name.startswith(".") and len(name.encode()) < 200 for name in names)
    assert names[0] == "a-EMOTION-bag-00000.png"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["generate.prompts=a photo of a bag"],
            "generate.prompts: 'a photo of a bag' says <emotion> 0 times; write it once",
        ),
        (["generate.prompts=<emotion> and <emotion>"], "says <emotion> 2 times"),
        (["generate.emotions=[]"], "neither emotions nor mixes"),
        (["generate.mixes=[{}]"], r"generate\.mixes: \{\} is not allowed"),
        (["generate.seeds=[3, 4, 3]"], r"generate\.seeds: one of \[3, 4, 3\] stands there twice"),
        (["generate.seeds=[-1]"], r"generate\.seeds: -1 is not allowed; allowed: list of whole number, 0 to"),
        (["generate.seeds=[]"], r"generate\.seeds: \[\] is not allowed"),
    ],
)
def test_what_cannot_be_planned_ends_before_a_model_is_loaded(tmp_path, arguments, message):
    with pytest.raises(UserError, match=message) as error:
        main(load([f"run={tmp_path / 'run'}", *arguments]))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_generator_that_cannot_be_loaded(images, generator, tmp_path):
    with pytest.raises(UserError, match=r"nowhere: no generator there; train one with training/main.py"):
        images(f"generate.generator={tmp_path}/nowhere")
    shutil.copytree(generator, tmp_path / "lost")
    about = json.loads((tmp_path / "lost/generator.json").read_text())
    (tmp_path / "lost/generator.json").write_text(json.dumps(about | {"base": "no/such/folder"}))
    with pytest.raises(UserError, match=r"generator.json: base: 'no/such/folder' is neither a folder") as error:
        images(f"generate.generator={tmp_path}/lost")
    assert "\n" not in str(error.value)


def test_a_prompt_that_is_too_long_ends_before_an_image_is_made(images, tmp_path):
    with pytest.raises(UserError, match="would be cut off"):
        images(f"generate.prompts=[<emotion>, {'red ' * 100} <emotion>]")
    assert not pngs(tmp_path / "images")


def test_a_second_process_leaves_what_the_first_is_writing(images, tmp_path):
    half = tmp_path / "images" / "awe" / ".0.png"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    with lock(tmp_path / "images"), pytest.raises(UserError, match="images: another process is at work there; wait"):
        images(*TWO_BY_THREE)
    assert half.exists()
    images(*TWO_BY_THREE)
    assert not half.exists()


@pytest.mark.parametrize("setting", ["prompts", "negative_prompt"])
def test_a_prompt_of_which_the_end_would_be_cut_off_is_refused(images, tmp_path, setting):
    prompt = ("<emotion> " if setting == "prompts" else "") + "red " * 30 + "bag"
    with pytest.raises(
        UserError, match=rf"generate\.{setting}: .* longer than the 20 tokens .* 'red .*bag' would be cut"
    ) as error:
        images(f"generate.{setting}={prompt}")
    assert "\n" not in str(error.value)
    assert not pngs(tmp_path / "images")


def test_check_says_what_is_left_to_make_and_makes_nothing(images, generator, tmp_path, capsys, monkeypatch):
    folder = images(*TWO_BY_THREE)
    (folder / "awe/00001.png").write_bytes(b"")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    capsys.readouterr()
    images(*TWO_BY_THREE, "generate.batch_size=2", "check=true")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    told = capsys.readouterr().out
    assert "images: 1 of 6, in 1 batches" in told
    assert "U-Net calls: 2, of 4 rows at most" in told
    assert re.search(r"disk: 7\.17 kB at most", told)
    assert re.search(r"memory: [\d.]+ [kM]B for the weights", told)
    images(*TWO_BY_THREE, PROMPT, "generate.strength=0.5", "generate.batch_size=2", "check=true", f"run={tmp_path / 'new'}")
    assert "U-Net calls: 6, of 6 rows at most" in capsys.readouterr().out
    assert not (tmp_path / "new").exists()


def test_what_stands_in_the_way_is_told_before_an_image_is_made(images, tmp_path, monkeypatch):
    from runtime import checking

    (tmp_path / "images").mkdir()
    (tmp_path / "images/fear").write_text("mine")
    with pytest.raises(UserError, match=r"images/fear: is a file, and images go into a folder of this name"):
        images(*TWO_BY_THREE)
    (tmp_path / "images/fear").unlink()
    (tmp_path / "images/fear/00001.png").mkdir(parents=True)
    with pytest.raises(UserError, match=r"fear/00001.png: is a folder, and an image goes there"):
        images(*TWO_BY_THREE)
    (tmp_path / "images/fear/00001.png").rmdir()
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(checking.shutil, "disk_usage", lambda place: usage._replace(free=20_000))
    with pytest.raises(UserError, match=r"6 images takes? 43 kB, and its disk has 20 kB left"):
        images(*TWO_BY_THREE)
    assert not pngs(tmp_path / "images")


def test_a_png_whose_pixels_are_broken_is_made_again_and_strays_do_no_harm(images):
    folder = images(*TWO_BY_THREE)
    before = pngs(folder)
    broken = folder / "awe/00002.png"
    data = broken.read_bytes()
    start = data.index(b"IDAT") + 4
    length = int.from_bytes(data[start - 8 : start - 4], "big")
    pixels = bytes(length)  # of which the check sum is right
    sum_of = zlib.crc32(b"IDAT" + pixels).to_bytes(4, "big")
    broken.write_bytes(data[:start] + pixels + sum_of + data[start + length + 4 :])
    os.mkfifo(folder / "awe/stray.png")
    (folder / "awe/.hidden.png").mkdir()
    (folder / "fear/stray.png").write_bytes(b"no image")
    (folder / "stray.png").write_bytes(b"no image")
    images(*TWO_BY_THREE)
    assert "1 to make, 5 kept as they are, 1 replaced" in last_log(folder, "kept")
    (folder / "awe/.hidden.png").rmdir()
    for emotion in ("awe", "fear"):
        (folder / emotion / "stray.png").unlink()
    assert_equal(pngs(folder), before)


def test_an_image_that_is_damaged_since_is_left_out_of_the_contact_sheet(images):
    folder = images(*TWO_BY_THREE)
    planned = {path: json.loads(Image.open(folder / path).info["emotion_images"]) for path in pngs(folder)}
    (folder / "awe/00002.png").write_bytes(b"no image")
    (folder / "awe.png").unlink()
    write_contact_sheets(folder, planned)
    assert Image.open(folder / "awe.png").width > 128
    assert "00002.png" in last_log(folder, "contact sheet leaves it out")


def test_a_bad_emotion_lists_the_eight(script):
    result = script("training/inference.py", "generate.emotions=awe,joy", check=False)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "generate.emotions" in result.stderr
    assert "joy" in result.stderr
    assert all(emotion in result.stderr for emotion in EMOTIONS)
    mixed = script("training/inference.py", "generate.mixes=[{awe: 1, joy: 1}]", check=False)
    assert mixed.stderr.count("\n") == 1
    assert all(emotion in mixed.stderr for emotion in EMOTIONS)


@pytest.mark.parametrize(
    ("prompt", "emotion", "label"),
    [
        ("a photo of a <emotion> tree", "awe", "a photo of an awe tree"),
        ("a photo of a <emotion> tree", "fear", "a photo of a fear tree"),
        ("An <emotion> tree", "fear", "A fear tree"),
        ("the <emotion>, a tree", "awe", "the awe, a tree"),
        ("<emotion>", "awe", "awe"),
    ],
)
def test_the_labels_of_a_contact_sheet_read_as_people_write(monkeypatch, tmp_path, prompt, emotion, label):
    labels = []
    sheet = Image.new("RGB", (1, 1))
    monkeypatch.setattr(image_files, "contact_sheet", lambda rows, captions: labels.extend(rows) or sheet)
    sheet.save(tmp_path / "0.png")
    write_contact_sheets(tmp_path, {"0.png": {"emotion": emotion, "prompt": prompt}})
    assert labels == [label]


@pytest.fixture
def photographs(tmp_path):
    """A folder of three photographs of two sizes, and of what is none: by its content, its shape, or its name."""
    folder = tmp_path / "holiday"
    (folder / "day 2").mkdir(parents=True)
    for number, (name, size) in enumerate({"beach.jpg": (60, 40), "day 2/beach.png": (40, 60), "b.png": (300, 200)}.items()):
        Image.new("RGB", size, (80 * number, 200, 90)).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    Image.new("RGB", (90, 20)).save(folder / "flat.png")
    Image.new("RGB", (8, 8)).save(os.fsencode(folder) + b"/caf\xe9.jpg", "JPEG")
    return folder


def test_images_from_photographs(images, photographs, tmp_path):
    asked = (
        "generate.emotions=awe,fear",
        f"generate.images_from={photographs}",
        "generate.images=2",
        "generate.batch_size=3",
    )
    folder = images(*asked)
    made = pngs(folder)
    assert len(made) == 2 * 3 * 2
    assert made["awe/beach-00000.png"].shape == made["fear/b-00001.png"].shape == (28, 40, 3)
    (upright,) = [name for name in made if re.fullmatch(r"awe/day-2-beach-[0-9a-f]{6}-00000\.png", name)]
    assert made[upright].shape == (40, 28, 3)
    assert not np.array_equal(made["awe/beach-00000.png"], made["fear/beach-00000.png"])
    about = read_parameters(folder / "awe/beach-00000.png")
    assert (about["image"], about["image_strength"]) == ("beach.jpg", 0.6)
    assert "notes.txt" in last_log(folder, "no images and are left out")
    told = last_log(folder, "2 images cannot be used and are left out of holiday")
    assert r"caf\xe9.jpg (its name is not UTF-8; rename it)" in told
    assert "flat.png (90 x 20 pixels are more than 4 times as long as wide; cut the photograph)" in told
    # Changed photographs are taken up anew, others stay; a batch of another size changes nothing.
    Image.new("RGB", (60, 40), "black").save(photographs / "beach.jpg")
    images(*asked, "generate.batch_size=8")
    assert "4 to make, 8 kept" in last_log(folder, "kept")
    again = pngs(folder)
    assert not np.array_equal(again["awe/beach-00000.png"], made["awe/beach-00000.png"])
    assert_equal({"b": again["awe/b-00000.png"]}, {"b": made["awe/b-00000.png"]})


def test_each_photograph_with_each_prompt_has_a_file_of_its_own():
    photographs = {"tree-x.jpg": {"image": "tree-x.jpg"}, "X.jpg": {"image": "X.jpg"}}
    asked = load(["generate.prompts=[a <emotion>, a <emotion> tree]", "generate.emotions=awe", "generate.images=2"])
    started = from_photographs(plan_images(asked.generate, EMOTIONS, 0, None), photographs, asked.generate)
    assert len({path.lower() for path in started}) == len({each["seed"] for each in started.values()}) == 2 * 2 * 2
    assert "awe/a-EMOTION-tree-x-00000.png" in started


def test_a_mix_of_many_emotions_has_a_name_that_a_file_can_have():
    emotions = [f"emotion_number_{number}" for number in range(14)]
    mixes = [dict.fromkeys(emotions, 1.0), dict.fromkeys(emotions, 1.0) | {emotions[-1]: 2.0}]
    generate = load([]).generate.model_copy(update={"emotions": [], "mixes": mixes})
    names = named_mixes(generate, emotions)
    assert [len(weights) for weights in names.values()] == [14, 14]
    assert all(len(name) < 200 for name in names)


def test_what_a_folder_of_photographs_lacks_is_told(images, photographs, tmp_path):
    with pytest.raises(UserError, match=r"generate\.images_from: no folder .*nowhere"):
        images(f"generate.images_from={tmp_path}/nowhere")
    for path in photographs.rglob("*.*"):
        if path.name != "flat.png":
            path.unlink()
    with pytest.raises(UserError, match=r"generate\.images_from: no images in .*holiday"):
        images(f"generate.images_from={photographs}")
    with pytest.raises(UserError, match=r"generate\.image_strength: 0\.4 of 2 steps leaves none"):
        images(f"generate.images_from={photographs}", "generate.image_strength=0.4")
