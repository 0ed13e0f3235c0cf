import re
import shutil
from pathlib import Path

import diffusers
import pytest
import torch
import transformers
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from huggingface_hub.utils import are_progress_bars_disabled
from safetensors.torch import load_file, save_file
from transformers import AutoModel, CLIPModel, CLIPTokenizer, ResNetModel

from config.errors import UserError
from config.section import ROOT
from runtime import hub
from runtime.hub import check_pipeline, hide_loading, load_model, weights_digest
from runtime.tensors import read_tensors

MODELS = ROOT / "demo" / "models"
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'6' * 64}\nsize 108913577\n"
WEIGHTS = {part: f"{part}/diffusion_pytorch_model.safetensors" for part in ("unet", "vae")}
WEIGHTS["text_encoder"] = "text_encoder/model.safetensors"


def test_a_download_shows_its_bar_and_loading_does_not():
    hide_loading(transformers, diffusers)
    assert not transformers.utils.logging.is_progress_bar_enabled()
    assert not diffusers.utils.logging.is_progress_bar_enabled()
    assert not are_progress_bars_disabled()


@pytest.fixture
def stable(tmp_path) -> Path:
    return Path(shutil.copytree(MODELS / "stable_diffusion", tmp_path / "stable"))


def load_stable(folder: Path) -> StableDiffusionPipeline:
    options = dict(safety_checker=None, requires_safety_checker=False, dtype=torch.float32)
    return load_model(StableDiffusionPipeline, str(folder), "models.stable_diffusion", **options)


def refused(kind, folder: Path, **options) -> str:
    """The one line with which a model is refused."""
    with pytest.raises(UserError) as error:
        load_stable(folder) if kind is StableDiffusionPipeline else load_model(kind, str(folder), "models.it", **options)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith("models.")
    assert str(folder) in message
    assert "neither a folder" not in message
    return message


def without(path: Path, count: int) -> None:
    weights = load_file(path)
    save_file({name: weights[name] for name in sorted(weights)[count:]}, path, {"format": "pt"})


@pytest.mark.parametrize("part", WEIGHTS)
def test_a_part_of_a_pipeline_that_lacks_weights_is_named(part, stable):
    first = sorted(load_file(stable / WEIGHTS[part]))[:5]
    without(stable / WEIGHTS[part], 5)
    message = refused(StableDiffusionPipeline, stable)
    assert message.endswith(f"it lacks the weights {', '.join(first[:3])} and 2 more")
    assert f"{stable}/{part}" in message


def test_a_model_that_lacks_weights_is_named_whatever_its_library(stable, tmp_path):
    without(stable / WEIGHTS["unet"], 1)
    assert "is no whole UNet2DConditionModel: it lacks the weights conv_in.bias" in refused(
        UNet2DConditionModel, stable / "unet"
    )
    shutil.copytree(MODELS / "clip", tmp_path / "clip")
    without(tmp_path / "clip/model.safetensors", 1)
    assert refused(CLIPModel, tmp_path / "clip").endswith("is no whole CLIPModel: it lacks the weights logit_scale")
    assert load_model(CLIPModel, str(tmp_path / "clip"), "models.it", added=["logit_"], device_map="meta")


