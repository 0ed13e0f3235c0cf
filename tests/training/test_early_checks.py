"""What training/main.py says before it reads an image."""

import json
import shutil
from collections import namedtuple
from pathlib import Path

import pandas as pd
import pytest
import torch
from accelerate.state import AcceleratorState
from diffusers import UNet2DConditionModel
from mapper_runs import arguments, train
from transformers import BertConfig, BertModel, CLIPModel, CLIPTextModel, CLIPTokenizer

from config.errors import UserError
from config.generation_settings import Mapper
from config.loading import load
from config.section import ROOT
from training.attributes import check_clip, read_attribute_list
from training.early_checks import check_splits, check_stable_diffusion, check_training
from training.mapper_training import decay_at

REAL_TOKENIZER = ROOT / "../shared/tokenizers/clip"


@pytest.fixture
def base(models, tmp_path) -> Path:
    """A copy of the tiny Stable Diffusion that a test may change."""
    return Path(shutil.copytree(models / "stable_diffusion", tmp_path / "base"))


def change(path: Path, **values) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def new_unet(base: Path, **values) -> None:
    """Give a Stable Diffusion another U-Net with random weights."""
    config = UNet2DConditionModel.load_config(base / "unet")
    UNet2DConditionModel.from_config(config | values).save_pretrained(base / "unet")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"in_channels": 9}, r"has a U-Net that takes 9 channels, its VAE has 4, as for inpainting"),
        ({"in_channels": 8}, r"takes 8 channels, its VAE has 4, as for editing"),
        ({"in_channels": 5}, r"takes 5 channels, its VAE has 4; name a Stable Diffusion 1 or 2"),
        ({"out_channels": 8}, r"gives 8 channels, its VAE has 4"),
        (
            {"addition_embed_type": "text_time", "addition_time_embed_dim": 4, "projection_class_embeddings_input_dim": 8},
            r"takes more than a text \(addition_embed_type\)",
        ),
        ({"num_class_embeds": 10}, r"takes more than a text \(num_class_embeds\)"),
        ({"class_embed_type": "projection", "projection_class_embeddings_input_dim": 8}, r"text \(class_embed_type\)"),
        ({"time_cond_proj_dim": 8}, r"takes more than a text \(time_cond_proj_dim\)"),
        ({"cross_attention_dim": 24}, r"has a text encoder that is 32 wide, its U-Net takes 24"),
    ],
)
def test_a_unet_of_another_use_is_refused(base, values, message):
    new_unet(base, **values)
    with pytest.raises(UserError, match=message) as error:
        check_stable_diffusion(str(base), 32)
    assert str(error.value).startswith(f"models.stable_diffusion: '{base}'")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        ("scheduler/scheduler_config.json", {"prediction_type": "sample"}, "prediction_type sample"),
        ("scheduler/scheduler_config.json", {"_class_name": "FlowMatchEulerDiscreteScheduler"}, "of a FlowMatchEuler"),
        ("scheduler/scheduler_config.json", {"beta_schedule": "none"}, "none is not implemented"),
        ("tokenizer/tokenizer_config.json", {"model_max_length": 99}, "the tokenizer of .* texts of up to 99 tokens"),
        ("model_index.json", {"text_encoder_2": ["transformers", "CLIPTextModel"]}, "two text encoders, as Stable Diff"),
        ("model_index.json", {"unet": ["diffusers", "UNet2DModel"]}, "unet"),
        ("model_index.json", {"text_encoder": [None, None]}, "needs a CLIPTextModel as its text_encoder and has none"),
        ("vae/config.json", {"latent_channels": 8}, "vae' is no whole AutoencoderKL"),
    ],
)
def test_parts_that_do_not_fit_are_refused(base, file, values, message):
    shutil.copytree(base / "text_encoder", base / "text_encoder_2")
    change(base / file, **values)
    with pytest.raises(UserError, match=message) as error:
        check_stable_diffusion(str(base), 32)
    assert "\n" not in str(error.value)


def test_what_fits_is_taken(base):
    for kind in ("epsilon", "v_prediction"):
        change(base / "scheduler/scheduler_config.json", prediction_type=kind)
        parts = check_stable_diffusion(str(base), 32)
        assert parts["unet"].device.type == "meta"
    with pytest.raises(UserError, match=r"models\.resolution: 30 is no multiple of 4"):
        check_stable_diffusion(str(base), 30)


def save_encoder(base: Path, clip: CLIPModel, dtype=torch.float32) -> None:
    shutil.rmtree(base / "text_encoder")
    text_tower(clip).to(dtype).save_pretrained(base / "text_encoder")


def text_tower(clip: CLIPModel) -> CLIPTextModel:
    from demo.making.small_models import text_tower as tower

    return tower(clip)


def words_of(base: Path) -> tuple[CLIPTextModel, CLIPTokenizer]:
    encoder = CLIPTextModel.from_pretrained(base / "text_encoder", dtype=torch.float32)
    return encoder, CLIPTokenizer.from_pretrained(base / "tokenizer")


