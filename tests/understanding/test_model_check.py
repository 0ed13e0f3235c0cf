"""What is refused of a model before any image is read: by its files alone, in one line that names the setting."""

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_trainers import llava, llava_processor
from transformers import AutoModelForImageTextToText, LlamaConfig, LlamaForCausalLM

from config.errors import UserError
from config.section import ROOT
from understanding import merge, mining, predict
from understanding.grpo import plan
from understanding.model_check import check_model, check_trainable
from understanding.preflight import check_start, needs
from understanding.processor import load_processor

MODELS = ROOT / "demo" / "models"


@pytest.fixture
def damaged(vlm, tmp_path):
    """Return a function that copies the demo's model and changes its weights, by a function of their dictionary."""

    def copy(change) -> str:
        shutil.copytree(vlm, tmp_path / "damaged", dirs_exist_ok=True)
        weights = load_file(vlm / "model.safetensors")
        change(weights)
        save_file(weights, tmp_path / "damaged" / "model.safetensors", {"format": "pt"})
        return str(tmp_path / "damaged")

    return copy


@pytest.fixture
def text_only(tmp_path, vlm):
    config = LlamaConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=9)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "text")
    load_processor(str(vlm)).tokenizer.save_pretrained(tmp_path / "text")
    return str(tmp_path / "text")


def refused(settings, name: str) -> str:
    with pytest.raises(UserError) as error:
        check_model(settings.understanding, name, "predict.model")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_models_of_another_kind_are_refused_by_name(quick, text_only):
    settings = quick()
    for name, said in (
        (text_only, "is a llama model; name a chat model that takes an image and text"),
        (str(MODELS / "clip"), "is a clip model; name a chat model"),
        (str(MODELS / "backbone"), "is a resnet model; name a chat model"),
        (str(MODELS / "stable_diffusion"), "is a diffusion pipeline; name a chat model"),
        (str(MODELS / "stable_diffusion" / "unet"), "is neither a folder with such a model nor a name on the Hub"),
        (str(MODELS / "README.md"), "is neither a folder with such a model nor a name on the Hub"),
        ("/nowhere", "is neither a folder with such a model nor a name on the Hub"),
    ):
        assert refused(settings, name).startswith(f"predict.model: '{name}' {said}")


def test_parts_that_are_missing_or_another_models_are_told(quick, damaged, vlm, tmp_path):
    settings = quick()
    folder = damaged(lambda weights: weights.pop("model.layers.0.mlp.gate_proj.weight"))
    assert "it lacks the weights model.language_model.layers.0.mlp.gate_proj.weight" in refused(settings, folder)
    damaged(lambda weights: None)
    assert check_model(settings.understanding, folder, "predict.model").weights == 2_545_376

    (tmp_path / "damaged" / "chat_template.jinja").rename(tmp_path / "template")
    assert "has no chat template; name a model that was made for chats" in refused(settings, folder)
    (tmp_path / "template").rename(tmp_path / "damaged" / "chat_template.jinja")
    config = json.loads((vlm / "config.json").read_text())
    (tmp_path / "damaged" / "config.json").write_text(json.dumps(config | {"image_token_id": 2}))
    assert "the tokenizer of" in (said := refused(settings, folder))
    assert said.endswith("the model's 2")
    shutil.copy(vlm / "config.json", tmp_path / "damaged")

    torch.manual_seed(0)
    llava().save_pretrained(tmp_path / "llava")
    load_processor(str(vlm)).save_pretrained(tmp_path / "llava")  # with more tokens than the model
    assert "is another model's: it has " in refused(settings, str(tmp_path / "llava"))
    llava_processor().save_pretrained(tmp_path / "llava")
    about = check_model(settings.understanding, str(tmp_path / "llava"), "predict.model")
    assert about.weights == sum(weight.numel() for weight in llava().parameters())
    for file in ("processor_config.json", "preprocessor_config.json"):
        (tmp_path / "llava" / file).unlink(missing_ok=True)
    assert refused(settings, str(tmp_path / "llava")).startswith("predict.model: ")


