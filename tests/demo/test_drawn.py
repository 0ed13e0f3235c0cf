import csv
import hashlib
import json
from collections import Counter
from random import Random
from types import SimpleNamespace

import pytest
from PIL import Image

from config.errors import UserError
from config.loading import load
from demo import draw
from demo.drawn import objects, people, scenes
from demo.drawn.dataset import first_images, room_for, write_dataset
from demo.drawn.render import COMPOSED, LIGHTS, measure, render
from demo.drawn.world import CUES, EMOTIONS, LOOK_ALIKE, PRIOR, Cues, draw_cues, posterior
from runtime.checking import in_words


def digest(folder):
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            whole.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return whole.hexdigest()


def test_the_seed_decides_whatever_the_number_of_processes(drawn, tmp_path):
    write_dataset(tmp_path / "again", images=400, size=32, seed=0, processes=1)
    write_dataset(tmp_path / "other", images=400, size=32, seed=1, processes=2)
    assert digest(tmp_path / "again") == digest(drawn)
    assert digest(tmp_path / "other") != digest(drawn)


def test_the_layout_is_the_published_one(drawn):
    names = {path.name for path in drawn.iterdir()}
    assert names == {"info.json", "train.json", "val.json", "test.json", "annotation", "image", "cues.csv"}
    ids = Counter()
    for split, share in (("train", 0.75), ("val", 0.10), ("test", 0.15)):
        rows = json.loads((drawn / f"{split}.json").read_text())
        assert len(rows) / 400 == pytest.approx(share, abs=0.02)
        assert {row[0] for row in rows} == set(PRIOR)
        for emotion, image_id, image, annotation in rows:
            ids[image_id] += 1
            facts = json.loads((drawn / annotation).read_text())
            assert (facts["image_id"], facts["emotion"]) == (image_id, emotion)
            with Image.open(drawn / image) as picture:
                assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (32, 32))
    assert len(ids) == 400
    assert set(ids.values()) == {1}


def test_brightness_and_colorfulness_are_measured_from_the_pixels(drawn):
    for path in list(drawn.glob("annotation/*/*.json"))[:50]:
        facts = json.loads(path.read_text())
        with Image.open(drawn / "image" / facts["emotion"] / f"{facts['image_id']}.jpg") as image:
            brightness, colorfulness = measure(image)
        assert facts["brightness"] == pytest.approx(brightness, abs=0.06)  # rounded to tenths, before JPEG
        assert facts["colorfulness"] == pytest.approx(colorfulness, abs=0.07)


@pytest.mark.parametrize(
    ("halves", "brightness", "colorfulness"),
    [
        (("black", "black"), 0, 0),
        (("white", "white"), 1, 0),
        (("#808080", "#808080"), 128 / 255, 0),
        # rg = 255 and 0 (mean and deviation 127.5), yb = 127.5 and 0 (63.75): 1.3 (127.5² + 63.75²)^½ / 109 > 1
        (("#ff0000", "#000000"), 0.299 / 2, 1),
        # rg = 20 everywhere, yb = 10: 0.3 (20² + 10²)^½ / 109
        (("#785a64", "#785a64"), None, 0.3 * (30**2 + 5**2) ** 0.5 / 109),
    ],
)
def test_measures_by_hand(halves, brightness, colorfulness):
    image = Image.new("RGB", (20, 20), halves[0])
    image.paste(halves[1], (10, 0, 20, 20))
    found = measure(image)
    if brightness is not None:
        assert found[0] == pytest.approx(brightness, abs=0.005)
    assert found[1] == pytest.approx(colorfulness, abs=0.005)


def test_the_world_is_emosets():
    assert tuple(PRIOR) == EMOTIONS


def test_every_cue_has_a_drawing():
    drawings = {"object": objects.OBJECTS, "scene": scenes.SCENES, "light": LIGHTS, "composition": COMPOSED}
    drawings |= {"facial_expression": people.FACES, "human_action": people.ACTIONS}
    for cue, table in CUES.items():
        used = {name for weights in table.values() for name in weights}
        assert used == set(drawings[cue]), cue


def test_names_are_emosets_own(published):
    info = json.loads((published / "info.json").read_text())
    for cue in ("object", "scene", "facial_expression", "human_action"):
        names = {name for weights in CUES[cue].values() for name in weights}
        assert names <= set(info[cue]["label2idx"])


def test_things_are_shared_and_long_tailed():
    for cue in ("object", "scene"):
        owners = Counter(name for weights in CUES[cue].values() for name in weights)
        assert all(len(weights) >= 3 for weights in CUES[cue].values())
        assert sum(count > 1 for count in owners.values()) >= 5
    drawn = Counter()
    for emotion, weight in PRIOR.items():
        for number in range(40 * weight):
            drawn[draw_cues(emotion, Random(f"{emotion} {number}")).object] += 1
    del drawn[None]
    assert max(drawn.values()) > 12 * min(drawn.values())
    assert max(PRIOR.values()) >= 1.8 * min(PRIOR.values())


@pytest.fixture(scope="module")
def guesses():
    """(true emotion, posterior) of 12,000 images' cues."""
    return [
        (emotion, posterior(draw_cues(emotion, Random(f"{emotion} {number}"))))
        for emotion, weight in PRIOR.items()
        for number in range(120 * weight)
    ]


def test_the_best_classifier_is_right_nine_times_in_ten(guesses):
    right = sum(max(probability, key=probability.get) == emotion for emotion, probability in guesses) / len(guesses)
    assert 0.89 < right < 0.93


