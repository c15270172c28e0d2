"""What the study of batch sizes found: held-out NLL against seconds, and rows a second, as a figure and a table."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from marginflow.report import plots
from marginflow.training import suggested_batch_size
from studies import RESULTS
from studies.batch_size import BATCHES, RATES, Study, path_of
from studies.batch_size_training import DEFAULTS

Trials = Sequence[dict[str, Any]]
DEFAULT = (100, DEFAULTS["train"]["lr"])  # what a table is trained with by default
LARGEST = 2048  # that was trained with
PLAIN = FuncFormatter(lambda value, _: f"{value:.2g}")


class Found:
    """The trainings of a study on tables of one number of rows, without dropout unless it is asked for."""

    def __init__(self, study: Study, num_rows: int) -> None:
        self.study, self.num_rows = study, num_rows
        self.rule = suggested_batch_size(num_rows)

    def trials(self, size: int, lr: float, dropout: float = 0.0) -> Trials:
        """All seeds of a setting."""
        what = {"rows": self.num_rows, "batch_size": size, "lr": lr, "dropout": dropout}
        return [each for each in self.study.trials if what.items() <= each.items()]

    def best(self, size: int) -> float | None:
        """The learning rate that was best for a batch size with the first seed."""
        tried = {lr: value for lr in RATES if (value := self.value(self.trials(size, lr)[:1])) is not None}
        return min(tried, key=lambda lr: tried[lr]) if tried else None

    def curve(self, trials: Trials) -> tuple[list[float], list[float]]:
        """Seconds, and the test NLL of the weights that were best on validation till then, mean over seeds."""
        step = self.study.step(trials[0]["batch_size"], trials[0]["dropout"])
        so_far: list[list[float]] = []
        for each in trials:
            kept = [min(each["curve"][: k + 1], key=lambda point: point[1])[2] for k in range(len(each["curve"]))]
            so_far.append(kept + kept[-1:] * (max(len(other["curve"]) for other in trials) - len(kept)))
        longest = max((each["curve"] for each in trials), key=len)
        return [step * steps for steps, *_ in longest], [statistics.mean(each) for each in zip(*so_far, strict=True)]

    @cached_property
    def seconds(self) -> float:
        """Which all settings had; a training that diverged had fewer."""
        ends: dict[tuple[int, float], float] = {}
        for each in self.study.trials:
            if each["rows"] == self.num_rows and each["curve"]:
                setting = each["batch_size"], each["dropout"]
                ends[setting] = max(ends.get(setting, 0.0), self.study.step(*setting) * each["curve"][-1][0])
        return min(ends.values())

    def value(self, trials: Trials, seconds: float | None = None) -> float | None:
        """The NLL after so many seconds, by default after those that all had."""
        if not trials or not all(each["curve"] for each in trials):
            return None
        x, y = self.curve(trials)
        return float(np.interp(np.log(seconds or self.seconds), np.log(x), y))


def colour_of(size: int) -> Any:
    """The larger the batch, the darker."""
    return mpl.colormaps["viridis_r"](0.05 + 0.95 * min(BATCHES.index(size) / BATCHES.index(LARGEST), 1.0))


def draw_curves(axes: Axes, found: Found) -> None:
    """NLL against seconds: a line a batch size with its best learning rate; what the rule chooses, what defaults do."""
    ends, early = [], []
    for size in BATCHES:
        if (lr := found.best(size)) is not None:
            x, y = found.curve(found.trials(size, lr))
            axes.plot(x, y, color=colour_of(size), linewidth=1.3)
            ends.append(y[-1])
            early.append(found.value(found.trials(size, lr), found.seconds / 8))
    if default := found.trials(*DEFAULT):
        axes.plot(*found.curve(default), color="0.4", linestyle=":")
    if rule := found.trials(*found.rule):
        x, y = found.curve(rule)
        axes.plot(x, y, color="red", linestyle="--", linewidth=1)
        axes.plot(x[-1], y[-1], color="red", marker="*", markersize=9, clip_on=False, zorder=5)
    top = statistics.median(early)
    bottom = min(ends) - 0.06 * (top - min(ends))
    axes.set(xscale="log", xlim=(found.seconds / 12, 1.1 * found.seconds), ylim=(bottom, top), xlabel="seconds")
    axes.set_title(f"{found.study.name}, {found.num_rows:,} rows", fontsize=9)
    axes.xaxis.set_major_formatter(PLAIN)
    axes.set_xticks([found.seconds / each for each in (8, 4, 2, 1)])
    axes.xaxis.set_minor_formatter(NullFormatter())


def draw_throughput(axes: Axes) -> None:
    """Rows a second by batch size, of each network."""
    measured = json.loads(path_of("throughput").read_text())["seconds_a_step"]
    for (name, row), style in zip(measured.items(), ("-", "--", "-.", ":"), strict=True):
        rates = {int(size): int(size) / seconds for size, seconds in row.items()}
        axes.plot(list(rates), list(rates.values()), "k", linestyle=style, linewidth=1.2, label=name)
    axes.set(xscale="log", yscale="log", xlabel="batch size", ylabel="rows a second")
    axes.set_title("a training step, one thread", fontsize=9)
    axes.legend(fontsize=6, frameon=False)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def figure(sources: Sequence[Path | None]) -> Figure:
    """A row a kind of table, a panel a number of rows; rows a second in the last."""
    studies = [Study(source) for source in sources]
    drawing = Figure(figsize=(11, 3 * len(studies)), layout="constrained")
    panels = drawing.subplots(len(studies), 4, squeeze=False)
    for row, study in zip(panels, studies, strict=True):
        sizes = sorted({each["rows"] for each in study.trials})
        for axes, num_rows in zip(row, sizes, strict=False):
            draw_curves(axes, Found(study, num_rows))
        row[0].set_ylabel("test NLL, nats" if study.source else "test NLL less entropy, nats", fontsize=9)
        for axes in row[len(sizes) :]:
            axes.set_axis_off()
    panels[-1, -1].set_axis_on()
    draw_throughput(panels[-1, -1])
    tried = {each["batch_size"] for study in studies for each in study.trials}
    lines = [Line2D([], [], color=colour_of(size), label=str(size)) for size in BATCHES if size in tried]
    lines.append(Line2D([], [], color="red", linestyle="--", marker="*", label="the rule"))
    lines.append(Line2D([], [], color="0.4", linestyle=":", label="batch {}, lr {}".format(*DEFAULT)))
    drawing.legend(
        handles=lines, loc="outside lower center", ncols=len(lines), fontsize=8, frameon=False, title="batch size"
    )
    return drawing


def table(sources: Sequence[Path | None]) -> str:
    """Markdown: by number of rows the NLL of each batch size at its best learning rate, of the rule, of defaults."""
    studies = [Study(source) for source in sources]
    tried = {each["batch_size"] for study in studies for each in study.trials}
    sizes = [size for size in BATCHES if size in tried]
    head = ["rows", "seconds", *map(str, sizes), "the rule", "the defaults"]
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    for study in studies:
        for num_rows in sorted({each["rows"] for each in study.trials}):
            found = Found(study, num_rows)
            settings = [(size, found.best(size)) for size in sizes] + [found.rule, DEFAULT]
            cells = [f"{study.name}, {num_rows:,}", f"{found.seconds:.1f}"]
            lines.append(f"| {' | '.join(cells + [cell(found, *setting) for setting in settings])} |")
    return "\n".join(lines)


def cell(found: Found, size: int, lr: float | None) -> str:
    """The NLL of a setting and its learning rate; empty where it was not trained."""
    value = None if lr is None else found.value(found.trials(size, lr))
    return "" if value is None else f"{value:.3f} ({lr:.2g})"


def save(sources: Sequence[Path | None]) -> None:
    """The figure as PNG."""
    plots.save_png(figure(sources), RESULTS / "batch_size.png")
