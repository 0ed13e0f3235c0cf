"""The whole of evaluation/evaluate.py on a generator that was hardly trained: a killed run, a second one, two processes."""

import html
import json
import os
import re
import subprocess
from contextlib import redirect_stdout
from io import StringIO

import pandas as pd
import pytest
import yaml
from made_run import flat
from PIL import Image

from config.data_settings import Data
from config.errors import UserError
from config.generation_settings import CONTENT_PROMPT
from config.section import ROOT
from config.taxonomy import DEFAULT, read_taxonomy
from emoset.labels import KINDS
from evaluation.evaluate import check_earlier, made_of, main
from evaluation.generators import contents_of
from evaluation.measure_generation import copy_first, equal_reference, measure_generation
from evaluation.metric_labels import row_name
from evaluation.plans import attribute_plan, emotion_plan, fusion_plan, prompt_plan, transfer_plan
from runtime.built_folder import lock
from runtime.recipe import RECIPE
from training.contents import Contents
from training.sampling import words_of

pytestmark = pytest.mark.usefixtures("few_resamples")
TAXONOMY = read_taxonomy(DEFAULT)
EMOTIONS = TAXONOMY.emotions
ROWS = {"ours", "prompt_only", "attribute_prompt", "real"}
CORRECTED = {"emotion_accuracy", "emotion_accuracy_two_way", "fid", "fid_half", "kid", "lpips", "semantic_clarity"}
CORRECTED |= {"semantic_diversity", "attribute_entropy", "attribute_coverage", "nearest_training_distance"}
CORRECTED |= {"precision", "recall", "emotion_accuracy_second"}
CONTENT = ("content_accuracy", "joint_accuracy")
EMOGEN = {"emotion_accuracy", "emotion_accuracy_two_way", "fid", "fid_half", "lpips", "semantic_clarity"}
EMOGEN |= {"semantic_diversity"}
BY_EMOTION = {"emotion_accuracy", "emotion_accuracy_two_way", "attribute_entropy"}


def read(settings, name: str) -> dict:
    return json.loads((settings.run / name).read_text())


@pytest.fixture(scope="module")
def evaluated(quick_in, tmp_path_factory):
    """Settings of an evaluation of the generator beside images of one colour, and what it said; not to be changed."""
    place, said = tmp_path_factory.mktemp("evaluated"), StringIO()
    for emotion in EMOTIONS:
        (place / "theirs" / emotion).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (40, 32), (number * 80, 10, 200)).save(place / "theirs" / emotion / f"{number}.png")
    settings = quick_in(place, generators=[str(place / "theirs")])
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said):
        patch.setattr("runtime.figures.RESAMPLES", 50)
        main(settings)
    return settings, said.getvalue()


def test_a_generator_stands_beside_prompts_others_and_real_images(evaluated):
    settings, _ = evaluated
    figures = read(settings, "evaluation/generation.json")["figures"]
    assert figures.keys() == ROWS | {"theirs", "transfer"}
    for row in ROWS | {"theirs"}:
        named = set() if row in ("prompt_only", "theirs") else set(CONTENT)
        assert figures[row]["corrected"].keys() == CORRECTED | named
        assert figures[row]["emogen"].keys() == EMOGEN
        assert figures[row]["by_emotion"].keys() == set(EMOTIONS)
        assert figures[row]["by_emotion"]["awe"].keys() == BY_EMOTION
        for name, each in (figures[row]["corrected"] | figures[row]["emogen"]).items():
            assert each["low"] <= each["value"] <= each["high"], (row, name)
            assert each["n"] > 0
        assert (settings.run / f"evaluation/confusion-generation-{row}.csv").is_file()
    # One colour is no variety, and is far from real images; real ones are nearest to training ones.
    theirs, real = (figures[row]["corrected"] for row in ("theirs", "real"))
    assert theirs["attribute_entropy"]["value"] < real["attribute_entropy"]["value"]
    assert theirs["fid"]["value"] > real["fid"]["value"]
    # Real images show their own contents, more often than those of a generator that was hardly trained.
    content, joint = ({row: figures[row]["corrected"][name]["value"] for row in ("real", "ours")} for name in CONTENT)
    assert content["real"] > max(0.8, content["ours"])
    assert joint["real"] > joint["ours"]
    metrics = read(settings, "report/metrics.json")
    assert metrics["generation"]["ours"] == figures["ours"]["corrected"]
    assert metrics["understanding"] == {}
    assert (metrics["images"], metrics["seed"], list(metrics["seconds"])) == (32, 0, ["evaluation/generation"])


