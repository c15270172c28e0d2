"""Figures and the page can be read: contrast as WCAG 2.2 asks for, 4.5 : 1 of text and 3 : 1 of lines and areas."""

from __future__ import annotations

import matplotlib.colors as mcolors
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch
from matplotlib.text import Text

from marginflow.report import plots
from marginflow.training import EpochRecord

WHITE = 1.0


def luminance(colour: object) -> float:
    """Relative luminance of a colour, as WCAG defines it."""
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in mcolors.to_rgb(colour)]  # pyright: ignore[reportArgumentType]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(colour: object, against: float = WHITE) -> float:
    dark, light = sorted((luminance(colour), against))
    return (light + 0.05) / (dark + 0.05)


def every_figure() -> dict[str, Figure]:
    x = torch.randn(50, 2)
    history = [EpochRecord(1, 2.0, 1.9, True, 1.0), EpochRecord(2, 1.8, 1.7, True, 1.0)]
    return {
        "marginals": plots.marginals(x, x, ["a", "b"]),
        "latents": plots.latents(x),
        "density": plots.density_of_one(lambda x: -x[:, 0].abs(), x[:, :1], "a"),
        "training": plots.training_curves(history),
        "bound": plots.bound_against_samples([1, 10], [3.0, 2.0], [0.1, 0.1], 3.2, [1, 5]),
        "against": plots.lines_against([1, 2], {"bound": ([1, 2], None), "NLL": ([1, 1], [0.1, 0.1])}, "K", 0.5),
    }


def test_the_formula_is_that_of_the_standard() -> None:
    assert contrast("black") == pytest.approx(21)
    assert contrast("#777777") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("name", every_figure())
def test_lines_areas_and_legends_are_seen_on_white(name: str) -> None:
    figure = every_figure()[name]
    assert contrast(figure.get_facecolor()) == 1
    legends = [*figure.legends, *(each for each in (axes.get_legend() for axes in figure.axes) if each is not None)]
    assert legends
    for legend in legends:
        assert not legend.get_frame_on() or legend.get_frame().get_alpha() == 1
        texts = [each for each in legend.findobj(Text) if isinstance(each, Text) and each.get_text()]
        assert texts
        assert all(contrast(each.get_color()) >= 4.5 for each in texts)
    for axes in figure.axes:
        assert all(contrast(line.get_color()) >= 3 for line in axes.lines)
        areas = [each.get_facecolor() for each in axes.patches if isinstance(each, StepPatch) and each.get_fill()]
        assert all(contrast(each) >= 3 for each in areas)
        assert all(contrast("black", luminance(each)) >= 4.5 for each in areas)  # the line that lies over them


@pytest.mark.parametrize("name", ["marginals", "latents", "density", "training"])
def test_a_legend_covers_no_data(name: str) -> None:
    figure = every_figure()[name]
    figure.draw_without_rendering()
    legends = [*figure.legends, *(each for each in (axes.get_legend() for axes in figure.axes) if each is not None)]
    for axes in figure.axes:
        assert not any(axes.get_window_extent().overlaps(legend.get_window_extent()) for legend in legends)


def test_points_in_colour_are_seen_on_white() -> None:
    x = torch.randn(100, 2)
    axes = plots.points_by_layer({"data": x}, x[:, 0], "").axes[0]
    scatter = axes.collections[0]
    scatter.update_scalarmappable()
    assert min(contrast(each) for each in scatter.get_facecolor()) > 1.8
