"""What the command line shows: the progress of a training, and the accounting as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from rich.console import Console, Group
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from marginflow.distributions import Distribution
from marginflow.evaluation import Accounting, Estimate
from marginflow.training import EpochRecord


class TrainingProgress:
    """A bar with the epoch, the negative log-likelihoods and the time left; a line an epoch where no terminal is."""

    def __init__(self, epochs: int, label: str = "", console: Console | None = None) -> None:
        self.epochs = epochs
        self.label = f"{label}  " if label else ""
        self.console = console or Console()
        self.best = ""
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[nll]}"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = self.progress.add_task(f"{self.label}epoch 1/{epochs}", nll="", total=None)

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def on_step(self, epoch: int, step: int, num_steps: int, loss: float) -> None:
        """Move the bar; every tenth step, so that small models do not wait for it."""
        if step % 10 and step != num_steps:
            return
        self.progress.update(
            self.task,
            description=f"{self.label}epoch {epoch}/{self.epochs}",
            completed=(epoch - 1) * num_steps + step,
            total=self.epochs * num_steps,
            nll=f"train {loss:.3f}{self.best} nats",
        )

    def on_epoch(self, record: EpochRecord, model: Distribution) -> None:
        """Remember the best validation; without a terminal, print the epoch."""
        if record.best:
            self.best = f"  best validation {record.validation_nll:.3f}"
        if not self.console.is_terminal:
            validation = "" if record.validation_nll is None else f"  validation {record.validation_nll:.4f}"
            self.console.print(
                f"{self.label}epoch {record.epoch}/{self.epochs}  train {record.train_nll:.4f}{validation} nats"
                f"{'  (best)' if record.best else ''}  {record.seconds:.1f} s",
                highlight=False,
            )


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
    table.add_row("  computed", *["exactly" if each.exact else f"by IW-{each.num_samples}" for each in columns])
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


def _notes(columns: list[Accounting], floor: float | None) -> str:
    first = columns[0]
    lines = [f"means over {first.num_rows} rows of {first.features} features, ± standard error; seed {first.seed}"]
    if any(not each.exact for each in columns):
        lines.append("the bound lies above the NLL; IW-K comes down to it as K grows")
    if any(not each.converged for each in columns):
        lines.append("NOT CONVERGED: effective sample size under 10; take the NLL as a bound, or raise --num-samples")
    if floor is not None:
        lines.append("no density's NLL averages below the entropy of the data")
    return "\n".join(lines)


def _estimate(estimate: Estimate | None, digits: int = 3) -> str:
    return "-" if estimate is None else f"{estimate.value:.{digits}f} ± {estimate.standard_error:.{digits}f}"


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
