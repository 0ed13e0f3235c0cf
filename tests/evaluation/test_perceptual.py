"""LPIPS without weights, by hand and as the package computes it."""

import pytest
import torch
from numpy.testing import assert_allclose

from evaluation.perceptual import unweighted


def test_unweighted_lpips_by_hand():
    # One place: unit vectors (1, 0) and (0, 1) differ by 2; two places, of which one differs: by 1 on average.
    here, there = torch.tensor([[[[5.0]], [[0.0]]]]), torch.tensor([[[[0.0]], [[3.0]]]])
    half = (torch.tensor([[[[5.0, 1]], [[0.0, 1]]]]), torch.tensor([[[[0.0, 2]], [[3.0, 2]]]]))
    assert_allclose(unweighted((here, half[0]), (there, half[1])), [2 + 1], atol=1e-6)


def test_unweighted_lpips_is_that_of_the_package():
    pytest.importorskip("torchvision")
    lpips = pytest.importorskip("lpips")
    torch.manual_seed(0)
    package = lpips.LPIPS(net="alex", lpips=False, pnet_rand=True, verbose=False)
    first, second = torch.rand(2, 2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        stages = [package.net(package.scaling_layer(each)) for each in (first, second)]
        assert_allclose(unweighted(*stages), package(first, second).flatten(), rtol=1e-4)