def test_an_adapter_that_does_not_fit_its_base_is_refused(quick, adapter, vlm):
    settings = quick()
    about = check_model(settings.understanding, str(adapter), "predict.model")
    assert about.has_adapter
    whole = load_file(adapter / "adapter_model.safetensors")
    assert about.weights == 2_545_376 + sum(weight.numel() for weight in whole.values())
    with pytest.raises(UserError, match=r"understanding\.model: .* is an adapter; merge it first"):
        check_trainable(settings.understanding, about)

    less = dict(list(whole.items())[2:])
    save_file(less, adapter / "adapter_model.safetensors")
    lacking = sorted(whole.keys() - less.keys())
    assert f"it lacks the weights {', '.join(lacking)}" in refused(settings, str(adapter))
    save_file({name: weight[..., :1].contiguous() for name, weight in whole.items()}, adapter / "adapter_model.safetensors")
    assert "does not fit its base model: it lacks the weights" in refused(settings, str(adapter))
    (adapter / "adapter_model.safetensors").write_bytes(b"cut")
    assert "cannot be loaded as an adapter" in refused(settings, str(adapter))
    about = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(about | {"base_model_name_or_path": str(MODELS / "clip")}))
    assert refused(settings, str(adapter)).startswith("adapter/adapter_config.json: base_model_name_or_path: ")


@pytest.mark.parametrize("script", ["understanding", "mining", "mining.reference", "predict", "merge"])
def test_every_script_refuses_it_before_images_are_read(quick, fine_tune, text_only, drawn, monkeypatch, script):
    for name in ("understanding.mining.read_emoset", "understanding.predict.find_images"):
        monkeypatch.setattr(name, lambda *_: pytest.fail("images were read"))
    monkeypatch.setitem(fine_tune.__closure__[0].cell_contents.__dict__, "read_emoset", lambda *_: pytest.fail("read"))
    base = {"understanding": {"model": text_only}}
    named = {"predict": {"model": text_only, "images": [str(drawn / "image")]}}
    settings = quick(**(named if script in ("predict", "merge") else base), warmup={"steps": 2 * (script[-1] == "e")})
    if script == "mining.reference":
        shutil.copytree(text_only, settings.run / "understanding" / "warm_up" / "model")
    mains = {"understanding": fine_tune, "predict": predict.main, "merge": merge.main}
    with pytest.raises(UserError, match=r"\.model: '.*' is a llama model; name a chat model") as error:
        mains.get(script, mining.main)(settings)
    assert "\n" not in str(error.value)


def test_whatever_a_training_cannot_do_is_told_at_once(quick, fine_tune, tmp_path):
    changed = {
        "grpo": {"questions_per_step": 9, "batch_size": 4, "evaluate_every": 1, "evaluated_questions": 24},
        "questions": {"count": 320, "confusable_share": 0.5},
        "understanding": {"lora_targets": "q_proj, v_prj,,nope", "push_to_hub": "no such name", "dtype": "float16"},
        "machine": {"tracker": "wandb"},
        "mining": {"images": 16},
        "data": {"taxonomy": "config/taxonomies/ekman6.yaml"},
    }
    monkeyed = quick(**changed)
    with pytest.raises(UserError) as error:
        fine_tune(monkeyed)
    lines = str(error.value).splitlines()
    expected = [
        r"grpo.questions_per_step: 9 cannot be shared out over 1 processes of grpo.batch_size 4; the nearest that can is 8",
        r"grpo.evaluated_questions: 24 leave binary with fewer than 48, multiple with fewer than 24, misleading with",
        r"confusability.json is not there",
        r"understanding.dtype: float16 trains on a GPU alone",
        r"machine.tracker: wandb is not installed",
        r"understanding.lora_targets: no layer of the language model ends in v_prj or nope; its linear layers end in",
        r"understanding.push_to_hub: 'no such name' cannot be uploaded to",
    ]
    expected = [each for each in expected if "float16" not in each or not torch.cuda.is_available()]
    assert len(lines) == len(expected), lines
    assert all(said in line for said, line in zip(expected, lines, strict=True))


def test_images_of_mining_must_be_enough_for_a_hard_one_of_each_emotion(quick):
    settings = quick(mining={"images": 16})
    mining.check_count(settings.mining, settings.data.taxonomy)
    with pytest.raises(UserError, match=r"mining\.images: 16 are 1 of each of the 10 emotions, .* raise it to 20"):
        mining.check_count(settings.mining, ["emotion"] * 10)


@pytest.mark.parametrize(
    ("asked", "questions", "message"),
    [
        (30, 25, "30 cannot be shared out over 2 processes of grpo.batch_size 4, and there are 25 questions; the most.* 24"),
        (9, 7, "9 cannot be shared out .* and there are 7 questions; ask more questions"),
        (25, 24, "25 cannot be shared out over 2 processes of grpo.batch_size 4; the nearest that can is 24"),
    ],
)
def test_both_bounds_of_an_update_are_told_together(quick, monkeypatch, asked, questions, message):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match=f"grpo.questions_per_step: {message}"):
        plan(quick(grpo={"questions_per_step": asked}).grpo, questions, None)


