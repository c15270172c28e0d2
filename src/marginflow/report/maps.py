"""Two features: rows as points, the density as a map, and points on their way through a flow."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure
from torch import Tensor

from marginflow.report.labels import axis_names, heading, title
from marginflow.report.panels import FAINT, SMALL, panels, small_axis, small_ticks
from marginflow.report.ranges import Range, aside, is_outside, share, shown_range

DENSITY_COLOURS = "magma"  # lightness grows with the value, so it reads in grey
POINT_COLOURS = "viridis"  # without its lightest, which would not be seen on white
LIGHTEST = 0.8
PEAK_MASS = 0.02  # of a map's mass may lie where the density is too high for its colours
STANDS_OUT = 1.25  # times that density is the highest of them at least
TOO_LONG = 3.0  # a box so many times as long as it is wide is not drawn to scale
OUTSIDE = 0.05  # of the points at most lie outside a panel of latents; else the panel is as wide as they are

Box = tuple[float, float, float, float]


def points(
    axes: Axes, x: Tensor, name: str, colour: Tensor | None = None, box: Box | None = None, *, same_unit: bool = True
) -> None:
    """A scatter plot of the first two features of rows, coloured by `colour`, in grey tones without it.

    box: what is shown (left, right, bottom, top), by default where the rows lie; the title counts those outside.
    same_unit: whether both features have one unit, and are drawn to one scale.
    """
    small_ticks(axes)
    left, right, bottom, top = box or (*shown_range(x[:, 0]), *shown_range(x[:, 1]))
    outside = is_outside(x[:, :2], (left, right), (bottom, top))
    shown = x[~outside.to(x.device)]
    axes.scatter(
        *shown[:, :2].T.cpu().numpy(), s=min(12.0, max(3.0, 3000 / max(len(x), 1))), linewidths=0, rasterized=True,
        c="0.25" if colour is None else colour.cpu()[~outside].numpy(), cmap=None if colour is None else _colours(),
    )  # fmt: skip
    axes.set(xlim=(left, right), ylim=(bottom, top))
    to_scale(axes, same_unit=same_unit)
    title(axes, name, 9, aside(int(outside.sum()), len(x), "points"))


def to_scale(axes: Axes, *, same_unit: bool) -> None:
    """Draw both axes to one scale where they have one unit, unless the panel would be a strip."""
    if is_to_scale((*axes.get_xlim(), *axes.get_ylim()), same_unit=same_unit):
        axes.set_aspect("equal", adjustable="box")
    else:
        axes.set_aspect("auto")


def is_to_scale(box: Box, *, same_unit: bool) -> bool:
    """Whether a box of two features is drawn to one scale."""
    sides = sorted((box[1] - box[0], box[3] - box[2]))
    return same_unit and sides[1] <= TOO_LONG * sides[0]


def density(axes: Axes, log_prob: Callable[[Tensor], Tensor], bounds: Box, name: str, size: int = 150) -> None:
    """A map of exp(log_prob) over the box (left, right, bottom, top), on a grid of `size` points a side.

    Where a few points hold next to none of the mass but would darken all the rest, as an estimate's peaks do, the
    colours end below them; the bar says so. The title says where the box holds little of the density.
    """
    left, right, bottom, top = bounds
    lines = [torch.linspace(*ends, size, dtype=torch.float64) for ends in ((bottom, top), (left, right))]
    grid = torch.cartesian_prod(*lines).flip(1)
    values = log_prob(grid).detach().double().exp().reshape(size, size).cpu().numpy()
    kept = values[np.isfinite(values)]
    peak, high = (float(kept.max()), highest_colour(kept)) if len(kept) else (0.0, 0.0)
    image = axes.imshow(
        values, origin="lower", extent=bounds, cmap=DENSITY_COLOURS, vmin=0, vmax=high or 1.0, aspect="auto"
    )
    title(axes, name, 9, _about_map(values, kept, (right - left) * (top - bottom), peak))
    small_ticks(axes)
    figure = axes.get_figure()
    if figure is not None:
        bar = figure.colorbar(image, ax=axes, shrink=0.8, extend="max" if peak > high else "neither")
        small_axis(bar.ax.yaxis)
        bar.set_label(f"density{f', up to {peak:.3g}' if peak > high else ''}", fontsize=SMALL)


def highest_colour(values: np.ndarray) -> float:
    """The density from which on a map is of one colour: the highest, unless it stands out and holds no mass."""
    ordered = np.sort(values)[::-1]
    above = np.cumsum(ordered)
    high = float(ordered[np.searchsorted(above, PEAK_MASS * above[-1])])
    return high if ordered[0] > STANDS_OUT * high else float(ordered[0])


def _about_map(values: np.ndarray, kept: np.ndarray, area: float, peak: float) -> str:
    """What a title says of a map that does not show all there is."""
    notes: list[str] = []
    if len(kept) < values.size:
        notes.append(f"not finite at {values.size - len(kept):,} of {values.size:,} points")
    mass = float(values[np.isfinite(values)].mean()) * area if len(kept) else 0.0
    if mass < 0.5:
        notes.append("nothing of it in this box" if peak == 0 else f"{share(mass)} of it in this box")
    return ", ".join(notes)


def density_of_two(
    log_prob: Callable[[Tensor], Tensor],
    x: Tensor,
    names: Sequence[str],
    label: str = "p(x)",
    *,
    samples: Tensor | None = None,
    same_unit: bool = True,
) -> Figure:
    """Data x (N, 2) beside samples and the density of the two features, all over the box where the data lie.

    label: what the map is. samples: (M, 2). same_unit: whether both features have one unit.
    """
    box = (*shown_range(x[:, 0]), *shown_range(x[:, 1]))
    rows = {f"{len(x):,} test rows": x} | ({} if samples is None else {f"{len(samples):,} samples": samples})
    tall = (box[3] - box[2]) / (box[1] - box[0])
    height = 0.5 + 3 * min(max(tall, 0.4), 1.5) if is_to_scale(box, same_unit=same_unit) else 3.2
    figure, every = panels(len(rows) + 1, width=3.6, height=height)
    for axes, (name, each) in zip(every, rows.items(), strict=False):
        points(axes, each, name, box=box, same_unit=same_unit)
    density(every[-1], log_prob, box, label)
    to_scale(every[-1], same_unit=same_unit)
    for axes in every:
        axis_names(axes, names[0], names[1])
    return figure


def by_epoch(snapshots: Mapping[int, Tensor], colour: Tensor, name: str, deviation: float = 1.0) -> Figure:
    """Data pushed through a flow after several epochs, a panel each: epoch -> z (N, D), two features shown."""
    named = {"before training" if epoch == 0 else f"epoch {epoch}": z for epoch, z in snapshots.items()}
    return points_by_layer(
        named, colour, f"{name}; colour: feature 0 of the data; circle: two deviations of the base", deviation=deviation
    )


def points_by_layer(
    stages: Mapping[str, Tensor], colour: Tensor, name: str, columns: int = 6, deviation: float = 1.0
) -> Figure:
    """Points at several stages, a panel each: name -> (N, D), two features shown, in the colours of their start.

    The circle has the radius of two standard deviations of the base. A panel is twice as wide, unless many of its
    points lie outside: then it is as wide as they are.
    """
    figure, every = panels(len(stages), width=2.3, height=2.7, columns=min(columns, len(stages)))
    circle, end = np.linspace(0, 2 * math.pi, 100), 4 * deviation
    for axes, (stage, z) in zip(every, stages.items(), strict=True):
        usual: Range = (-end, end)
        fits = int(is_outside(z[:, :2], usual, usual).sum()) <= OUTSIDE * len(z)
        points(
            axes, z, stage, colour, (*usual, *usual) if fits else _square(shown_range(z[:, 0]), shown_range(z[:, 1]))
        )
        axes.plot(2 * deviation * np.cos(circle), 2 * deviation * np.sin(circle), color=FAINT, linewidth=0.7)
    heading(figure, name)
    return figure


def _square(x: Range, y: Range) -> Box:
    """A box of two ranges, the shorter one widened to the other unless that would leave it empty."""
    side = max(x[1] - x[0], y[1] - y[0])
    if side > TOO_LONG * min(x[1] - x[0], y[1] - y[0]):
        return (*x, *y)
    middle_x, middle_y = sum(x) / 2, sum(y) / 2
    return middle_x - side / 2, middle_x + side / 2, middle_y - side / 2, middle_y + side / 2


def scatter(
    x: Tensor, name: str, names: Sequence[str] = ("feature 0", "feature 1"), *, same_unit: bool = True
) -> Figure:
    """Rows as points: the first two features of each."""
    figure, (axes,) = panels(1, width=5.0, height=3.8)
    points(axes, x, name, same_unit=same_unit)
    axis_names(axes, names[0], names[1])
    return figure


def scatters(stages: Mapping[str, tuple[Tensor, Tensor]]) -> Figure:
    """Points side by side on the same axes: name -> (rows, of which two features are shown; a colour for each)."""
    figure, every = panels(len(stages), width=3.2, height=3.0)
    lows, highs = torch.tensor(
        [[shown_range(x[:, i]) for i in (0, 1)] for x, _ in stages.values()], dtype=torch.float64
    ).unbind(2)
    (left, bottom), (right, top) = lows.amin(0).tolist(), highs.amax(0).tolist()
    for axes, (name, (rows, colour)) in zip(every, stages.items(), strict=True):
        points(axes, rows, name, colour, (left, right, bottom, top))
    return figure


def _colours() -> Colormap:
    """The colours of points."""
    return ListedColormap(mpl.colormaps[POINT_COLOURS](np.linspace(0, LIGHTEST, 256)))
