"""Masked networks over pixels: what each pixel depends on, with an autograd Jacobian as the judge."""

from __future__ import annotations

import math

import pytest
import torch
from registry import local
from torch import Tensor

from marginflow import models
from marginflow.transforms import LocalAutoregressive
from marginflow.transforms.calibrate import calibrate


def jacobian(layer: LocalAutoregressive, x: Tensor) -> Tensor:
    """dz / dx of one image as (C, H, W, C, H, W)."""
    return torch.autograd.functional.jacobian(lambda each: layer(each[None])[0][0], x)


@pytest.mark.parametrize("reach", [1, 2])
@pytest.mark.parametrize("order", ["sequential", "reversed"])
def test_a_pixel_depends_on_its_neighbours_before_it_and_on_nothing_else(reach: int, order: str) -> None:
    c, h, w = 2, 4, 5
    found = jacobian(local((c, h, w), order=order, reach=reach, activation="tanh"), torch.randn(c, h, w)) != 0
    if order == "reversed":
        found = found.flip(0, 1, 2, 3, 4, 5)
    for i in range(h):
        for j in range(w):
            for k in range(h):
                for m in range(w):
                    above = i - reach <= k < i and abs(m - j) <= reach
                    left = k == i and j - reach <= m < j
                    sees = found[:, i, j, :, k, m]
                    if (k, m) == (i, j):
                        assert torch.equal(sees, torch.ones(c, c, dtype=torch.bool).tril())
                    else:
                        assert bool(sees.any()) == (above or left)


def test_its_volume_is_that_of_the_jacobian_and_the_same_network_stands_everywhere() -> None:
    layer, x = local((2, 3, 4)), torch.randn(5, 2, 3, 4)
    dense = jacobian(layer, x[0]).reshape(24, 24)
    torch.testing.assert_close(torch.linalg.slogdet(dense).logabsdet, layer(x)[1][0])
    narrow, wide = LocalAutoregressive((2, 3, 4), [8]), LocalAutoregressive((2, 30, 40), [8])
    grown = sum(p.numel() for p in wide.parameters()) - sum(p.numel() for p in narrow.parameters())
    assert grown == 8 * (27 + 36)  # what a row or a column says to the first layer


def test_the_inverse_passes_gradients_and_is_the_same_without() -> None:
    layer, z = local((2, 3, 3)), torch.randn(4, 2, 3, 3)
    x, log_det = layer.inverse(z)
    with torch.no_grad():
        compiled, _ = layer.inverse(z)
    torch.testing.assert_close(x, compiled)
    x.sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())
    torch.testing.assert_close(layer(x)[1], -log_det)


@pytest.mark.slow
@pytest.mark.parametrize("components", [0, 3])
def test_a_flow_of_them_starts_white_and_draws_what_it_gives_a_density(components: int) -> None:
    flow = models.maf_local((1, 8, 8), hidden=[16], blocks=2, components=components)
    x = torch.randn(200, 1, 8, 8).cumsum(3)
    z = torch.zeros(1, 1, 8, 8)
    at_zero = 64 * math.log(1 / 4 if components else 1 / math.sqrt(2 * math.pi))  # of the logistic, of the normal
    torch.testing.assert_close(flow.base.log_prob(z), torch.tensor([at_zero]))
    before = flow.log_prob(x).mean()
    calibrate(flow, [x])
    assert flow.log_prob(x).mean() > before + 10
    drawn = flow.sample(300)
    assert torch.isfinite(drawn).all()
    torch.testing.assert_close(flow.transform.inverse(flow.transform(drawn)[0])[0], drawn, rtol=0, atol=1e-6)


def test_new_blocks_of_single_gaussians_leave_white_data_nearly_white() -> None:
    flow, x = models.maf_local((1, 8, 8), hidden=[64], blocks=1), torch.randn(200, 1, 8, 8)
    assert (flow.transform(x)[0] - x).square().mean().sqrt() < 0.1


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="reach must be a whole number"):
        LocalAutoregressive((1, 4, 4), [8], reach=True)
    with pytest.raises(ValueError, match="order must be one of sequential, reversed; got 'random'"):
        LocalAutoregressive((1, 4, 4), [8], order="random")
    with pytest.raises(ValueError, match="was built for images"):
        LocalAutoregressive((1, 4, 4), [8])(torch.zeros(2, 1, 4, 5))
    with pytest.raises(ValueError, match="multiples of 3"):
        models.maf_local((1, 8, 8), patch=3)