def test_the_log_ends_with_the_verdict_and_where_the_page_is(evaluated):
    """The tables are in the log file alone."""
    settings, said = evaluated
    figures = read(settings, "evaluation/generation.json")["figures"]
    assert said.endswith(f"\nThe report, with all figures: {settings.run}/report/index.html\n")
    was, now = (f"{figures[row]['corrected']['emotion_accuracy']['value']:.3f}" for row in ("prompt_only", "ours"))
    assert re.search(rf"^- The judge sees the intended emotion in {now} \(.* in {was} of those that plain", said, re.M)
    assert "| Emo-A " not in said
    assert "| Emo-A " in (settings.run / "evaluation/log.txt").read_text()


def test_a_second_process_is_refused(evaluated):
    settings, _ = evaluated
    with lock(settings.run / "evaluation"), pytest.raises(UserError, match="evaluation: another process is at work there"):
        main(settings)


def test_warnings_reach_the_page(evaluated):
    """Too few images for FID, a generator that does not tell what it was trained with, networks that are not EmoGen's."""
    settings, _ = evaluated
    page = (settings.run / "report/index.html").read_text()
    warnings = read(settings, "evaluation/generation.json")["about"]["warnings"]
    few = "FID of 32 images to 80 real ones, by 128 features, is biased upwards"
    unknown = "does not say what it was trained with"
    assert [rows for text, rows in warnings.items() if few in text] == [["ours", "prompt_only", "attribute_prompt", "real"]]
    assert [rows for text, rows in warnings.items() if unknown in text] == [["ours"]]
    assert all(f"{html.escape(text)}</p>" in page for text in warnings)
    # Each cell of the column `emogen` says that it is by the demo's networks, and the table for papers has a star.
    cells = re.findall(r'<small class="warning">not EmoGen&#39;s: demo/models/(\w+)', page.replace(f"{ROOT}/", ""))
    assert len(cells) == 5 * len(EMOGEN)
    assert set(cells) == {"judge", "clip", "backbone", "content"}
    assert " * |" in (settings.run / "report/table.md").read_text()


def test_the_page_shows_images_of_all_rows_those_that_failed_and_who_judged(evaluated):
    settings, _ = evaluated
    page, found = (settings.run / "report/index.html").read_text(), read(settings, "evaluation/generation.json")
    judged = pd.read_parquet(settings.run / "evaluation/judged-ours.parquet")
    right = judged[[f"p_{each}" for each in EMOTIONS]].to_numpy().argmax(1) == judged["emotion"].map(EMOTIONS.index)
    assert right.mean() == pytest.approx(found["figures"]["ours"]["corrected"]["emotion_accuracy"]["value"])
    failed = len(right) - right.sum()
    assert f"{failed} of {len(right)} images: " in page
    assert page.count("<dt>judged ") == min(12, failed)
    for row in ROWS | {"theirs"}:
        assert f'alt="{3 if row == "theirs" else 4} images of awe: {row_name(row)}"' in page
    judges = found["about"]["content_judges"]
    assert judges["CLIP"] == 1, "no classifier knows old boots"
    assert f"CLIP (1 contents), object classifier ({judges['object classifier']} contents)" in page


def test_curves_of_strengths_mixes_and_photographs(evaluated):
    settings, _ = evaluated
    page, curves = (settings.run / "report/index.html").read_text(), read(settings, "evaluation/curves.json")
    transfer = read(settings, "evaluation/generation.json")["figures"]["transfer"]["corrected"]
    assert {"emotion_accuracy", "clip_score", *CONTENT} == transfer.keys()
    assert list(curves["strength"]) == ["0.0", "0.25", "0.5", "0.75", "1.0"]
    assert set(curves["fusion"]["awe-fear"]["0.5"]) == {"awe", "fear"}
    assert list(curves["photographs"]) == ["0.0", "0.6", "0.8", "1.0"]  # of two steps, lower strengths leave none
    assert curves["photographs"]["0.6"].keys() == {"emotion_accuracy", "content_accuracy", "joint_accuracy", "lpips"}
    assert "LPIPS to the photograph" in page
    assert 'alt="awe in a photograph, at image strengths 0.0, 0.6, 0.8, 1.0"' in page


def test_a_second_run_keeps_what_is_there_and_makes_what_is_not(evaluated):
    settings, _ = evaluated
    figures = read(settings, "evaluation/generation.json")["figures"]
    images = settings.run / "evaluation/images"
    lost = images / "ours/fear/00002.png"
    before, times = lost.read_bytes(), {path: path.stat().st_mtime_ns for path in images.rglob("prompt_only/*/*.png")}
    lost.unlink()
    measure_generation(settings, settings.run / "evaluation")
    assert lost.read_bytes() == before
    assert times == {path: path.stat().st_mtime_ns for path in times}
    again = flat(read(settings, "evaluation/generation.json")["figures"])
    assert again == pytest.approx(flat(figures), rel=1e-3, abs=1e-6), (
        "the image that was made again was seen in a batch of one"
    )


