"""Other people's data: of other emotions, or without attributes. Each is a few images of the drawn EmoSet."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from accelerate.state import AcceleratorState
from mapper_runs import arguments, metrics
from PIL import Image

from config.errors import UserError
from config.loading import load
from config.section import ROOT
from config.taxonomy import DEFAULT, read_taxonomy
from emoset.confusability import read_confusability
from training import dataset_balance, import_emogen, inference
from training import main as training
from training.emotion_space import EmotionSpace

EMOSET = read_taxonomy(DEFAULT).emotions
EKMAN = read_taxonomy(ROOT / "config/taxonomies/ekman6.yaml").emotions
COUNTS = {"train": 6, "val": 2, "test": 1}  # images of each emotion
MINIATURE = {"mapper.max_train_steps": 2, "generate.steps": 1, "generate.images": 1}


def write_dataset(drawn: Path, folder: Path, names: dict[str, str], emotions: tuple[str, ...]) -> Path:
    """Write a small data set in EmoSet's layout, whose emotions are called by new names, and return its folder.

    names: the new name by that in the drawn EmoSet; images of other emotions are left out.
    """
    info = json.loads((drawn / "info.json").read_text())
    info["emotion"] = {"label2idx": {emotion: label for label, emotion in enumerate(emotions)}}
    folder.mkdir()
    (folder / "info.json").write_text(json.dumps(info))
    for split, count in COUNTS.items():
        entries = []
        for old, new in names.items():
            of_this = [entry for entry in json.loads((drawn / f"{split}.json").read_text()) if entry[0] == old]
            for _, name, image, annotation in of_this[:count]:
                for path in (image, annotation):
                    (folder / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(drawn / image, folder / image)
                content = json.loads((drawn / annotation).read_text()) | {"emotion": new}
                (folder / annotation).write_text(json.dumps(content))
                entries.append([new, name, image, annotation])
        (folder / f"{split}.json").write_text(json.dumps(entries))
    return folder


def run_all(prepared: dict, folder: Path, data: Path, **changed) -> dict:
    """Draw a balanced set, train and make images, and return the settings."""
    places = {"data.emoset": data, "data.cache": folder / "cache", "data.attribute_root": folder / "attributes"}
    settings = prepared | MINIATURE | places | {"run": folder / "run"} | changed
    AcceleratorState._reset_state(reset_partial_state=True)
    for script in (dataset_balance, training, inference):
        script.main(load(arguments(settings)))
    return settings


@pytest.fixture(scope="module")
def six(drawn, prepared, tmp_path_factory) -> dict:
    """Settings of a whole run on a data set of Ekman's six emotions."""
    folder = tmp_path_factory.mktemp("six")
    names = {emotion: emotion for emotion in EKMAN if emotion in EMOSET} | {"amusement": "joy", "awe": "surprise"}
    data = write_dataset(drawn, folder / "data", names, EKMAN)
    taxonomy = {"data.taxonomy": ROOT / "config/taxonomies/ekman6.yaml", "mapper.sample_every": 2, "mapper.samples": 1}
    return run_all(prepared, folder, data, **taxonomy)


def test_six_emotions_are_trained_on_and_drawn(six):
    run = six["run"]
    rows = pd.read_parquet(run / "balance/balanced.parquet")
    assert sorted(rows["emotion"].unique()) == sorted(EKMAN)
    space = EmotionSpace.from_pretrained(run / "generator/emotion_space")
    assert space.emotions == EKMAN
    assert len(space.mean) == 6
    assert json.loads((run / "generator/generator.json").read_text())["emotions"] == list(EKMAN)
    assert "anger, disgust, fear, joy, sadness, surprise" in (run / "generator/README.md").read_text()
    assert read_confusability(run / "training/emotion_space/confusability.json", EKMAN).shape == (6, 6)
    confidence = pd.read_csv(run / "training/emotion_space/emotion_confidence.csv")
    assert confidence[list(EKMAN)].sum(axis=1).tolist() == pytest.approx([1] * len(confidence), abs=1e-4)
    assert len(metrics(run)) == 2
    assert {path.parent.name for path in (run / "images").glob("*/*.png")} == set(EKMAN)
    with Image.open(run / "training/mapper/samples/0000002.png") as sheet:
        assert sheet.height == 6 * 134 + 6  # a row for each emotion


def test_a_generator_of_other_emotions_is_refused(six):
    with pytest.raises(
        UserError, match=r"^data\.taxonomy: .*generator was trained on the emotions anger, .* the taxonomy lists am"
    ) as error:
        inference.main(load(arguments(six, **{"data.taxonomy": DEFAULT})))
    assert "\n" not in str(error.value)


def test_a_space_of_other_emotions_is_not_taken(six, write_published, tmp_path):
    write_published(tmp_path / "published", features=24)
    places = {"emotion_space.published": tmp_path / "published", "emotion_space.imported": tmp_path / "imported"}
    import_emogen.main(load([f"{key}={value}" for key, value in places.items()] + [f"run={tmp_path}"]))
    with pytest.raises(UserError, match=r"emotion_space\.imported: .* holds the emotions amusement, .* lists anger"):
        training.main(load(arguments(six, **{"emotion_space.imported": tmp_path / "imported"})))


@pytest.fixture(scope="module", params=["no annotation/", "no attributes", "no kinds"])
def plain(request, drawn, prepared, tmp_path_factory) -> dict:
    """Settings of a whole run on a data set without attributes, in each of the ways in which there are none."""
    folder = tmp_path_factory.mktemp("plain")
    data, kinds = write_dataset(drawn, folder / "data", dict(zip(EMOSET, EMOSET, strict=True)), EMOSET), {}
    if request.param == "no annotation/":
        shutil.rmtree(data / "annotation")
    elif request.param == "no attributes":
        for path in data.glob("annotation/*/*.json"):
            content = json.loads(path.read_text())
            path.write_text(json.dumps({key: content[key] for key in ("image_id", "emotion", "brightness")}))
    else:
        kinds = {"data.kinds": ""}
    return run_all(prepared, folder, data, **{"mapper.content_share": 0}, **kinds)


def test_a_data_set_without_attributes_trains_by_the_diffusion_loss(plain):
    run = plain["run"]
    rows = pd.read_parquet(run / "balance/balanced.parquet")
    assert set(rows["kind"]) == set(rows["attribute"]) == {""}
    assert not plain["data.attribute_root"].exists()
    lines = metrics(run)
    assert len(lines) == 2
    assert all(line["loss"] == line["diffusion"] for line in lines)
    assert not {"attribute", "emotion", "alpha"} & lines[0].keys()
    log = (run / "training/log.txt").read_text()
    assert log.count("no attribute loss and no emotion loss") == 1
    confidence = pd.read_csv(run / "training/emotion_space/emotion_confidence.csv")
    assert list(confidence.columns) == ["kind", "attribute", "images", *EMOSET]
    assert confidence.empty
    assert "models.clip" not in json.loads((run / "generator/generator.json").read_text())["trained_with"]
    assert {path.parent.name for path in (run / "images").glob("*/*.png")} == set(EMOSET)
    with pytest.raises(UserError, match=r"^mapper\.content_share: 0\.5 of the prompts .*; set mapper\.content_share=0$"):
        training.main(load(arguments(plain, **{"mapper.content_share": 0.5})))
    training.main(load(arguments(plain)))
    assert "trained before, and nothing has changed" in (run / "training/log.txt").read_text()
