"""A picture of two models of two features: the data, and of each its density, samples, and nats beside the floor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from marginflow.data.toy import HALF_MOONS_ENTROPY_ERROR
from marginflow.evaluation.evaluate import Accounting
from marginflow.report import plots
from marginflow.report.labels import heading, title
from marginflow.report.panels import DATA, FAINT, MODEL, SMALL, small_axis

BOX = (-1.6, 2.6, -1.1, 1.6)  # of the half moons, with a margin
GRID = 160  # points a side of a map


class Shown(NamedTuple):
    """A model: what it is called, its accounting, its log density, and samples."""

    label: str
    accounting: Accounting
    log_prob: Callable[[Tensor], Tensor]
    samples: Tensor


def overview(rows: Tensor, models: Sequence[Shown], floor: float, name: str) -> Figure:
    """The density of each model beside the data, its samples beneath; beneath the data the nats of all.

    rows: of the data. floor: their entropy. name: over the figure.
    """
    figure = Figure(figsize=(11, 5.1), layout="constrained")
    every = figure.subplots(2, 1 + len(models))
    plots.points(every[0, 0], rows, f"{len(rows):,} test rows", box=BOX)
    nats(every[1, 0], models, floor)
    for (above, below), each in zip(every[:, 1:].T, models, strict=True):
        plots.density(above, each.log_prob, BOX, f"p(x), {each.label}", size=GRID)
        plots.points(below, each.samples, f"{len(each.samples):,} samples, {each.label}", box=BOX)
        above.set_aspect("equal", adjustable="box")
    heading(figure, name, 10)
    return figure


def nats(axes: Axes, models: Sequence[Shown], floor: float) -> None:
    """The NLL of each model on test rows with its standard error, of an estimate the bound as well; and the floor."""
    axes.axvspan(floor - HALF_MOONS_ENTROPY_ERROR, floor + HALF_MOONS_ENTROPY_ERROR, color=DATA, alpha=0.4, lw=0)
    axes.axvline(floor, color=FAINT, linewidth=1)
    most = floor + 2 * HALF_MOONS_ENTROPY_ERROR
    lines = {0.0: f"entropy of the data: {floor:.3f} ± {HALF_MOONS_ENTROPY_ERROR:.3f}"}
    for place, each in enumerate(models, 1):
        nll, how = each.accounting.importance_weighted, "exactly"
        if not each.accounting.exact:
            bound, how = each.accounting.bound.value, f"by IW-{each.accounting.num_samples}; circle: bound"
            axes.plot(bound, place, "o", markersize=9, markerfacecolor="none", markeredgecolor=MODEL)
            most = max(most, bound)
        axes.errorbar(nll.value, place, xerr=nll.standard_error, fmt="o", color=MODEL, markersize=4, capsize=3)
        most = max(most, nll.value + nll.standard_error)
        lines |= {place - 0.3: each.label, place + 0.3: f"{nll.value:.3f} ± {nll.standard_error:.3f} {how}"}
    for place, line in lines.items():
        axes.annotate(line, (floor, place), (4, 0), textcoords="offset points", fontsize=SMALL, va="center")
    room = most - floor
    axes.set(xlim=(floor - 0.5 * room, most + 0.7 * room), ylim=(len(models) + 0.55, -0.35), yticks=[])
    axes.set_box_aspect((BOX[3] - BOX[2]) / (BOX[1] - BOX[0]))
    small_axis(axes.xaxis)
    title(axes, "NLL of test rows, nats a row", 9)