def test_figures_of_other_images_are_not_replaced(evaluated, drawn, tmp_path):
    """Neither those of the split by those of a folder, nor the other way round."""
    settings, _ = evaluated
    kept = (settings.run / "evaluation/generation.json").read_text()
    asked = settings.evaluate.model_copy(update={"folder": drawn / "image"})
    with pytest.raises(
        UserError, match=r"evaluate\.folder: .*evaluation holds figures of the data set's own images"
    ) as error:
        main(settings.model_copy(update={"evaluate": asked}))
    assert "\n" not in str(error.value)
    assert (settings.run / "evaluation/generation.json").read_text() == kept
    made_of(settings.model_copy(update={"evaluate": asked}), {}, {}).start(tmp_path / RECIPE)
    with pytest.raises(UserError, match=r"holds figures of .*image, and those of the data set's own images"):
        check_earlier(settings.evaluate, tmp_path / RECIPE)


def test_the_same_images_whatever_the_method_have_the_same_noise():
    contents = Contents.of({emotion: {"tree": 1, "bag": 1, "sea": 2} for emotion in EMOTIONS}, EMOTIONS)
    acting = {"strength": 0.5, "spread": 1.0}
    ours, prompts = emotion_plan("ours", CONTENT_PROMPT, contents, EMOTIONS, 4, acting, 0), prompt_plan(EMOTIONS, 4, 0)
    assert [each["seed"] for each in ours.values()] == [each["seed"] for each in prompts.values()]
    of_content = attribute_plan(contents, EMOTIONS, 4, 0)
    assert [each["content"] for each in ours.values()] == [each["content"] for each in of_content.values()]
    assert {each["strength"] for each in ours.values()} == {0.5}
    bare = emotion_plan("ours", "<emotion>", None, EMOTIONS, 4, acting, 0)
    assert {each["strength"] for each in bare.values()} == {1.0}, "there is no content to keep"
    transfer = transfer_plan(["tree"], EMOTIONS, 1, 1.0, 0)
    fusion = fusion_plan(CONTENT_PROMPT, contents, TAXONOMY.opposites, 4, acting, 0)
    assert len({each["seed"] for path, each in transfer.items() if path.endswith("/awe/00000.png")}) == 1
    assert fusion["fusion/awe-fear/0.0/00000.png"]["weights"] == {"awe": 1.0}
    assert fusion["fusion/awe-fear/0.25/00000.png"]["weights"] == {"awe": 0.75, "fear": 0.25}


def test_attributes_are_drawn_from_those_of_the_emotion():
    """As often as images of the emotion carry them; of the kinds that the settings name alone."""
    scenes = dict(zip(EMOTIONS, ("beach", "church", "park", "arena", "street", "kitchen", "cave", "hospital"), strict=True))
    rows = [(emotion, [], scene, "happy", None) for emotion, scene in scenes.items() if emotion != "awe"]
    rows += [("awe", ["tree", "bird"], None, "sad", "running"), ("awe", ["tree"], None, "sad", None)]
    train = pd.DataFrame(rows, columns=["emotion", *KINDS])
    plan = attribute_plan(contents_of(train, Data()), EMOTIONS, 300, 0)
    prompts = {emotion: [] for emotion in EMOTIONS}
    for path, parameters in plan.items():
        prompts[path.split("/")[1]].append(words_of(parameters))
    awe = prompts.pop("awe")
    assert prompts == {emotion: [f"a photo of a {scenes[emotion]}"] * 300 for emotion in prompts}
    assert set(awe) == {"a photo of a tree", "a photo of a bird"}
    assert awe.count("a photo of a tree") == pytest.approx(200, abs=30)
    assert contents_of(train[train["emotion"] != "fear"], Data()) is None, "none of fear"


def test_nothing_to_measure(quick, tmp_path):
    settings = quick()
    settings = settings.model_copy(
        update={"generate": settings.generate.model_copy(update={"generator": tmp_path / "none"})}
    )
    with pytest.raises(UserError, match=r"holds neither generator/ nor understanding/model/"):
        main(settings)


def test_two_rows_of_one_name(quick, tmp_path):
    (tmp_path / "real").mkdir()
    with pytest.raises(UserError, match="two rows would be called real"):
        main(quick(generators=[str(tmp_path / "real")]))


