"""Lines: losses by epoch, the bound against K, nats against what differs between trainings."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from marginflow.report.estimates import number
from marginflow.report.labels import axis_names, legend, title
from marginflow.report.panels import DATA, FAINT, MODEL, SMALL
from marginflow.report.ranges import range_of_curves, with_margin
from marginflow.training import EpochRecord

Points = list[tuple[int, float]]


def training_curves(
    history: Sequence[EpochRecord], loss: str = "NLL, nats a row", convert: Callable[[float], float] = float
) -> Figure:
    """Training and validation loss by epoch, the best marked.

    A few values so high that they would flatten all others of their curve are marked at the upper edge, and named in
    the title, as are those that are no numbers.

    loss: what it is, in which unit. convert: nats a row to that unit.
    """
    figure = Figure(figsize=(6, 3.8), layout="constrained")
    axes = figure.subplots()
    trained = [(r.epoch, convert(r.train_nll)) for r in history]
    validated = [(r.epoch, convert(r.validation_nll)) for r in history if r.validation_nll is not None]
    axes.plot(*_columns(trained), color=FAINT, linestyle="--", marker=".", label="training")
    if validated:
        axes.plot(*_columns(validated), color=MODEL, marker="o", markersize=3, label="validation")
    if numbers := _numbers(validated):
        best_epoch, best = min(numbers, key=lambda each: each[1])
        axes.plot(
            best_epoch, best, color=MODEL, markerfacecolor="white", marker="*", markersize=12, linestyle="",
            label=f"best: {number(best)} in epoch {best_epoch}",
        )  # fmt: skip
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if len({epoch for epoch, _ in trained}) == 1:
        axes.set_xlim(trained[0][0] - 0.5, trained[0][0] + 0.5)
    axis_names(axes, "epoch", loss, 10)
    _mark_what_is_left_out(axes, {"training": trained, "validation": validated})
    legend(figure, axes)
    return figure


def _columns(points: Points) -> tuple[list[int], list[float]]:
    return [epoch for epoch, _ in points], [loss for _, loss in points]


def _numbers(points: Points) -> Points:
    return [each for each in points if math.isfinite(each[1])]


def _mark_what_is_left_out(axes: Axes, curves: Mapping[str, Points]) -> None:
    """Limit the axis to losses that can be read, with marks at its edge for those that are higher or no numbers."""
    shown = range_of_curves(*([loss for _, loss in points] for points in curves.values()))
    low, high = shown or (0.0, 1.0)
    bottom, top = with_margin(low, high)
    axes.set_ylim(bottom, top)
    told: list[str] = []
    for name, points in curves.items():
        above = [each for each in _numbers(points) if each[1] > high]
        broken = [epoch for epoch, loss in points if not math.isfinite(loss)]
        colour = FAINT if name == "training" else MODEL
        for epochs, mark in (([epoch for epoch, _ in above], "^"), (broken, "x")):
            if epochs:
                at_edge = [top] * len(epochs)
                axes.plot(epochs, at_edge, color=colour, marker=mark, linestyle="", clip_on=False, zorder=5)
        if above:
            epoch, loss = max(above, key=lambda each: each[1])
            told.append(f"{name} above the axis in {_counted(len(above))}, at most {loss:.3g} in epoch {epoch} (▲)")
        if broken:
            told.append(f"{name} not finite in {_counted(len(broken))}, first in epoch {broken[0]} (x)")
    if told:
        title(axes, "; ".join(told), SMALL)


def _counted(epochs: int) -> str:
    return f"{epochs} epoch{'s' if epochs > 1 else ''}"


def bound_against_samples(
    num_samples: Sequence[int],
    estimates: Sequence[float],
    errors: Sequence[float],
    bound: float,
    sample_sizes: Sequence[float],
) -> Figure:
    """How the importance-weighted estimate of the NLL comes down from the bound as K grows, and what K is worth.

    estimates: mean over rows at each K; errors: standard error of its difference to the bound, taken row by row, which
    is small where that of the mean itself is not. bound: in the mean over draws. sample_sizes: effective, median.
    """
    figure = Figure(figsize=(6, 4.8), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    above.axhline(bound, color=FAINT, linestyle="--", linewidth=1, label="bound")
    above.errorbar(num_samples, estimates, errors, color=MODEL, marker="o", markersize=3, capsize=3, label="IW-K")
    above.set(xscale="log")
    axis_names(above, "", "NLL, nats a row")
    title(above, "bars: standard error of the difference to the bound", SMALL)
    below.plot(num_samples, sample_sizes, color=MODEL, marker="o", markersize=3, label="median effective sample size")
    below.plot(num_samples, num_samples, color=FAINT, linestyle=":", label="K")
    below.axhline(10, color=DATA, linewidth=0.8)
    below.annotate("10: below, not converged", (num_samples[0], 10), (2, 2), textcoords="offset points", fontsize=SMALL)
    below.set(yscale="log")
    axis_names(below, "K, draws of noise a row", "draws")
    for axis in (below.xaxis, below.yaxis):
        axis.set_major_formatter("{x:g}")
    for axes in (above, below):
        _legend_of(axes)
    return figure


def _legend_of(axes: Axes) -> None:
    """A legend in a panel: black on white, so that no line runs through it."""
    axes.legend(fontsize=8, framealpha=1, edgecolor="none", facecolor="white", labelcolor="black")


def lines_against(
    at: Sequence[float], lines: Mapping[str, tuple[Sequence[float], Sequence[float] | None]], axis: str, floor: float
) -> Figure:
    """Nats against what differs between trainings: name -> (values, their standard errors). floor: the entropy."""
    figure = Figure(figsize=(6, 3.8), layout="constrained")
    axes = figure.subplots()
    for (name, (values, errors)), style in zip(lines.items(), ("--", "-"), strict=False):
        axes.errorbar(at, values, errors, color=MODEL, linestyle=style, marker="o", markersize=3, capsize=3, label=name)
    axes.axhline(floor, color=FAINT, linestyle=":", label="entropy of the data")
    axis_names(axes, axis, "nats a half moon", 10)
    axes.set_xticks(list(at))
    legend(figure, axes)
    return figure
