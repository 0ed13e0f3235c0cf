"""The networks that metrics are made of: torchvision's weights, packages that are missing, features that are kept."""

import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch.nn.functional import batch_norm, conv2d, max_pool2d

from config.errors import UserError
from emoset.images import load_image
from evaluation import networks, perceptual
from evaluation.features import feature_cache
from evaluation.measure_generation import measure_generation
from evaluation.networks import classifier, fid_network
from runtime import figures
from runtime.hub import load_model

DEPTHS = (3, 4, 6, 3)  # of ResNet-50


@pytest.fixture(scope="module")
def weights():
    """Random weights of a ResNet-50 that tells five classes, as torchvision names them; whole ones in half precision."""
    rng = torch.Generator().manual_seed(0)
    shapes = {"conv1": (64, 3, 7, 7), "bn1": (64,), "fc": (5, 2048)}
    width = 64
    for stage, depth in enumerate(DEPTHS, 1):
        inner = 32 * 2**stage
        for block in range(depth):
            name = f"layer{stage}.{block}"
            shapes |= {f"{name}.conv1": (inner, width, 1, 1), f"{name}.conv2": (inner, inner, 3, 3)}
            shapes |= {f"{name}.conv3": (4 * inner, inner, 1, 1), f"{name}.bn1": (inner,), f"{name}.bn2": (inner,)}
            shapes[f"{name}.bn3"] = (4 * inner,)
            if block == 0:
                shapes |= {f"{name}.downsample.0": (4 * inner, width, 1, 1), f"{name}.downsample.1": (4 * inner,)}
            width = 4 * inner
    found = {}
    for name, shape in shapes.items():
        spread = np.sqrt(2 / np.prod(shape[1:])) if len(shape) > 1 else 0.5
        found[f"{name}.weight"] = torch.randn(shape, generator=rng) * spread
        if len(shape) == 1:
            found[f"{name}.running_mean"] = torch.randn(shape, generator=rng)
            found[f"{name}.running_var"] = torch.rand(shape, generator=rng) + 0.5
        if len(shape) == 1 or name == "fc":
            found[f"{name}.bias"] = torch.randn(shape[:1], generator=rng)
    return {name: weight.half() for name, weight in found.items()}


def logits_of(weights, x):
    """Return what torchvision's ResNet-50 says, written out."""

    def conv(x, name, **options):
        return conv2d(x, weights[f"{name}.weight"].float(), **options)

    def norm(x, name):
        parts = ("running_mean", "running_var", "weight", "bias")
        return batch_norm(x, *(weights[f"{name}.{part}"].float() for part in parts))

    x = max_pool2d(norm(conv(x, "conv1", stride=2, padding=3), "bn1").relu(), 3, stride=2, padding=1)
    for stage, depth in enumerate(DEPTHS, 1):
        for block in range(depth):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = norm(conv(x, f"{name}.conv1"), f"{name}.bn1").relu()
            y = norm(conv(y, f"{name}.conv2", stride=stride, padding=1), f"{name}.bn2").relu()
            y = norm(conv(y, f"{name}.conv3"), f"{name}.bn3")
            if block == 0:
                x = norm(conv(x, f"{name}.downsample.0", stride=stride), f"{name}.downsample.1")
            x = (x + y).relu()
    return x.mean((2, 3)) @ weights["fc.weight"].float().T + weights["fc.bias"].float()


@pytest.mark.parametrize("name", ["resnet50-0676ba61.pth", "resnet50_places365.pth.tar"])
def test_weights_with_torchvisions_names_say_what_they_say_there(weights, tmp_path, name):
    content = weights
    if name.endswith(".tar"):  # as Places365's are kept
        content = {"arch": "resnet50", "state_dict": {f"module.{part}": weight for part, weight in weights.items()}}
    torch.save(content, tmp_path / name)
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 256, (*size, 3)).astype(np.uint8)) for size in ((256, 300), (240, 224))]
    with torch.no_grad():
        found = classifier(str(tmp_path / name), "evaluate.object_classifier")(images)
        expected = logits_of(weights, torch.from_numpy(np.stack(list(map(networks._as_torchvision, images)))))
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())


