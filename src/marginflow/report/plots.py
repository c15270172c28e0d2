"""Figures: each function draws one kind of panel or figure; `save` writes it. All of them read in grey."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image
from torch import Tensor

from marginflow.data import DataSpec
from marginflow.storage.files import write_whole
from marginflow.training import EpochRecord

DENSITY_COLOURS = "magma"  # lightness grows with the value, so it reads in grey
POINT_COLOURS = "viridis"
DATA, MODEL = "0.65", "black"  # data is light and filled, what the model says is dark and drawn as a line
SMALL = 7
ENLARGED = 600  # a grid of images is blown up until it is about this wide
MOST_IN_PICTURE = 100_000  # rows, which have to fit into memory


def save_png(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, making its folder where needed; its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path.with_suffix(".png"), dpi=120)
    return path.with_suffix(".png")


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG and beside it as SVG, making their folder where needed; the path of the PNG."""
    save_png(figure, path)
    figure.set_layout_engine("none")  # it is laid out now, and that takes most of the time
    with mpl.rc_context({"svg.hashsalt": "marginflow", "svg.fonttype": "none"}):  # the same figure, the same file
        figure.savefig(path.with_suffix(".svg"), dpi=120, metadata={"Date": None})
    return path.with_suffix(".png")


def require_picture(num_rows: int, features: int) -> None:
    """Refuse rows that a picture cannot show."""
    if features < 2:
        raise ValueError("a .png needs at least 2 features: write .csv, .parquet, .feather or .npy")
    if num_rows > MOST_IN_PICTURE:
        raise ValueError(
            f"a picture shows {MOST_IN_PICTURE:,} at most; got {num_rows:,}: write them to .csv, .parquet, .feather or "
            ".npy"
        )


def write_picture(x: Tensor, spec: DataSpec, output: Path) -> None:
    """Write rows of raw data as a .png, a grid of images or a scatter plot of two features, whole or not at all."""
    require_picture(len(x), spec.features)
    content = io.BytesIO()
    if spec.levels is not None:
        sheet = Image.fromarray(image_grid(x, spec.levels))
        factor = max(1, ENLARGED // sheet.width)
        enlarged = sheet.resize((sheet.width * factor, sheet.height * factor), Image.Resampling.NEAREST)
        enlarged.save(content, format="png")
    else:
        names = spec.columns or ("feature 0", "feature 1")
        scatter(x, f"{len(x)} samples", names).savefig(content, format="png", dpi=120)
    write_whole(output, content.getvalue())


def training_curves(
    history: Sequence[EpochRecord], loss: str = "NLL, nats a row", convert: Callable[[float], float] = float
) -> Figure:
    """Training and validation loss by epoch, the best marked.

    loss: what it is, in which unit. convert: nats a row to that unit.
    """
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    trained = [(r.epoch, convert(r.train_nll)) for r in history]
    axes.plot(*zip(*trained, strict=True), color="0.6", marker=".", label="training")
    validated = [(r.epoch, convert(r.validation_nll)) for r in history if r.validation_nll is not None]
    if validated:
        axes.plot(*zip(*validated, strict=True), color="black", marker="o", markersize=3, label="validation")
        best_epoch, best = min(validated, key=lambda each: each[1])
        label = f"best: {best:.3f} in epoch {best_epoch}"
        axes.plot(best_epoch, best, color="black", marker="*", markersize=11, linestyle="", label=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel=loss)
    axes.legend(frameon=False)
    return figure


def points(axes: Axes, x: Tensor, title: str, colour: Tensor | None = None) -> None:
    """A scatter plot of the first two features, coloured by `colour`, in grey tones without it."""
    axes.scatter(
        *x[:, :2].T.cpu().numpy(), s=3, linewidths=0, rasterized=True,
        c="0.25" if colour is None else colour.cpu().numpy(), cmap=None if colour is None else POINT_COLOURS,
    )  # fmt: skip
    axes.set_title(title, fontsize=9)
    axes.set_aspect("equal", adjustable="datalim")
    axes.tick_params(labelsize=SMALL)


def density(
    axes: Axes,
    log_prob: Callable[[Tensor], Tensor],
    bounds: tuple[float, float, float, float],
    title: str,
    size: int = 150,
) -> None:
    """A map of exp(log_prob) over the box (left, right, bottom, top), on a grid of `size` points a side."""
    left, right, bottom, top = bounds
    grid = torch.cartesian_prod(torch.linspace(bottom, top, size), torch.linspace(left, right, size)).flip(1)
    values = log_prob(grid).exp().reshape(size, size).cpu().numpy()
    image = axes.imshow(values, origin="lower", extent=bounds, cmap=DENSITY_COLOURS, vmin=0, aspect="auto")
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=SMALL)
    figure = axes.get_figure()
    if figure is not None:
        bar = figure.colorbar(image, ax=axes, shrink=0.8)
        bar.ax.tick_params(labelsize=SMALL)
        bar.set_label("density", fontsize=SMALL)


