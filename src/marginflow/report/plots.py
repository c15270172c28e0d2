"""Figures of every kind, and how they are written: as PNG and SVG, the same figure as the same file.

All of them read in grey, show names as they stand, and say how much lies outside of what they show.
"""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from marginflow.data import DataSpec
from marginflow.report.column_marginals import column_marginals
from marginflow.report.curves import bound_against_samples, lines_against, training_curves
from marginflow.report.histograms import density_of_one, latents, marginals
from marginflow.report.images import DOTS, image_grid, image_grids
from marginflow.report.maps import (
    DENSITY_COLOURS,
    by_epoch,
    density,
    density_of_two,
    points,
    points_by_layer,
    scatter,
    scatters,
)
from marginflow.storage.files import write_whole

__all__ = [
    "DENSITY_COLOURS", "bound_against_samples", "by_epoch", "column_marginals", "density", "density_of_one",
    "density_of_two", "image_grid", "image_grids", "latents", "lines_against", "marginals", "points",
    "points_by_layer", "require_picture", "save", "save_png", "scatter", "scatters", "training_curves",
    "write_picture",
]  # fmt: skip

ENLARGED = 600  # a grid of images is blown up until it is about this wide
MOST_IN_PICTURE = 100_000  # rows, which have to fit into memory


def save_png(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, making its folder where needed; its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path.with_suffix(".png"), dpi=DOTS)
    return path.with_suffix(".png")


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG and beside it as SVG, making their folder where needed; the path of the PNG."""
    save_png(figure, path)
    figure.set_layout_engine("none")  # it is laid out now, and that takes most of the time
    with mpl.rc_context({"svg.hashsalt": "marginflow", "svg.fonttype": "none"}):  # the same figure, the same file
        figure.savefig(path.with_suffix(".svg"), dpi=DOTS, metadata={"Date": None})
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
        shown = f"{len(x):,} samples" + (f", the first 2 of {spec.features} features" if spec.features > 2 else "")
        names = spec.columns or ("feature 0", "feature 1")
        scatter(x, shown, names, same_unit=not spec.columns).savefig(content, format="png", dpi=DOTS)
    write_whole(output, content.getvalue())
