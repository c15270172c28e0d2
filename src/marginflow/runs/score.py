"""How unusual the rows of a table are to the model of a run: log p of each, among that of held-out rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from marginflow.base.seeds import RandomStream
from marginflow.data import Batch
from marginflow.data.require import fitting
from marginflow.data.tables.gaps import MOST_REASONS, remedy
from marginflow.data.tables.keep import Keeper
from marginflow.data.tables.other_rows import Beside, OtherRows
from marginflow.distributions.mixed import Mixed
from marginflow.distributions.row_density import RowDensity
from marginflow.evaluation.evaluate import score
from marginflow.evaluation.row_scores import RowScores
from marginflow.runs.evaluate import asked
from marginflow.runs.held_out import HeldOut, finite_or_outside
from marginflow.runs.run import Run

LEAST_DEVIATION = (
    0.1  # nats: below it a column that is nearly certain would be the furthest from its mean, whatever else
)
FAR_OUT = "it lies so far out that log p is no number"


@dataclass
class Told:
    """What is to be said of rows when all are scored.

    Attributes:
        num_rows: how many there were.
        num_outliers: how many are flagged.
        num_outside: how many have density 0.
        reasons: why the first of these have.
        options: of a training in which some of these have a density, by column.
    """

    num_rows: int = 0
    num_outliers: int = 0
    num_outside: int = 0
    reasons: list[str] = field(default_factory=list)
    options: dict[str, dict[str, Any]] = field(default_factory=dict)

    def in_words(self) -> Iterator[str]:
        """Lines for people."""
        yield f"{self.num_outliers:,} of {self.num_rows:,} rows are flagged as outliers"
        if self.num_outside:
            yield f"{self.num_outside:,} of {self.num_rows:,} rows have density 0 (rows are counted from 0):"
            yield from (f"  {each}" for each in self.reasons)
            if self.num_outside > len(self.reasons):
                yield f"  and {self.num_outside - len(self.reasons):,} more"
        if self.options:
            yield remedy(self.options)


class Scorer:
    """Gives rows of a table their scores.

    log_prob is log p of the row, in nats, its density in the units of the table; for rows of a schema also as the log
    probability of what is discrete and the log density of what is real, the latter missing where log_prob is -inf.
    percentile is the share of held-out rows whose log p is at most as large. An outlier lies at or below the threshold.
    standard_error stands beside an estimate. Of a `Mixed` unusual_column is the column whose log p given those before
    it lies furthest below its mean over held-out rows, in standard deviations; it depends on the order of the columns.

    A row with a cell that the model has no place for has log_prob -inf, percentile 0, and is an outlier.

    Args:
        run: with the model.
        held_out: the held-out rows.
        contamination: the share of fresh rows that is flagged.
        num_samples: K, for a model that is not exact.
        seed: of its draws.
    """

    def __init__(self, run: Run, held_out: HeldOut, contamination: float, num_samples: int, seed: int) -> None:
        self.model, self.spec, self.held_out = run.model, run.spec, held_out
        self.contamination = contamination
        self.num_samples, self.noise = num_samples, RandomStream(seed)
        self.told = Told()

    @property
    def names(self) -> list[str]:
        """Of the columns that it gives."""
        density = self.model.density
        parts = ["log_prob_discrete", "log_prob_real"] if isinstance(density, RowDensity) else []
        error = [] if density.exact or self.num_samples == 1 else ["standard_error"]
        return ["log_prob", *parts, "percentile", "outlier", *error, *(["unusual_column"] if self._by_column else [])]

    @cached_property
    def threshold(self) -> float:
        """The log p at or below which a row is an outlier; where held-out rows are too few to tell it warns."""
        return self.held_out.threshold(self.contamination)

    @property
    def _by_column(self) -> bool:
        return isinstance(self.model.density, Mixed) and bool(self.held_out.columns)

    def scores(self, chunk: Beside) -> pa.Table:
        """The scores of some rows."""
        found = self._of_model(chunk).with_gaps(chunk.gaps)
        log_prob = finite_or_outside(found.log_prob.cpu())
        outside = log_prob.isneginf()
        outlier = outside | (log_prob <= self.threshold)
        columns: dict[str, object] = {"log_prob": log_prob.numpy()}
        if isinstance(self.model.density, RowDensity):
            real = torch.zeros_like(log_prob) if found.real is None else found.real.cpu()
            assert found.discrete is not None
            columns["log_prob_discrete"] = torch.where(outside, -torch.inf, found.discrete.cpu()).numpy()
            columns["log_prob_real"] = pa.array(real.numpy(), mask=outside.numpy())
        percentile = torch.where(outside, 0.0, self.held_out.percentile(log_prob))
        columns |= {"percentile": percentile.numpy().round(4), "outlier": outlier.numpy()}
        if "standard_error" in self.names:
            assert found.density.standard_error is not None
            columns["standard_error"] = torch.where(outside, 0.0, found.density.standard_error.cpu()).numpy()
        if self._by_column:
            assert found.columns is not None
            columns["unusual_column"] = self._unusual(found.columns.cpu(), chunk)
        self._tell(chunk, found, outside, int(outlier.sum()))
        return pa.table([pa.array(column) for column in columns.values()], names=self.names)

    def in_words(self) -> Iterator[str]:
        """Lines for people, when all rows are scored."""
        return self.told.in_words()

    def _of_model(self, chunk: Beside) -> RowScores:
        x, context, _ = chunk.rows
        batch = Batch(torch.as_tensor(x[:]), None if self.model.density.context_optional else context)
        if not self.told.num_rows:  # what is odd about the rows is said once
            batch = fitting(self.model, batch).take()
        with self.noise.on():
            return score(self.model, batch, spec=self.spec, num_samples=self.num_samples)

    def _unusual(self, columns: Tensor, chunk: Beside) -> pa.Array:
        mean, deviation = (
            torch.tensor(each, dtype=torch.float64) for each in (self.held_out.columns, self.held_out.columns_deviation)
        )
        far = (columns - mean) / deviation.clamp_min(LEAST_DEVIATION)
        names = self.spec.column_names
        gaps = chunk.gaps.among(names)
        far = far.nan_to_num(nan=-torch.inf, neginf=-torch.inf)
        if gaps is not None:
            assert chunk.gaps.rows is not None
            far = torch.where(chunk.gaps.rows[:, None], torch.where(gaps, -torch.inf, torch.inf), far)
        least, place = far.min(1)
        return pa.array(names).take(pa.array(place.numpy(), mask=np.asarray(least.isposinf())))

    def _tell(self, chunk: Beside, found: RowScores, outside: Tensor, num_outliers: int) -> None:
        told = self.told
        told.num_rows += len(outside)
        told.num_outliers += num_outliers
        told.num_outside += int(outside.sum())
        told.options |= chunk.gaps.options
        by_model = dict(zip(found.outside.nonzero().flatten().tolist(), found.reasons, strict=False))
        for row in outside.nonzero().flatten()[: MOST_REASONS - len(told.reasons)].tolist():
            reason = by_model.get(row) or self._other_reason(found, row)
            told.reasons.append(f"row {chunk.first + row}: {reason}")

    @staticmethod
    def _other_reason(found: RowScores, row: int) -> str:
        is_number = bool(found.log_prob[row].isneginf())
        return "it lies outside of the support of the model" if is_number else FAR_OUT


def rows_of(run: Run, table: str) -> OtherRows:
    """The rows of a table for the model of a run; ValueError where it is none of a table, or a column is missing."""
    if len(run.spec.event_shape) != 1:
        raise ValueError(f"{run.path} was trained on images, and rows of a table are scored: give the run of a table")
    of_data = run.experiment.data.model_dump()
    return OtherRows(run.spec, table, asked(run), of_data.get("labels"), of_data.get("weights"))


class Scores(Protocol):
    """Gives rows of a table scores."""

    def scores(self, chunk: Beside) -> pa.Table: ...


def beside(chunks: Iterable[Beside], scorer: Scores, keeper: Keeper, names: Sequence[str]) -> Iterator[pa.Table]:
    """What is kept of each chunk, and behind it the scores of these names."""
    for chunk in _ahead(iter(chunks)):
        scores = scorer.scores(chunk).select(list(names))
        kept = pa.table({}) if chunk.kept is None else keeper.table(chunk.kept)
        yield pa.table([*kept.columns, *scores.columns], names=[*kept.column_names, *scores.column_names])


def _ahead(chunks: Iterator[Beside]) -> Iterator[Beside]:
    """The same; while one is scored, a thread reads the next."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, chunks, None)
        while (chunk := waiting.result()) is not None:
            waiting = pool.submit(next, chunks, None)
            yield chunk