def test_the_posterior_is_calibrated(guesses):
    """Of the images to which it gives p for an emotion, a share p has it."""
    for low in (0.05, 0.3, 0.6, 0.85):
        inside = [
            (probability[emotion], emotion == true)
            for true, probability in guesses
            for emotion in PRIOR
            if low <= probability[emotion] < low + 0.15
        ]
        assert len(inside) > 100
        assert sum(hit for _, hit in inside) / len(inside) == pytest.approx(
            sum(p for p, _ in inside) / len(inside), abs=0.05
        )


def test_the_commonest_errors_are_the_look_alikes(guesses):
    errors = Counter()
    for emotion, probability in guesses:
        guess = max(probability, key=probability.get)
        errors[emotion, guess] += guess != emotion
    look_alikes = sum(errors[emotion, like] for emotion, like in LOOK_ALIKE.items())
    assert look_alikes > 0.5 * errors.total()


def test_cues_csv_tells_what_was_drawn(drawn):
    with (drawn / "cues.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 400
    for row in rows[:40]:
        facts = json.loads((drawn / "annotation" / row["emotion"] / f"{row['image_id']}.json").read_text())
        assert facts.get("scene", "") == row["scene"]
        assert facts.get("object", [""]) == [row["object"]]
        assert 0 < float(row["posterior"]) <= 1


@pytest.mark.parametrize("size", [32, 64, 200])
def test_any_size_shows_the_same_picture(size):
    cues = Cues(light="vivid", object="Boat", scene="beach", composition="near")
    small = render(cues, 48, Random(1))
    large = render(cues, size, Random(1))
    assert large.size == (size, size)
    difference = [
        abs(a - b) for a, b in zip(small.tobytes(), large.resize((48, 48), Image.Resampling.BOX).tobytes(), strict=True)
    ]
    assert sum(difference) / len(difference) < 20


def test_the_light_changes_colours_not_content():
    cues = {light: Cues(light=light, object="Boat", composition="near") for light in LIGHTS}
    pictures = {light: render(cue, 64, Random(1)) for light, cue in cues.items()}
    brightness = {light: measure(picture)[0] for light, picture in pictures.items()}
    assert brightness["night"] < 0.5 * brightness["pastel"]
    assert measure(pictures["grey"])[1] < 0.3 * measure(pictures["vivid"])[1]


def test_the_contact_sheet_shows_every_emotion(drawn):
    sheet = first_images(drawn)
    assert sheet.width > 1000
    assert len(sheet.getcolors(10**7)) > 1000


def test_the_script(script, tmp_path):
    arguments = [f"data.emoset={tmp_path}/EmoSet", f"run={tmp_path}/run", "drawn.images=100", "drawn.size=32"]
    first = script("demo/draw.py", *arguments)
    assert "drawn EmoSet: 100 images of 32 x 32 pixels" in first.stdout
    assert (tmp_path / "EmoSet/contact_sheet.png").exists()
    assert "nothing has changed" in script("demo/draw.py", *arguments).stdout
    assert "drawn EmoSet: 100 images" in script("demo/draw.py", *arguments, "seed=1").stdout


def test_through_a_link(script, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    for seed in (0, 1, 2):
        arguments = [f"data.emoset={tmp_path}/link", f"run={tmp_path}/run", "drawn.images=80", "drawn.size=32"]
        assert "drawn EmoSet: 80" in script("demo/draw.py", *arguments, f"seed={seed}").stdout
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real/train.json").exists()


def test_a_real_emoset_is_never_drawn_over(script, emoset_copy, tmp_path):
    before = digest(emoset_copy)
    result = script("demo/draw.py", f"data.emoset={emoset_copy}", f"run={tmp_path}/run", check=False)
    assert result.returncode == 1
    assert "EmoSet exists and was not built by this project, so it is left alone" in result.stderr
    assert digest(emoset_copy) == before


@pytest.mark.parametrize("size", [32, 200])
def test_a_check_says_what_would_be_drawn_and_draws_nothing(tmp_path, capsys, size):
    arguments = [f"data.emoset={tmp_path}/new/EmoSet", f"run={tmp_path}/run", "drawn.images=80", f"drawn.size={size}"]
    draw.main(load([*arguments, "check=true"]))
    assert f"images: 80\n    disk: {in_words(room_for(80, size))}" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    write_dataset(tmp_path / "here", images=80, size=size, seed=0, processes=1)
    images = sum(path.stat().st_size for path in tmp_path.glob("here/image/*/*"))
    assert 0.6 * images < room_for(80, size) - 80 * 4096 < 1.6 * images


def test_a_full_disk_or_a_file_in_the_way_is_told_of_before_anything_is_drawn(tmp_path, monkeypatch):
    arguments = [f"data.emoset={tmp_path}/file/EmoSet", f"run={tmp_path}/run", "drawn.images=80"]
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"data\.emoset: .*file cannot be made, for .*file is a file"):
        draw.main(load(arguments))
    (tmp_path / "file").unlink()
    monkeypatch.setattr(draw, "write_dataset", None)
    monkeypatch.setattr("runtime.checking.shutil.disk_usage", lambda place: SimpleNamespace(free=10))
    with pytest.raises(UserError, match=r"the drawn EmoSet takes .*, and its disk has 10 bytes left"):
        draw.main(load(arguments))
