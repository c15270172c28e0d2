"""What a training reports while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from marginflow.base.arguments import shown
from marginflow.base.distribution import Distribution
from marginflow.training.metrics import EpochRecord


class Observer(Protocol):
    """The interface of what `fit` informs of every step and every epoch.

    `fit` calls `on_step` after each step and `on_epoch` after each epoch. Any object with these two methods is an
    observer; it needs no base class.
    """

    def on_step(self, epoch: int, step: int, num_steps: int, loss: float) -> None:
        """After each step, counted from 1."""
        ...

    def on_epoch(self, record: EpochRecord, model: Distribution) -> None:
        """After each epoch, with the model that is validated, in evaluation mode where the epoch was validated.

        Where the loss had jumped, it has the best weights again.
        """
        ...


def require_observers(observers: Sequence[Observer]) -> None:
    """Refuse what is no list of observers: ValueError."""
    listed = isinstance(observers, list | tuple)
    if not listed or not all(hasattr(each, "on_step") and hasattr(each, "on_epoch") for each in observers):
        raise ValueError(f"observers must be a list of objects with on_step and on_epoch; got {shown(observers)}")


class TensorBoard:
    """An observer that writes the losses and the learning rate of each epoch as events for TensorBoard.

    Call `close` at the end. `fit` makes and closes one itself where the configuration has tensorboard=True.

    Args:
        directory: where the events go.
    """

    def __init__(self, directory: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(directory))

    def on_step(self, epoch: int, step: int, num_steps: int, loss: float) -> None:
        """Nothing: events come once an epoch."""

    def on_epoch(self, record: EpochRecord, model: Distribution) -> None:
        """Write the epoch."""
        self.writer.add_scalar("nll/train", record.train_nll, record.epoch)
        if record.validation_nll is not None:
            self.writer.add_scalar("nll/validation", record.validation_nll, record.epoch)
        if record.validation_robust_nll is not None:
            self.writer.add_scalar("nll/validation_robust", record.validation_robust_nll, record.epoch)
        if record.lr is not None:
            self.writer.add_scalar("lr", record.lr, record.epoch)
        self.writer.add_scalar("seconds", record.seconds, record.epoch)
        self.writer.flush()

    def close(self) -> None:
        """Close the file of events."""
        self.writer.close()
