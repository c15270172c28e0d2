"""Figures: each function draws one kind of panel or figure; `save` writes it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from marginflow.training import EpochRecord

DENSITY_COLOURS = "magma"  # lightness grows with the value, so it reads in grey
POINT_COLOURS = "viridis"


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, making its folder where needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return path


def training_curves(history: Sequence[EpochRecord]) -> Figure:
    """Training and validation negative log-likelihood by epoch, the best marked."""
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([r.epoch for r in history], [r.train_nll for r in history], color="0.6", marker=".", label="training")
    validated = [(r.epoch, r.validation_nll) for r in history if r.validation_nll is not None]
    axes.plot(*zip(*validated, strict=True), color="black", marker="o", markersize=3, label="validation")
    best_epoch, best = min(validated, key=lambda each: each[1])
    label = f"best: {best:.3f} in epoch {best_epoch}"
    axes.plot(best_epoch, best, color="black", marker="*", markersize=11, linestyle="", label=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel="NLL, nats a row")
    axes.legend(frameon=False)
    return figure


def points(axes: Axes, x: Tensor, title: str, colour: Tensor | None = None) -> None:
    """A scatter plot of the first two features, coloured by `colour`, in grey tones without it."""
    axes.scatter(
        *x[:, :2].T.cpu().numpy(), s=3, linewidths=0,
        c="0.25" if colour is None else colour.cpu().numpy(), cmap=None if colour is None else POINT_COLOURS,
    )  # fmt: skip
    axes.set_title(title, fontsize=9)
    axes.set_aspect("equal", adjustable="datalim")
    axes.tick_params(labelsize=7)


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
    image = axes.imshow(values, origin="lower", extent=bounds, cmap=DENSITY_COLOURS, vmin=0)
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=7)
    figure = axes.get_figure()
    if figure is not None:
        bar = figure.colorbar(image, ax=axes, shrink=0.8)
        bar.ax.tick_params(labelsize=7)
        bar.set_label("density", fontsize=7)


def by_epoch(snapshots: Mapping[int, Tensor], colour: Tensor, title: str) -> Figure:
    """Data pushed through a flow after several epochs, a panel each: epoch -> z (N, D), two features shown."""
    figure = Figure(figsize=(2.3 * len(snapshots), 2.9), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(snapshots)))
    for axes, (epoch, z) in zip(panels, snapshots.items(), strict=True):
        points(axes, z, "before training" if epoch == 0 else f"epoch {epoch}", colour)
        axes.set(xlim=(-4, 4), ylim=(-4, 4))
        axes.set_aspect("equal", adjustable="box")
        circle = np.linspace(0, 2 * math.pi, 100)
        axes.plot(2 * np.cos(circle), 2 * np.sin(circle), color="0.5", linewidth=0.7)
    figure.suptitle(f"{title}; colour: feature 0 of the data; circle: two standard deviations of N(0, I)", fontsize=9)
    return figure


def scatter(x: Tensor, title: str) -> Figure:
    """Rows as points: the first two features of each."""
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    points(axes, x, title)
    axes.set(xlabel="feature 0", ylabel="feature 1")
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
