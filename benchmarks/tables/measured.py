"""Measure what is missing of a table: each (part, model) is kept as soon as it is known, and a rerun goes on there.

The record has means, paired differences, tests and seconds; log p of each test row and samples stay `beside` it: by
these, models that were measured at different times are paired, and folds are judged together.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import kept
from benchmarks.tables import paired
from benchmarks.tables.beside import Beside
from benchmarks.tables.fitted import CannotTake, Fitted
from benchmarks.tables.measure import FEW, Task, kinds_of, number_of_parts, task_of
from benchmarks.tables.membership import membership
from benchmarks.tables.sets import SETS, columns_of, size_of
from benchmarks.tables.two_sample import plain, together, two_sample

TEST_ROWS, REAL_ROWS = "test rows", "real rows"  # the latter: training rows in place of samples
EVERY = "all"  # folds together
Models = Mapping[str, Callable[[Task], Fitted]]
Change = Callable[[Task], Task]


def measure(
    output: Path, name: str, models: Models, seeds: int, *, most: int | None = None, change: Change = lambda task: task
) -> None:
    """What is not kept yet of a table.

    Args:
        output: the record.
        name: of the table.
        models: by name.
        seeds: splits of a table that is not held out in folds.
        most: rows of the table, for a trial.
        change: of each task, such as a schema without atoms.

    Raises:
        ValueError: where the record holds another table by this name.
    """
    columns = columns_of(name, most)
    about = {
        "rows": size_of(columns), "columns": len(columns), "dropped": dict(SETS[name].dropped), "role": SETS[name].role,
        "real": SETS[name].real, "folds": size_of(columns) < FEW, "at_most": most,
    }  # fmt: skip
    before = kept.look(kept.read(output), "tables", name, "about")
    if before not in (None, about):
        raise ValueError(f"{output} holds {name} as {before}; it is {about} now: give another --output")
    kept.keep(output, about, "tables", name, "about")
    parts = [Part(output, name, each, about["folds"]) for each in range(number_of_parts(size_of(columns), seeds))]
    kinds = kinds_of(columns, real=SETS[name].real)
    for part in parts:
        missing = {each: fit for each, fit in models.items() if not part.is_done(each)}
        if missing:
            part.measure(change(task_of(columns, part.number, kinds)), missing)
    if about["folds"]:
        for model in (REAL_ROWS, *models):
            tell_apart(parts, model, EVERY)


class Part:
    """A fold or a split of a table in a record."""

    def __init__(self, output: Path, table: str, number: int, is_fold: bool) -> None:
        self.output, self.table, self.number, self.is_fold = output, table, number, is_fold
        self.where = ("tables", table, "parts", str(number))
        self.beside = Beside(output, table, number)

    def is_done(self, model: str) -> bool:
        """Whether a model has been measured, or cannot take the table."""
        found = kept.look(kept.read(self.output), *self.where, "models", model)
        return found is not None and "failed" not in found

    def measure(self, task: Task, models: Models) -> None:
        """Measure models, and keep each at once."""
        kept.keep(self.output, task.about(), *self.where, "about")
        self.beside.keep_rows(TEST_ROWS, plain(task.test, task.schema))
        self.beside.keep_rows(REAL_ROWS, plain(_some_of_training(task, 1), task.schema))
        for model, fit in {REAL_ROWS: None, **models}.items():
            if fit is not None:
                found = self._fitted(task, model, fit)
                kept.keep(self.output, found, *self.where, "models", model)
                kept.keep(self.output, _pairs(self.beside.log_probs()), *self.where, "paired")
                said = found.get("reason") or found.get("failed") or f"{found['log_p']}, {found['seconds']:.1f} s"
                print(f"{self.table}, part {self.number}, {model}: {said}", file=sys.stderr, flush=True)
            if not self.is_fold:
                tell_apart([self], model, str(self.number))

    def _fitted(self, task: Task, model: str, fit: Callable[[Task], Fitted]) -> dict[str, Any]:
        """What is recorded of a model; why it is not there, where it cannot take the table or fails."""
        torch.manual_seed(task.seed)
        try:
            (density, about), seconds = _timed(lambda: fit(task))
            log_p, of_rows = _timed(lambda: density.log_prob(task.test))
            samples, of_samples = _timed(lambda: density.sample(len(task.test), task.seed))
            inside = density.log_prob(_some_of_training(task, 0))
        except CannotTake as error:
            return {"reason": str(error)}
        except Exception as error:  # one model of one table must not end hours of others; a rerun tries it again
            return {"failed": f"{type(error).__name__}: {error}"[:500]}
        self.beside.keep_log_prob(model, log_p)
        self.beside.keep_rows(model, plain(samples, task.schema))
        return {
            **paired.mean(log_p), "membership": membership(inside, log_p), "seconds": seconds,
            "seconds_of_log_prob": of_rows, "seconds_of_samples": of_samples, "seed": task.seed, "device": "cpu",
            **about,
        }  # fmt: skip


def tell_apart(parts: Sequence[Part], model: str, group: str) -> None:
    """Keep the two-sample test of a model over parts, unless it is kept or its samples are not there."""
    output, where = parts[0].output, ("tables", parts[0].table, "two_sample", group, model)
    if kept.look(kept.read(output), *where):
        return
    sides = [[part.beside.rows(each) for part in parts] for each in (model, TEST_ROWS)]
    if any(each is None for side in sides for each in side):
        return
    samples, rows = (together([each for each in side if each is not None]) for side in sides)
    both = [each for each in rows if each in samples]
    found = two_sample({each: samples[each] for each in both}, {each: rows[each] for each in both})
    if found is not None:
        kept.keep(output, found, *where)


def _pairs(log_p: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """Differences of every two models."""
    return {a: {b: paired.difference(log_p[a], log_p[b]) for b in log_p if b != a} for a in log_p}


def _some_of_training(task: Task, seed: int) -> Tensor:
    """As many training rows as there are test rows, or all."""
    order = np.random.default_rng([3, task.seed, seed]).permutation(len(task.train))
    return task.train[torch.from_numpy(order[: len(task.test)])]


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    found = call()
    return found, round(time.perf_counter() - started, 3)