@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16])
def test_the_clip_of_the_text_encoder_is_taken_however_it_was_stored(base, models, stored):
    save_encoder(base, CLIPModel.from_pretrained(models / "clip"), stored)
    assert check_clip(str(models / "clip"), *words_of(base)) is None, "it raises for another CLIP"


def other_weights(clip: CLIPModel) -> CLIPModel:
    torch.manual_seed(5)
    return CLIPModel(clip.config)


def one_matrix(clip: CLIPModel) -> CLIPModel:
    torch.nn.init.normal_(clip.text_model.encoder.layers[1].mlp.fc2.weight, std=0.2)
    return clip


def one_layer_short(clip: CLIPModel) -> CLIPModel:
    clip.text_model.encoder.layers = clip.text_model.encoder.layers[:1]
    clip.config.text_config.num_hidden_layers = 1
    return clip


def last_layer_idle(clip: CLIPModel) -> CLIPModel:
    """As many layers by the config, but the last adds nothing."""
    last = clip.text_model.encoder.layers[-1]
    for weight in (*last.self_attn.out_proj.parameters(), *last.mlp.fc2.parameters()):
        torch.nn.init.zeros_(weight)
    return clip


@pytest.mark.parametrize("other", [other_weights, one_matrix, one_layer_short, last_layer_idle])
def test_another_text_encoder_of_the_same_width_is_refused(base, models, other):
    clip = CLIPModel.from_pretrained(models / "clip")
    save_encoder(base, other(clip))
    with pytest.raises(UserError, match=r"is not the CLIP that Stable Diffusion's text encoder came from") as error:
        check_clip(str(models / "clip"), *words_of(base))
    assert "set mapper.attribute_weight=0 and mapper.emotion_weight=0" in str(error.value).replace("or set", "set")
    assert "\n" not in str(error.value)


def test_another_tokenizer_is_refused(base, models, tmp_path):
    clip = Path(shutil.copytree(models / "clip", tmp_path / "clip"))
    tokenizer = json.loads((clip / "tokenizer.json").read_text())
    words = tokenizer["model"]["vocab"]
    ids = [id for word, id in words.items() if not word.startswith("<|")]
    shifted = dict(zip(ids, [*ids[1:], ids[0]], strict=True))
    tokenizer["model"]["vocab"] = {word: shifted.get(id, id) for word, id in words.items()}
    (clip / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(UserError, match=r"is not the CLIP .* by weights or by tokenizer"):
        check_clip(str(clip), *words_of(base))
    if REAL_TOKENIZER.is_dir():  # its words are too many for the tiny text tower
        for file in REAL_TOKENIZER.iterdir():
            shutil.copy(file, clip)
        (clip / "tokenizer.json").unlink()
        with pytest.raises(UserError, match=r"models\.clip: the tokenizer of .* has 49,408 words"):
            check_clip(str(clip), *words_of(base))


@pytest.fixture
def settings(prepared, tmp_path):
    """Return a function that makes settings of the prepared run, in a new run folder and with an empty cache."""

    def make(**changed):
        folder = tmp_path / "run"
        shutil.copytree(prepared["run"] / "balance", folder / "balance", dirs_exist_ok=True)
        return arguments(prepared | {"data.cache": tmp_path / "cache"}, run=folder, **changed)

    return make


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"models__clip": "openai/clip-vit-large-patch41"}, r"models\.clip: 'openai/clip-vit-large-patch41' is neither"),
        ({"models__clip": "{models}/backbone"}, r"models\.clip: .* is a model of the kind resnet, and clip is needed"),
        ({"models__backbone": "microsoft/resnet-05"}, r"models\.backbone: 'microsoft/resnet-05' is neither a folder"),
        ({"models__backbone": "{models}/bert"}, r"models\.backbone: .*bert gives no features of images"),
        ({"models__stable_diffusion": "{models}/clip"}, r"models\.stable_diffusion: .* no file named model_index.json"),
        ({"models__stable_diffusion": "nobody/none"}, r"models\.stable_diffusion: 'nobody/none' is neither a folder"),
        ({"machine__tracker": "wandb"}, r"machine\.tracker: wandb is not installed"),
        ({"emotion_space__imported": "{models}"}, r"emotion_space\.imported: no emotion space in"),
        ({"mapper__mixed_precision": "fp16"}, r"mapper\.mixed_precision: fp16 needs a GPU"),
        ({"mapper__batch_size": 4000}, r"mapper\.batch_size: an update takes 4000 images"),
        ({"mapper__attributes": "{models}/none.txt"}, r"mapper\.attributes: .*none\.txt cannot be read"),
        ({"data__cache": "{models}/clip/config.json/cache"}, r"data\.cache: .*/cache cannot be made, for .* is a file"),
        ({"models__resolution": 2048}, r"what the training caches and keeps takes .* make room"),
    ],
)
def test_a_mistake_is_told_before_anything_is_computed(settings, models, tmp_path, monkeypatch, changed, message):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    if "2048" in str(changed):
        usage = namedtuple("usage", "free")
        monkeypatch.setattr("shutil.disk_usage", lambda place: usage(10**7))
    if "bert" in str(changed):
        size = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=9)
        BertModel(BertConfig(**size)).save_pretrained(models / "bert")
    changed = {key: str(value).replace("{models}", str(models)) for key, value in changed.items()}
    with pytest.raises(UserError, match=message) as error:
        train(*settings(**changed))
    assert "\n" not in str(error.value)
    assert [path.name for path in (tmp_path / "cache").glob("*") if "index" not in path.name] == []
    assert not (tmp_path / "run/training/emotion_space").exists()