def density_of_one(
    log_prob: Callable[[Tensor], Tensor], x: Tensor, name: str, label: str = "p(x)", size: int = 400
) -> Figure:
    """The density of one feature as a line over a histogram of data x (N, 1). label: what the line is."""
    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.subplots()
    low, high = _range(x[:, 0])
    _histogram(axes, x[:, 0], (low, high), "test rows")
    grid = torch.linspace(low, high, size)[:, None]
    axes.plot(grid[:, 0].cpu(), log_prob(grid).exp().cpu(), color=MODEL, linewidth=1.2, label=label)
    axes.set(xlabel=name, ylabel="density")
    axes.legend(frameon=False)
    return figure


def density_of_two(
    log_prob: Callable[[Tensor], Tensor], x: Tensor, names: Sequence[str], label: str = "p(x)"
) -> Figure:
    """Data x (N, 2) beside the density of its two features, over the same box. label: what the map is."""
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    bounds = (*_range(x[:, 0]), *_range(x[:, 1]))
    points(left, x, f"{len(x):,} test rows")
    density(right, log_prob, bounds, label)
    for axes in (left, right):
        axes.set_aspect("auto")
        axes.set(xlim=bounds[:2], ylim=bounds[2:])
        axes.set_xlabel(names[0], fontsize=8)
        axes.set_ylabel(names[1], fontsize=8)
    return figure


def marginals(data: Tensor, samples: Tensor, names: Sequence[str], shown: int = 16) -> Figure:
    """Each feature by itself: a histogram of data beneath that of samples, both (N, D)."""
    figure, panels = _panels(min(data.shape[1], shown), width=2.4, height=1.9)
    for i, axes in enumerate(panels):
        limits = _range(data[:, i])
        _histogram(axes, data[:, i], limits, "test rows")
        _histogram(axes, samples[:, i], limits, "samples", filled=False)
        axes.set_title(names[i], fontsize=8)
        axes.set_yticks([])
    panels[0].legend(frameon=False, fontsize=SMALL)
    if data.shape[1] > shown:
        figure.suptitle(f"the first {shown} of {data.shape[1]} features", fontsize=9)
    return figure