def test_weights_of_another_network_are_one_line(tmp_path):
    file = tmp_path / "other.pth"
    for content, reason in (({"weight": torch.zeros(3)}, "no fc.bias"), ({"fc.bias": torch.zeros(3)}, "Missing key")):
        torch.save(content, file)
        with pytest.raises(UserError, match=rf"^evaluate\.scene_classifier: other\.pth .*ResNet-50 \({reason}") as error:
            classifier(str(file), "evaluate.scene_classifier")
        assert "\n" not in str(error.value)


def test_images_are_cut_as_torchvision_cuts_them():
    columns, rows = np.arange(303, dtype=np.uint8), np.arange(256, dtype=np.uint8)
    places = np.stack([*np.broadcast_arrays(columns[None], rows[:, None]), np.full((256, 303), 51, np.uint8)], axis=2)
    halves = np.repeat([[0] * 512 + [255] * 512], 512, axis=0).astype(np.uint8)  # twice as wide as high, twice as large
    images = [Image.fromarray(each).convert("RGB") for each in (places, halves)]
    found = torch.from_numpy(np.stack(list(map(networks._as_torchvision, images))))
    assert found.shape == (2, 3, 224, 224)
    unit = found * torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1) + torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    # 256 high already: 16 are cut off at the top, and 39.5 at the left, which rounds to 40.
    np.testing.assert_allclose(unit[0, :, 0, 0] * 255, [40, 16, 51], atol=1e-3)
    np.testing.assert_allclose(unit[0, :, 223, 210] * 255, [250, 239, 51], atol=1e-3)
    # Halved to 512 x 256, then cut out from column 144 on: the border, at 256, comes to lie at 112.
    np.testing.assert_allclose(unit[1, 0, 100, [0, 110, 113, 223]], [0, 0, 1, 1], atol=1e-6)


@pytest.mark.parametrize(
    ("package", "setting", "load"),
    [
        (
            "torch_fidelity",
            {"fid_network": "inception"},
            lambda settings: fid_network(settings.evaluate.fid_network, published=False),
        ),
        ("lpips", {"lpips_network": "alex"}, lambda settings: perceptual.load_lpips(settings.evaluate.lpips_network)),
    ],
)
def test_a_package_that_is_not_installed_is_one_line(quick, monkeypatch, package, setting, load):
    monkeypatch.setitem(sys.modules, package, None)
    (name,) = setting
    with pytest.raises(UserError, match=rf"^evaluate\.{name}: .*{package}.*pip install .*==") as error:
        load(quick(**setting))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("published", [True, False])