@pytest.mark.parametrize("part", WEIGHTS)
def test_weights_of_another_shape_are_named(part, stable):
    weights = load_file(stable / WEIGHTS[part])
    name = min(weights)
    shape = " x ".join(map(str, weights[name].shape))
    save_file(weights | {name: torch.zeros(3, 5)}, stable / WEIGHTS[part], {"format": "pt"})
    assert refused(StableDiffusionPipeline, stable).endswith(
        f"its weights have other shapes: {name} 3 x 5 instead of {shape}"
    )


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        *((WEIGHTS[part], cut, rf"{part}.*safetensors is damaged") for part in WEIGHTS for cut in (b"", b"\x99" * 99)),
        *((WEIGHTS[part], None, rf"{part}.*(o file named|cannot be loaded)") for part in WEIGHTS),
        *((file, POINTER.encode(), rf"{file} is a Git LFS pointer to 108,913,577 bytes.*`git lfs pull`") for file in
          [*WEIGHTS.values(), "tokenizer/tokenizer.json", "model_index.json"]),
        *((file, b"{", rf"{file.rpartition('/')[2]} is damaged") for file in
          ["model_index.json", "unet/config.json", "scheduler/scheduler_config.json", "tokenizer/tokenizer.json"]),
        ("model_index.json", None, "no file named model_index.json"),
        ("tokenizer/tokenizer.json", None, "tokenizer' holds no tokenizer: no "),
        ("vae", None, "it lacks the folder vae"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_pipelines_folder_is_told(file, content, told, stable):
    path = stable / file
    if content is not None:
        path.write_bytes(content)
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    assert re.search(told, refused(StableDiffusionPipeline, stable))


def test_a_folder_of_half_precision_variants_is_read(stable):
    whole = load_stable(stable)
    for path in [*stable.rglob("*.safetensors")]:
        path.rename(path.with_name(path.name.replace(".safetensors", ".fp16.safetensors")))
    again = load_stable(stable)
    for part in WEIGHTS:
        weights = getattr(again, part).state_dict()
        assert all(torch.equal(weight, weights[name]) for name, weight in getattr(whole, part).state_dict().items())
        assert load_model(AutoModel if part == "text_encoder" else type(getattr(again, part)), str(stable / part), "it")


def test_a_file_that_is_no_pipeline_is_refused(stable, monkeypatch):
    file = MODELS / "clip/model.safetensors"
    assert refused(CLIPModel, file).endswith("is a file; name the folder of the model")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "cannot be loaded as StableDiffusionPipeline: " in refused(StableDiffusionPipeline, file)
    pickled, cut = stable / "model.ckpt", stable / "model.safetensors"
    pickled.write_bytes(b"pickled")
    assert "may hold a pickle, of which none are loaded" in refused(StableDiffusionPipeline, pickled)
    cut.write_bytes(file.read_bytes()[:1000])
    assert "model.safetensors is damaged" in refused(StableDiffusionPipeline, cut)


def test_a_model_of_another_kind_is_told_as_one():
    assert refused(CLIPModel, MODELS / "backbone").endswith("is a model of the kind resnet, and clip is needed")
    assert refused(ResNetModel, MODELS / "clip").endswith("is a model of the kind clip, and resnet is needed")
    assert "holds no tokenizer: no merges.txt" in refused(CLIPTokenizer, MODELS / "backbone")
    assert "no file named model_index.json" in refused(StableDiffusionPipeline, MODELS / "clip")


@pytest.mark.parametrize("name", ["/no/where", "no such name", "somebody/no-such-model"])
@pytest.mark.parametrize("kind", [CLIPModel, StableDiffusionPipeline])
def test_what_is_neither_here_nor_on_the_hub_is_told_as_that(kind, name, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="nor a name on the Hub that was downloaded before") as error:
        load_model(kind, name, "models.it")
    assert "\n" not in str(error.value)


def test_a_check_reads_no_numbers():
    folder, parts = check_pipeline(StableDiffusionPipeline, str(MODELS / "stable_diffusion"), "it", safety_checker=None)
    assert folder == MODELS / "stable_diffusion"
    assert {name: part.device.type for name, part in parts.items()} == dict.fromkeys(WEIGHTS, "meta")


def test_a_pointer_in_the_place_of_tensors_is_told(tmp_path):
    (tmp_path / "best.pth").write_text(POINTER)
    with pytest.raises(UserError, match=r"it: best\.pth is a Git LFS pointer to 108,913,577 bytes.*`git lfs pull`"):
        read_tensors(tmp_path / "best.pth", dict, "it")


@pytest.mark.parametrize("content", [b"# A text\n", b"", b"(l.", b"\x80\x02.", b"c\xff\n", b"PK\x03\x04", b"\x89PNG\r\n"])
def test_a_file_of_another_kind_is_one_line_without_torchs_words(tmp_path, content):
    (tmp_path / "README.md").write_bytes(content)
    with pytest.raises(UserError, match=r"^it: README\.md is no file of tensors .* and no model's folder, [^\n]*another$"):
        read_tensors(tmp_path / "README.md", dict, "it")
    with pytest.raises(UserError, match=r"README\.md' is a file"):
        load_model(CLIPModel, str(tmp_path / "README.md"), "it")


def test_a_hub_that_cannot_be_reached_is_asked_once(monkeypatch):
    asked = []

    class Session:
        def head(self, url, timeout):
            asked.append(url)
            raise OSError("Name or service not known")

    monkeypatch.setattr(hub, "get_session", Session)
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    hub.hub_obstacle.cache_clear()
    for name in ("org/one", "org/two"):
        message = rf"^models\.clip: '{name}'.* the Hub cannot be reached \(.*Name or service not known\)"
        with pytest.raises(UserError, match=message):
            hub.load_model(CLIPModel, name, "models.clip")
    assert len(asked) == 1
    hub.hub_obstacle.cache_clear()


def test_weights_in_bin_tell_models_apart_where_there_are_no_others(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    alone = weights_digest(str(tmp_path))
    (tmp_path / "training_args.bin").write_bytes(b"of a checkpoint")
    assert weights_digest(str(tmp_path)) == alone
    (tmp_path / "pytorch_model-00001-of-00002.bin").write_bytes(b"one")
    first = weights_digest(str(tmp_path))
    (tmp_path / "pytorch_model-00001-of-00002.bin").write_bytes(b"two")
    assert len({alone, first, weights_digest(str(tmp_path))}) == 3
    (tmp_path / "model.safetensors").write_bytes(b"what is loaded")
    both = weights_digest(str(tmp_path))
    (tmp_path / "pytorch_model-00001-of-00002.bin").unlink()
    assert weights_digest(str(tmp_path)) == both
