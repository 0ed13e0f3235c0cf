"""The losses on values computed by hand."""

from math import exp, log

import pytest
import torch

from training.losses import attribute_loss, diffusion_loss, emotion_loss, total_loss


def test_diffusion_loss_is_a_mean_for_each_image():
    predicted = torch.tensor([[[[1.0, 2.0]]], [[[0.0, 0.0]]]])
    target = torch.tensor([[[[0.0, 0.0]]], [[[0.0, 2.0]]]])
    assert diffusion_loss(predicted, target).tolist() == [2.5, 2.0]


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_attribute_loss_is_over_cosines_whatever_the_lengths(temperature):
    texts = torch.tensor([[2.0, 0.0], [0.0, 5.0]])
    attributes = torch.tensor([[3.0, 0.0], [0.0, 0.5], [-1.0, 0.0]])
    first = -log(exp(1 / temperature) / (exp(1 / temperature) + 1 + exp(-1 / temperature)))
    second = -log(1 / (1 + exp(1 / temperature) + 1))
    got = attribute_loss(texts, attributes, torch.tensor([0, 0]), temperature)
    assert got.tolist() == pytest.approx([first, second], rel=1e-4, abs=1e-6)


def test_without_a_temperature_the_attribute_loss_hardly_has_a_gradient():
    torch.manual_seed(0)
    texts, attributes = torch.randn(4, 64), torch.randn(278, 64)
    targets = torch.arange(4)
    gradients = []
    for temperature in (1.0, 0.07):
        leaf = texts.clone().requires_grad_()
        attribute_loss(leaf, attributes, targets, temperature).sum().backward()
        gradients.append(leaf.grad.norm().item())
    assert attribute_loss(texts, attributes, targets, 1.0).mean().item() == pytest.approx(log(278), abs=0.2)
    assert gradients[1] > 5 * gradients[0]


def test_emotion_loss():
    weight, bias = torch.tensor([[1.0], [0.0]]), torch.tensor([0.0, 0.5])
    got = emotion_loss(torch.tensor([[2.0]]), weight, bias, torch.tensor([1]))
    assert got.item() == pytest.approx(-log(exp(0.5) / (exp(2) + exp(0.5))), rel=1e-5)


def test_total_loss_is_the_published_one():
    parts = [torch.tensor([value]) for value in (0.5, 4.0, 3.0, 0.2)]
    assert total_loss(*parts, 0.01, 0.0, discounted=True).item() == pytest.approx(0.8 * 0.5 + 0.01 * 0.2 * 4)
    assert total_loss(*parts, 0.0, 0.1, discounted=True).item() == pytest.approx(0.8 * 0.5 + 0.1 * 3)


def test_undiscounted_the_diffusion_loss_counts_fully():
    parts = [torch.tensor([value]) for value in (0.5, 4.0, 3.0, 0.2)]
    assert total_loss(*parts, 0.01, 0.1, discounted=False).item() == pytest.approx(0.5 + 0.01 * 0.2 * 4 + 0.1 * 3)


def test_an_attribute_that_does_not_count_has_no_loss():
    texts, attributes = torch.eye(3)[:2], torch.eye(3)
    losses = attribute_loss(texts, attributes, torch.tensor([-1, 1]), 1.0)
    assert losses.tolist() == pytest.approx([0, log(exp(1) + 2) - 1])
