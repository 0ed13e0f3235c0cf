"""What evaluation/evaluate.py refuses before anything is computed, all at once, and what check=true tells."""

import json
import re
import shutil

import pytest
from safetensors.torch import load_file, save_file

from config.errors import UserError, tell_together
from config.section import ROOT
from evaluation.evaluate import main
from evaluation.first_checks import checks_of_networks
from evaluation.measure_understanding import images_of
from evaluation.other_data import training_images
from runtime.run_folder import log

MODELS = ROOT / "demo" / "models"


def test_all_that_is_wrong_is_told_at_once_before_anything_is_made(quick, tmp_path):
    """Another setting in each line. A backbone has no classes, a CLIP no ResNet, a text encoder no image features."""
    backbone = shutil.copytree(MODELS / "backbone", tmp_path / "backbone")
    weights = load_file(backbone / "model.safetensors")
    head = {name: weight for name, weight in weights.items() if not name.startswith("classifier")}
    save_file(head, backbone / "model.safetensors", {"format": "pt"})
    (tmp_path / "empty").mkdir()
    settings = quick(
        models=[str(MODELS / "content")],
        object_classifier=str(backbone),
        scene_classifier="data/resnet50_places365.pth.tar",
        fid_network=str(MODELS / "clip"),
        lpips_network=str(MODELS / "clip"),
        judge=str(MODELS / "content"),
        contents=["a/b"],
        generators=[str(tmp_path / "empty")],
    )
    with pytest.raises(UserError) as error:
        main(settings)
    lines = str(error.value).splitlines()
    for setting, reason in {
        "evaluate.models": "content",
        "evaluate.object_classifier": "lacks the weights classifier.1.bias",
        "evaluate.scene_classifier": "no file data/resnet50_places365.pth.tar; download it",
        "evaluate.fid_network": "sees no image",
        "evaluate.lpips_network": "resnet is needed",
        "evaluate.judge": "it must know amusement, awe",
        "evaluate.contents": "'a/b' cannot name a folder",
        "evaluate.generators": "has no images in subfolders",
    }.items():
        (line,) = (line for line in lines if line.startswith(f"{setting}: "))
        assert reason in line
    assert len(lines) == 8
    assert not (settings.run / "evaluation/images").exists()
    assert not (settings.run / "evaluation/recipe.json").exists()


def test_check_tells_what_the_evaluation_would_take_and_writes_nothing(quick, capsys):
    settings = quick(models=[str(MODELS / "vision_language")], contents=["tree", "xylophone"])
    settings = settings.model_copy(update={"check": True})
    main(settings)
    said = capsys.readouterr().out
    # 4 of each emotion, by three methods; 5 strengths of two contents; 4 pairs at 5 weights, 4 of each; 2 photographs of
    # each emotion, at the 3 strengths that leave one step, one, and two.
    assert f"images: {3 * 32 + 2 * 5 * 8 + 4 * 5 * 4 + 2 * 3 * 8} to make, 0 are there" in said
    # Two steps of two passes each for prompts alone; of three passes at strengths between 0 and 1, as the default is, and so
    # for photographs that show something with a name.
    calls = 2 * 2 * (2 * 32 + 2 * 2 * 8) + 2 * 3 * (32 + 4 * 5 * 4 + 2 * 3 * 8)
    steps = (1 + 1 + 2) * 2 * 8  # of photographs
    (told,) = re.findall("U-Net calls: ([0-9,]+),", said)
    assert calls + 2 * steps < int(told.replace(",", "")) <= calls + 3 * steps
    assert "answers: 32 about 16 images" in said  # multiple choice, and blind
    assert not settings.run.exists()


def test_a_cache_that_cannot_be_written_to_is_told(quick, tmp_path):
    (tmp_path / "file").touch()
    settings = quick()
    settings = settings.model_copy(
        update={"check": True, "data": settings.data.model_copy(update={"cache": tmp_path / "file/cache"})}
    )
    with pytest.raises(UserError, match=r"data\.cache: .*/file/cache cannot be made, for .* is a file; name another folder"):
        main(settings)


def test_an_empty_split_is_told(quick, emoset_copy):
    (emoset_copy / "val.json").write_text("[]")
    settings = quick()
    settings = settings.model_copy(update={"data": settings.data.model_copy(update={"emoset": emoset_copy})})
    with pytest.raises(UserError, match="has no usable image in the split val"):
        main(settings)


def test_an_empty_split_is_told_where_models_alone_are_measured(quick, emoset_copy):
    (emoset_copy / "val.json").write_text("[]")
    settings = quick(models=[str(MODELS / "vision_language")], baselines=False)
    changed = {"data": settings.data.model_copy(update={"emoset": emoset_copy}), "check": True}
    changed["generate"] = settings.generate.model_copy(update={"generator": None})
    with pytest.raises(UserError, match=r"^data\.emoset: .* has no usable image in the split val; see problems\.csv$"):
        main(settings.model_copy(update=changed))


def test_a_classifier_whose_classes_have_no_names_is_warned_of_once(quick, monkeypatch, tmp_path):
    content = shutil.copytree(MODELS / "content", tmp_path / "content")
    config = json.loads((content / "config.json").read_text())
    nameless = {str(number): f"LABEL_{number}" for number in range(len(config["id2label"]))}
    (content / "config.json").write_text(json.dumps(config | {"id2label": nameless, "label2id": {}}))
    said = []
    monkeypatch.setattr(log, "info", said.append)
    tell_together(*checks_of_networks(quick(scene_classifier=str(content))))
    (warning,) = said
    assert warning.startswith(f"warning: evaluate.scene_classifier: {content} does not name its classes, so it judges no")


@pytest.mark.parametrize("emotions", [["awe"], []])
def test_a_training_split_that_no_probe_can_be_fitted_to(quick, emoset_copy, tmp_path, monkeypatch, emotions):
    """Generators are refused, whose second judge is a probe; models are measured without one."""
    entries = json.loads((emoset_copy / "train.json").read_text())
    (emoset_copy / "train.json").write_text(json.dumps([each for each in entries if each[0] in emotions]))
    settings = quick()
    settings = settings.model_copy(update={"data": settings.data.model_copy(update={"emoset": emoset_copy})})
    said = []
    monkeypatch.setattr(log, "info", said.append)
    assert images_of(settings, tmp_path)[1] is None
    assert training_images(settings, settings.data.taxonomy, tmp_path) is None
    reason = f"the split train has usable images of {''.join(emotions) or 'no emotion'}, and a linear probe needs two"
    assert said == 2 * [f"no linear probe: data.emoset: {reason} emotions; see problems.csv"]
    with pytest.raises(UserError, match=reason if emotions else "no usable image in the split train"):
        main(settings.model_copy(update={"check": True}))


def test_a_generator_of_other_emotions_is_refused(quick, write_generator, tmp_path):
    other = write_generator(tmp_path / "other", ("joy", "fear"))
    with pytest.raises(
        UserError, match=r"^data\.taxonomy: .*other was trained on the emotions joy, fear, and the taxonomy lists"
    ):
        main(quick(generators=[str(other)]))
