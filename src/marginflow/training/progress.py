"""The progress of a training: a bar, or a line an epoch."""

from __future__ import annotations

import time
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from marginflow.base.distribution import Distribution
from marginflow.base.literal import literal
from marginflow.data import DataSpec
from marginflow.training.config import TrainConfig
from marginflow.training.metrics import EpochRecord

BACK = "  (jumped: back to the best, at half the learning rate)"


class TrainingProgress:
    """A bar with the epoch, the losses, rows a second and the time left; a line an epoch where no terminal is.

    Losses are in nats a row, for images in bits/dim.
    """

    def __init__(self, config: TrainConfig, spec: DataSpec, label: str = "", console: Console | None = None) -> None:
        self.config, self.spec = config, spec
        self.label = f"{literal(label)}  " if label else ""
        self.console = console or Console()
        self.validation = ""
        self.best: EpochRecord | None = None
        self.epoch, self.first_step, self.started, self.speed = 0, 0, 0.0, ""
        self.progress = Progress(
            TextColumn("{task.description}", markup=False, table_column=_whole()),
            BarColumn(bar_width=None),  # what room the rest leaves
            TextColumn("{task.fields[losses]}", markup=False, table_column=_whole()),
            TextColumn("{task.fields[speed]}", markup=False, table_column=_whole()),
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
        """Remember the validation; print the epoch where no terminal is or it jumped, and how the training ended."""
        self.remember(record)
        if not self.console.is_terminal or record.returned:
            self.console.print(Text(self._line(record)), soft_wrap=True)
        if record.ended:
            self.console.print(Text(f"{self.label}{record.ended}"), soft_wrap=True)

    def _line(self, record: EpochRecord) -> str:
        """An epoch in a line."""
        validation = "" if record.validation_nll is None else f"  validation {self._loss(record.validation_nll):.4f}"
        return (
            f"{self.label}epoch {record.epoch}/{self.config.epochs}  "
            f"train {self._loss(record.train_nll):.4f}{validation} {self._unit}"
            f"{'  (best)' if record.best else BACK if record.returned else ''}  {self.speed}  {record.seconds:.1f} s"
        )


def _whole() -> Column:
    """A column that is never cut short."""
    return Column(no_wrap=True, overflow="crop")
