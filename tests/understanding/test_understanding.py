"""understanding.py as a whole, in miniature, and what it refuses before a model is loaded."""

import json
import re
import shutil
from itertools import pairwise

import pandas as pd
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from tiny_trainers import llava, llava_processor
from transformers import AutoModelForImageTextToText

import understanding.grpo
import understanding.warmup
from config.errors import UserError
from config.taxonomy import DEFAULT, read_taxonomy
from emoset.images import load_image
from runtime.built_folder import lock
from understanding.asking import Asker
from understanding.model import conversation
from understanding.processor import load_processor

TAXONOMY = read_taxonomy(DEFAULT)
EMOTIONS = TAXONOMY.emotions


def weights(folder) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


@pytest.mark.slow
def test_warm_up_two_steps_and_mining_then_nothing_anew_then_other_settings(quick, fine_tune, drawn, monkeypatch, capsys):
    chosen = {"warmup": {"steps": 2, "batch_size": 2}, "mining": {"easy_share": 0.2, "lowest": 0.75}}
    settings = quick("run", grpo={"steps_one": 2, "steps_two": 1, "evaluate_every": 2}, **chosen)
    asked, train = {}, understanding.grpo.train

    likelihoods = Asker.likelihoods

    def mistaken(self, questions, images, completions):  # so that some images are hard, whatever the model
        if any(completions):
            return likelihoods(self, questions, images, completions)
        true = torch.tensor([0.1 if question.image_id[-1] in "02468" else 0.9 for question in questions])
        others = ((1 - true) / 7)[:, None].repeat(1, 8)
        return others.scatter(1, torch.tensor([[EMOTIONS.index(each.emotion)] for each in questions]), true[:, None])

    def recorded(settings, name, start, questions, *rest):
        asked[name] = {question.image_id for question in questions}
        train(settings, name, start, questions, *rest)

    monkeypatch.setattr(Asker, "likelihoods", mistaken)
    monkeypatch.setattr(understanding.grpo, "train", recorded)
    fine_tune(settings)
    folder = settings.run / "understanding"
    assert re.search(r"step_one: what 2 updates changed on val: binary [+-]0\.\d{3}, binary AUROC", capsys.readouterr().out)

    # Each stage goes on from the one before it, and the result is the last.
    stages = [weights(folder / name / "model") for name in ("warm_up", "step_one", "step_two")]
    for before, after in pairwise(stages):
        assert before.keys() == after.keys()
        assert any(not torch.equal(before[name], after[name]) for name in before)
    assert all(torch.equal(weights(folder / "model")[name], stages[-1][name]) for name in stages[-1])

    # Step II asks about hard images of the training split, of every emotion.
    errors = pd.read_parquet(settings.run / "mining" / "errors.parquet").set_index("image_id")["error"]
    assert asked["step_two"] <= set(errors.index) <= {row[1] for row in json.loads((drawn / "train.json").read_text())}
    assert 0.6 <= (errors[sorted(asked["step_two"])] > 0.5).mean() < 1, "and some others"

    for name in ("config.yaml", "environment.json", "seconds.json", "log.txt"):
        assert (settings.run / "mining" / name).is_file()

    # What can be watched, and what the result says of itself.
    lines = [json.loads(line) for line in (folder / "step_one" / "metrics.jsonl").read_text().splitlines()]
    written = {key for line in lines for key in line}
    assert {f"rewards/{name}/mean" for name in ("binary", "multiple", "misleading", "format")} <= written
    assert {"reward", "frac_reward_zero_std", "entropy", "completions/mean_length", "loss"} <= written
    assert {"val/multiple_accuracy", "val/misleading_auroc"} <= written
    told = {key for key in written if key.startswith("accuracy/")}
    assert told
    assert told <= {f"accuracy/{emotion}" for emotion in EMOTIONS}
    warm = [json.loads(line) for line in (folder / "warm_up" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in warm if "loss" in line] == [1, 2]
    assert {path.name for path in (folder / "step_one" / "samples").iterdir()} == {"step-000000.html", "step-000002.html"}
    about = json.loads((folder / "model" / "adapter_config.json").read_text())
    assert about["base_model_name_or_path"] == "demo/models/vision_language"
    assert "Step II, hard images: 1 updates" in (folder / "model" / "README.md").read_text()

    # The same command again finds everything done.
    before = weights(folder / "model")
    with monkeypatch.context() as patch:
        patch.setattr(understanding.grpo, "train", lambda *_: pytest.fail("trained again"))
        patch.setattr(understanding.warmup, "train_on_answers", lambda *_: pytest.fail("warmed up again"))
        capsys.readouterr()
        fine_tune(settings)
    assert capsys.readouterr().out.count("trained before, and nothing has changed") == 3
    assert all(torch.equal(before[name], weight) for name, weight in weights(folder / "model").items())

    # Other settings of GRPO leave the warm-up as it is and move both steps aside.
    def no_training(settings, name, start, *rest):  # what takes no time
        shutil.copytree(folder / "warm_up" / "model", rest[-1] / "checkpoints" / f"checkpoint-{rest[-2]}")

    monkeypatch.setattr(understanding.grpo, "train", no_training)
    fine_tune(settings.model_copy(update={"grpo": settings.grpo.model_copy(update={"learning_rate": 1e-4})}))
    assert "step_one: grpo.learning_rate 0.001 → 0.0001; the data are the same." in capsys.readouterr().out
    assert {path.name for path in folder.glob("*.old")} == {"step_one.old", "step_two.old"}
    assert all(torch.equal(before[name], weight) for name, weight in weights(folder / "step_two.old" / "model").items())
    assert any(not torch.equal(before[name], weight) for name, weight in weights(folder / "model").items())


@pytest.fixture
def six(emoset_copy):
    """A data set of six emotions in EmoSet's layout, without annotations, made of the drawn EmoSet's images."""
    names = {"amusement": "joy", "awe": "surprise"} | {name: name for name in ("anger", "disgust", "fear", "sadness")}
    for split in ("train", "val", "test"):
        rows = json.loads((emoset_copy / f"{split}.json").read_text())
        rows = [[names[emotion], *rest] for emotion, *rest in rows if emotion in names]
        (emoset_copy / f"{split}.json").write_text(json.dumps(rows))
    taxonomy = read_taxonomy("config/taxonomies/ekman6.yaml")
    labels = {emotion: number for number, emotion in enumerate(taxonomy.emotions)}
    (emoset_copy / "info.json").write_text(json.dumps({"emotion": {"label2idx": labels}}))
    shutil.rmtree(emoset_copy / "annotation")
    return {"emoset": str(emoset_copy), "taxonomy": "config/taxonomies/ekman6.yaml", "problems_allowed": 1.0}


def test_another_architecture_other_emotions_and_valence_go_through_all_stages(quick, fine_tune, six, drawn, tmp_path):
    """Any AutoModelForImageTextToText: here a LLaVA, of random weights and with bytes for tokens."""
    torch.manual_seed(0)
    llava().save_pretrained(tmp_path / "llava")
    llava_processor().save_pretrained(tmp_path / "llava")
    steps = {"steps_one": 1, "steps_two": 1, "evaluate_every": 2}
    chosen = {"warmup": {"steps": 1, "batch_size": 2}, "mining": {"images": 16, "lowest": 0.0, "highest": 1.0}}
    chosen |= {"answers": {"tokens": 12}, "understanding": {"model": str(tmp_path / "llava")}}
    settings = quick(grpo=steps, data=six, questions={"valence": 1.0}, **chosen)
    fine_tune(settings)
    lines = (settings.run / "understanding" / "step_one" / "metrics.jsonl").read_text()
    assert {"val/valence_balanced_accuracy", "val/positive_rate", "rewards/valence/mean"} <= {
        name for line in lines.splitlines() for name in json.loads(line)
    }
    errors = pd.read_parquet(settings.run / "mining" / "errors.parquet")
    assert set(errors["emotion"]) == set(settings.data.taxonomy.emotions)
    assert len(settings.data.taxonomy) == 6

    folder = settings.run / "understanding" / "model"
    processor = load_processor(str(folder))
    text = processor.apply_chat_template(conversation("Is it awe?"), add_generation_prompt=True, tokenize=False)
    inputs = processor(images=[load_image(next((drawn / "image/awe").iterdir()))], text=[text], return_tensors="pt")
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "llava").eval()
    with torch.no_grad():
        before = model(**inputs).logits
        after = PeftModel.from_pretrained(model, folder)(**inputs).logits
    assert (after - before).abs().max() > 1e-4, "the adapter is trained, and on it"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"grpo": {"questions_per_step": 30}}, r"questions_per_step: 30 cannot be shared out .* nearest that can is 32"),
        ({"understanding": {"model": "/nowhere"}}, r"understanding\.model: '/nowhere' is neither a folder"),
        ({"understanding": {"four_bit": True}}, r"understanding\.four_bit: "),
        ({"questions": {"count": 100}}, r"questions\.count: 100 leave binary with fewer than 64"),
        ({"understanding": {"push_to_hub": "no such name"}}, r"understanding\.push_to_hub: 'no such name' cannot be"),
        ({"machine": {"tracker": "wandb"}}, r"machine\.tracker: wandb is not installed; pip install wandb"),
        ({"questions": {"multiple": 2.0}, "grpo": {"evaluate_every": 1}}, r"evaluated_questions: 192 leave binary with few"),
        ({"questions": {"confusable_share": 0.5}}, r"confusability\.json is not there; training/main\.py makes it"),
        ({"data": {"emoset": "/nowhere"}}, r"/nowhere"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line_before_a_model_is_loaded(quick, fine_tune, monkeypatch, changed, message):
    monkeypatch.setattr("understanding.grpo.load_trainable", lambda *_: pytest.fail("a model was loaded"))
    if "four_bit" in str(changed) and torch.cuda.is_available():
        pytest.skip("4 bits can be had here")
    with pytest.raises(UserError, match=message) as error:
        fine_tune(quick("run", **changed))
    assert "\n" not in str(error.value)


def test_in_bfloat16_the_adapter_stays_float32_and_learns(quick, fine_tune):
    grpo, tuning = {"steps_one": 1, "steps_two": 0}, {"gradient_checkpointing": True}
    settings = quick("run", grpo=grpo, tuning=tuning, understanding={"dtype": "bfloat16"})
    fine_tune(settings)
    adapter = weights(settings.run / "understanding" / "model")
    assert {weight.dtype for weight in adapter.values()} == {torch.float32}
    assert any(weight.any() for name, weight in adapter.items() if "lora_B" in name)


def test_nothing_to_train_is_said(quick, fine_tune):
    with pytest.raises(UserError, match="nothing was trained"):
        fine_tune(quick("run", grpo={"steps_one": 0, "steps_two": 0}))


def test_mining_is_done_by_one_run_at_a_time(quick, fine_tune):
    settings = quick(grpo={"steps_one": 0, "steps_two": 1})
    with lock(settings.run / "mining"), pytest.raises(UserError, match="mining: another process is at work there; wait"):
        fine_tune(settings)
