"""Histograms: densities over all values, comparable with the curve drawn over them."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.patches import StepPatch
from scipy import stats

from marginflow.report import plots
from marginflow.report.histograms import bins


def area(axes: Axes, i: int = 0) -> float:
    """Of a histogram."""
    heights, edges = step(axes, i)
    return float((heights * np.diff(edges)).sum())


def step(axes: Axes, i: int = 0) -> tuple[np.ndarray, np.ndarray]:
    patch = axes.patches[i]
    assert isinstance(patch, StepPatch)
    heights, edges, _ = patch.get_data()
    return np.asarray(heights), np.asarray(edges)


@pytest.mark.parametrize("shape", [(500, 1), (500, 3), (500, 64), (500, 2, 4, 4), (500, 3, 5, 7), (500, 1, 8, 8)])
def test_latents_of_any_shape_lie_under_the_normal(shape: tuple[int, ...]) -> None:
    z = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    figure = plots.latents(z)
    for axes in figure.axes:
        assert area(axes) == pytest.approx(1, abs=0.01)
        (line,) = axes.lines
        grid, density = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
        np.testing.assert_allclose(density, stats.norm.pdf(grid), atol=1e-12)
        heights, edges = step(axes)
        middle = (edges[1:] + edges[:-1]) / 2
        np.testing.assert_allclose(heights, stats.norm.pdf(middle), atol=0.2)
        assert axes.get_ylim()[1] > density.max()
    assert f"500 test rows: {min(z[0].numel(), 15 if z[0].numel() > 1 else 1)} of {z[0].numel():,}" in (
        figure.get_suptitle().replace("\n", " ")
    )


def test_all_dimensions_of_an_image_are_in_the_first_panel() -> None:
    z = torch.zeros(10, 1, 2, 2)
    z[:, 0, 1, 1] = 3.0
    figure = plots.latents(z)
    heights, edges = step(figure.axes[0])
    widths = np.diff(edges)
    assert (heights * widths)[edges[:-1] > 2].sum() == pytest.approx(0.25)
    names = [axes.get_title().split("\n")[0] for axes in figure.axes]
    assert names == ["all 4 dimensions", "z[0, 0, 0]", "z[0, 0, 1]", "z[0, 1, 0]", "z[0, 1, 1]"]


def test_where_the_base_is_logistic_so_is_the_curve() -> None:
    uniform = torch.rand(2000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    figure = plots.latents(uniform.logit(), base="logistic")
    grid, density = (np.asarray(each) for each in figure.axes[1].lines[0].get_data())
    np.testing.assert_allclose(density, stats.logistic.pdf(grid), atol=1e-12)
    assert [each.get_text() for each in figure.legends[0].get_texts()] == ["z of test rows", "logistic"]
    assert not plots.latents(uniform, base="Flow").axes[0].lines


def test_latents_far_out_or_no_numbers_are_counted_and_do_not_hide_the_curve() -> None:
    z = torch.full((100, 1), 1e6)
    z[:50] = math.nan
    (axes,) = plots.latents(z).axes
    assert "100.0% beyond" in axes.get_title()
    assert "undefined" in axes.get_title()
    spike = torch.full((100, 1), 0.01)
    (axes,) = plots.latents(spike).axes
    assert axes.get_ylim()[1] == pytest.approx(5 / math.sqrt(2 * math.pi))
    assert "bars up to" in axes.get_title()


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=60))
def test_bins_are_in_order_and_hold_all_that_is_shown(values: list[float]) -> None:
    x = torch.tensor(values, dtype=torch.float64)
    edges = bins(x)
    assert all(before < after for before, after in pairwise(edges))
    assert 1 <= len(edges) - 1 <= 61
    inside = (x >= edges[0]) & (x <= edges[-1])
    assert float(inside.double().mean()) >= 0.9


def test_a_column_of_few_values_has_a_bar_about_each() -> None:
    x = torch.tensor([0.0, 1.0, 2.0]).repeat_interleave(torch.tensor([10, 20, 30]))[:, None]
    axes = plots.marginals(x, torch.randn(50, 1), ["count"]).axes[0]
    heights, edges = step(axes)
    np.testing.assert_allclose(edges, [-0.5, 0.5, 1.5, 2.5])
    np.testing.assert_allclose(heights, [1 / 6, 1 / 3, 1 / 2])


def test_samples_are_drawn_over_the_range_of_the_data_and_those_outside_counted() -> None:
    rows, samples = torch.rand(400, 2), torch.rand(300, 2)
    samples[:30, 1] = 1e9
    samples[0, 0] = math.nan
    first, second = plots.marginals(rows, samples, ["a", "b"]).axes
    for axes, left_out in ((first, 1), (second, 30)):
        low, high = axes.get_xlim()
        assert -0.1 < low < 0.01
        assert 0.99 < high < 1.1
        assert area(axes, 0) == pytest.approx(1)
        assert area(axes, 1) == pytest.approx(1 - left_out / 300)
        np.testing.assert_array_equal(step(axes, 0)[1], step(axes, 1)[1])
        assert axes.get_xlabel() == f"{left_out} of 300 samples outside"


def test_the_density_of_one_feature_is_that_of_the_model() -> None:
    x = torch.randn(1000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    normal = torch.distributions.Normal(0.0, 1.0)
    (axes,) = plots.density_of_one(lambda x: normal.log_prob(x[:, 0]), x, "height").axes
    grid, density = (np.asarray(each) for each in axes.lines[0].get_data())
    np.testing.assert_allclose(density, stats.norm.pdf(grid), rtol=1e-6)
    assert (grid[0], grid[-1]) == pytest.approx(axes.get_xlim())
    assert area(axes) == pytest.approx(1)
    (axes,) = plots.density_of_one(lambda x: 20 - 1e3 * x[:, 0].square(), x, "height").axes
    assert axes.get_ylim()[1] < 5
    assert "p(x) up to" in axes.get_title()
