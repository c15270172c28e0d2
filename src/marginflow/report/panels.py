"""Figures of several panels, and what all panels have in common: sizes, colours, ticks."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter

DATA, MODEL, FAINT = "0.55", "black", "0.45"  # data filled and light, what the model says a dark line; all of them
# against white have the contrast that WCAG 2.2 asks of graphics, 3 : 1, and text is black
SMALL = 7


def panels(count: int, *, width: float, height: float, columns: int = 4) -> tuple[Figure, list[Axes]]:
    """A figure with a number of panels in rows of some columns, those left over taken away."""
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(max(width * columns, 3.2), height * rows + 0.5), layout="constrained")
    every: list[Axes] = list(np.atleast_1d(figure.subplots(rows, columns)).flat)
    for axes in every[count:]:
        axes.remove()
    for axes in every[:count]:
        small_ticks(axes)
    return figure, every[:count]


def small_ticks(axes: Axes, most: int = 4) -> None:
    """Few ticks in small type, large and small numbers with one common power of ten, so that none overlap."""
    for axis in (axes.xaxis, axes.yaxis):
        small_axis(axis, most)


def small_axis(axis: Axis, most: int = 4) -> None:
    """`small_ticks`, of one axis."""
    axis.set_tick_params(labelsize=SMALL)
    axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 5, 10]))
    formatter = ScalarFormatter()
    formatter.set_powerlimits((-3, 4))
    axis.set_major_formatter(formatter)
    axis.get_offset_text().set_fontsize(SMALL)