@pytest.mark.slow
def test_both_halves_and_each_by_the_other_by_one_process_and_by_two(quick, python, tmp_path):
    """Each started anew, with one thread: the same figures, of images that are the same bytes."""
    found = {}
    for processes in (1, 2):
        settings = quick(f"run-{processes}", models=[str(ROOT / "demo/models/vision_language")])
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"] if processes == 2 else []
        command = [python, *launch, ROOT / "evaluation/evaluate.py", "--config", tmp_path / f"run-{processes}.yaml"]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        parts = ("generation", "understanding", "cross")
        found[processes] = {part: read(settings, f"evaluation/{part}.json")["figures"] for part in parts}
        assert read(settings, "evaluation/generation.json")["about"]["processes"] == processes
    assert found[1] == found[2]
    assert (tmp_path / "run-1/evaluation/curves.json").read_text() == (tmp_path / "run-2/evaluation/curves.json").read_text()
    images = sorted(path.relative_to(tmp_path / "run-1") for path in (tmp_path / "run-1").rglob("*.png"))
    for path in images:
        assert Image.open(tmp_path / "run-1" / path).tobytes() == Image.open(tmp_path / "run-2" / path).tobytes()
    cross, about = found[1]["cross"], read(settings, "evaluation/cross.json")["about"]
    assert cross.keys() == ROWS | {"transfer", "fusion"}
    assert cross["ours"].keys() == {"intended", "judge", "intended_forced", "judge_forced"}
    assert set(cross["transfer"]) == {"0.0", "0.25", "0.5", "0.75", "1.0"}
    assert set(cross["fusion"]["awe-fear"]["1.0"]) == {"awe", "fear", "judge"}
    assert about["n"]["ours"] == 16
    metrics = read(settings, "report/metrics.json")
    assert "blind" in metrics["understanding"]
    gains = metrics["paired"]["understanding"]
    (last,) = {pair.partition(" - ")[0] for pair in gains}
    assert {pair.partition(" - ")[2] for pair in gains} >= {"blind"}
    one = gains[f"{last} - blind"]["multiple_forced_accuracy"]
    apart = [metrics["understanding"][row]["multiple_forced_accuracy"]["value"] for row in (last, "blind")]
    assert one["value"] == pytest.approx(apart[0] - apart[1])
    assert one["low"] <= one["value"] <= one["high"]
    assert (one["fixed"] - one["broken"]) / one["n"] == pytest.approx(one["value"])
    assert list(metrics["seconds"]) == [f"evaluation/{part}" for part in ("generation", "understanding", "cross")]


def test_the_judge_is_checked_before_anything_is_made(quick, generator, tmp_path):
    settings = quick(judge=str(tmp_path / "none"))
    with pytest.raises(UserError, match=r"evaluate\.judge"):
        main(settings)
    assert not (settings.run / "evaluation/images/ours").exists()
    assert yaml.safe_load((settings.run / "evaluation/config.yaml").read_text())["evaluate"]["judge"]


def test_too_few_real_images_end_the_run_before_any_are_made(quick, emoset_copy):
    entries = json.loads((emoset_copy / "val.json").read_text())
    (emoset_copy / "val.json").write_text(json.dumps(entries[:9]))
    settings = quick()
    settings = settings.model_copy(update={"data": settings.data.model_copy(update={"emoset": emoset_copy})})
    with pytest.raises(UserError, match=r"^real: fewer than 12 images"):
        main(settings)
    assert not (settings.run / "evaluation/images").exists()


def test_copies_of_the_first_images_are_whole_and_the_only_ones(tmp_path, monkeypatch):
    images = pd.DataFrame([("awe", tmp_path / f"{number}.png") for number in range(3)], columns=["emotion", "path"])
    for path in images["path"]:
        Image.new("RGB", (40, 32), "red").save(path)
    copies = tmp_path / "real"
    copy_first(pd.concat([images, images.assign(emotion="fear")]), copies, 16)
    copy_first(images.iloc[:2], copies, 16)
    assert sorted(copies.rglob("*.png")) == [copies / "awe/00000.png", copies / "awe/00001.png"]
    assert Image.open(copies / "awe/00000.png").size == (16, 16)

    def killed(image, path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        copy_first(images, copies, 8)
    assert Image.open(copies / "awe/00000.png").size == (16, 16)


@pytest.mark.parametrize("absent", [0, 1])
def test_the_corrected_reference_has_equally_many_of_each_emotion(absent):
    """An emotion that the training images lack is no reason to compare with none."""
    emotions = [emotion for number, emotion in enumerate(EMOTIONS[absent:]) for _ in range(3 + number)]
    train = pd.DataFrame({"image_id": range(len(emotions)), "emotion": emotions})
    for count, each in ((None, 3), (2 * len(EMOTIONS[absent:]), 2)):
        found = equal_reference(train, count, 0)["emotion"].value_counts()
        assert found.to_dict() == dict.fromkeys(EMOTIONS[absent:], each)
    assert equal_reference(train.iloc[:0], None, 0).empty
