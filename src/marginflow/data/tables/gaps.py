"""Cells for which a model has no place, as a level that it never saw: their rows have density 0, others are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from marginflow.base.literal import literal
from marginflow.base.names import did_you_mean
from marginflow.base.overrides import of_column
from marginflow.data.schema import LEVELLED, Column
from marginflow.data.tables.cells import Texts, numbers, part_of
from marginflow.data.tables.encode import is_truth, like, numbers_of, of_different, places_among, steps_of
from marginflow.data.tables.levels import POOL
from marginflow.data.tables.numbers import LARGEST, LARGEST_SINGLE, Problem, as_numbers
from marginflow.data.tables.text_values import values_of
from marginflow.data.tables.values import TEMPORAL, Values

NUMERIC = ("whole", "number", "truth")
MOST_REASONS = 5  # that are said of rows of density 0
_FIRST_ROW = " in row 0 (counted from 0)"


class Gaps:
    """The cells of some rows that a model has no place for; the numbers that are read hold something else there.

    There is none for a level that was never seen, a number between the steps of a grid, text among numbers, a blank
    where none may be. A column of which no cell can be read is wrong as a whole, as it is where all must be read.

    Attributes:
        cells: which cells of a column they are, (N,), by its name; of columns without any there is none.
        blanks: which of them hold nothing, likewise.
        options: of a training by which such cells have a place, by the name of the column.
    """

    def __init__(self) -> None:
        self.cells: dict[str, np.ndarray] = {}
        self.blanks: dict[str, np.ndarray] = {}
        self.options: dict[str, dict[str, Any]] = {}
        self._given: dict[str, tuple[Any, Column | None]] = {}

    def of_kind(self, given: Any, column: Column, first: int) -> np.ndarray | str:
        """The numbers of a column of a schema, as `numbers_of` gives them."""
        strict = numbers_of(given, column, first)
        if not isinstance(strict, str):
            return strict
        values = values_of(given, like(column)).from_row(first)
        unread = values.misfit is not None and not len(values.distinct) and first == 0
        fits = _fits(values, column)
        kept = _only(values, fits)
        found = strict if unread else of_different(kept, column)
        if isinstance(found, str):
            return found
        wrong, blank = (values.codes >= 0) & (kept.codes < 0), values.codes < 0
        pools = column.kind in ("category", "ordered") and wrong.any() and not _of_truth(values, fits, column)
        options = {"pool": POOL} if pools else {}
        if values.misfit is not None:
            wrong[values.misfit.rows], blank[values.misfit.rows] = True, False
        if not column.blank:
            wrong |= blank
            options |= {"blank": True} if blank.any() else {}
            self.blanks[column.name] = blank
        self._remember(column.name, wrong, given, column)
        self.options |= {column.name: options} if options else {}
        return np.where(wrong, _stand_in(column), np.append(found, np.nan)[kept.codes])

    def of_number(self, given: Any, name: str, first: int) -> np.ndarray | Problem:
        """The numbers of a column of a table of real numbers, as `as_numbers` gives them."""
        strict = as_numbers(given, name, first)
        if not isinstance(strict, Problem):
            return strict
        found = _plain(given)
        if found is None:
            return strict
        with np.errstate(invalid="ignore"):
            wrong = ~(np.abs(found) < (LARGEST_SINGLE if found.dtype == np.float32 else LARGEST))
        if wrong.all() and first == 0 and _holds_something(given):
            return strict
        self.blanks[name] = np.isnan(found) & ~_misfits(given)
        self._remember(name, wrong, given, None)
        return np.where(wrong, np.median(found[~wrong]) if not wrong.all() else 0, found)

    def _remember(self, name: str, wrong: np.ndarray, given: Any, column: Column | None) -> None:
        self.cells[name], self._given[name] = wrong, (given, column)

    @property
    def rows(self) -> Tensor | None:
        """Which rows have such cells, (N,); None where none has."""
        return torch.from_numpy(np.any(list(self.cells.values()), 0)) if self.cells else None

    def among(self, names: Sequence[str]) -> Tensor | None:
        """Which cells of some columns they are, (N, columns); None where there are none."""
        if not self.cells:
            return None
        none = np.zeros_like(next(iter(self.cells.values())))
        return torch.from_numpy(np.stack([self.cells.get(name, none) for name in names], 1))

    def reason(self, row: int) -> str:
        """Why a row has no place, in words such as "column 'city' holds 'Pars', none of its levels"."""
        told = (name for name, wrong in self.cells.items() if wrong[row])
        return "; ".join(f"column {literal(repr(name))} {_why(*self._given[name], row)}" for name in told)

    def in_words(self, source: str) -> str:
        """How many rows have density 0 for want of a place, and why the first of them; empty where none has."""
        if self.rows is None:
            return ""
        wrong = self.rows.nonzero().flatten().tolist()
        more = [f"  and {len(wrong) - MOST_REASONS:,} more"] if len(wrong) > MOST_REASONS else []
        return "\n".join([
            f"{source}: {len(wrong):,} of {len(self.rows):,} have density 0, as the model has no place for a cell of "
            "them (rows are counted from 0):",
            *(f"  row {row}: {self.reason(row)}" for row in wrong[:MOST_REASONS]),
            *more,
            *([remedy(self.options)] if self.options else []),
        ])  # fmt: skip


def remedy(options: Mapping[str, Mapping[str, Any]]) -> str:
    """In words, how to train so that such cells have a place.

    >>> print(remedy({"city": {"pool": 20}}))
    to give such values a probability train with --set schema.city.pool=20
    """
    typed = " ".join(of_column(name, each) for name, each in options.items())
    return f"to give such values a probability train with {typed}"


def _of_truth(values: Values, fits: np.ndarray, column: Column) -> bool:
    """Whether values without a place are truth values, which the column has in other words."""
    labels = values.labels().filter(pa.array(~fits))
    return len(labels) > 0 and is_truth(column, str(labels[0].as_py()))


def _fits(values: Values, column: Column) -> np.ndarray:
    """Which of the different values a column has a place for; of another kind of values, all."""
    every = np.ones(len(values.distinct), bool)
    if column.kind in LEVELLED:
        if column.pooled or values.family == "nested":
            return every
        return ~np.isnan(places_among(values, column)[1])
    if values.family in NUMERIC:
        plain = values.array.astype(np.float64)
        every = np.abs(plain) < LARGEST
        if column.kind == "positive":
            every &= plain > 0
    is_time = values.family in TEMPORAL
    if column.grid is not None and (is_time if column.kind in TEMPORAL else values.family in NUMERIC):
        steps = steps_of(values, column)
        every &= steps == np.rint(steps)
    return every


def _only(values: Values, fits: np.ndarray) -> Values:
    """The values that fit; others are missing."""
    places = np.where(fits, np.cumsum(fits) - 1, -1)
    codes = np.append(places, -1).astype(np.int32)[values.codes]
    return replace(values, distinct=values.distinct.filter(pa.array(fits)), codes=codes, misfit=None)


def _stand_in(column: Column) -> float:
    """A number that a column has a place for."""
    if column.blank:
        return np.nan
    middle = column.quantiles[len(column.quantiles) // 2] if column.quantiles else 0.0
    return float(middle if column.grid is None else round(middle))


def _plain(given: Any) -> np.ndarray | None:
    """A column as numbers, NaN where there is none; None for one of another type."""
    if isinstance(given, np.ndarray):
        return given
    if isinstance(given, Texts):
        return numbers(given)[0].to_numpy(zero_copy_only=False)
    if pa.types.is_null(given.type):
        return np.full(len(given), np.nan)
    kind = given.type.value_type if pa.types.is_dictionary(given.type) else given.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        return None
    wide = pa.float32() if pa.types.is_float16(kind) or pa.types.is_float32(kind) else pa.float64()
    return given.cast(kind).cast(wide, safe=False).to_numpy(zero_copy_only=False)


def _misfits(given: Any) -> np.ndarray:
    """Which cells hold what is no number, (N,)."""
    misfits = numbers(given)[1] if isinstance(given, Texts) else None
    return np.zeros(len(given), bool) if misfits is None else misfits.to_numpy(zero_copy_only=False)


def _holds_something(given: Any) -> bool:
    """Whether some cell holds anything."""
    if isinstance(given, np.ndarray):
        return not np.isnan(given).all()
    if isinstance(given, Texts):
        return numbers(given)[1] is not None
    return given.null_count < len(given)


def _why(given: Any, column: Column | None, row: int) -> str:
    """What is wrong with the cell of a row, as a verb and what follows."""
    alone = part_of(given, row, 1)
    if isinstance(given, Texts):
        cell = alone.cells[0].as_py().strip()
        is_text = numbers(alone)[1] is not None
    else:
        cell = alone[0] if isinstance(given, np.ndarray) else alone[0].as_py()
        is_text = isinstance(cell, str)
    values = values_of(alone, None if column is None else like(column))
    shown = str(cell) if not is_text else literal(repr(cell if len(cell) <= 60 else f"{cell[:60]}..."))
    if values.misfit is None and values.num_blank:
        return "has no value" if column is None else "has no value, where the schema has none missing"
    if column is None:
        problem = as_numbers(alone, "", 0)
        is_large = isinstance(problem, Problem) and "too large" in problem.what
        return f"holds {shown}, {'too large a number' if is_large else 'no number'}"
    if column.kind in LEVELLED:
        if is_truth(column, str(cell)):
            return f"holds {shown}, none of its levels, {' and '.join(column.levels)}"
        return f"holds {shown}, none of its levels{did_you_mean(str(cell), column.levels)}"
    wrong = numbers_of(alone, column, 0)
    return wrong.replace(_FIRST_ROW, "") if isinstance(wrong, str) else f"holds {shown}, which does not fit"
