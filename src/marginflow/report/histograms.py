"""Histograms: features of data and samples, the density of one feature, latents; each is a density over all values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch
from torch import Tensor

from marginflow.report.estimates import number
from marginflow.report.labels import axis_names, heading, legend, title
from marginflow.report.panels import DATA, MODEL, SMALL, panels
from marginflow.report.ranges import Range, aside, finite, is_outside, share, shown_range

FEWEST_BINS, MOST_BINS = 10, 50
MOST_DISTINCT = 20  # values of a column whose bins are about its values
DEVIATIONS = 4  # of the latents' distribution that are shown to either side
PEAK = 5.0  # a panel ends so many times as high as the curve that the reader compares with

Curve = Callable[[np.ndarray], np.ndarray]


def marginals(data: Tensor, samples: Tensor, names: Sequence[str], shown: int = 16) -> Figure:
    """Each feature by itself: a histogram of data beneath that of samples, both (N, D), over the range of the data."""
    figure, every = panels(min(data.shape[1], shown), width=2.4, height=2.1)
    for i, axes in enumerate(every):
        edges = bins(data[:, i])
        limits = (float(edges[0]), float(edges[-1]))
        histogram(axes, data[:, i], edges, "test rows")
        histogram(axes, samples[:, i], edges, "samples", filled=False)
        axes.set_xlim(limits)
        left_out = [
            aside(int(is_outside(each[:, i], limits).sum()), len(each), what)
            for each, what in ((data, "rows"), (samples, "samples"))
        ]
        title(axes, names[i], 8)
        axes.set_xlabel("\n".join(each for each in left_out if each), fontsize=SMALL)
        axes.set_yticks([])
    legend(figure, every[0])
    if data.shape[1] > shown:
        heading(figure, f"the first {shown} of {data.shape[1]:,} features")
    return figure


def density_of_one(
    log_prob: Callable[[Tensor], Tensor], x: Tensor, name: str, label: str = "p(x)", size: int = 400
) -> Figure:
    """The density of one feature as a line over a histogram of data x (N, 1). label: what the line is."""
    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.subplots()
    edges = bins(x[:, 0])
    limits = (float(edges[0]), float(edges[-1]))
    histogram(axes, x[:, 0], edges, "test rows")
    grid = torch.linspace(*limits, size, dtype=x.dtype)[:, None]
    values = log_prob(grid).detach().double().exp().cpu().numpy()
    axes.plot(grid[:, 0].cpu(), values, color=MODEL, linewidth=1.2, label=label)
    axes.set_xlim(limits)
    notes = [aside(int(is_outside(x, limits).sum()), len(x), "rows"), _cut_peaks(axes, values, _highest(axes), label)]
    title(axes, "; ".join(each for each in notes if each), 8)
    axis_names(axes, name, "density", 9)
    legend(figure, axes)
    return figure


def latents(z: Tensor, shown: int = 16, base: str = "N(0, 1)") -> Figure:
    """Histograms of the latent z (N, *event) of data, with the distribution of the base, which they should follow.

    The first panel is all dimensions together, the others one dimension each, evenly spread over all. base: `N(0, 1)`
    or `logistic`; by another name no curve is drawn.
    """
    flat, names = z.flatten(1), _names_of(z)
    curve, deviation = BASES.get(base, (None, 1.0))
    count = min(flat.shape[1], shown - (flat.shape[1] > 1))
    chosen = torch.linspace(0, flat.shape[1] - 1, count).round().long().tolist()
    drawn = {f"all {flat.shape[1]:,} dimensions": flat} if flat.shape[1] > 1 else {}
    drawn |= {names[i]: flat[:, i] for i in chosen}
    figure, every = panels(len(drawn), width=2.2, height=2.0)
    end = DEVIATIONS * deviation
    for axes, (name, values) in zip(every, drawn.items(), strict=True):
        _latent(axes, name, values.flatten(), (-end, end), curve, base)
    legend(figure, every[0])
    heading(
        figure,
        f"z of {len(z):,} test rows: {count} of {flat.shape[1]:,} latent dimensions, mean ± deviation; beyond: outside "
        f"±{end:.3g}",
    )
    return figure


def _latent(axes: Axes, name: str, values: Tensor, limits: Range, curve: Curve | None, base: str) -> None:
    kept = finite(values)
    heights = histogram(axes, values, np.linspace(*limits, _num_bins(kept, limits) + 1), "z of test rows")
    note = ""
    if curve is not None:
        grid = np.linspace(*limits, 200)
        axes.plot(grid, curve(grid), color=MODEL, linewidth=1, label=base)
        note = _cut_peaks(axes, heights, float(curve(np.zeros(1))[0]), "bars")
    beyond = float(((values < limits[0]) | (values > limits[1]) | values.isnan()).double().mean())
    mean, deviation = (float(each) for each in (values.mean(), values.std() if len(values) > 1 else math.nan))
    notes = [f"{number(mean, 2)} ± {number(deviation, 2)}", f"{share(beyond)} beyond" if beyond else "", note]
    title(axes, name, SMALL, ", ".join(each for each in notes if each))
    axes.set_xlim(limits)
    axes.set_yticks([])


def _names_of(z: Tensor) -> list[str]:
    """What the dimensions of a latent are called: by its number, of an image by its place."""
    if z.ndim == 2:
        return [f"z{i}" for i in range(z.shape[1])]
    return [f"z[{', '.join(map(str, place))}]" for place in np.ndindex(*z.shape[1:])]


def _normal(grid: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * grid**2) / math.sqrt(2 * math.pi)


def _logistic(grid: np.ndarray) -> np.ndarray:
    return 0.25 / np.cosh(grid / 2) ** 2


BASES: dict[str, tuple[Curve, float]] = {
    "N(0, 1)": (_normal, 1.0),
    "logistic": (_logistic, math.pi / math.sqrt(3)),
}  # density and deviation


def _highest(axes: Axes) -> float:
    """The height of the highest bar of a panel."""
    return max(float(np.max(each.get_data()[0])) for each in axes.patches if isinstance(each, StepPatch))


def _cut_peaks(axes: Axes, heights: np.ndarray, compared: float, what: str) -> str:
    """End a panel a few times as high as what is compared with; what a title says where something is higher."""
    kept = heights[np.isfinite(heights)]
    peak = float(kept.max()) if len(kept) else 0.0
    broken = "" if len(kept) == len(heights) else f"{what} not finite at {len(heights) - len(kept)} points"
    if not peak > PEAK * compared > 0:
        axes.set_ylim(0, 1.05 * max(peak, compared) or 1.0)
        return broken
    axes.set_ylim(0, PEAK * compared)
    return "; ".join(each for each in (f"{what} up to {peak:.3g}", broken) if each)


def bins(values: Tensor) -> np.ndarray:
    """The edges of the bins of a histogram: fewer of fewer values; a bin about each value where they are few."""
    kept, limits = finite(values), shown_range(values)
    inside = kept[(kept >= limits[0]) & (kept <= limits[1])]
    distinct = np.unique(inside)
    if 1 < len(distinct) <= min(MOST_DISTINCT, len(inside) / 3):
        width = float(np.diff(distinct).min())
        count = (distinct[-1] - distinct[0]) / width
        if count <= 3 * MOST_DISTINCT:
            return distinct[0] - width / 2 + width * np.arange(round(count) + 2)
    return np.linspace(*limits, _num_bins(inside, limits) + 1)


def _num_bins(values: np.ndarray, limits: Range) -> int:
    """The square root of the number of values inside, within bounds; narrower ones where most values lie close."""
    inside = values[(values >= limits[0]) & (values <= limits[1])]
    wanted = math.sqrt(len(inside))
    if len(inside) > 1:
        first, last = np.quantile(inside, [0.25, 0.75])
        width = 2 * (last - first) / len(inside) ** (1 / 3)  # the rule of Freedman and Diaconis
        wanted = max(wanted, (limits[1] - limits[0]) / max(width, 1e-300))
    return int(min(max(wanted, FEWEST_BINS), MOST_BINS))


def histogram(axes: Axes, values: Tensor, edges: np.ndarray, label: str, *, filled: bool = True) -> np.ndarray:
    """A histogram as a density over all values, also those outside the edges; the heights."""
    counts, _ = np.histogram(finite(values), bins=edges)
    heights = counts / (values.numel() * np.diff(edges))
    axes.stairs(heights, edges, fill=filled, color=DATA if filled else MODEL, linewidth=1, label=label)
    return heights
