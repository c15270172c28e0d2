"""Warps: against autograd, and by what they make of known distributions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from marginflow.data.knots import Knots, bent, slopes_through, unbent
from marginflow.data.quantiles import quantiles
from marginflow.data.warp import CURVES, Shape, Warp, warp_of

SPLINE = {"knots": (-1.5, -0.2, 0.1, 2.0), "heights": (-2.0, -0.5, 0.7, 1.8), "slopes": (0.3, 2.0, 1.5, 0.4)}


def normal(n: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(n))


def inside(warp: Warp, n: int = 101) -> Tensor:
    """Values in the domain of a warp."""
    t = torch.linspace(0.003, 0.997, n, dtype=torch.float64)
    if warp.shape in ("standardise", "asinh"):
        t = (t - 0.5) * 20
    elif warp.shape in ("log", "softplus"):
        t = t * 8
    return warp.shift + warp.width * t


@pytest.mark.parametrize("spline", [{}, SPLINE])
@pytest.mark.parametrize(("shape", "sign"), [*((shape, 1.0) for shape in CURVES), ("log", -1.0), ("softplus", -1.0)])
def test_the_derivative_is_that_of_autograd_and_the_inverse_brings_back(
    shape: Shape, sign: float, spline: dict
) -> None:
    warp = Warp(shape, 3.0, 2.5 * sign, -0.4, 1.3 * sign, **spline)
    x = inside(warp).requires_grad_()
    z, log_slope = warp.forward(x)
    (slope,) = torch.autograd.grad(z.sum(), x)
    assert slope.min() > 0
    torch.testing.assert_close(log_slope.exp(), slope, rtol=1e-10, atol=0)
    torch.testing.assert_close(warp.inverse(z.detach()), x.detach(), rtol=1e-9, atol=1e-11)


def test_a_spline_goes_through_its_knots_and_on_as_lines() -> None:
    knots = Knots(*(torch.tensor([SPLINE[name]], dtype=torch.float64) for name in ("knots", "heights", "slopes")))
    y, log_slope = bent(knots, knots.x.T)
    torch.testing.assert_close(y, knots.y.T)
    torch.testing.assert_close(log_slope.exp(), knots.slopes.T)
    far = torch.tensor([[-101.5], [102.0]], dtype=torch.float64)
    y, log_slope = bent(knots, far)
    torch.testing.assert_close(y[:, 0], torch.tensor([-2.0 - 100 * 0.3, 1.8 + 100 * 0.4], dtype=torch.float64))
    torch.testing.assert_close(unbent(knots, y), far)


@given(st.lists(st.floats(0.01, 50), min_size=4, max_size=9), st.lists(st.floats(0.01, 50), min_size=9, max_size=9))
@settings(max_examples=50, deadline=None)
def test_any_spline_rises_and_comes_back(gaps: list[float], rises: list[float]) -> None:
    x = torch.tensor(gaps, dtype=torch.float64).cumsum(0)
    y = torch.tensor(rises[: len(gaps)], dtype=torch.float64).cumsum(0)
    knots = Knots(x[None], y[None], slopes_through(x, y)[None])
    at = torch.linspace(float(x[0]) - 3, float(x[-1]) + 3, 200, dtype=torch.float64)[:, None]
    found, log_slope = bent(knots, at)
    assert (found.diff(dim=0) > 0).all()
    assert log_slope.isfinite().all()
    torch.testing.assert_close(unbent(knots, found), at, rtol=1e-7, atol=1e-7)


def test_values_choose_the_map_that_makes_them_normal() -> None:
    assert warp_of(5 + 3 * normal(4000)).shape == "standardise"
    assert warp_of(torch.sinh(2 * normal(4000))).shape == "asinh"
    assert warp_of(torch.exp(2 * normal(4000)), lower=0.0).shape == "log"
    assert warp_of(-torch.exp(2 * normal(4000)), upper=0.0).shape == "log"
    assert warp_of(10 + normal(4000), lower=0.0).shape == "softplus"
    assert warp_of(torch.sigmoid(normal(4000)), 0.0, 1.0).shape == "logit"


def test_two_humps_get_a_spline_and_a_normal_none() -> None:
    humps = torch.cat([normal(2000) - 6, normal(2000, 1) + 6])
    warp = warp_of(humps)
    assert warp.knots
    assert not warp_of(normal(4000)).knots
    z, log_slope = warp.forward(humps)
    own = float((log_slope - 0.5 * z.square()).mean())
    line = -math.log(float(humps.std())) - 0.5
    assert own > line + 0.3  # nats a row


@pytest.mark.parametrize(("offset", "scale"), [(0, 1), (1e9, 1), (1e9, 1e-4), (0, 1e-12), (-1e5, 1e-6), (0, 1e200)])
def test_offsets_and_scales_do_not_matter(offset: float, scale: float) -> None:
    values = offset + scale * normal(1000)
    warp = warp_of(values)
    z, log_slope = warp.forward(values)
    assert abs(float(z.mean())) < 0.1
    assert abs(float(z.std()) - 1) < 0.2
    assert log_slope.isfinite().all()
    torch.testing.assert_close(warp.inverse(z), values, rtol=1e-12, atol=1e-9 * scale)


@pytest.mark.parametrize("bounds", [(None, None), (0.0, None), (None, 100.0), (0.0, 100.0)])
@pytest.mark.parametrize("values", [[7.0], [7.0, 7.0, 7.0], [7.0, 7.5], [7.0] * 50 + [99.5], [1e-12, 3e-12]])
@pytest.mark.parametrize("cell", [0.0, 1.0])
def test_few_values_have_a_finite_map(values: list[float], bounds: tuple, cell: float) -> None:
    x = torch.tensor(values, dtype=torch.float64)
    warp = warp_of(x, *bounds, cell=cell)
    z, log_slope = warp.forward(x)
    assert z.isfinite().all()
    assert log_slope.isfinite().all()
    torch.testing.assert_close(warp.inverse(z), x, rtol=1e-9, atol=1e-18 if bounds[1] is None else 1e-13)


def test_heavy_tails_stay_finite() -> None:
    values = torch.from_numpy(np.random.default_rng(0).standard_cauchy(5000)) ** 3
    for bounds in ((None, None), (float(values.min()) - 1, None), (None, float(values.max()) + 1)):
        z, log_slope = warp_of(values, *bounds).forward(values)
        assert z.isfinite().all()
        assert log_slope.isfinite().all()


def test_weights_count_as_rows() -> None:
    values = torch.tensor([1.0, 2.0, 4.0, 8.0, 30.0], dtype=torch.float64)
    weights = torch.tensor([3.0, 1.0, 2.0, 5.0, 1.0], dtype=torch.float64)
    repeated = values.repeat_interleave(weights.long())
    one, other = warp_of(values, 0.0, weights=weights, shape="log"), warp_of(repeated, 0.0, shape="log")
    np.testing.assert_allclose(one.numbers[:4], other.numbers[:4], rtol=1e-12)


def test_cells_inside_of_bounds_have_finite_edges() -> None:
    for values in (torch.arange(0, 40).double(), torch.exp(3 * normal(500)).floor()):
        warp = warp_of(values, lower=-1.0, upper=float(values.max()) + 1, cell=1.0)
        edges = torch.cat([values - 0.5, values + 0.5])
        assert warp.forward(edges)[0].isfinite().all()


def test_a_settled_shape_stays_and_one_that_does_not_fit_is_refused() -> None:
    values = torch.exp(2 * normal(500))
    assert warp_of(values, 0.0, shape="softplus").shape == "softplus"
    with pytest.raises(ValueError, match=r"'logit' does not fit the bounds 0.0 and None: it may be softplus, log;"):
        warp_of(values, 0.0, shape="logit")


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30, unique=True))
@settings(max_examples=50, deadline=None)
def test_quantiles_of_equal_weights_are_those_of_numpy(values: list[float]) -> None:
    rising, at = np.sort(np.array(values)), np.linspace(0, 1, 33)
    np.testing.assert_allclose(
        quantiles(rising, np.full(len(rising), 0.3), at), np.quantile(rising, at), rtol=1e-9, atol=1e-9
    )


def test_quantiles_of_weights_split_the_weight() -> None:
    values, weights = np.arange(1000.0), np.random.default_rng(0).uniform(0.1, 5, 1000)
    found = quantiles(values, weights, np.array([0.25, 0.5, 0.9]))
    below = [weights[values <= q].sum() / weights.sum() for q in found]
    np.testing.assert_allclose(below, [0.25, 0.5, 0.9], atol=0.004)
