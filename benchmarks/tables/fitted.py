"""What is asked of every density that is compared, and how one of several settings is chosen, alike for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from benchmarks.tables.measure import Task
from marginflow.estimators.folds import folds_of, number_of_folds

WORSE = 2  # settings in a row, in rising order, after which no further one is tried
Setting = TypeVar("Setting")


class Density(Protocol):
    """A density of rows of a schema."""

    def log_prob(self, x: Tensor, /) -> np.ndarray:
        """log p of each row (N,), in nats, on the measure of the schema."""
        ...

    def sample(self, number: int, seed: int, /) -> Tensor:
        """Rows that are drawn (number, D)."""
        ...


class Fitted(NamedTuple):
    """A density, and what is recorded of its fit."""

    density: Density
    about: Mapping[str, Any]


class CannotTake(ValueError):
    """Why a density is not defined on a table."""


def chosen(
    task: Task, settings: Sequence[Setting], fit: Callable[[Task, Setting, bool], Density], *, all_of_them: bool = False
) -> tuple[Density, Setting, dict[str, float]]:
    """The density of the setting that rows it has not seen choose, as the library chooses its own.

    Of 5,000 rows and more each setting is fitted to the training rows and judged by the validation rows. Of fewer, the
    rows to train on are held out in folds, and the best setting is fitted to them all.

    Args:
        task: the table.
        settings: in rising order; after `WORSE` that are no better than the best so far, no further one is tried.
        fit: fits a setting to a task; told whether its validation rows may end the training.
        all_of_them: whether every setting is tried.

    Returns:
        The density, its setting, and mean log p of the rows that judge by setting.
    """
    rows = task.rows_to_train_on
    folds = number_of_folds(len(rows))
    found: dict[Setting, float] = {}
    best: Density | None = None
    for setting in settings:
        if folds:
            parts = [fit(each, setting, False).log_prob(each.validation) for each in _folded(task, folds)]
            score = float(np.concatenate(parts).mean())
        else:
            density = fit(task, setting, True)
            score = float(density.log_prob(task.validation).mean())
            best = density if score > max(found.values(), default=-np.inf) else best
        found[setting] = score if np.isfinite(score) else -np.inf
        if not all_of_them and [*found].index(_best(found)) < len(found) - WORSE:
            break
    setting = _best(found)
    density = fit(task.of(rows, rows), setting, False) if best is None else best
    return density, setting, {str(each): score for each, score in found.items()}


def _best(found: Mapping[Setting, float]) -> Setting:
    return max(found, key=lambda each: found[each])


def _folded(task: Task, folds: int) -> list[Task]:
    rows = task.rows_to_train_on
    fold = folds_of(rows, folds, task.seed)
    return [task.of(rows[fold != i], rows[fold == i]) for i in fold.unique()]


def as_rows(rows: np.ndarray) -> Tensor:
    """An array as rows of a task."""
    return torch.from_numpy(np.ascontiguousarray(rows, np.float64))