def latents(z: Tensor, shown: int = 16) -> Figure:
    """Histograms of the latent z (N, D) of data, a panel a dimension, with the standard normal they should follow."""
    count = min(z.shape[1], shown)
    chosen = torch.linspace(0, z.shape[1] - 1, count).round().long().tolist()
    figure, panels = _panels(count, width=2.0, height=1.7)
    grid = np.linspace(-4, 4, 200)
    for i, axes in zip(chosen, panels, strict=True):
        _histogram(axes, z[:, i], (-4, 4), "z of test rows")
        axes.plot(grid, np.exp(-0.5 * grid**2) / math.sqrt(2 * math.pi), color=MODEL, linewidth=1, label="N(0, 1)")
        beyond = float((z[:, i].abs() > 4).double().mean())
        aside = f", {beyond:.1%} beyond" if beyond else ""
        axes.set_title(f"z{i}: {z[:, i].mean():.2f} ± {z[:, i].std():.2f}{aside}", fontsize=SMALL)
        axes.set_yticks([])
    panels[0].legend(frameon=False, fontsize=6)
    figure.suptitle(f"{count} of {z.shape[1]} latent dimensions, mean ± deviation", fontsize=9)
    return figure


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
    figure = Figure(figsize=(6, 4.4), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    above.axhline(bound, color="0.5", linestyle="--", linewidth=1, label="bound")
    above.errorbar(num_samples, estimates, errors, color=MODEL, marker="o", markersize=3, capsize=3, label="IW-K")
    above.set(ylabel="NLL, nats a row", xscale="log")
    above.set_title("bars: standard error of the difference to the bound", fontsize=SMALL)
    above.legend(frameon=False)
    below.plot(num_samples, sample_sizes, color=MODEL, marker="o", markersize=3, label="median effective sample size")
    below.plot(num_samples, num_samples, color="0.5", linestyle=":", label="K")
    below.axhline(10, color="0.7", linewidth=0.8)
    below.annotate("10: below, not converged", (num_samples[0], 10), (2, 2), textcoords="offset points", fontsize=SMALL)
    below.set(xlabel="K, draws of noise a row", yscale="log")
    below.legend(frameon=False)
    return figure


def by_epoch(snapshots: Mapping[int, Tensor], colour: Tensor, title: str) -> Figure:
    """Data pushed through a flow after several epochs, a panel each: epoch -> z (N, D), two features shown."""
    named = {"before training" if epoch == 0 else f"epoch {epoch}": z for epoch, z in snapshots.items()}
    return points_by_layer(
        named, colour, f"{title}; colour: feature 0 of the data; circle: two standard deviations of N(0, I)"
    )


def points_by_layer(stages: Mapping[str, Tensor], colour: Tensor, title: str, columns: int = 6) -> Figure:
    """Points at several stages, a panel each: name -> (N, D), two features shown, in the colours of where they started.

    The circle has the radius of two standard deviations of N(0, I).
    """
    figure, panels = _panels(len(stages), width=2.3, height=2.6, columns=min(columns, len(stages)))
    circle = np.linspace(0, 2 * math.pi, 100)
    for axes, (name, z) in zip(panels, stages.items(), strict=True):
        points(axes, z, name, colour)
        axes.set(xlim=(-4, 4), ylim=(-4, 4))
        axes.set_aspect("equal", adjustable="box")
        axes.plot(2 * np.cos(circle), 2 * np.sin(circle), color="0.5", linewidth=0.7)
    figure.suptitle(textwrap.fill(title, int(11 * figure.get_figwidth())), fontsize=9)
    return figure


def scatter(x: Tensor, title: str, names: Sequence[str] = ("feature 0", "feature 1")) -> Figure:
    """Rows as points: the first two features of each."""
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    points(axes, x, title)
    axes.set(xlabel=names[0], ylabel=names[1])
    return figure


def scatters(panels: Mapping[str, tuple[Tensor, Tensor]]) -> Figure:
    """Points side by side: name -> (rows, of which the first two features are shown; a colour for each)."""
    figure, axes = _panels(len(panels), width=3.2, height=3.0)
    for each, (name, (rows, colour)) in zip(axes, panels.items(), strict=True):
        points(each, rows, name, colour)
    return figure


def lines_against(
    at: Sequence[float], lines: Mapping[str, tuple[Sequence[float], Sequence[float] | None]], axis: str, floor: float
) -> Figure:
    """Nats against what differs between trainings: name -> (values, their standard errors). floor: the entropy."""
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    for (name, (values, errors)), style in zip(lines.items(), ("--", "-"), strict=False):
        axes.errorbar(at, values, errors, color=MODEL, linestyle=style, marker="o", markersize=3, capsize=3, label=name)
    axes.axhline(floor, color="0.6", linestyle=":", label="entropy of the data")
    axes.set(xlabel=axis, ylabel="nats a half moon")
    axes.set_xticks(list(at))
    axes.legend(frameon=False)
    return figure


def image_grids(grids: Mapping[str, Tensor], levels: int, columns: int = 4, size: float = 5.0) -> Figure:
    """Grids of images side by side: name -> pixels (N, C, H, W). columns: in a row. size: of a grid, in inches."""
    figure, panels = _panels(len(grids), width=size, height=size, columns=columns)
    for axes, (name, pixels) in zip(panels, grids.items(), strict=True):
        axes.imshow(image_grid(pixels, levels), interpolation="nearest")
        axes.set_title(name, fontsize=10)
        axes.set_axis_off()
    return figure


def image_grid(pixels: Tensor, levels: int) -> np.ndarray:
    """Images (N, C, H, W) tiled into one array (rows, columns, 3) of uint8, with a pixel of white between."""
    n, channels, height, width = pixels.shape
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    scaled = (pixels.double() * (255 / (levels - 1))).round().to(torch.uint8).cpu().numpy()
    sheet = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, 3), 255, np.uint8)
    for i, image in enumerate(scaled):
        top, left = (i // columns) * (height + 1), (i % columns) * (width + 1)
        sheet[top : top + height, left : left + width] = np.broadcast_to(
            image.transpose(1, 2, 0), (height, width, 3) if channels == 1 else (*image.shape[1:], channels)
        )
    return sheet


def _panels(count: int, *, width: float, height: float, columns: int = 4) -> tuple[Figure, list[Axes]]:
    """A figure with a number of panels in rows of some columns, those left over taken away."""
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(width * columns, height * rows + 0.3), layout="constrained")
    every: list[Axes] = list(np.atleast_1d(figure.subplots(rows, columns)).flat)
    for axes in every:
        axes.tick_params(labelsize=SMALL)
    for axes in every[count:]:
        axes.remove()
    return figure, every[:count]


def _histogram(axes: Axes, values: Tensor, limits: tuple[float, float], label: str, *, filled: bool = True) -> None:
    """A histogram as a density over all values, also those outside the limits."""
    heights, edges = np.histogram(values.cpu().numpy(), bins=50, range=limits)
    heights = heights / (len(values) * (edges[1] - edges[0]))
    axes.stairs(heights, edges, fill=filled, color=DATA if filled else MODEL, linewidth=1, label=label)


def _range(values: Tensor) -> tuple[float, float]:
    """Where values lie, but for a thousandth at each end, with a margin."""
    low, high = (float(each) for each in np.quantile(values.cpu().numpy(), [0.001, 0.999]))
    margin = 0.06 * (high - low) or 1.0
    return low - margin, high + margin