def test_splits_with_too_few_images_are_named():
    emotions = ["awe", "awe", "fear", "fear", "anger", "awe", "fear"]
    index = pd.DataFrame({"split": ["train"] * 5 + ["val"] * 2, "emotion": emotions})
    check_splits(index, ("awe", "fear"), 1)
    with pytest.raises(UserError, match=r"2 images in the val split; the emotion encoder needs more"):
        check_splits(index, ("awe", "fear"), 3)
    with pytest.raises(UserError, match=r"val split: no image of fear; confusability\.json needs each: check data\.emoset"):
        check_splits(index[:-1], ("awe", "fear"), 1)
    with pytest.raises(UserError, match=r"train split: fewer than two images of anger, joy; a Gaussian needs more"):
        check_splits(index, ("awe", "anger", "joy"), 1)


def test_check_writes_nothing_and_says_what_the_training_takes(settings, drawn, tmp_path, capsys):
    given = settings(check="true", emotion_space__epochs=3, mapper__ema=0.9)
    before = sorted(tmp_path.rglob("*"))
    train(*given)
    assert sorted(tmp_path.rglob("*")) == before
    shown = capsys.readouterr().out
    rows = pd.read_parquet(tmp_path / "run/balance/balanced.parquet")
    train_images, val_images = (len(json.loads((drawn / f"{split}.json").read_text())) for split in ("train", "val"))
    for line in (
        "All checks passed",
        "updates of the mapper: 4 of 8 images",
        f"updates of the emotion encoder: {3 * (train_images // 64)}, 3 epochs of {train_images} images (val {val_images})",
        f"images through the VAE: {rows['image_id'].nunique()}, each also mirrored",
        "disk, caches: ",
        "disk, run folder: up to ",
        "memory, mapper: ",
    ):
        assert line in shown


@pytest.fixture
def fresh_accelerator():
    """No state of an earlier training in this process, which had another precision."""
    AcceleratorState._reset_state(True)


@pytest.mark.usefixtures("fresh_accelerator")
def test_without_loss_weights_no_clip_is_asked_for(settings, capsys):
    """Whatever the CLIP is, it does not matter then."""
    rows = pd.DataFrame({"attribute": ["tree"] * 8})
    changed = {"mapper__attribute_weight": 0, "mapper__emotion_weight": 0, "models__clip": "no/such-clip"}
    assert not check_training(load(settings(**changed)), rows).compares
    train(*settings(**changed, mapper__max_train_steps=1))
    assert "the generator is in" in capsys.readouterr().out


def test_a_list_of_attributes(tmp_path):
    known = {"tree", "alarm clock", "street"}
    for name, content in {
        "text": "Tree\n\nalarm_clock\ntree\n", "json": '["tree", "Alarm clock"]', "mark": "\ufefftree\r\nalarm clock"
    }.items():  # fmt: skip
        (tmp_path / name).write_text(content, encoding="utf-8")
        assert read_attribute_list(tmp_path / name, known) == ["tree", "alarm clock"]
    for content, message in {
        "tree\nalarm clok\n": r"lists 'alarm clok' \(did you mean 'alarm clock'\?\), which info\.json does not list",
        "": "lists no attribute; use null for all",
        '{"tree": 1}': "is JSON, but no list of names",
        "[1, 2]": "is JSON, but no list of names",
        "[": "cannot be read as a text or a JSON list",
        "[" * 10**5: "cannot be read as a text or a JSON list",
        "version https://git-lfs.github.com/spec/v1\nsize 12\n": "is a Git LFS pointer to 12 bytes",
    }.items():
        (tmp_path / "list").write_text(content)
        with pytest.raises(UserError, match=message) as error:
            read_attribute_list(tmp_path / "list", known)
        assert "\n" not in str(error.value)


def test_the_moving_average_forgets_where_it_began():
    average = torch.tensor(1.0)  # the initial weights, and all later ones are 0
    for step in range(50):
        average.lerp_(torch.tensor(0.0), 1 - decay_at(step, 0.999))
    assert average.item() == 0
    assert [round(decay_at(step, 0.9), 3) for step in (0, 1, 8, 10**4)] == [0, 0.182, 0.5, 0.9]


def test_published_settings(tmp_path):
    """What config/emogen.yaml follows of EmoGen's code."""
    mapper = load(["--config", str(ROOT / "config/emogen.yaml")]).mapper
    followed = dict(max_gradient_norm=None, resize="squeeze", mirrored_vectors=False, alpha_discount=True, attributes=None)
    assert {name: getattr(mapper, name) for name in followed} == followed
    assert Mapper().model_dump(include=set(followed)) == followed | dict(
        max_gradient_norm=1.0, resize="crop", mirrored_vectors=True, alpha_discount=False
    )
