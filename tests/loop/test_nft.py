"""DiffusionNFT: advantages, signed weights and the loss on values computed by hand, and against its published form."""

from types import SimpleNamespace

import pytest
import torch

from loop.candidates import Candidates
from loop.nft import NftModule, advantages, agreement, nft_loss, signed_weights


def test_advantages_are_by_group_and_in_standard_deviations_of_all():
    rewards = torch.tensor([[1.0, 3.0], [5.0, 5.0]])
    # the mean square about 3.5 is (6.25 + .25 + 2.25 + 2.25) / 3 = 11 / 3
    assert torch.allclose(advantages(rewards), torch.tensor([[-1.0, 1.0], [0.0, 0.0]]) / (11 / 3) ** 0.5)


def test_equal_rewards_move_nothing():
    assert torch.equal(advantages(torch.full((2, 3), -1.0)), torch.zeros(2, 3))


def test_near_rewards_of_a_file_have_weights_in_float32():
    rewards = torch.tensor([1e6, 1e6 + 1e-3], dtype=torch.float64)
    found = Candidates([], [], {"reward": rewards, "felt": rewards, "gate": torch.tensor([-2.0, -1.0])}, 2).weights()
    assert found.dtype == torch.float32
    assert torch.allclose(found, torch.tensor([-0.5, 0.5]) / 2**0.5, atol=1e-4)


def test_weights_are_clipped_gated_and_of_zero_mean():
    advantage = torch.tensor([[4.0, 1.0], [-1.0, -3.0]])
    agreed = torch.tensor([[True, True], [True, False]])
    # clip(A, ±2) / 2 = 1, .5, -.5 and one that does not count; their mean is 1/3
    expected = torch.tensor([[2 / 3, 1 / 6], [-5 / 6, 0.0]])
    assert torch.allclose(signed_weights(advantage, agreed), expected)
    assert torch.equal(signed_weights(advantage, torch.zeros(2, 2, dtype=bool)), torch.zeros(2, 2))


def test_the_gate_disagrees_about_an_image_that_it_finds_worse_than_its_group():
    reward = torch.tensor([[0.0, 1.0, 2.0]])
    assert agreement(reward, torch.tensor([[-5.0, -6.0, -1.0]])).tolist() == [[True, True, True]]
    assert agreement(reward, torch.tensor([[-1.0, -6.0, -5.0]])).tolist() == [[False, True, False]]


def test_the_loss_by_hand():
    predicted, old, target = (torch.full((1, 1, 1, 2), value) for value in (1.0, 2.0, 4.0))
    losses = {pull: nft_loss(predicted, old, target, torch.tensor([pull])).item() for pull in (1.0, 0.0, 2.0, -1.0)}
    # the targets are 4 (the ordinary loss), 2 (the old prediction), 6 and 0
    assert losses == {1.0: 9.0, 0.0: 1.0, 2.0: 25.0, -1.0: 1.0}


@pytest.mark.parametrize("beta", [0.1, 0.5, 1.0])
def test_its_gradient_is_that_of_the_two_policies_of_the_paper(beta):
    generator = torch.Generator().manual_seed(0)
    old, target = torch.randn((2, 4, 3, 8, 8), generator=generator, dtype=torch.float64)
    predicted = torch.randn((4, 3, 8, 8), generator=generator, dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([1.0, 0.3, 0.0, -0.7], dtype=torch.float64)
    share = ((1 + weights) / 2)[:, None, None, None]  # r
    better, worse = (1 - beta) * old + beta * predicted, (1 + beta) * old - beta * predicted
    published = share * (better - target) ** 2 + (1 - share) * (worse - target) ** 2
    (expected,) = torch.autograd.grad(published.sum(), predicted)
    ours = torch.nn.functional.mse_loss(
        predicted, old + (weights / beta)[:, None, None, None] * (target - old), reduction="sum"
    )
    (found,) = torch.autograd.grad(ours, predicted)
    assert torch.allclose(beta**2 * found, expected)
    (own,) = torch.autograd.grad(nft_loss(predicted, old, target, weights / beta).sum(), predicted)
    assert torch.allclose(own * 3 * 8 * 8, found, rtol=1e-4, atol=1e-5)  # a mean over the numbers of an image


class Line(NftModule):
    """Predicts `weight` times the batch's x."""

    def __init__(self):
        torch.nn.Module.__init__(self)
        self.mapper = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.constant_(self.mapper.weight, 2.0)

    def trained_weights(self):
        return {"mapper.weight": self.mapper.weight}

    def predict(self, batch):
        return None, (self.mapper.weight * batch.x).view(-1, 1, 1, 1)


def test_the_old_prediction_is_that_of_the_weights_at_the_start():
    module = Line().remember()
    with torch.no_grad():
        module.mapper.weight.fill_(3.0)
    scale, target = torch.tensor([2.0, 0.5]), torch.full((2, 1, 1, 1), 4.0)
    batch = SimpleNamespace(x=torch.tensor([1.0, 1.0]), pull=torch.tensor([-1.0, 1.0]), scale=scale)
    loss = module.diffusion(module.predict(batch)[1], target, batch)
    # predicted 3, old 2: the first target is 2 - (4 - 2) = 0, the second the ordinary one
    assert loss.tolist() == [2.0 * 9, 0.5 * 1]
    (gradient,) = torch.autograd.grad(loss.sum(), module.mapper.weight)
    assert gradient.item() == 2.0 * 2 * 3 + 0.5 * 2 * (3 - 4)  # none flows through the old prediction