def test_inception_gets_whole_numbers_and_the_size_that_it_was_trained_for(monkeypatch, published):
    """torch-fidelity's takes uint8, and gives a tuple of the features that it was asked for."""

    class Inception(torch.nn.Module):
        def __init__(self, name, features_list):
            super().__init__()
            assert (name, features_list) == ("inception-v3-compat", ["2048"])

        def forward(self, x):
            assert (x.dtype, x.shape[1:]) == (torch.uint8, (3, 299, 299))
            return (x.float().mean((2, 3)),)

    fetched = []
    extractor = SimpleNamespace(URL_INCEPTION_V3="url", FeatureExtractorInceptionV3=Inception)
    monkeypatch.setitem(sys.modules, "torch_fidelity", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", extractor)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda url, **options: fetched.append((url, options)))
    monkeypatch.setattr(networks, "_inception", networks._inception.__wrapped__)
    network = fid_network("inception", published)
    halves = np.repeat([[0] * 99 + [255] * 201], 100, axis=0).astype(np.uint8)  # three times as wide as high
    found = network([Image.fromarray(halves).convert("RGB"), Image.new("RGB", (20, 40), (0, 100, 255))])
    white = 255 * 2 / 3 if published else 255  # squeezed, a third is black; that is not in the middle square
    np.testing.assert_allclose(found, [[white] * 3, [0, 100, 255]], atol=2)
    assert fetched == [("url", {"map_location": "cpu", "weights_only": True})], "no pickle"


def test_lpips_of_the_package_gets_its_range_but_in_the_published_column_half_of_it(quick, monkeypatch, tmp_path):
    class Alex(torch.nn.Module):
        def __init__(self, **options):
            super().__init__()
            assert options == {"net": "alex", "verbose": False}

        def forward(self, first, second):
            assert first.shape == second.shape == (len(first), 3, 32, 32)
            return 10 * first.mean((1, 2, 3), keepdim=True) + second.mean((1, 2, 3), keepdim=True)

    fetched, weights = [], SimpleNamespace(IMAGENET1K_V1=SimpleNamespace(url="url"))
    monkeypatch.setitem(sys.modules, "lpips", SimpleNamespace(LPIPS=Alex))
    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "torchvision.models", SimpleNamespace(AlexNet_Weights=weights))
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda url, **options: fetched.append((url, options)))
    monkeypatch.setattr(perceptual, "load_lpips", perceptual.load_lpips.__wrapped__)
    paths = [tmp_path / f"{shade}.png" for shade in (0, 255)]
    for path in paths:
        Image.new("L", (32, 32), int(path.stem)).convert("RGB").save(path)
    images, pairs = pd.DataFrame({"image_id": ["black", "white"], "path": paths}), np.array([[0, 1], [1, 0], [1, 1]])
    lpips = perceptual.Lpips("alex", 32, feature_cache(quick().data, quick().evaluate))
    assert lpips.distances(images, pairs).tolist() == [-9, 9, 11]
    assert lpips.distances(images, pairs, published=True).tolist() == [1, 10, 11]
    assert fetched[0] == ("url", {"map_location": "cpu", "check_hash": True, "weights_only": True}), "no pickle"


def test_each_network_is_loaded_once_and_a_second_measurement_asks_none_and_says_the_same(
    quick, drawn, monkeypatch, tmp_path
):
    settings = quick(generators=[str(drawn / "image")], judge=None)  # a probe, which needs CLIP too
    settings = settings.model_copy(
        update={"generate": settings.generate.model_copy(update={"generator": None})}  # no images to make
    )
    monkeypatch.setattr(figures, "RESAMPLES", 50)
    loads = []

    def counting(kind, name, setting, **options):
        loads.append((kind.__name__, setting))
        return load_model(kind, name, setting, **options)

    for module in (networks, perceptual):
        monkeypatch.setattr(module, "load_model", counting)
    for each in (networks.loaded, perceptual.load_lpips):
        each.cache_clear()
    before = measure_generation(settings, tmp_path)["figures"]
    models = [load for load in loads if load[0] not in ("AutoImageProcessor", "AutoTokenizer")]
    assert len(set(models)) == len(models) == 5, models

    def refuse(*_):
        raise AssertionError("a network was asked again")

    def refusing(key, run, *options, **others):
        return original(key, run if key.startswith("black clip") else refuse, *options, **others)  # black ones are not kept

    original, lpips_key = networks.Network, perceptual.load_lpips(settings.evaluate.lpips_network)[0]
    monkeypatch.setattr(networks, "Network", refusing)
    monkeypatch.setattr(perceptual, "load_lpips", lambda _: (lpips_key, refuse))
    assert measure_generation(settings, tmp_path)["figures"] == before
    image = load_image(next((drawn / "image").rglob("*.jpg")))
    with pytest.raises(AssertionError, match="asked again"):  # and this would have been noticed
        networks.clip_network(settings.models.clip)([image])
