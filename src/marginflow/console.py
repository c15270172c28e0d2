"""What the command line shows: the progress of a training, and the accounting as a table."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Self

from rich.console import Console, Group
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from marginflow.accounting import Accounting
from marginflow.base.moments import Estimate
from marginflow.checks import Findings
from marginflow.comparison import Compared
from marginflow.data import DataSpec
from marginflow.distributions import Distribution
from marginflow.divergence import Divergence
from marginflow.precision import Disagreement
from marginflow.training import EpochRecord, TrainConfig


class TrainingProgress:
    """A bar with the epoch, the losses, rows a second and the time left; a line an epoch where no terminal is.

    Losses are in nats a row, for images in bits/dim.
    """

    def __init__(self, config: TrainConfig, spec: DataSpec, label: str = "", console: Console | None = None) -> None:
        self.config, self.spec = config, spec
        self.label = f"{label}  " if label else ""
        self.console = console or Console()
        self.validation = ""
        self.best: EpochRecord | None = None
        self.epoch, self.first_step, self.started, self.speed = 0, 0, 0.0, ""
        self.progress = Progress(
            TextColumn("{task.description}", table_column=_whole()),
            BarColumn(bar_width=None),  # what room the rest leaves
            TextColumn("{task.fields[losses]}", table_column=_whole()),
            TextColumn("{task.fields[speed]}", table_column=_whole()),
            TimeRemainingColumn(compact=True, table_column=_whole()),
            console=self.console,
            expand=True,
            disable=not self.console.is_terminal,
        )
        self.task = self.progress.add_task(f"{self.label}epoch 1/{config.epochs}", losses="", speed="", total=None)

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def _loss(self, nll: float) -> float:
        """A negative log-likelihood in the unit that is shown."""
        return nll if self.spec.levels is None else self.spec.bits_per_dim(nll)

    @property
    def _unit(self) -> str:
        return "nats" if self.spec.levels is None else "bits/dim"

    def _speed(self, step: int) -> str:
        """Rows a second since the epoch was first seen."""
        seconds = time.perf_counter() - self.started
        rows = (step - self.first_step) * self.config.batch_size
        return f"{rows / seconds:,.0f} rows/s" if rows and seconds > 0 else ""

    def on_step(self, epoch: int, step: int, num_steps: int, loss: float) -> None:
        """Move the bar; every tenth step, so that small models do not wait for it."""
        if epoch != self.epoch:
            self.epoch, self.first_step, self.started = epoch, step, time.perf_counter()
        if step % 10 and step != num_steps:
            return
        self.speed = self._speed(step)
        self.progress.update(
            self.task,
            description=f"{self.label}epoch {epoch}/{self.config.epochs}",
            completed=(epoch - 1) * num_steps + step,
            total=self.config.epochs * num_steps,
            losses=f"train {self._loss(loss):#.5g}{self.validation} {self._unit}",
            speed=self.speed if step < num_steps else "validating",
        )

    def remember(self, record: EpochRecord) -> None:
        """Take in the validation of an epoch, also of one before the training was resumed."""
        if record.best:
            self.best = record
        if record.validation_nll is not None and self.best is not None and self.best.validation_nll is not None:
            best = f"best {self._loss(self.best.validation_nll):#.5g}"
            self.validation = f"  val {self._loss(record.validation_nll):#.5g}  {best}"

    def on_epoch(self, record: EpochRecord, model: Distribution) -> None:
        """Remember the validation; without a terminal, print the epoch."""
        self.remember(record)
        if not self.console.is_terminal:
            self.console.print(self._line(record), highlight=False, soft_wrap=True)

    def _line(self, record: EpochRecord) -> str:
        """An epoch in a line."""
        validation = "" if record.validation_nll is None else f"  validation {self._loss(record.validation_nll):.4f}"
        return (
            f"{self.label}epoch {record.epoch}/{self.config.epochs}  "
            f"train {self._loss(record.train_nll):.4f}{validation} {self._unit}"
            f"{'  (best)' if record.best else ''}  {self.speed}  {record.seconds:.1f} s"
        )


def findings_table(findings: Findings) -> Table:
    """What a check has found, a row each, with what to do."""
    table = Table()
    for title in ("check", "", "found", "what to do"):
        table.add_column(title, overflow="fold")
    colours = {"pass": "green", "warn": "yellow", "fail": "bold red", "skip": "dim"}
    for each in findings.every:
        table.add_row(each.check, f"[{colours[each.status]}]{each.status}[/]", escape(each.found), escape(each.remedy))
    return table


def _whole() -> Column:
    """A column that is never cut short."""
    return Column(no_wrap=True, overflow="crop")


def accounting_table(results: Mapping[str, Accounting], floor: float | None = None) -> Group:
    """The accounting of one or more models over the same rows, side by side, means with standard errors."""
    columns = list(results.values())
    estimated = any(not each.exact for each in columns)
    table = Table()
    preprocessed = any(each.log_det.value for each in columns)
    table.add_column("nats a row, after preprocessing" if preprocessed else "nats a row")
    for name in results:
        table.add_column(name, justify="right")
    if estimated:
        table.add_row("joint NLL  -log p(x, ε)", *[_estimate(each.joint_nll) for each in columns])
        table.add_row("noise entropy  -log q(ε|x)", *[_estimate(each.noise_entropy) for each in columns])
        table.add_row("bound on the NLL", *["-" if each.exact else _estimate(each.bound) for each in columns])
    table.add_row("NLL", *[_estimate(each.importance_weighted) for each in columns], style="bold")
    table.add_row("  computed", *[_computed(each) for each in columns])
    if any(each.given_label for each in columns):
        table.add_row("NLL given the label", *[_estimate(each.given_label) for each in columns])
    if estimated:
        table.add_row("  error from the draws", *[_from_draws(e, e.importance_weighted.draws_error) for e in columns])
        table.add_row("  still too high by about", *[_from_draws(each, each.draws_bias) for each in columns])
        table.add_row("  median effective sample size", *[_sample_size(each) for each in columns])
    if floor is not None:  # of the preprocessed rows, like all above
        table.add_row("entropy of the data", *[f"{floor + each.log_det.value:.3f}" for each in columns])
    if preprocessed:
        table.add_row("NLL of the rows as given", *[f"{each.raw_nll:.3f}" for each in columns])
    if any(each.bits_per_dim for each in columns):
        table.add_row("bits/dim", *[_estimate(each.bits_per_dim, 4) for each in columns], style="bold")
        if estimated:
            table.add_row("bits/dim, from the bound", *[_estimate(each.bits_per_dim_bound, 4) for each in columns])
    return Group(table, _notes(columns, floor))


def about_samples(drawn: Divergence) -> str:
    """How many samples leave the range of the data, in a line."""
    return (
        f"of {drawn.num_samples} samples {drawn.diverged:.1%} diverged: a value not finite, or three times as far out "
        f"as any of the test rows; {drawn.saturated:.2%} of the values saturated: outside the range of those rows"
    )


def about_precision(single: Disagreement) -> str:
    """How far float32 lies from float64, in a line."""
    mean, most = f"{single.mean:.1e}", f"{single.largest:.1e}"
    return f"float32 is {mean} nats a row off float64, at most {most}, on {single.num_rows:,} rows"


def comparison_table(results: Sequence[Compared], spec: DataSpec) -> Group:
    """Runs side by side, the best first: what each is worth and by how much it lies behind the best."""
    images = spec.levels is not None
    unit, scale = ("bits/dim", spec.bits_per_nat) if images else ("nats a row", 1.0)
    digits = 4 if images else 3
    table = Table()
    table.add_column("run")
    for heading in (f"NLL, {unit}", "behind the best", "computed", "median effective sample size"):
        table.add_column(heading, justify="right")
    for each in results:
        behind = "-" if each.behind is None else _estimate(each.behind.scaled(scale), digits)
        nll, how = _estimate(each.nll.scaled(scale), digits), _computed(each.accounting)
        table.add_row(each.name, nll, behind, how, _sample_size(each.accounting))
    lines = [
        f"means over the same {results[0].accounting.num_rows} test rows, as given, before preprocessing",
        "behind the best: mean of the differences row by row, ± their standard error",
    ]
    if any(not each.accounting.exact for each in results):
        lines.append("by IW-K: an upper bound that comes down to the NLL as K grows")
    if any(each.accounting.modelled_dequantisation for each in results):
        lines.append("one draw of u: a bound, on average, that K does not tighten")
    return Group(table, "\n".join(lines))


def listing(title: str, entries: Mapping[str, str]) -> None:
    """Print names and what they are."""
    table = Table(title=escape(title), title_justify="left", box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, about in entries.items():
        table.add_row(name, escape(about))
    Console().print(table)


def _notes(columns: list[Accounting], floor: float | None) -> str:
    first = columns[0]
    lines = [f"means over {first.num_rows} rows of {first.features} features, ± standard error; seed {first.seed}"]
    if any(not each.exact for each in columns):
        lines.append("the bound lies above the NLL; IW-K comes down to it as K grows")
    if any(each.given_label for each in columns):
        lines.append("the NLL averages over the labels: of a table by their share of the training rows, else equally")
    if any(each.modelled_dequantisation for each in columns):
        lines.append("u ~ q(u|x), by a model: bits/dim, with one draw of it, are a bound on average; nats after")
        lines.append("preprocessing hold no q and cannot be compared with those of other models")
    if any(not each.converged for each in columns):
        lines.append("NOT CONVERGED: effective sample size under 10; take the NLL as a bound, or raise --num-samples")
    if floor is not None:
        lines.append("no density's NLL averages below the entropy of the data")
    return "\n".join(lines)


def _computed(accounting: Accounting) -> str:
    how = "exactly" if accounting.exact else f"by IW-{accounting.num_samples}"
    return f"{how}, at one draw of u" if accounting.modelled_dequantisation else how


def _estimate(estimate: Estimate | None, digits: int = 3) -> str:
    if estimate is None:
        return "-"
    error = "unknown" if math.isnan(estimate.standard_error) else f"{estimate.standard_error:.{digits}f}"
    return f"{estimate.value:.{digits}f} ± {error}"


def _from_draws(accounting: Accounting, value: float | None) -> str:
    """What the draws of noise add to the uncertainty; nothing to an exact density."""
    if accounting.exact:
        return "-"
    if value is None:
        return "unknown at K = 1" if accounting.num_samples == 1 else "unknown, not converged"
    return f"{value:.1e}"


def _sample_size(accounting: Accounting) -> str:
    if accounting.exact:
        return "-"
    note = "" if accounting.converged else "  not converged"
    return f"{accounting.effective_sample_size:.1f} of {accounting.num_samples}{note}"
