"""A batch of several conditions is each of them alone: every input with a row for each image goes with the others."""

import pytest
import torch
from diffusers import UNet2DConditionModel

from config.errors import UserError
from training.composed_guidance import composed

IMAGES, LENGTH, WIDTH = 2, 5, 32
WEIGHTS = (0.4, 0.6)
SIZE = dict(
    sample_size=8,
    down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    block_out_channels=(16, 32),
    layers_per_block=1,
    cross_attention_dim=WIDTH,
    attention_head_dim=2,
    norm_num_groups=8,
)


@pytest.fixture(scope="module")
def unets() -> dict[str, UNet2DConditionModel]:
    torch.manual_seed(0)
    plain, with_image = UNet2DConditionModel(**SIZE), UNet2DConditionModel(**SIZE)
    taking_all = UNet2DConditionModel(**SIZE, time_cond_proj_dim=6, num_class_embeds=9, attention_type="gated")
    for name, weight in taking_all.named_parameters():
        if "alpha" in name:  # GLIGEN's gates, which are shut at first
            weight.data.fill_(1.0)
    with_image._load_ip_adapter_weights([ip_adapter(with_image)])
    return {"plain": plain, "all": taking_all, "image": with_image}


def ip_adapter(unet: UNet2DConditionModel, tokens: int = 4, dimension: int = 12) -> dict:
    """The weights of a random IP-Adapter."""
    sizes = {"proj.weight": (tokens * WIDTH, dimension), "proj.bias": (tokens * WIDTH,)}
    sizes |= {"norm.weight": (WIDTH,), "norm.bias": (WIDTH,)}
    own = [module for name, module in unet.named_modules() if name.endswith("attn2.to_k")]
    keys = [f"{2 * place + 1}.to_{kind}_ip.weight" for place in range(len(own)) for kind in "kv"]
    widths = [module.weight.shape[0] for module in own for _ in "kv"]
    return {
        "image_proj": {name: torch.randn(size) for name, size in sizes.items()},
        "ip_adapter": {key: torch.randn(width, WIDTH) for key, width in zip(keys, widths, strict=True)},
    }


def rows(*shape: int) -> torch.Tensor:
    """Another value for each row of a guided batch."""
    return torch.randn(2 * IMAGES, *shape)


INPUTS = {
    "nothing": ("plain", dict),
    "a timestep for each row": ("plain", lambda: {"timestep": torch.tensor([3, 50, 300, 700])}),
    "encoder_attention_mask": (
        "plain",
        lambda: {"encoder_attention_mask": torch.tensor([[1] * 3 + [0] * 2, [1] * 5, [1] * 2 + [0] * 3, [1] + [0] * 4])},
    ),
    "ControlNet": (
        "plain",
        lambda: {
            "down_block_additional_residuals": tuple(rows(*shape) for shape in [(16, 8, 8)] * 2 + [(16, 4, 4), (32, 4, 4)]),
            "mid_block_additional_residual": rows(32, 4, 4),
        },
    ),
    "T2I-Adapter": ("plain", lambda: {"down_intrablock_additional_residuals": [rows(16, 8, 8), rows(32, 4, 4)]}),
    "IP-Adapter": ("image", lambda: {"added_cond_kwargs": {"image_embeds": [rows(1, 12)]}}),
    "IP-Adapter with masks": (
        "image",
        lambda: {
            "added_cond_kwargs": {"image_embeds": [rows(1, 12)]},
            "cross_attention_kwargs": {"ip_adapter_masks": torch.rand(1, 1, 16, 16).round()},
        },
    ),
    "timestep_cond, class_labels and GLIGEN": (
        "all",
        lambda: {
            "timestep_cond": rows(6),
            "class_labels": torch.tensor([1, 2, 3, 4]),
            "cross_attention_kwargs": {
                "gligen": {
                    "boxes": rows(3, 4).sigmoid(),
                    "positive_embeddings": rows(3, WIDTH),
                    "masks": rows(3).gt(0).float(),
                }
            },
        },
    ),
}


@torch.no_grad()
def assert_composed(unet: UNet2DConditionModel, make_inputs, call) -> None:
    """Assert that the composed prediction is the weighted sum of those of each condition alone."""
    torch.manual_seed(1)
    sample, each = rows(4, 8, 8), [rows(LENGTH, WIDTH) for _ in WEIGHTS]
    for states in each:
        states[:IMAGES] = each[0][:IMAGES]  # the empty prompt's

    def inputs() -> dict:
        torch.manual_seed(2)
        return {"timestep": torch.tensor(300)} | make_inputs()

    apart = [call(unet, sample, states, inputs())[0] for states in each]
    with composed(unet, WEIGHTS, IMAGES):
        together = call(unet, sample, torch.cat(each, dim=1), inputs())[0]
    expected = sum(weight * prediction for weight, prediction in zip(WEIGHTS, apart, strict=True))
    assert together.shape == sample.shape
    assert torch.allclose(together, expected, atol=1e-5)
    assert not torch.allclose(apart[0][IMAGES:], apart[1][IMAGES:], atol=1e-3), "the test would pass for any weights"
    assert not unet._forward_hooks
    assert not unet._forward_pre_hooks


def by_keyword(unet, sample, states, options):
    timestep = options.pop("timestep")
    return unet(sample, timestep, encoder_hidden_states=states, return_dict=False, **options)


@pytest.mark.parametrize("what", INPUTS)
def test_what_has_a_row_for_each_image_goes_with_the_others(unets, what):
    name, make_inputs = INPUTS[what]
    assert_composed(unets[name], make_inputs, by_keyword)


@pytest.mark.parametrize(
    "call",
    [
        lambda unet, sample, states, options: unet(sample, options["timestep"], states),
        lambda unet, sample, states, options: unet(
            sample=sample, timestep=options["timestep"], encoder_hidden_states=states
        ),
    ],
    ids=["by place", "all by name"],
)
def test_however_the_unet_is_called(unets, call):
    assert_composed(unets["plain"], INPUTS["a timestep for each row"][1], call)


def test_without_guidance_one_image_and_masks_of_one_adapter(unets):
    """A batch of one row is as long as what belongs to all rows: it must not be taken for a row."""
    unet, states = unets["image"], torch.randn(1, 2 * LENGTH, WIDTH)
    options = {"added_cond_kwargs": {"image_embeds": [torch.randn(1, 1, 12)]}, "return_dict": False}
    options["cross_attention_kwargs"] = {"ip_adapter_masks": torch.rand(1, 1, 16, 16).round()}
    sample = torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        first, second = (unet(sample, 9, encoder_hidden_states=each, **options)[0] for each in states.chunk(2, dim=1))
        with composed(unet, WEIGHTS, 1):
            mixed = unet(sample, 9, encoder_hidden_states=states, **options)[0]
    assert torch.allclose(mixed, 0.4 * first + 0.6 * second, atol=1e-5)


class Small(torch.nn.Module):
    """A U-Net of one layer, for torch.compile takes half a minute of a larger one."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(WIDTH, 4)

    def forward(self, sample, timestep, encoder_hidden_states, return_dict):
        return (sample + self.layer(encoder_hidden_states).mean(1)[..., None, None],)


def test_a_compiled_unet_mixes_or_is_refused():
    unet = Small()
    assert_composed(torch.compile(unet, backend="eager"), dict, by_keyword)
    unet.compile(backend="eager")
    with pytest.raises(UserError, match=r"was compiled in place, .* use pipe.unet = torch.compile"):
        assert_composed(unet, dict, by_keyword)
