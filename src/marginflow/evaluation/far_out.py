"""Rows far out: less likely than any held-out row, or with a number out of its range in the training rows."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from marginflow.base.moments import Estimate, Moments
from marginflow.base.weighted_mean import WeightedMean
from marginflow.data import Column, DataSpec
from marginflow.data.tables.decode import as_written
from marginflow.data.tables.misfits import misfit
from marginflow.evaluation.row_scores import MOST_NAMED, RowScores
from marginflow.evaluation.sample_range import range_of

MOST_COLUMNS = 3  # of a row, that are named
TIE = 1e-5  # of log p, by which a row may lie below the least as rounding differs from batch to batch
LARGEST = 2.0**53  # steps of a grid that are written as the file writes them


@dataclass(frozen=True)
class Reference:
    """What rows like those of a training are like.

    Attributes:
        lower: the least number of each column in the training rows, (D,); -inf where it holds none.
        upper: the largest, (D,).
        num_rows: how many rows were held out; 0 where their log p is not known.
        least: the least finite log p among them, in nats.
    """

    lower: tuple[float, ...]
    upper: tuple[float, ...]
    num_rows: int = 0
    least: float = -math.inf

    @classmethod
    def of_training(cls, spec: DataSpec, rows: Callable[[], Tensor]) -> Reference:
        """The ranges alone: those that a schema knows, else those of training rows (N, D)."""
        if spec.schema is not None:
            pairs = [(-math.inf, math.inf) if each.levels else range_of(each) for each in spec.schema.modelled]
            return cls(tuple(lower for lower, _ in pairs), tuple(upper for _, upper in pairs))
        x = rows().double()
        return cls(tuple(x.amin(0).tolist()), tuple(x.amax(0).tolist()))

    def out_of_range(self, x: Tensor) -> Tensor:
        """Which numbers of rows (N, D) lie out of the range of their column: (N, D); none that is blank."""
        lower, upper = (torch.tensor(each, dtype=torch.float64) for each in (self.lower, self.upper))
        x = x.double().cpu()
        return (x < lower) | (x > upper)

    def why(self, x: Tensor, spec: DataSpec) -> str:
        """In words, which numbers of a row (D,) lie out of range; empty where none does."""
        columns = spec.schema.modelled if spec.schema is not None else [None] * len(x)
        names = spec.column_names if spec.schema is None else [each.name for each in spec.schema.modelled]
        told = []
        for i in self.out_of_range(x[None])[0].nonzero().flatten().tolist():
            value, above = float(x[i]), float(x[i]) > self.upper[i]
            end = _written(self.upper[i] if above else self.lower[i], columns[i])
            side = f"above {end}, the largest" if above else f"below {end}, the least"
            told.append(f"column {names[i]!r} holds {_written(value, columns[i])}, {side} of the training rows")
        more = len(told) - MOST_COLUMNS
        return "; ".join(told[:MOST_COLUMNS]) + (f"; and {more} more" if more > 0 else "")

    def settle(self, scores: RowScores, x: Tensor, spec: DataSpec) -> RowScores:
        """The same, log p -inf of rows out of range at which it is no number, as sums overflow there."""
        broken = [each.isnan() | each.isposinf() for each in (scores.log_prob, scores.bound)]
        far = self.out_of_range(x).any(1).to(broken[0].device)
        overflown = (broken[0] | broken[1]) & far
        settled = scores.without_density(overflown) if bool(overflown.any()) else scores
        rows = [x[i].cpu() for i in settled.outside.nonzero().flatten()[:MOST_NAMED].tolist()]
        misfits = ["" if spec.schema is None else misfit(row, spec.schema) for row in rows]
        told = tuple(reason or self.why(row, spec) for reason, row in zip(misfits, rows, strict=True))
        return replace(settled, reasons=told)


def _written(value: float, column: Column | None) -> str:
    if column is None or abs(value) > LARGEST:
        if column is not None and column.grid is not None:
            value = (column.grid.origin + column.grid.step * value) / 10.0**column.grid.digits
        return f"{value:.6g}"
    return as_written(value, column)


@dataclass(frozen=True)
class FarOut:
    """How many rows are far out.

    Attributes:
        num_rows: how many were evaluated.
        reference: what they are held against.
        num_outside: how many have density 0, or one too small for a number.
        num_unlikely: how many others are less likely than any held-out row.
        num_out_of_range: how many hold a number out of its column's range in the training rows.
        least: the least likely of `num_unlikely`, ten at most: number, log p, and what of each is out of range.
        others: log p, in nats a row, of all that are neither; None where there are none.
    """

    num_rows: int
    reference: Reference
    num_outside: int
    num_unlikely: int
    num_out_of_range: int
    least: Sequence[tuple[int, float, str]]
    others: Estimate | None

    @property
    def expected(self) -> float:
        """How many rows, of as many like those held out, are less likely than any of these: N / (M + 1)."""
        return self.num_rows / (self.reference.num_rows + 1)


class FarOutBuilder:
    """A `FarOut` in the making: takes in rows and what a model says of them, chunk after chunk."""

    def __init__(self, reference: Reference, spec: DataSpec) -> None:
        self.reference, self.spec = reference, spec
        self.num_rows = self.num_outside = self.num_unlikely = self.num_out_of_range = 0
        self.least: list[tuple[float, int, str]] = []  # a heap of -log p
        self.others: Moments | WeightedMean | None = None

    def add(self, scores: RowScores, x: Tensor) -> Tensor:
        """Take in rows (N, D) and their scores; which of them are far out, (N,)."""
        log_prob, outside = scores.log_prob.cpu(), scores.outside.cpu()
        least = self.reference.least
        unlikely = (
            (log_prob < least - TIE * max(abs(least), 1.0)) & ~outside if math.isfinite(least) else outside & False
        )
        self.num_outside += int(outside.sum())
        self.num_unlikely += int(unlikely.sum())
        self.num_out_of_range += int(self.reference.out_of_range(x).any(1).sum())
        candidates = unlikely.nonzero().flatten()
        for i in candidates[log_prob[candidates].argsort()[:MOST_NAMED]].tolist():
            item = (-float(log_prob[i]), self.num_rows + i, self.reference.why(x[i], self.spec))
            (heapq.heappush if len(self.least) < MOST_NAMED else heapq.heappushpop)(self.least, item)
        rest = ~(unlikely | outside)
        if scores.weight is None:
            self.others = self.others or Moments()
            assert isinstance(self.others, Moments)
            self.others.add(log_prob[rest])
        else:
            self.others = self.others or WeightedMean()
            assert isinstance(self.others, WeightedMean)
            self.others.add(log_prob[rest], scores.weight.cpu()[rest])
        self.num_rows += len(x)
        return ~rest

    def build(self) -> FarOut:
        """All that was taken in."""
        least = [(row, -size, why) for size, row, why in sorted(self.least, reverse=True)]
        others = None if self.others is None or not self.others.count else self.others.estimate()
        counts = self.num_outside, self.num_unlikely, self.num_out_of_range
        return FarOut(self.num_rows, self.reference, *counts, least, others)