def test_with_check_nothing_is_trained_or_written_and_what_it_takes_is_told(
    quick, understanding_script, monkeypatch, capsys
):
    monkeypatch.setattr("understanding.trainers.load_whole", lambda *_, **__: pytest.fail("a model was loaded"))
    monkeypatch.setattr("understanding.mining.load_asker", lambda *_: pytest.fail("a model was loaded"))
    settings = quick(check=True, grpo={"steps_one": None, "steps_two": 3}, warmup={"steps": 7})
    before = {path for path in settings.run.parent.rglob("*")}
    understanding_script.main(settings)
    printed = capsys.readouterr().out
    assert "updates: 7 of the warm-up, 48 of Step I, 3 of Step II" in printed  # 384 questions, 8 an update
    assert "sampled answers: 1,632, 32 for each update" in printed
    assert re.search(r"memory of each process: 1\d\.\d MB for weights, .*\n    disk: \d\.\d+ MB", printed)
    mining.main(quick(check=True))
    assert "images: 64, a forward pass of each\n" in capsys.readouterr().out
    assert {path for path in settings.run.parent.rglob("*")} == before


def test_what_a_training_takes(quick, vlm):
    """Of n weights and an adapter of a: n x 4 + 16 a bytes of memory; a checkpoint is 12 a, a model 4 a."""
    settings = quick(grpo={"steps_two": 0, "steps_one": 3, "beta": 0.1}, tuning={"checkpoint_every": 2})
    about = check_model(settings.understanding, str(vlm), "understanding.model")
    weights = sum(weight.numel() for weight in AutoModelForImageTextToText.from_pretrained(vlm).parameters())
    assert about.weights == weights
    trained = check_trainable(settings.understanding, about)
    found = needs(settings, about, trained)
    assert (found.memory, found.disk) == (4 * weights + 16 * trained, 3 * 12 * trained + 4 * trained + 4 * trained)

    settings = quick(understanding={"lora_rank": 0}, grpo={"steps_two": 0, "steps_one": 3, "beta": 0.1})
    about = check_model(settings.understanding, str(vlm), "understanding.model")
    trained = check_trainable(settings.understanding, about)
    vision = sum(each.numel() for name, each in about.skeleton.named_parameters() if "visual" in name)
    assert trained == weights - vision
    found = needs(settings, about, trained)
    assert found.memory == 2 * 4 * weights + 12 * trained, "the model, its reference, gradients and AdamW"
    assert found.disk == 3 * (4 * weights + 8 * trained) + 2 * 4 * weights


def test_exact_answers_of_a_model_that_cannot_share_rows_are_refused_before_data_are_read(quick, vlm, tmp_path):
    model = shutil.copytree(vlm, tmp_path / "sliding")
    config = json.loads((model / "config.json").read_text())
    config["text_config"]["layer_types"][0] = "sliding_attention"
    (model / "config.json").write_text(json.dumps(config))
    exact, sampled = (quick(understanding={"model": str(model)}, grpo={"answers": way}) for way in ("exact", "sampled"))
    check_start(sampled)
    with pytest.raises(UserError, match=r"the model has layers of sliding_attention; set grpo\.answers=sampled"):
        check_start(exact)


def test_rewards_that_are_all_0_are_refused(quick):
    none = {"binary": 0, "multiple": 0, "misleading": 0}
    with pytest.raises(
        UserError, match="the weight of every kind that is asked is 0; set one of binary, multiple, misleading"
    ):
        check_start(quick(rewards=none))


def test_a_disk_without_room_is_told_before_data_are_read(quick, monkeypatch):
    class Usage:
        free = 1000

    monkeypatch.setattr("runtime.checking.shutil.disk_usage", lambda _: Usage)
    with pytest.raises(UserError, match=r"run/understanding: training takes [\d.]+ MB, and its disk has 1 kB left"):
        check_start(quick())


def test_a_cache_that_cannot_be_written_to_is_told_before_data_are_read(quick, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"data\.cache: .*/file/cache cannot be made, for .* is a file; name another folder"):
        check_start(quick(data={"cache": str(tmp_path / "file/cache")}))
