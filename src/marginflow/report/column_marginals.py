"""Each column of a table by itself, test rows beneath samples: levels by name, numbers in the units of the file."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from torch import Tensor

from marginflow.data.schema import Column, Schema
from marginflow.data.tables.decode import as_written
from marginflow.data.tables.values import TEMPORAL
from marginflow.report.histograms import FEWEST_BINS, MOST_BINS, bins, histogram
from marginflow.report.labels import heading, legend, plain, title
from marginflow.report.panels import DATA, MODEL, SMALL, panels
from marginflow.report.ranges import Range, aside, is_outside, share, shown_range

SHOWN = 16  # columns
MOST_LEVELS = 8  # in a panel; those that are rarer are one bar
NAME_WIDTH = 0.9  # inches, of a level
BAR = 0.8  # of the room between bars


def column_marginals(data: Tensor, samples: Tensor, schema: Schema) -> Figure:
    """Each column by itself: of levels the share of each, of numbers a histogram; what is missing is counted.

    data, samples: rows (N, D) of the schema.
    """
    columns = schema.modelled[:SHOWN]
    figure, every = panels(len(columns), width=3.0, height=2.1)
    for i, (axes, column) in enumerate(zip(every, columns, strict=True)):
        draw = _levels if column.levels else _numbers
        draw(axes, column, data[:, i].double().cpu(), samples[:, i].double().cpu())
        title(axes, column.name, 8)
    legend(figure, every[0])
    if len(schema.modelled) > SHOWN:
        heading(figure, f"the first {SHOWN} of {len(schema.modelled):,} columns")
    return figure


def _levels(axes: Axes, column: Column, data: Tensor, samples: Tensor) -> None:
    """A bar for each level, and one for what is missing."""
    shares = [_shares(column, each) for each in (data, samples)]
    names = [*column.levels, *(["missing"] if column.blank else [])]
    shown = list(range(len(names)))
    if len(names) > MOST_LEVELS:
        shown = sorted(shares[0].argsort(descending=True, stable=True)[: MOST_LEVELS - 1].tolist())
    heights = [[float(each[i]) for i in shown] for each in shares]
    labels = [names[i] for i in shown]
    if len(shown) < len(names):
        labels.append(f"{len(names) - len(shown):,} others")
        for own in heights:
            own.append(max(0.0, 1 - sum(own)))
    fitting = [plain(label, NAME_WIDTH, SMALL, lines=1) for label in labels]
    places = range(len(labels))
    axes.barh(places, heights[0], BAR, color=DATA, label="test rows")
    axes.barh(places, heights[1], BAR, fill=False, edgecolor=MODEL, linewidth=1, label="samples")
    axes.set_yticks(places, [text for text, _ in fitting])
    for text, (_, options) in zip(axes.get_yticklabels(), fitting, strict=True):
        text.set(**options)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g}%"))


def _shares(column: Column, values: Tensor) -> Tensor:
    """Of each level, and of what is missing."""
    known = values[~values.isnan()].long().clamp(0, len(column.levels) - 1)
    counts = torch.bincount(known, minlength=len(column.levels)).double()
    missing = [len(values) - len(known)] if column.blank else []
    return torch.cat([counts, torch.tensor(missing, dtype=torch.float64)]) / max(len(values), 1)


def _numbers(axes: Axes, column: Column, data: Tensor, samples: Tensor) -> None:
    """A histogram of the values that are there, over the range of the data."""
    lines = []
    missing = [float(each.isnan().double().mean()) for each in (data, samples)]
    if any(missing):
        lines.append(f"missing: {share(missing[0])} of rows, {share(missing[1])} of samples")
    kept = [each[~each.isnan()] for each in (data, samples)]
    edges = bins(kept[0]) if column.grid is None else _of_steps(kept[0])
    if column.grid is not None and column.kind not in TEMPORAL:
        grid = column.grid
        edges, *kept = grid.values(edges), *(torch.from_numpy(grid.values(each.numpy())) for each in kept)
    limits = (float(edges[0]), float(edges[-1]))
    for values, what, is_data in ((kept[0], "rows", True), (kept[1], "samples", False)):
        if len(values):
            histogram(axes, values, edges, "test rows" if is_data else "samples", filled=is_data)
            lines.append(aside(int(is_outside(values, limits).sum()), len(values), what))
    axes.set_xlim(limits)
    axes.set_xlabel("\n".join(line for line in lines if line), fontsize=SMALL)
    axes.set_yticks([])
    if column.kind in TEMPORAL:
        axes.xaxis.set_major_locator(MaxNLocator(2, integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(_times(column, limits)))


def _of_steps(values: Tensor) -> np.ndarray:
    """The edges of bins that hold equally many steps of a grid each; as of reals where there are many more."""
    low, high = shown_range(values)
    first, last = math.ceil(low), math.floor(high)
    width = math.ceil((last - first + 1) / min(max(math.sqrt(len(values)), FEWEST_BINS), MOST_BINS))
    if width > MOST_BINS:
        return bins(values)
    return first - 0.5 + width * np.arange(math.ceil((last - first + 1) / width) + 1)


def _times(column: Column, limits: Range) -> Callable[[float, int], str]:
    """How a file writes dates and times, without the time of day where days differ."""
    ends = [as_written(round(each), column) for each in limits]
    is_long = column.kind == "timestamp" and len({_day(each) for each in ends}) == len(ends)

    def written(value: float, _: int) -> str:
        text = as_written(round(value), column)
        return _day(text) if is_long else text

    return written


def _day(text: str) -> str:
    return re.split("[T ]", text)[0]
