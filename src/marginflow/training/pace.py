"""How long a training will take, told once its first steps were measured."""

from __future__ import annotations

import time
from collections.abc import Callable

from marginflow.base.distribution import Distribution
from marginflow.training.config import TrainConfig
from marginflow.training.metrics import EpochRecord

ENOUGH = 5.0  # seconds of steps, which tell how long an epoch takes


class Pace:
    """An observer that tells once how long an epoch takes, and all of them: by the first, or by its first steps.

    Args:
        config: of the training.
        tell: what to do with the line.

    Examples:
        >>> pace = Pace(TrainConfig(epochs=20, patience=3), print)
        >>> pace.on_epoch(EpochRecord(1, 2.0, 2.1, True, seconds=90.0), None)
        about 90 s an epoch: at most 30 min, less where 3 epochs bring nothing better
    """

    def __init__(self, config: TrainConfig, tell: Callable[[str], object]) -> None:
        self.config, self.tell = config, tell
        self.started, self.first_step, self.told = 0.0, 0, False

    def on_step(self, epoch: int, step: int, num_steps: int, loss: float) -> None:
        """Measure from the end of the first step on, which may compile something."""
        if self.told:
            return
        if not self.started:
            self.started, self.first_step = time.perf_counter(), step
            return
        seconds = time.perf_counter() - self.started
        if seconds >= ENOUGH and step < num_steps:
            self._tell(epoch, seconds / (step - self.first_step) * num_steps)

    def on_epoch(self, record: EpochRecord, model: Distribution | None) -> None:
        """Take the duration of the first epoch, where nothing was told before."""
        if not self.told and record.ended is None:
            self._tell(record.epoch, record.seconds)
        self.told = True

    def _tell(self, epoch: int, seconds: float) -> None:
        self.told = True
        patience = self.config.patience
        less = f", less where {patience} epochs bring nothing better" if patience else ""
        whole = in_words(seconds * (self.config.epochs - epoch + 1))
        self.tell(f"about {in_words(seconds)} an epoch: at most {whole}{less}")


def in_words(seconds: float) -> str:
    """A duration in the unit that suits it.

    >>> in_words(0.25), in_words(75), in_words(1800), in_words(9000)
    ('0.2 s', '75 s', '30 min', '2.5 h')
    """
    if seconds < 10:
        return f"{max(seconds, 0.1):.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
